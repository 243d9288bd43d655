// Forgetting over HTTP: requests that a second key must approve. Asking seals nothing and removes nothing; approving does
// both, or queues the request behind a legal hold.
import { CATEGORIES } from '@affidavit/trail'
import Type, { type TSchema } from 'typebox'
import { Compile } from 'typebox/compile'
import type { Act, Wish } from '../erase/acts.ts'
import type { Forgetting } from '../erase/forgetting.ts'
import { maxRedacted, maxSubjects } from '../erase/holds.ts'
import { findPerson, type PeopleOptions, type Person } from '../erase/people.ts'
import type { Pruning } from '../erase/prune.ts'
import type { TenantKeys } from '../keys/tenant-keys.ts'
import type { Log } from '../store/log.ts'
import { areKin, type Lineage } from '../tenants/key-lineage.ts'
import { OPERATOR_TENANT, type Tenant } from '../tenants/tenants.ts'
import {
  ActShape,
  actList,
  idParam,
  kindQuery,
  openTenant,
  Reason,
  shownAct,
  shownActs,
  TenantId,
  visibleAct,
} from './acts.ts'
import { bodyProblems, jsonBody } from './json-body.ts'
import type { Call, Operation, Reply } from './operation.ts'
import type { OwnTenants } from './own-tenants.ts'
import { actorOf, type PlatformRecorder } from './platform-events.ts'
import { refuse } from './refused.ts'
import { object } from './schemas.ts'

export interface ForgetParts {
  readonly own: OwnTenants
  readonly forgetting: Forgetting
  readonly pruning: Pruning
  readonly people: PeopleOptions
  readonly recorder: PlatformRecorder
  /** Of keys, by id. */
  readonly lineage: (ids: readonly string[]) => Promise<ReadonlyMap<string, Lineage>>
  /** Entries of a tenant's newest trail: sealed, and under its checkpoint. */
  readonly sizes: (tenant: Tenant<TenantKeys>) => Promise<{ readonly sealed: number; readonly notarized: number }>
  readonly log: Log
}

const closed = { additionalProperties: false } as const
export const PersonBody = Type.Union(
  [
    Type.Object(
      {
        type: Type.String({ minLength: 1, maxLength: 64 }),
        id: Type.String({ minLength: 1, maxLength: 256 }),
        tenant: Type.Optional(Type.String({ maxLength: 64, description: 'Home of a person from another tenant' })),
      },
      closed,
    ),
    Type.Object({ email: Type.String({ minLength: 3, maxLength: 320 }) }, closed),
  ],
  { description: 'By type and id as events name them, or by e-mail address. The address is not kept' },
)
const bodies = {
  erase: Type.Object({ tenant: TenantId, subject: PersonBody, reason: Reason }, closed),
  redact: Type.Object(
    {
      tenant: TenantId,
      seqs: Type.Array(Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }), {
        minItems: 1,
        maxItems: maxRedacted,
        uniqueItems: true,
      }),
      reason: Reason,
    },
    closed,
  ),
  retention: Type.Object(
    {
      tenant: TenantId,
      category: Type.Optional(Type.Enum([...CATEGORIES, 'all'], { description: 'Default: all' })),
      retention_days: Type.Union([Type.Integer({ minimum: 1, maximum: 36_500 }), Type.Null()]),
      from: Type.Optional(
        Type.Enum(['new', 'notice'], {
          description:
            'new: for later events. notice: for earlier ones, too, 30 days after it was sealed. Default: new',
        }),
      ),
      reason: Reason,
    },
    closed,
  ),
  truncate: Type.Object(
    {
      tenant: TenantId,
      size: Type.Integer({ minimum: 256, maximum: Number.MAX_SAFE_INTEGER, multipleOf: 256 }),
      reason: Reason,
    },
    closed,
  ),
  delete: Type.Object({ tenant: TenantId, reason: Reason }, closed),
  prune: Type.Object({ tenant: TenantId }, closed),
  decide: Type.Object({ decision: Type.Enum(['approve', 'reject']) }, closed),
}
const check = {
  erase: Compile(bodies.erase),
  redact: Compile(bodies.redact),
  retention: Compile(bodies.retention),
  truncate: Compile(bodies.truncate),
  delete: Compile(bodies.delete),
  prune: Compile(bodies.prune),
  decide: Compile(bodies.decide),
}
const json = <T>(schema: T) => ({ 'application/json': schema })
const waits = 'Waits until a key other than the one that asks approves it: POST /v1/approvals/{id}.'

