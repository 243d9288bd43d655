import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { nodeSha256 } from '../../test/node-hash.ts'
import { equalBytes, fromBase64, toBase64, toHex } from '../bytes.ts'
import { CATEGORIES } from './category.ts'
import { type Committed, DecodedCommitted, ScannedCommitted } from './committed.ts'
import { decodeEntry, type Entry, EntryReader, encodeEntry, NO_PREVIOUS } from './entry.ts'
import { EntryError } from './entry-error.ts'
import { HashText, isHashText, sameBytes, viewOf } from './hash-text.ts'

const ascii = new TextEncoder()
const hash = fc.uint8Array({ minLength: 32, maxLength: 32 }).map(toBase64)
const id = fc.uint8Array({ minLength: 16, maxLength: 16 }).map(toHex)
const entry: fc.Arbitrary<Entry> = fc
  .record(
    {
      // Few trails, times and places, so that many entries begin as the one before.
      trail: fc.constantFrom('0'.repeat(32), 'a1'.repeat(16)),
      seq: fc.constantFrom(0, 1, 7, 255, 2 ** 53 - 1),
      previous: fc.oneof(fc.constant(NO_PREVIOUS), hash),
      sealedAt: fc.constantFrom('2026-03-10T18:33:14.123Z', '2026-03-10T18:33:14.124Z'),
      body: fc.oneof(
        fc.constantFrom(...CATEGORIES).map((event) => ({ event })),
        fc.constant({ control: { kind: 'close', reason: 'deleted' } } as const),
      ),
      facts: hash,
      confidential: hash,
      operator: hash,
      personal: fc.array(fc.record({ key: id, commitment: hash }), { maxLength: 4 }),
    },
    { requiredKeys: ['trail', 'seq', 'previous', 'sealedAt', 'body', 'facts', 'personal'] },
  )
  .map((made) => (made.seq === 0 ? { ...made, previous: NO_PREVIOUS } : made))

/** Mostly as it was encoded; else a byte is another one, or bytes are missing or too many. */
const written = fc
  .tuple(entry, fc.option(fc.tuple(fc.nat(), fc.nat(255), fc.integer({ min: -1, max: 1 })), { freq: 2 }))
  .map(([made, change]) => {
    const bytes = ascii.encode(encodeEntry(made))
    if (change === null) return bytes
    const [where, value, longer] = change
    const at = where % bytes.length
    if (longer < 0) return bytes.filter((_, i) => i !== at)
    if (longer > 0) return Uint8Array.of(...bytes.subarray(0, at), value, ...bytes.subarray(at))
    return bytes.with(at, value)
  })

function orError<T>(read: () => T): T | { readonly code: string; readonly message: string } {
  try {
    return read()
  } catch (error) {
    if (error instanceof EntryError) return { code: error.code, message: error.message }
    throw error
  }
}

/** One after another, each behind two bytes of something else, and with something behind the last. */
function joined(entries: readonly Uint8Array[]): { readonly bytes: Uint8Array; readonly starts: readonly number[] } {
  const starts: number[] = []
  let at = 0
  for (const bytes of entries) {
    starts.push(at + 2)
    at += 2 + bytes.length
  }
  const all = new Uint8Array(at + 50).fill(0x30)
  entries.forEach((bytes, n) => {
    all.set(bytes, starts[n]!)
  })
  return { bytes: all, starts }
}

