// What a word is, for the search parameter `q`: the same answer when an event is sealed, when it is searched and when
// it is rechecked. No stemming and no stop words: an audit log is searched for names and identifiers.

/** Longer runs are not words (Base64, hashes beyond SHA-256 in hex) and cannot be searched for. */
export const wordUnits = 64

/** Words are taken from this many UTF-16 code units at the beginning of a text. */
export const searchedUnits = 1024

const beyondAscii = /[^\0-\x7f]/
const unicodeWord = /[\p{L}\p{N}\p{M}]+/gu

/**
 * Calls `visit` with each word of `text` in order: a run of letters, digits and marks, compared without case (and, when
 * a text is not plain ASCII, in Unicode normal form KC). A word is the part of the given text from start to before end.
 */
export function visitWords(text: string, visit: (text: string, start: number, end: number) => void): void {
  const searched = text.length > searchedUnits ? text.slice(0, searchedUnits) : text
  if (beyondAscii.test(searched)) {
    const folded = searched.normalize('NFKC').toLowerCase()
    for (const match of folded.matchAll(unicodeWord)) {
      if (match[0].length <= wordUnits) visit(folded, match.index, match.index + match[0].length)
    }
    return
  }
  const folded = searched.toLowerCase()
  let start = -1
  for (let i = 0; i <= folded.length; i++) {
    const unit = i < folded.length ? folded.charCodeAt(i) : 0
    const inWord = (unit >= 97 && unit <= 122) || (unit >= 48 && unit <= 57)
    if (inWord) {
      if (start < 0) start = i
    } else if (start >= 0) {
      if (i - start <= wordUnits) visit(folded, start, i)
      start = -1
    }
  }
}

/** The distinct words of a text, in order of appearance. */
export function wordsOf(text: string): string[] {
  const words = new Set<string>()
  visitWords(text, (folded, start, end) => words.add(folded.slice(start, end)))
  return [...words]
}

/** A value as a search compares it, or undefined: objects, arrays, null and cut values have no text. */
export function scalarText(value: unknown): string | undefined {
  if (typeof value === 'string') return value
  return typeof value === 'number' || typeof value === 'boolean' ? String(value) : undefined
}
