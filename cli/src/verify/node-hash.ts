/** SHA-256 of Node for the log format: the fastest way out of node:crypto measured is a binary string. */
import crypto from 'node:crypto'
import type { Hash } from '@affidavit/trail'

/** Node 20 has the one-shot form only from 20.12 on. */
const hash: typeof crypto.hash =
  crypto.hash ?? ((name: string, data: Uint8Array, form: 'base64') => crypto.createHash(name).update(data).digest(form))

function bytes(data: Uint8Array): Uint8Array {
  const digest = new Uint8Array(32)
  writeInto(data, digest, 0)
  return digest
}

function writeInto(data: Uint8Array, target: Uint8Array, at: number): void {
  const text = hash('sha256', data, 'binary')
  for (let i = 0; i < 32; i++) target[at + i] = text.charCodeAt(i)
}

export const nodeSha256: Hash = Object.assign(bytes, {
  base64: (data: Uint8Array) => hash('sha256', data, 'base64'),
  into: writeInto,
})