describe('entries read where they stand in a bundle', () => {
  it('are what each is alone, whatever was read before and whatever hash was expected', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(written, fc.boolean()), { minLength: 1, maxLength: 8 }), (entries) => {
        const { bytes, starts } = joined(entries.map(([own]) => own))
        const reader = new EntryReader(bytes)
        const expected = new HashText()
        entries.forEach(([own, isExpected], n) => {
          const [start, end] = [starts[n]!, starts[n]! + own.length]
          const alone = orError(() => decodeEntry(own))
          const previous = 'previous' in alone && isExpected ? alone.previous : toBase64(new Uint8Array(32).fill(n))
          expected.set(previous)
          const scanned = orError(() => reader.scan(start, end, expected))
          if (!('previous' in alone)) expect(scanned).toEqual(alone)
          else {
            expect(scanned).toBeUndefined()
            const { trail, seq, sealedAt, body, isNext } = reader
            expect({ trail, seq, sealedAt, body }).toEqual({
              trail: alone.trail,
              seq: alone.seq,
              sealedAt: alone.sealedAt,
              body: alone.body,
            })
            expect(isNext).toBe(alone.previous === previous)
          }
          expect(orError(() => reader.read(start, end))).toEqual(alone)
        })
      }),
    )
  })

  it('commit to the same as when they are decoded', () => {
    fc.assert(
      fc.property(fc.array(written, { minLength: 1, maxLength: 6 }), hash, (entries, other) => {
        const { bytes, starts } = joined(entries)
        const reader = new EntryReader(bytes)
        const scanned = new ScannedCommitted(reader, entries.length)
        entries.forEach((own, n) => {
          const failed = orError(() => reader.scan(starts[n]!, starts[n]! + own.length)) !== undefined
          if (failed) scanned.skip()
          else scanned.add(starts[n]!, starts[n]! + own.length)
        })
        for (const n of [...entries.keys()].reverse()) {
          const alone = orError(() => decodeEntry(entries[n]!))
          const committed = scanned.at(n)
          if (!('previous' in alone)) expect(committed).toBeUndefined()
          else expect(answers(committed!, alone, other)).toEqual(answers(new DecodedCommitted(alone), alone, other))
        }
        expect([scanned.at(-1), scanned.at(entries.length)]).toEqual([undefined, undefined])
      }),
    )
  })
})

/** Everything it says, asked with every commitment of the entry, another, and none. */
function answers(committed: Committed, { facts, confidential, operator, personal }: Entry, other: string): unknown {
  const asked = [facts, confidential, operator, ...personal.map((line) => line.commitment), other, undefined]
  const { isEvent, hasConfidential, hasOperator, personalLines, entry: whole } = committed
  return {
    ...{ isEvent, hasConfidential, hasOperator, personalLines, whole },
    facts: asked.map((one) => committed.isFacts(one)),
    confidential: hasConfidential && asked.map((one) => committed.isConfidential(one)),
    operator: hasOperator && asked.map((one) => committed.isOperator(one)),
    personal: personal.map((_, n) => asked.map((one) => committed.isPersonal(n, one))),
  }
}

describe('hashes as text', () => {
  const text = fc.oneof(
    hash,
    fc.tuple(hash, fc.nat(43), fc.nat(255)).map(([good, at, code]) => {
      return good.slice(0, at) + String.fromCharCode(code) + good.slice(at + 1)
    }),
  )

  it('are told from what is not the only base64 of 32 bytes, anywhere among other bytes', () => {
    fc.assert(
      fc.property(text, fc.nat(9), (characters, at) => {
        const bytes = new Uint8Array(at + 44)
        for (let i = 0; i < 44; i++) bytes[at + i] = characters.charCodeAt(i)
        expect(isHashText(viewOf(bytes), at)).toBe(fromBase64(characters)?.length === 32)
      }),
    )
  })

  it('are compared and decoded', () => {
    fc.assert(
      fc.property(hash, hash, fc.nat(9), (one, other, at) => {
        const held = new HashText()
        held.set(one)
        const target = new Uint8Array(at + 33).fill(7)
        held.decode(target, at)
        expect(equalBytes(target.subarray(at, at + 32), fromBase64(one)!)).toBe(true)
        expect([...target.subarray(0, at), target[at + 32]]).toEqual(new Array(at + 1).fill(7))
        const view = viewOf(ascii.encode('x'.repeat(at) + other))
        expect(held.standsIn(view, at)).toBe(one === other)
        held.set(other)
        expect(held.standsIn(view, at)).toBe(true)
        held.hash(nodeSha256, ascii.encode(one))
        expect(held.standsIn(viewOf(ascii.encode(nodeSha256.base64!(ascii.encode(one)))), 0)).toBe(true)
      }),
    )
    expect(() => new HashText().set('AAAA')).toThrow(RangeError)
    expect(() => new HashText().set(`${'A'.repeat(42)}é=`)).toThrow(RangeError)
    expect(() => new HashText().decode(new Uint8Array(32), 1)).toThrow(RangeError)
  })

  it('are compared by every byte', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 4, maxLength: 60 }),
        fc.nat(),
        fc.integer({ min: 1, max: 255 }),
        (a, n, by) => {
          const at = n % a.length
          const b = a.with(at, a[at]! ^ by)
          expect(sameBytes(viewOf(a), 0, viewOf(a.slice()), 0, a.length)).toBe(true)
          expect(sameBytes(viewOf(a), 0, viewOf(b), 0, a.length)).toBe(false)
        },
      ),
    )
  })
})
