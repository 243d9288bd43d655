// Random salts at the speed of the write path: asked for 4 KiB at a time, the system's generator costs a hundredth per
// salt. Each is handed out once and its bytes are wiped from the pool.
import { randomFillSync } from 'node:crypto'

const saltBytes = 16
const pool = Buffer.alloc(saltBytes * 256)
let at = pool.length

/** 16 unpredictable bytes, in memory of their own. */
export function randomSalt(): Buffer {
  if (at === pool.length) {
    randomFillSync(pool)
    at = 0
  }
  const salt = Buffer.allocUnsafe(saltBytes)
  pool.copy(salt, 0, at, at + saltBytes)
  pool.fill(0, at, at + saltBytes)
  at += saltBytes
  return salt
}
