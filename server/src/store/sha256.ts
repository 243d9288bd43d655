// SHA-256 in the form that the trail package takes: a binary string makes no Buffer per digest, which is twice as fast.
import { hash } from 'node:crypto'

export function sha256(data: Uint8Array): Uint8Array {
  const digest = hash('sha256', data, 'binary')
  const bytes = new Uint8Array(32)
  for (let i = 0; i < 32; i++) bytes[i] = digest.charCodeAt(i)
  return bytes
}
