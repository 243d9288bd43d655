/**
 * A quick look at JSON that JSON.parse accepted: whether it plainly hides nothing (strict-json.ts says what could be
 * hidden). Nearly every text passes, at a quarter of what it costs to parse it. One that does not pass may still be
 * sound; the scanner then reads it with care.
 *
 * It works on bytes, knows keys by a hash alone, and allocates nothing.
 */

/** Arrays and objects may nest this deep; a scalar has depth 0, `[]` depth 1. */
export const depthLimit = 64

/** Keys of one object that are compared with one another; more are left to the scanner, which has a set for them. */
const keyLimit = 64
/** Characters of a number that may be skipped: any decimal of 15 digits comes back from a double (DBL_DIG). */
const numberLimit = 15

/** Hashes of the keys of all objects that are open, the outermost first. */
const keys = new Int32Array(depthLimit * keyLimit)
/** By depth: where the keys of the object around begin, and how many keys there were. */
const outerFirst = new Int32Array(depthLimit)
const outerCount = new Int32Array(depthLimit)
/** In place of the first key: within an array. */
const none = -1

const quote = 0x22
const backslash = 0x5c
const digit0 = 0x30
const digit9 = 0x39

/**
 * @param text of well-formed UTF-8; the part from `start` to before `end` is one JSON value
 * @returns true if no key stands twice, no number is rounded, no surrogate is alone and nothing is nested too deep
 */
export function isPlain(text: Uint8Array, start: number, end: number): boolean {
  let depth = 0
  let first = none
  let count = 0
  let expectKey = false
  for (let at = start; at < end; at++) {
    const c = text[at]!
    if (c === quote) {
      at++
      if (expectKey) {
        expectKey = false
        let hash = 0
        for (let k = text[at]!; k !== quote; k = text[++at]!) {
          if (k === backslash) return false
          hash = (Math.imul(hash, 31) + k) | 0
        }
        for (let other = first; other < count; other++) if (keys[other] === hash) return false
        if (count - first === keyLimit) return false
        keys[count++] = hash
      } else {
        for (let k = text[at]!; k !== quote; k = text[++at]!) {
          if (k !== backslash) continue
          at++
          if (text[at] === 0x75 && (text[at + 1]! | 0x20) === 0x64) return false // \uD…, a surrogate
        }
      }
    } else if (c === 0x2c) {
      expectKey = first !== none
    } else if (c === 0x7b || c === 0x5b) {
      if (depth === depthLimit) return false
      outerFirst[depth] = first
      outerCount[depth] = count
      depth++
      expectKey = c === 0x7b
      first = expectKey ? count : none
    } else if (c === 0x7d || c === 0x5d) {
      depth--
      first = outerFirst[depth]!
      count = outerCount[depth]!
      expectKey = false
    } else if (c === 0x2d || (c >= digit0 && c <= digit9)) {
      const from = at
      let k = text[at + 1]!
      while (at + 1 < end && ((k >= digit0 && k <= digit9) || k === 0x2e)) k = text[++at + 1]!
      if (at - from >= numberLimit || (at + 1 < end && (k | 0x20) === 0x65)) return false
    }
  }
  return true
}
