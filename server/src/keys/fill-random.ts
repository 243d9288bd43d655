// Random bytes at the speed of the write path: asked for 4 KiB at a time, the system's generator costs a hundredth per
// salt or nonce. Each byte is handed out once and wiped from the pool.
import { randomFillSync } from 'node:crypto'

const pool = Buffer.alloc(4096)
let at = pool.length

/**
 * Overwrites all bytes with unpredictable ones.
 * @param bytes at most 4,096
 */
export function fillRandom(bytes: Buffer): void {
  const { length } = bytes
  if (length > pool.length) throw new RangeError(`${length} random bytes at once`)
  if (at + length > pool.length) {
    randomFillSync(pool)
    at = 0
  }
  for (let n = 0; n < length; n++) {
    bytes[n] = pool[at + n]!
    pool[at + n] = 0
  }
  at += length
}