export function forgetOperations(parts: ForgetParts): Operation[] {
  return [
    ask('erase', '/v1/erasures', 'requestErasure', 'Ask that a person be forgotten', bodies.erase, (call) =>
      erasure(parts, call),
    ),
    ask('redact', '/v1/redactions', 'requestRedaction', 'Ask that payloads be removed', bodies.redact, (call) =>
      redaction(parts, call),
    ),
    ask('retention', '/v1/retentions', 'requestRetention', 'Ask for another retention', bodies.retention, (call) =>
      retention(parts, call),
    ),
    ask('truncate', '/v1/truncations', 'requestTruncation', 'Ask that entries be removed', bodies.truncate, (call) =>
      truncation(parts, call),
    ),
    ask('delete', '/v1/deletions', 'requestDeletion', 'Ask that a tenant be deleted', bodies.delete, (call) =>
      deletion(parts, call),
    ),
    list(parts, '/v1/erasures', 'listErasures', 'Requests that people be forgotten, the newest first', 'erase'),
    one(parts, '/v1/erasures/{id}', 'getErasure', 'One request that a person be forgotten', 'erase'),
    list(parts, '/v1/approvals', 'listApprovals', 'Requests to forget of every kind, the newest first', undefined),
    one(parts, '/v1/approvals/{id}', 'getApproval', 'One request to forget', undefined),
    {
      method: 'POST',
      path: '/v1/approvals/{id}',
      operationId: 'decideApproval',
      tag: 'Forgetting',
      summary: 'Approve or reject a request to forget',
      description:
        'By a key that was there before the request. Neither of the two may have made the other, nor a third one both; the ' +
        "deployment's first key counts as nobody's maker. An approved request is carried out before the answer, unless a legal " +
        'hold covers it or the database is away: then later.',
      scope: 'forget:approve',
      params: idParam,
      body: json(bodies.decide),
      responses: { 200: { description: 'The request as it is now', content: json(ActShape) } },
      problems: [...bodyProblems, 'not_found', 'conflict', 'same_principal', 'tenant_closed'],
      handle: (call) => decide(parts, call),
    },
    {
      method: 'POST',
      path: '/v1/prunes',
      operationId: 'pruneTenant',
      tag: 'Forgetting',
      summary: 'Remove now what retention allows to be removed',
      description: 'The server does the same by itself once a day. What a legal hold covers stays.',
      scope: 'forget:request',
      body: json(bodies.prune),
      responses: {
        200: {
          description: 'What was announced and removed',
          content: json(
            object({
              data: Type.Array(
                object({
                  category: Type.Enum([...CATEGORIES]),
                  before: Type.Integer(),
                  control_seq: Type.Integer(),
                }),
              ),
            }),
          ),
        },
      },
      problems: [...bodyProblems, 'not_found', 'rate_limited', 'tenant_closed'],
      handle: (call) => prune(parts, call),
    },
  ]
}

function ask(
  kind: Wish['kind'],
  path: string,
  operationId: string,
  summary: string,
  body: TSchema,
  handle: (call: Call) => Promise<Reply>,
): Operation {
  return {
    method: 'POST',
    path,
    operationId,
    tag: 'Forgetting',
    summary,
    description: waits,
    scope: 'forget:request',
    body: json(body),
    responses: { 202: { description: 'Waits for approval', content: json(ActShape) } },
    problems: [
      ...bodyProblems,
      'not_found',
      'tenant_closed',
      ...(kind === 'erase' || kind === 'retention' ? [] : ['conflict' as const]),
    ],
    handle,
  }
}

