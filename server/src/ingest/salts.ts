// Salts of 16 bytes.
import { fillRandom } from '../keys/fill-random.ts'

const saltBytes = 16

/** 16 unpredictable bytes, in memory of their own. */
export function randomSalt(): Buffer {
  const salt = Buffer.allocUnsafe(saltBytes)
  fillRandom(salt)
  return salt
}
