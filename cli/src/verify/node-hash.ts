/** SHA-256 of Node for the log format: the fastest way out of node:crypto measured is a binary string. */
import { hash } from 'node:crypto'
import type { Hash } from '@affidavit/trail'

export const nodeSha256: Hash = (data) => {
  const digest = new Uint8Array(32)
  const text = hash('sha256', data, 'binary')
  for (let i = 0; i < 32; i++) digest[i] = text.charCodeAt(i)
  return digest
}
