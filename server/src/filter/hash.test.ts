import { describe, expect, it } from 'vitest'
import { hashedUnits, hashHigh, hashLow, hashTerm, termKey, termNumber } from './hash.ts'

// The reference implementation's vectors_hsip64 for inputs 00 01 02 … of every even length from 2 to 62 bytes (an input
// of ours is whole code units, and never empty), under the key 00 01 … 07.
const reference =
  '064f39ef7c50eb57 d5e78a175be52ea1 ce3e91358aa2bc25 edfee820bce4858c 95b0469f06a6f2ee 7bc71f9faef5c799 ' +
  '3bb1a870eae8e658 7336aad25f7bf3b5 c9b2db2b9a3e42f9 1bf52b0a6feea7db e20103fa1ba776ef 70741045ae3fa6f1 ' +
  '0d899ed8112923f0 2d925ffb1e0016b5 291aaf864898179d 28709d46d811626c 8324e4d7528f9830 86d67a40ec4276dc ' +
  'cbd92ee724d42109 5b38c81c67c8ae4c a91a52c025327024 1e30f3ad27dcb15a 495c0f995557dc38 a9eaa8c04ba93e3e ' +
  '912d568fd8f65a49 02445a7998f550e1 359569e7d289e3bc a1a492f942f15f1d 5d1b5ea1b231d89d d6762890bf26e460 ' +
  'f90b3ab572d46693'

const key = termKey(Uint8Array.of(0, 1, 2, 3, 4, 5, 6, 7))

function output(): string {
  const bytes = Buffer.alloc(8)
  bytes.writeInt32LE(hashLow, 0)
  bytes.writeInt32LE(hashHigh, 4)
  return bytes.toString('hex')
}

describe('hashTerm', () => {
  it('agrees with the reference implementation', () => {
    for (const [index, expected] of reference.split(' ').entries()) {
      const bytes = Buffer.from(Array.from({ length: 2 * (index + 1) }, (_, i) => i))
      hashTerm(key, bytes.readUInt16LE(0), bytes.subarray(2).toString('utf16le'))
      expect(output()).toBe(expected)
    }
  })

  it('keeps name spaces, keys and lone surrogates apart, and reads a bounded part of a text', () => {
    const all = new Set([
      termNumber(key, 1, '42'),
      termNumber(key, 2, '42'),
      termNumber(termKey(Uint8Array.of(1, 1, 2, 3, 4, 5, 6, 7)), 1, '42'),
      termNumber(key, 1, '\ud800'),
      termNumber(key, 1, '\udc00'),
      termNumber(key, 1, 'a'.repeat(hashedUnits)),
      termNumber(key, 1, 'a'.repeat(hashedUnits - 1)),
    ])
    expect(all.size).toBe(7)
    expect(termNumber(key, 1, 'a'.repeat(hashedUnits + 9))).toBe(termNumber(key, 1, 'a'.repeat(hashedUnits)))
  })

  it('is a signed 64-bit number for the store', () => {
    hashTerm(key, 7, 'x')
    const bytes = Buffer.alloc(8)
    bytes.writeInt32BE(hashHigh, 0)
    bytes.writeInt32BE(hashLow, 4)
    expect(termNumber(key, 7, 'x')).toBe(bytes.readBigInt64BE().toString())
  })

  it('refuses a key of another size', () => {
    expect(() => termKey(new Uint8Array(16))).toThrow(RangeError)
  })
})
