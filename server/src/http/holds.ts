// Legal holds over HTTP: one key places a hold, which is in force when it is answered; two release it.
import Type from 'typebox'
import { Compile } from 'typebox/compile'
import type { Hold, HoldScope, Holds } from '../erase/holds.ts'
import type { TenantKeys } from '../keys/tenant-keys.ts'
import type { Tenant } from '../tenants/tenants.ts'
import { ActShape, openTenant, Reason, shownAct, TenantId } from './acts.ts'
import { type ForgetParts, PersonBody, subjectsOf } from './forget.ts'
import { bodyProblems, jsonBody } from './json-body.ts'
import type { Call, Operation, Reply } from './operation.ts'
import { actorOf } from './platform-events.ts'
import { refuse } from './refused.ts'
import { Hex16, object, orNull, Time } from './schemas.ts'

export type HoldParts = ForgetParts & { readonly holds: Holds }

const closed = { additionalProperties: false } as const
const HoldBody = Type.Object(
  {
    tenant: TenantId,
    from: Type.Optional(
      Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER, description: 'First entry; with `to`' }),
    ),
    to: Type.Optional(
      Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER, description: 'Entry after the last one' }),
    ),
    subject: Type.Optional(PersonBody),
    reason: Reason,
  },
  { ...closed, description: 'Without from, to and subject the whole trail is held' },
)
const ReleaseBody = Type.Object({ reason: Reason }, closed)
const checkHold = Compile(HoldBody)
const checkRelease = Compile(ReleaseBody)
const HoldShape = object({
  id: Hex16,
  tenant: Type.String(),
  scope: Type.Enum(['trail', 'entries', 'subjects']),
  from: orNull(Type.Integer()),
  to: orNull(Type.Integer()),
  subjects: Type.Integer({ description: 'How many subjects it covers, for scope subjects' }),
  control_seq: Type.Integer(),
  placed_at: Time,
  released_at: orNull(Time),
  release_seq: orNull(Type.Integer()),
  waiting: Type.Array(Type.String({ format: 'uuid' }), { description: 'Approved requests that wait for its release' }),
})
const HoldList = object({
  data: Type.Array(HoldShape),
  retention_waits: Type.Boolean({ description: 'Holds keep payloads whose retention is over' }),
})
const json = <T>(schema: T) => ({ 'application/json': schema })
const holdParam = { id: Type.String({ pattern: '^[0-9a-f]{32}$' }) }

export function holdOperations(parts: HoldParts): Operation[] {
  return [
    {
      method: 'POST',
      path: '/v1/holds',
      operationId: 'placeHold',
      tag: 'Forgetting',
      summary: 'Place a legal hold',
      description:
        'Nothing that it covers is erased, redacted, pruned or deleted until it is released. A hold on a person covers ' +
        'every entry that person occurs in, and so what others said and did there.',
      scope: 'holds:place',
      body: json(HoldBody),
      responses: { 201: { description: 'In force', content: json(HoldShape) } },
      problems: [...bodyProblems, 'not_found', 'rate_limited', 'tenant_closed'],
      handle: (call) => place(parts, call),
    },
    {
      method: 'GET',
      path: '/v1/holds',
      operationId: 'listHolds',
      tag: 'Forgetting',
      summary: "A tenant's legal holds, with what waits for them",
      scope: 'forget:read',
      query: { tenant: TenantId },
      responses: { 200: { description: 'Holds', content: json(HoldList) } },
      problems: ['not_found'],
      handle: async ({ principal, query }) => {
        const tenant = await parts.own.visible(principal!, query.get('tenant'))
        const [holds, keepsDue] = await Promise.all([
          parts.holds.list(tenant.number),
          parts.holds.keepsDue(tenant.number),
        ])
        return { status: 200, body: { data: holds.map((hold) => shown(hold, tenant)), retention_waits: keepsDue } }
      },
    },
    {
      method: 'POST',
      path: '/v1/holds/{id}/release',
      operationId: 'requestRelease',
      tag: 'Forgetting',
      summary: 'Ask that a legal hold be released',
      description: 'Waits until a key other than the one that asks approves it: POST /v1/approvals/{id}.',
      scope: 'forget:request',
      params: holdParam,
      body: json(ReleaseBody),
      responses: { 202: { description: 'Waits for approval', content: json(ActShape) } },
      problems: [...bodyProblems, 'not_found', 'conflict', 'tenant_closed'],
      handle: (call) => release(parts, call),
    },
  ]
}

function shown(hold: Hold, { id }: Tenant<TenantKeys>) {
  const time = (ms: number | null) => (ms === null ? null : new Date(ms).toISOString())
  return {
    id: hold.id,
    tenant: id,
    scope: hold.scope,
    from: hold.low,
    to: hold.high,
    subjects: hold.subjects,
    control_seq: hold.seq,
    placed_at: time(hold.placedAt)!,
    released_at: time(hold.releasedAt),
    release_seq: hold.released,
    waiting: hold.waiting,
  }
}

async function place(parts: HoldParts, call: Call): Promise<Reply> {
  const { tenant: id, from, to, subject, reason } = jsonBody(call.body, checkHold)
  const principal = call.principal!
  const tenant = await openTenant(parts.own, principal, id)
  if ((from === undefined) !== (to === undefined))
    throw refuse('missing_field', 'from and to go together.', from === undefined ? '/from' : '/to')
  if (from !== undefined && subject !== undefined)
    throw refuse('invalid_value', 'A hold covers a range or a person, not both: place two.', '/subject')
  if (from !== undefined && from >= to!) throw refuse('invalid_value', 'to must lie after from.', '/to')
  const scope: HoldScope =
    subject !== undefined
      ? { scope: 'subjects', subjects: await subjectsOf(parts, tenant, subject) }
      : from !== undefined
        ? { scope: 'entries', from, to: to! }
        : { scope: 'trail' }
  const hold = await parts.holds.place(tenant, scope, reason, principal)
  await parts.recorder.record({
    id: `hold.placed:${hold.id}`,
    tenant: tenant.id,
    action: 'affidavit.hold.placed',
    actor: actorOf(principal, tenant.id),
    targets: [{ type: 'hold', id: hold.id }],
    metadata: { scope: hold.scope },
  })
  return { status: 201, body: shown(hold, tenant) }
}

async function release(parts: HoldParts, call: Call): Promise<Reply> {
  const { reason } = jsonBody(call.body, checkRelease)
  const principal = call.principal!
  const hold = await parts.holds.get(call.params.id!)
  if (hold === undefined || (principal.tenant !== null && principal.tenant !== hold.tenant))
    throw refuse('not_found', 'There is no such hold, or the key may not know of it.')
  if (hold.released !== null) throw refuse('conflict', 'The hold was released already.')
  const tenant = await openTenant(parts.own, principal, await parts.own.idOf(hold.tenant))
  const { acts } = parts.forgetting
  const act = await acts.request(
    tenant.number,
    tenant.trail.number,
    { kind: 'release', hold: hold.id },
    reason,
    principal,
  )
  await parts.recorder.record({
    id: `forget.requested:${act.id}`,
    tenant: tenant.id,
    action: 'affidavit.forget.requested',
    actor: actorOf(principal, tenant.id),
    targets: [{ type: 'forget_request', id: act.id }],
    metadata: { kind: 'release' },
  })
  return { status: 202, body: shownAct(act, tenant.id), headers: { location: `/v1/approvals/${act.id}` } }
}
