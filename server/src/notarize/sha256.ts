// SHA-256 as the trail package wants it. `crypto.hash` with a binary string makes no Buffer per digest: 0.5 µs instead
// of 1.3 µs for the 65 bytes of a tree node.
import { hash } from 'node:crypto'

export function sha256(data: Uint8Array): Uint8Array {
  const digest = hash('sha256', data, 'binary')
  const bytes = new Uint8Array(32)
  for (let i = 0; i < 32; i++) bytes[i] = digest.charCodeAt(i)
  return bytes
}
