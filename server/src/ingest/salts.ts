// Random salts at the speed of the write path: asked for 4 KiB at a time, the system's generator costs a hundredth per
// salt. Each is handed out once and its bytes are wiped from the pool.
import { randomFillSync } from 'node:crypto'

const saltBytes = 16
const pool = Buffer.alloc(saltBytes * 256)
let at = pool.length

/** Overwrites 16 bytes with unpredictable ones. */
export function fillSalt(salt: Buffer): void {
  if (at === pool.length) {
    randomFillSync(pool)
    at = 0
  }
  for (let byte = 0; byte < saltBytes; byte++) {
    salt[byte] = pool[at + byte]!
    pool[at + byte] = 0
  }
  at += saltBytes
}

/** 16 unpredictable bytes, in memory of their own. */
export function randomSalt(): Buffer {
  const salt = Buffer.allocUnsafe(saltBytes)
  fillSalt(salt)
  return salt
}
