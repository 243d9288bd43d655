// What every request must show before its body is read: a key with the right scope, and a body of a kind that the
// operation takes. Who has no key cannot make the server read anything.
import type { IncomingHttpHeaders } from 'node:http'
import type { ApiKeys, Principal } from '../tenants/api-keys.ts'
import { isCompressed } from './body.ts'
import type { Operation } from './operation.ts'
import { refuse } from './refused.ts'

/**
 * @returns null for a public operation
 * @throws Refused `unauthorized`, `missing_scope`, `unavailable`
 */
export async function authenticate(
  apiKeys: Pick<ApiKeys, 'authenticate'>,
  { scope }: Operation,
  headers: IncomingHttpHeaders,
): Promise<Principal | null> {
  if (scope === null) return null
  const result = await apiKeys.authenticate(headers.authorization)
  if (!result.ok) {
    if (result.reason === 'busy')
      throw refuse('unavailable', 'Too many unknown keys are being looked up.', undefined, { 'retry-after': '1' })
    throw refuse('unauthorized', keyProblems[result.reason], undefined, {
      'www-authenticate': 'Bearer realm="affidavit"',
    })
  }
  if (!result.principal.scopes.has(scope)) throw refuse('missing_scope', `The operation needs the scope ${scope}.`)
  return result.principal
}

const keyProblems = {
  missing: 'There is no Authorization: Bearer header.',
  malformed: 'The key is not a key of this system; a character may be missing.',
  unknown: 'The key is not known here.',
  revoked: 'The key was revoked.',
  expired: 'The key has expired.',
} as const

/** @throws Refused `unsupported_media_type`, `unsupported_encoding` */
export function checkMediaType({ body }: Operation, headers: IncomingHttpHeaders): void {
  if (body === undefined) return
  isCompressed(headers['content-encoding'])
  const type = headers['content-type']?.replace(/;.*/s, '').trim().toLowerCase()
  if (type === undefined || Object.hasOwn(body, type)) return
  // Clients that say nothing about the type of a body often send it as a form's.
  const hint = type === 'application/x-www-form-urlencoded' ? ' The request says it is a form (with curl, add -H).' : ''
  throw refuse('unsupported_media_type', `Send Content-Type: ${Object.keys(body).join(' or ')}.${hint}`)
}
