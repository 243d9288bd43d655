/**
 * Markers `{"$personal":n}`: where a personal value was cut out of the facts, n names the entry's personal line that
 * holds it (docs/spec/entry.md). A marker that names no line would show a value that nobody sealed.
 */

const NAME = '$personal'
/** Its bytes. */
export const MARKER_NAME: Uint8Array = new TextEncoder().encode(NAME)
const OPENING = 0x7b
const QUOTE = 0x22
const CLOSING = 0x7d
const COLON = 0x3a

/** The highest n that the JSON text names, -1 without any, Infinity for a marker that names no line at all. */
export function highestMarkerOf(facts: string): number {
  // A name spelt with escapes is the same name.
  if (facts.includes('\\u')) return parsedMarkers(facts)
  let highest = -1
  for (let at = facts.indexOf(NAME); at >= 0; at = facts.indexOf(NAME, at + NAME.length)) {
    const n = markerIn(facts, at)
    // White space, another order, or just a text in which the name stands.
    if (n === undefined) return parsedMarkers(facts)
    if (n > highest) highest = n
  }
  return highest
}

/** The n of the marker whose name stands at `at`, if it is as JSON.stringify writes it and n has at most two digits. */
function markerIn(facts: string, at: number): number | undefined {
  if (facts.charCodeAt(at - 1) !== QUOTE || facts.charCodeAt(at - 2) !== OPENING) return undefined
  const from = at + NAME.length
  if (!facts.startsWith('":', from)) return undefined
  const first = facts.charCodeAt(from + 2) - 0x30
  if (!(first >= 0 && first <= 9)) return undefined
  if (facts.charCodeAt(from + 3) === CLOSING) return first
  const second = facts.charCodeAt(from + 3) - 0x30
  if (first === 0 || !(second >= 0 && second <= 9) || facts.charCodeAt(from + 4) !== CLOSING) return undefined
  return first * 10 + second
}

/** The same for UTF-8 that ends at `end`, of which at least two bytes stand in front of `at`. */
export function markerAt(facts: Uint8Array, at: number, end: number): number | undefined {
  if (facts[at - 1] !== QUOTE || facts[at - 2] !== OPENING) return undefined
  const from = at + NAME.length
  if (from + 4 > end || facts[from] !== QUOTE || facts[from + 1] !== COLON) return undefined
  const first = facts[from + 2]! - 0x30
  if (!(first >= 0 && first <= 9)) return undefined
  if (facts[from + 3] === CLOSING) return first
  const second = facts[from + 3]! - 0x30
  if (first === 0 || !(second >= 0 && second <= 9) || from + 5 > end || facts[from + 4] !== CLOSING) return undefined
  return first * 10 + second
}

function parsedMarkers(facts: string): number {
  let highest = -1
  try {
    JSON.parse(facts, (key, value) => {
      if (key !== '$personal') return value
      const isLine = Number.isSafeInteger(value) && value >= 0
      highest = Math.max(highest, isLine ? value : Number.POSITIVE_INFINITY)
      return value
    })
  } catch (error) {
    // What is no JSON has no markers; its commitment was checked all the same. Too deep to look into is no excuse.
    if (!(error instanceof SyntaxError)) return Number.POSITIVE_INFINITY
  }
  return highest
}