const reading = (path: string, operationId: string, summary: string) =>
  ({ method: 'GET', path, operationId, tag: 'Forgetting', summary, scope: 'forget:read' }) as const

function list(
  { own, forgetting }: ForgetParts,
  path: string,
  operationId: string,
  summary: string,
  kind: Wish['kind'] | undefined,
): Operation {
  return {
    ...reading(path, operationId, summary),
    query: { ...actList.query, ...(kind === undefined && { kind: kindQuery }) },
    responses: { 200: { description: 'Requests', content: json(actList.shape) } },
    problems: ['not_found'],
    handle: async ({ principal, query }) => {
      const asked = query.get('tenant')
      const tenant =
        asked === null && principal!.tenant === null ? undefined : (await own.visible(principal!, asked)).number
      const acts = await forgetting.acts.list({
        tenant,
        kind: kind ?? (query.get('kind') as Wish['kind'] | null) ?? undefined,
        state: (query.get('state') as Act['state'] | null) ?? undefined,
        limit: Number(query.get('limit') ?? 100),
      })
      return { status: 200, body: { data: await shownActs(own, acts) } }
    },
  }
}

function one(
  { own, forgetting }: ForgetParts,
  path: string,
  operationId: string,
  summary: string,
  kind: Wish['kind'] | undefined,
): Operation {
  return {
    ...reading(path, operationId, summary),
    params: idParam,
    responses: { 200: { description: 'The request', content: json(ActShape) } },
    problems: ['not_found'],
    handle: async ({ principal, params }) => {
      const found = await forgetting.acts.get(params.id!)
      const act = visibleAct(principal!, kind === undefined || found?.wish.kind === kind ? found : undefined)
      return { status: 200, body: shownAct(act, await own.idOf(act.tenant)) }
    },
  }
}

/** @throws Refused `not_found` for a person whom the tenant does not know, or no more */
export async function subjectsOf({ people }: Pick<ForgetParts, 'people'>, tenant: Tenant<TenantKeys>, person: Person) {
  const subjects = await findPerson(people, tenant, person)
  if (subjects.length === 0)
    throw refuse('not_found', 'The tenant knows no such person, or they were erased already.', '/subject')
  if (subjects.length > maxSubjects)
    throw refuse('too_many', `More than ${maxSubjects} subjects have this address.`, '/subject')
  return subjects
}

async function erasure(parts: ForgetParts, call: Call): Promise<Reply> {
  const { tenant: id, subject, reason } = jsonBody(call.body, check.erase)
  const tenant = await openTenant(parts.own, call.principal!, id)
  return request(parts, call, tenant, { kind: 'erase', subjects: await subjectsOf(parts, tenant, subject) }, reason)
}

async function redaction(parts: ForgetParts, call: Call): Promise<Reply> {
  const { tenant: id, seqs, reason } = jsonBody(call.body, check.redact)
  const tenant = await openTenant(parts.own, call.principal!, id)
  const ascending = [...seqs].sort((a, b) => a - b)
  if (ascending.at(-1)! >= (await parts.sizes(tenant)).sealed)
    throw refuse(
      'invalid_value',
      'The trail has no entry of such a number.',
      `/seqs/${seqs.indexOf(ascending.at(-1)!)}`,
    )
  return request(parts, call, tenant, { kind: 'redact', seqs: ascending }, reason)
}

async function retention(parts: ForgetParts, call: Call): Promise<Reply> {
  const {
    tenant: id,
    category = 'all',
    retention_days: days,
    from = 'new',
    reason,
  } = jsonBody(call.body, check.retention)
  const tenant = await openTenant(parts.own, call.principal!, id)
  return request(parts, call, tenant, { kind: 'retention', category, days, from }, reason)
}

