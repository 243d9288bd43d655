// HMAC-SHA256 (RFC 2104) at the speed of the write path. Node's one-shot hash answers in a third of the time of
// `createHmac` when it answers in a string, and a key as a 32-character string costs a tenth of a prepared object:
// ingest makes one for every line about a person. Everything runs to its end in one call, so one scratch buffer serves all keys.
import { hash } from 'node:crypto'
import { KEY_BYTES } from './aead.ts'

const BLOCK_BYTES = 64
const HASH_BYTES = 32
const TOKEN_BYTES = 16

// Keys fill half a block; the padding of the other half is there for good.
let inner = Buffer.alloc(BLOCK_BYTES + 4096, 0x36)
const outer = Buffer.alloc(BLOCK_BYTES + HASH_BYTES, 0x5c)

/**
 * A key as a string of 32 latin1 characters, for those who keep very many and want no object for each.
 * @throws RangeError unless `key` has 32 bytes
 */
export function keyText(key: Uint8Array): string {
  if (key.length !== KEY_BYTES) throw new RangeError(`a key has ${KEY_BYTES} bytes, not ${key.length}`)
  return Buffer.from(key).toString('latin1')
}

/** HMAC of bytes and one more, without joining them first, 32 bytes as a latin1 string. @param key from `keyText` */
export function macOfMessageAndByte(key: string, message: Uint8Array, byte: number): string {
  room(message.length + 1)
  inner.set(message, BLOCK_BYTES)
  inner[BLOCK_BYTES + message.length] = byte
  return mac(key, message.length + 1)
}

/** A 32-byte key for HMAC-SHA256. Prints as nothing: the key is a private field. */
export class MacKey {
  readonly #key: string

  /** @throws RangeError unless `key` has 32 bytes */
  constructor(key: Uint8Array) {
    this.#key = keyText(key)
  }

  /** The key itself, for those who encrypt with it or derive from it. */
  bytes(): Buffer {
    return Buffer.from(this.#key, 'latin1')
  }

  /** HMAC of UTF-8 text, 32 bytes as a latin1 string. */
  text(message: string): string {
    room(message.length * 3)
    return mac(this.#key, inner.write(message, BLOCK_BYTES, 'utf8'))
  }

  /** HMAC of bytes, 32 bytes as a latin1 string. */
  message(message: Uint8Array): string {
    room(message.length)
    inner.set(message, BLOCK_BYTES)
    return mac(this.#key, message.length)
  }
}

/** Of what lies in `inner` behind the first block. */
function mac(key: string, length: number): string {
  for (let at = 0; at < KEY_BYTES; at++) {
    const byte = key.charCodeAt(at)
    inner[at] = byte ^ 0x36
    outer[at] = byte ^ 0x5c
  }
  outer.write(hash('sha256', inner.subarray(0, BLOCK_BYTES + length), 'binary'), BLOCK_BYTES, 'latin1')
  return hash('sha256', outer, 'binary')
}

function room(length: number): void {
  if (BLOCK_BYTES + length > inner.length) inner = Buffer.alloc(2 * (BLOCK_BYTES + length), 0x36)
}

/**
 * A 32-byte key for tokens: keyed hashes that never leave the database and are compared, not recomputed by others. Half
 * the cost of HMAC: the key, in hex, fills the first block, and half of the answer is kept back, which is what makes a
 * prefixed key safe (chop-MD: Coron, Dodis, Malinaud, Puniya, "Merkle-Damgård Revisited", CRYPTO 2005). In hex, because
 * then key and text are one string, which Node hashes for less than bytes that must be joined first.
 */
export class TokenKey {
  readonly #block: string

  /** @throws RangeError unless `key` has 32 bytes */
  constructor(key: Uint8Array) {
    if (key.length !== KEY_BYTES) throw new RangeError(`a key has ${KEY_BYTES} bytes, not ${key.length}`)
    this.#block = Buffer.from(key).toString('hex')
  }

  /** SHA-256(key as 64 hex digits ‖ UTF-8 text)[0:16] as a latin1 string. */
  token(text: string): string {
    return hash('sha256', this.#block + text, 'binary').slice(0, TOKEN_BYTES)
  }
}

/**
 * Derives an independent key: the first block of HKDF-Expand (RFC 5869 §2.3), HMAC-SHA256(key, label ‖ 0x01). Our keys
 * are uniformly random, so the extract step is left out as §3.3 allows.
 *
 * | from        | label                             | is                                                     |
 * |-------------|-----------------------------------|--------------------------------------------------------|
 * | subject key | `affidavit/1 subject encryption`  | AES-256-GCM key of the subject's personas              |
 * | subject key | `affidavit/1 subject salt`        | salt key of the subject's personal lines (docs/spec)   |
 * | index key   | `affidavit/1 index terms`         | its first 8 bytes key the search terms of events       |
 * | index key   | `affidavit/1 index tokens`        | keys tokens: subjects, personas, search words, ids     |
 */
export function derive(key: Uint8Array, label: string): Buffer {
  return Buffer.from(new MacKey(key).text(`${label}\u0001`), 'latin1')
}

/** The first 16 bytes of what a MacKey returned: a salt or a token. */
export function first16(mac: string): Buffer {
  return Buffer.from(first16Text(mac), 'latin1')
}

/** The same as a latin1 string: on the write path a string costs half of a Buffer. */
export function first16Text(mac: string): string {
  return mac.slice(0, 16)
}
