/** Text from outside, made fit to stand inside one line of a sentence. */

const longest = 120

/**
 * Line breaks, control characters and the marks that reorder text become spaces: a name must not be able to look like
 * another sentence. Long text is cut at a whole character.
 */
export function oneLine(text: string): string {
  const clean = text
    .slice(0, 8 * longest)
    .replace(/[\p{Cc}\p{Zl}\p{Zp}\u061c\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]+/gu, ' ')
    .trim()
  if (clean.length <= longest) return clean
  const cut = clean.slice(0, longest - 1)
  return `${cut.isWellFormed() ? cut : cut.slice(0, -1)}…`
}