async function truncation(parts: ForgetParts, call: Call): Promise<Reply> {
  const { tenant: id, size, reason } = jsonBody(call.body, check.truncate)
  const tenant = await openTenant(parts.own, call.principal!, id)
  if (size > (await parts.sizes(tenant)).notarized)
    throw refuse('conflict', 'The trail is not that long, or its newest checkpoint is older.', '/size')
  return request(parts, call, tenant, { kind: 'truncate', size }, reason)
}

async function deletion(parts: ForgetParts, call: Call): Promise<Reply> {
  const { tenant: id, reason } = jsonBody(call.body, check.delete)
  const tenant = await openTenant(parts.own, call.principal!, id)
  if (tenant.id === OPERATOR_TENANT) throw refuse('conflict', "The operator's own trail cannot be deleted.", '/tenant')
  return request(parts, call, tenant, { kind: 'delete' }, reason)
}

async function request(
  parts: ForgetParts,
  call: Call,
  tenant: Tenant<TenantKeys>,
  wish: Wish,
  reason: string,
): Promise<Reply> {
  const act = await parts.forgetting.acts.request(tenant.number, tenant.trail.number, wish, reason, call.principal!)
  await parts.recorder.record({
    id: `forget.requested:${act.id}`,
    tenant: tenant.id,
    action: 'affidavit.forget.requested',
    actor: actorOf(call.principal!, tenant.id),
    targets: [{ type: 'forget_request', id: act.id }],
    metadata: { kind: wish.kind },
  })
  return { status: 202, body: shownAct(act, tenant.id), headers: { location: `/v1/approvals/${act.id}` } }
}

async function decide(parts: ForgetParts, call: Call): Promise<Reply> {
  const { own, forgetting, recorder, log } = parts
  const principal = call.principal!
  const { decision } = jsonBody(call.body, check.decide)
  const before = visibleAct(principal, await forgetting.acts.get(call.params.id!))
  if (before.state !== 'waiting') throw refuse('conflict', `The request does not wait any more: it is ${before.state}.`)
  if (decision === 'approve' && before.requested.keyId === principal.keyId)
    throw refuse('same_principal', 'The key that asked cannot approve its own request.')
  if (decision === 'approve') await refuseKin(parts, before, principal.keyId)
  const id = await own.idOf(before.tenant)
  if (before.wish.kind !== 'delete') await openTenant(own, principal, id)
  const act = await forgetting.acts.decide(before.id, principal, decision === 'approve')
  if (act === undefined) throw refuse('conflict', 'Somebody else has decided at this moment.')
  await recorder.record({
    id: `forget.decided:${act.id}`,
    tenant: id,
    action: decision === 'approve' ? 'affidavit.approval.granted' : 'affidavit.approval.refused',
    actor: actorOf(principal, id),
    targets: [{ type: 'forget_request', id: act.id }],
    metadata: { kind: act.wish.kind },
  })
  if (decision === 'approve')
    await forgetting.run(act.id).catch((error) => {
      log.warn({ err: error, act: act.id }, 'an approved request could not be carried out now; it is tried again')
    })
  return { status: 200, body: shownAct((await forgetting.acts.get(act.id))!, id) }
}

/** Whoever makes keys could make the second principal, too. @throws Refused `same_principal` */
async function refuseKin({ lineage }: ForgetParts, { requested }: Act, by: string): Promise<void> {
  const lines = await lineage([requested.keyId, by])
  const own = lines.get(by)
  if (areKin(lines.get(requested.keyId), own))
    throw refuse(
      'same_principal',
      'One key has made the other, or both: whoever holds it would approve for themselves.',
    )
  if (own !== undefined && own.createdAt > requested.at)
    throw refuse('same_principal', 'This key was made after the request. Ask once more, then it can approve.')
}

async function prune({ own, pruning }: ForgetParts, call: Call): Promise<Reply> {
  const principal = call.principal!
  const tenant = await openTenant(own, principal, jsonBody(call.body, check.prune).tenant)
  const pruned = await pruning.prune(tenant, { by: { id: principal.keyId, name: principal.name } })
  return {
    status: 200,
    body: { data: pruned.map(({ control, ...one }) => ({ ...one, control_seq: control })) },
  }
}
