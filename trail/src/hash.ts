/**
 * The hash function as a parameter: browsers have no synchronous SHA-256, Node has a fast one, and this package may
 * import neither. Everything that hashes takes a `Hash` first. HMAC-SHA256 (RFC 2104) is built on it.
 */
import { toBase64 } from './bytes.ts'

/** SHA-256. It must not keep `data`: callers reuse the buffer. */
export interface Hash {
  /** SHA-256 of `data`, 32 bytes. */
  (data: Uint8Array): Uint8Array
  /** The same as base64, where the platform gives that faster than bytes: a verifier mostly compares text. */
  readonly base64?: (data: Uint8Array) => string
  /** The same, written into `target` from `at` on. `data` may be the target: it is read before anything is written. */
  readonly into?: (data: Uint8Array, target: Uint8Array, at: number) => void
}

/** Ed25519 (RFC 8032) signature check. Resolves to false for a wrong signature or an unusable key; never rejects. */
export type VerifySignature = (publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array) => Promise<boolean>

export const HASH_BYTES = 32

/** The hash as entries spell it. */
export function hashText(hash: Hash, data: Uint8Array): string {
  return hash.base64 === undefined ? toBase64(hash(data)) : hash.base64(data)
}

/** Writes the hash into `target` from `at` on. */
export function hashInto(hash: Hash, data: Uint8Array, target: Uint8Array, at: number): void {
  if (hash.into === undefined) target.set(hash(data), at)
  else hash.into(data, target, at)
}

const BLOCK_BYTES = 64

/** A key made ready for HMAC-SHA256: its two padded blocks, computed once and used for many messages. */
export interface HmacKey {
  readonly inner: Uint8Array
  readonly outer: Uint8Array
}

/** Prepares `key` (any length) for `hmac`. */
export function hmacKey(hash: Hash, key: Uint8Array): HmacKey {
  const block = new Uint8Array(BLOCK_BYTES)
  block.set(key.length > BLOCK_BYTES ? hash(key) : key)
  return { inner: block.map((byte) => byte ^ 0x36), outer: block.map((byte) => byte ^ 0x5c) }
}

/** HMAC-SHA256 of `message`, 32 bytes. */
export function hmac(hash: Hash, key: HmacKey, message: Uint8Array): Uint8Array {
  const inner = new Uint8Array(BLOCK_BYTES + message.length)
  inner.set(key.inner)
  inner.set(message, BLOCK_BYTES)
  const outer = new Uint8Array(BLOCK_BYTES + HASH_BYTES)
  outer.set(key.outer)
  outer.set(hash(inner), BLOCK_BYTES)
  return hash(outer)
}
