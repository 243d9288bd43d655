/**
 * Damaged documents, fast: fast-check draws a seed and names it when something fails, and each seed stands for a hundred
 * cases, because fast-check's own arbitraries take tens of microseconds a case.
 */
import fc from 'fast-check'
import { concatBytes } from '../src/index.ts'

const CASES_PER_SEED = 100
const utf8 = new TextEncoder()

/** Pseudo-random numbers of a seed (xorshift). */
export class Dice {
  private state: number

  constructor(seed: number) {
    this.state = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) || 1
  }

  /** From 0 to `limit` − 1. */
  roll(limit: number): number {
    this.state ^= this.state << 13
    this.state ^= this.state >>> 17
    this.state ^= this.state << 5
    return (this.state >>> 0) % limit
  }
}

let made = 0

/** How many cases `many` and `manyAsync` have made in this process. */
export function casesMade(): number {
  return made
}

const seed = fc.noShrink(fc.integer())
const runs = (cases: number) => ({ numRuns: Math.ceil(cases / CASES_PER_SEED) })

/** Does `one` at least `cases` times. */
export function many(cases: number, one: (dice: Dice) => void): void {
  fc.assert(
    fc.property(seed, (drawn) => {
      const dice = new Dice(drawn)
      for (let i = 0; i < CASES_PER_SEED; i++) one(dice)
      made += CASES_PER_SEED
    }),
    runs(cases),
  )
}

/** The same where checking takes signatures. */
export async function manyAsync(cases: number, one: (dice: Dice) => Promise<void>): Promise<void> {
  await fc.assert(
    fc.asyncProperty(seed, async (drawn) => {
      const dice = new Dice(drawn)
      for (let i = 0; i < CASES_PER_SEED; i++) await one(dice)
      made += CASES_PER_SEED
    }),
    runs(cases),
  )
}

const PIECES = [
  '\n',
  '\n\n',
  ' ',
  '\t',
  '0',
  '1',
  '-1',
  '00',
  '9007199254740993',
  '=',
  '+',
  '/',
  'A',
  '—',
  '— ',
  '\r\n',
  '\u0000',
  '\ufeff',
  'é',
  '#',
  'any',
  'none',
]
  .map((piece) => utf8.encode(piece))
  .concat([Uint8Array.of(0xff), Uint8Array.of(0xe2, 0x80)])

/** The document with one to three places overwritten, cut out, doubled or moved. */
export function damage(good: Uint8Array, dice: Dice): Uint8Array {
  let bytes = good
  for (let edits = 1 + dice.roll(3); edits > 0; edits--) {
    const at = dice.roll(bytes.length + 1)
    const end = Math.min(bytes.length, at + [0, 1, 1, 4, 44, 200][dice.roll(6)]!)
    const kind = dice.roll(8)
    const put =
      kind < 3
        ? PIECES[dice.roll(PIECES.length)]!
        : kind === 3
          ? Uint8Array.of(dice.roll(256))
          : kind === 4
            ? bytes.subarray(dice.roll(bytes.length + 1)).subarray(0, dice.roll(120))
            : kind === 5 && at < bytes.length
              ? Uint8Array.of(bytes[at]! ^ (1 << dice.roll(8)))
              : new Uint8Array(0)
    // A flipped bit replaces one byte, a doubled piece replaces none.
    const from = kind === 5 ? at + put.length : kind === 6 ? at : end
    const rest = kind === 6 ? concatBytes([bytes.subarray(at, end), bytes.subarray(at)]) : bytes.subarray(from)
    bytes = concatBytes([bytes.subarray(0, at), put, rest])
  }
  return bytes
}
