/**
 * Hashes as entries spell them, 44 characters of base64, where they stand among other bytes. A verifier meets four of
 * them in every entry: as strings they cost more than the hashing (measured), so they are checked, compared and decoded
 * two or four characters at a time.
 */
import { HASH_BYTES, type Hash, hashText } from '../hash.ts'

export const HASH_CHARACTERS = 44

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'
const EQUALS = 0x3d
/** Stands for six zero bits. */
const A = 0x41
const INVALID = 0x8000
/** The 12 bits of two characters, by both as a little-endian number. */
const PAIRS = new Uint16Array(65_536).fill(INVALID)
/** Whether the 43rd character may stand there: it carries two unused bits, which must be zero. */
const MAY_BE_LAST = new Uint8Array(256)
for (let first = 0; first < 64; first++) {
  if (first % 4 === 0) MAY_BE_LAST[ALPHABET.charCodeAt(first)] = 1
  for (let second = 0; second < 64; second++) {
    PAIRS[ALPHABET.charCodeAt(first) | (ALPHABET.charCodeAt(second) << 8)] = (first << 6) | second
  }
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/** Whether the 44 bytes at `at`, which must be there, are the base64 of 32 bytes in its only form. */
export function isHashText(view: DataView, at: number): boolean {
  let seen = 0
  for (let i = at; i < at + 42; i += 2) seen |= PAIRS[view.getUint16(i, true)]!
  return seen < INVALID && MAY_BE_LAST[view.getUint8(at + 42)] === 1 && view.getUint8(at + 43) === EQUALS
}

/** Writes the 32 bytes that the text at `at` stands for into `target` from `to` on. It must be one: nothing is checked. */
export function readHashText(view: DataView, at: number, target: Uint8Array, to: number): void {
  let next = to
  for (let i = at; i < at + 40; i += 4) {
    const high = PAIRS[view.getUint16(i, true)]!
    const low = PAIRS[view.getUint16(i + 2, true)]!
    target[next] = high >> 4
    target[next + 1] = (high << 4) | (low >> 8)
    target[next + 2] = low
    next += 3
  }
  // The last character is followed by padding: what matters of it are the upper four bits.
  const high = PAIRS[view.getUint16(at + 40, true)]!
  const low = PAIRS[view.getUint8(at + 42) | (A << 8)]!
  target[next] = high >> 4
  target[next + 1] = (high << 4) | (low >> 8)
}

/** Whether the same `length` bytes, at least 4, stand at both places; they must be inside. */
export function sameBytes(a: DataView, atA: number, b: DataView, atB: number, length: number): boolean {
  const last = length - 4
  for (let i = 0; i < last; i += 4) if (a.getInt32(atA + i, true) !== b.getInt32(atB + i, true)) return false
  return a.getInt32(atA + last, true) === b.getInt32(atB + last, true)
}

const ascii = new TextEncoder()

/** One hash as text, again and again another. */
export class HashText {
  readonly view: DataView
  private readonly bytes = new Uint8Array(HASH_CHARACTERS)

  constructor() {
    this.view = viewOf(this.bytes)
  }

  /** Takes a hash in base64. Throws RangeError for what has another length. */
  set(text: string): void {
    const { read, written } = ascii.encodeInto(text, this.bytes)
    if (text.length !== HASH_CHARACTERS || read !== HASH_CHARACTERS || written !== HASH_CHARACTERS)
      throw new RangeError(`a hash in base64 has ${HASH_CHARACTERS} characters, not ${text.length}`)
  }

  /** Becomes the hash of `data`. */
  hash(hash: Hash, data: Uint8Array): void {
    this.set(hashText(hash, data))
  }

  /** Writes its 32 bytes into `target` from `to` on. */
  decode(target: Uint8Array, to: number): void {
    if (to + HASH_BYTES > target.length) throw new RangeError(`no room for a hash at ${to}`)
    readHashText(this.view, 0, target, to)
  }

  /** Whether it stands in `view` at `at`, where 44 bytes must be. */
  standsIn(view: DataView, at: number): boolean {
    return sameBytes(view, at, this.view, 0, HASH_CHARACTERS)
  }
}
