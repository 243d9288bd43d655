// How a person's values are searched. Ingest makes tokens of `searchTexts` for each new persona; the recheck compares
// with the same texts. The tokens live in the persona table, which an erasure empties, and nowhere else.
import { canonicalAddress } from './address.ts'
import { scalarText, wordsOf } from './words.ts'

/** A persona's content: JSON Pointers of the event, and the values that were cut there. */
export type PersonalValues = readonly (readonly [pointer: string, value: unknown])[]

/** User agents are shared by millions and say nothing about who somebody is: as tokens they would only cost. */
const unsearched = new Set(['/context/user_agent'])

/** Texts of one persona at most: a policy may cut a whole object, and a token is a row. */
const maxTexts = 256

/** Letter case, Unicode composition and outer spaces do not tell names or e-mail addresses apart. */
export function fold(text: string): string {
  return text.normalize('NFKC').trim().toLowerCase()
}

/** What a whole value is found by: an IP address in its one spelling, any other text folded. */
export function wholeText(value: string): string {
  return canonicalAddress(value) ?? fold(value)
}

/**
 * Distinct texts that find a persona: each value as a whole, and the words of texts. Values inside a cut object count.
 * The numbers of an IP address are no words: everybody has them.
 */
export function searchTexts(values: PersonalValues): string[] {
  const texts = new Set<string>()
  visitValues(values, (value) => {
    if (texts.size >= maxTexts) return
    texts.add(wholeText(String(value)))
    for (const word of wordsOfValue(value)) texts.add(word)
  })
  return [...texts].slice(0, maxTexts)
}

/** The words of a persona, as `q` sees them. */
export function personalWords(values: PersonalValues): string[] {
  const words = new Set<string>()
  visitValues(values, (value) => {
    for (const word of wordsOfValue(value)) words.add(word)
  })
  return [...words]
}

const wordsOfValue = (value: unknown): string[] =>
  typeof value === 'string' && canonicalAddress(value) === undefined ? wordsOf(value) : []

function visitValues(values: PersonalValues, visit: (value: unknown) => void): void {
  for (const [pointer, value] of values) if (!unsearched.has(pointer)) visitScalars(value, visit)
}

function visitScalars(value: unknown, visit: (value: unknown) => void): void {
  if (scalarText(value) !== undefined) visit(value)
  else if (typeof value === 'object' && value !== null)
    for (const member of Object.values(value)) visitScalars(member, visit)
}
