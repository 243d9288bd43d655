import { describe, expect, it } from 'vitest'
import { hashedUnits, hashTerm, termKey } from './hash.ts'

// The reference implementation's vectors_hsip32 for inputs 00 01 02 … of every even length from 2 to 62 bytes (an input
// of ours is whole code units, and never empty), under the key 00 01 … 07.
const reference =
  'fa62a603 2a6e4689 5863fc23 d0b8848f 94b07934 57f0872f d6fff87c d9b5ac84 465b8d9b e34d1045 70f367fe ' +
  '27400c63 4f567b5f b0644000 509e338b fee72112 6a434f8c e75cc6ec 63688b0f b6bc1840 2442fd2e 7705d548 ' +
  'b6d499c8 69e12ce3 369764c6 3b85f3d4 1e692a3a a5c5b940 7dbc8140 d4e76c73 bd83997a'

const key = termKey(Uint8Array.of(0, 1, 2, 3, 4, 5, 6, 7))

describe('hashTerm', () => {
  it('agrees with the reference implementation', () => {
    for (const [index, expected] of reference.split(' ').entries()) {
      const bytes = Buffer.from(Array.from({ length: 2 * (index + 1) }, (_, i) => i))
      const made = Buffer.alloc(4)
      made.writeInt32LE(hashTerm(key, bytes.readUInt16LE(0), bytes.subarray(2).toString('utf16le')))
      expect(made.toString('hex')).toBe(expected)
    }
  })

  it('keeps name spaces, keys and lone surrogates apart, and reads a bounded part of a text', () => {
    const all = new Set([
      hashTerm(key, 1, '42'),
      hashTerm(key, 2, '42'),
      hashTerm(termKey(Uint8Array.of(1, 1, 2, 3, 4, 5, 6, 7)), 1, '42'),
      hashTerm(key, 1, '\ud800'),
      hashTerm(key, 1, '\udc00'),
      hashTerm(key, 1, 'a'.repeat(hashedUnits)),
      hashTerm(key, 1, 'a'.repeat(hashedUnits - 1)),
    ])
    expect(all.size).toBe(7)
    expect(hashTerm(key, 1, 'a'.repeat(hashedUnits + 9))).toBe(hashTerm(key, 1, 'a'.repeat(hashedUnits)))
  })

  it('refuses a key of another size', () => {
    expect(() => termKey(new Uint8Array(16))).toThrow(RangeError)
  })
})
