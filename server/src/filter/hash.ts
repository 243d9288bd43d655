// The keyed hash behind search terms: HalfSipHash-2-4 with 32-bit output (Aumasson and Bernstein, "SipHash: a fast
// short-input PRF"; reference implementation github.com/veorq/SipHash, CC0).
//
// Terms only find candidates, and every candidate is rechecked, so a collision costs a row read and nothing else: 32 bits
// are enough (docs/decisions/0017). The key keeps an outsider who reads the index from testing guesses offline against
// another tenant's terms, and keeps a client from building colliding ids. HMAC would cost 3 µs a term, this 0.1 µs,
// because V8 has no 64-bit integers and HalfSipHash needs none.

/** A tenant's key for search terms: two 32-bit words. */
export interface TermKey {
  readonly k0: number
  readonly k1: number
}

/** No more than this many UTF-16 code units of a text enter its hash; longer texts share a term and are told apart by
 * the recheck. Bounds what one hostile value may cost. */
export const hashedUnits = 256

/** Reads a key from 8 bytes, little-endian as in the reference implementation. */
export function termKey(bytes: Uint8Array): TermKey {
  if (bytes.length !== 8) throw new RangeError(`a term key has 8 bytes, not ${bytes.length}`)
  const view = new DataView(bytes.buffer, bytes.byteOffset, 8)
  return { k0: view.getInt32(0, true), k1: view.getInt32(4, true) }
}

/**
 * The hash of the UTF-16LE code units `space`, then those of `text` from `start` to before `end` (at most
 * `hashedUnits`), as PostgreSQL's int. The first unit separates name spaces, so that the word "42" and the subject 42
 * are different terms.
 */
export function hashTerm(key: TermKey, space: number, text: string, start = 0, end: number = text.length): number {
  const last = end - start < hashedUnits ? end : start + hashedUnits
  let v0 = key.k0
  let v1 = key.k1
  let v2 = 0x6c796765 ^ key.k0
  let v3 = 0x74656462 ^ key.k1
  // Two units make one 32-bit word; `unit` is the one that still waits for its second half.
  const total = last - start + 1
  let m = 0
  let unit = space
  for (let i = start; i < last; i += 2) {
    m = unit | (text.charCodeAt(i) << 16)
    unit = i + 1 < last ? text.charCodeAt(i + 1) : 0
    v3 ^= m
    for (let round = 0; round < 2; round++) {
      v0 = (v0 + v1) | 0
      v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0
      v0 = (v0 << 16) | (v0 >>> 16)
      v2 = (v2 + v3) | 0
      v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2
      v0 = (v0 + v3) | 0
      v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0
      v2 = (v2 + v1) | 0
      v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2
      v2 = (v2 << 16) | (v2 >>> 16)
    }
    v0 ^= m
  }
  // The last word: the length in bytes, and the unit that was left over.
  m = ((2 * total) << 24) | ((total & 1) === 1 ? unit : 0)
  v3 ^= m
  for (let round = 0; round < 6; round++) {
    if (round === 2) {
      v0 ^= m
      v2 ^= 0xff
    }
    v0 = (v0 + v1) | 0
    v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0
    v0 = (v0 << 16) | (v0 >>> 16)
    v2 = (v2 + v3) | 0
    v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2
    v0 = (v0 + v3) | 0
    v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0
    v2 = (v2 + v1) | 0
    v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2
    v2 = (v2 << 16) | (v2 >>> 16)
  }
  return v1 ^ v3
}
