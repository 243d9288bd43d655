// Evidence packs: everything that an auditor needs offline, streamed as one ZIP file, and continued where a download was
// cut off. They are made in a thread of their own (pack-worker.ts): nobody who records events waits for one.
import Type from 'typebox'
import { tenantPattern } from '../ingest/event.ts'
import { bodyProblems } from './json-body.ts'
import { seqPattern, trailParam } from './opened-trail.ts'
import type { Call, Operation, Reply } from './operation.ts'
import type { OwnTenants } from './own-tenants.ts'
import { type StampedCopy, stampIn } from './pack-anchors.ts'
import { type Asked, Begun, type RegistryEvidence } from './pack-make.ts'
import type { PackThread } from './pack-thread.ts'
import { readerOf } from './reading.ts'

export interface PackParts {
  readonly tenants: OwnTenants
  readonly packs: Pick<PackThread, 'make'>
  /** Undefined where there is none yet, for this tenant or at all. */
  readonly evidence: (tenant: number) => Promise<RegistryEvidence | undefined>
  /** The timestamp to bring along: see `stampedCopy`. */
  readonly stamped: (tenant: number, size: number, begun: number | undefined) => Promise<StampedCopy | undefined>
  readonly registryVkeys: () => Promise<readonly string[]>
}

const tenantParam = { tenant: Type.String({ pattern: tenantPattern }) }
const zip = { 'application/zip': Type.String({ format: 'binary' }) }

export function packOperations(parts: PackParts): Operation[] {
  const problems = ['not_found', 'not_notarized', 'rate_limited'] as const
  return [
    {
      method: 'GET',
      path: '/v1/trails/{tenant}/pack',
      operationId: 'getPack',
      tag: 'Proofs',
      summary: 'An evidence pack: everything that an auditor needs offline',
      description:
        'Of all entries, or of those chosen in one of four ways: by seq, by the time of sealing, by event ids, or by a search.',
      scope: 'events:read',
      params: tenantParam,
      query: {
        from: Type.String({ pattern: seqPattern, description: 'First entry; default: the first that is there' }),
        to: Type.String({ pattern: seqPattern, description: 'Entry after the last; default: the newest checkpoint' }),
        sealed_from: Type.String({ maxLength: 40, description: 'Entries sealed at this ISO 8601 time or later' }),
        sealed_to: Type.String({ maxLength: 40, description: 'Entries sealed before this time' }),
        event: Type.Array(Type.String(), { description: 'Event ids, repeated or with commas' }),
        query: Type.String({
          maxLength: 8000,
          description: 'A search as GET /v1/events takes it behind ?, encoded; at most 10,000 events',
        }),
        trail: trailParam,
      },
      responses: { 200: { description: 'A ZIP file', content: zip } },
      problems: [...problems, 'missing_scope'],
      handle: (call) => made(parts, call, { query: String(call.query) }),
    },
    {
      method: 'POST',
      path: '/v1/trails/{tenant}/pack',
      operationId: 'continuePack',
      tag: 'Proofs',
      summary: 'The rest of a pack whose download was cut off',
      description:
        'The bytes of the members from `skip` on, in the order of the format, without the directory at the end: ' +
        'who has the members can write it. `affidavit pack` does.',
      scope: 'events:read',
      params: tenantParam,
      body: { 'application/json': Begun },
      bodyLimit: 2 ** 25,
      responses: {
        200: { description: 'Members', content: { 'application/octet-stream': Type.String({ format: 'binary' }) } },
      },
      problems: [...problems, ...bodyProblems, 'pack_outdated'],
      handle: (call) => made(parts, call, { body: call.body }),
    },
  ]
}

async function made(parts: PackParts, call: Call, what: Asked['what']): Promise<Reply> {
  const { tenant, operator, confidential } = await readerOf(parts.tenants, call, call.params.tenant!)
  const [evidence, registryVkeys] = await Promise.all([parts.evidence(tenant.number), parts.registryVkeys()])
  const begun = 'body' in what ? stampIn(what.body) : undefined
  const isAsked = evidence !== undefined && ('query' in what || begun !== undefined)
  const stamped = isAsked ? await parts.stamped(tenant.number, evidence.size, begun) : undefined
  const reader = { tenant: tenant.id, operator, confidential }
  return { status: 200, ...(await parts.packs.make({ reader, asked: { what, evidence, stamped, registryVkeys } })) }
}
