// Timestamps over sample documents, made by the real authority of the server's tests.
import { randomBytes } from 'node:crypto'
import { timestampRequest } from '../../server/src/anchor/timestamp.ts'
import type { TimestampAuthority } from '../../server/test/timestamp-authority.ts'
import { ascii } from './sample-trail.ts'

/** The authority's whole response for a document. */
export async function stamped(authority: TimestampAuthority, document: string | Uint8Array): Promise<Uint8Array> {
  const bytes = typeof document === 'string' ? ascii.encode(document) : document
  const nonce = randomBytes(8)
  nonce[0] = 0x41
  return new Uint8Array(await authority.reply(timestampRequest(bytes, nonce)))
}
