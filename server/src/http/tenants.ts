// Tenants over HTTP. A change is sealed in the trail of the tenant concerned before it takes effect.
import { randomUUID } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import Type from 'typebox'
import { Compile } from 'typebox/compile'
import type { Catalog } from '../catalog/catalog.ts'
import { tenantPattern } from '../ingest/event.ts'
import { compilePolicy } from '../ingest/policy.ts'
import type { TenantKeys } from '../keys/tenant-keys.ts'
import type { Principal } from '../tenants/api-keys.ts'
import { completePolicy, type PolicyInput } from '../tenants/policy.ts'
import { PolicySchema } from '../tenants/policy-schema.ts'
import { OPERATOR_TENANT, type Tenant, TenantRefused, type Tenants } from '../tenants/tenants.ts'
import { bodyProblems, jsonBody } from './json-body.ts'
import type { Call, Operation, Reply } from './operation.ts'
import type { OwnTenants } from './own-tenants.ts'
import { actorOf, type PlatformRecorder, tenantCreated } from './platform-events.ts'
import { Refused, refuse } from './refused.ts'
import { Hex16, object, orNull } from './schemas.ts'

export interface TenantParts {
  readonly catalog: Catalog
  readonly tenants: Tenants<TenantKeys>
  readonly own: OwnTenants
  readonly recorder: PlatformRecorder
  /** What a verifier pins for a trail: origin and log key. */
  readonly vkey: (trailId: string) => string
  /** Whether a retention was promised to any of its payloads, "for good" included. */
  readonly promisedRetention: (tenant: Tenant<TenantKeys>) => Promise<boolean>
  /** Seals the `policy` entry of a tenant whose policy is to be the one given; the first one opens the trail, too. */
  readonly sealPolicy: (tenant: Tenant<TenantKeys>, principal: Principal) => Promise<void>
}

const { personal, confidential, retention_days } = PolicySchema.properties
const PolicyBody = Type.Object(
  { personal, confidential, retention_days },
  { additionalProperties: false, description: 'Replaces the whole policy; what is left out gets its default' },
)
const TenantBody = Type.Object(
  {
    name: Type.Optional(Type.String({ minLength: 1, maxLength: 128, description: 'No control characters' })),
    policy: Type.Optional(PolicyBody),
  },
  { additionalProperties: false },
)
const TenantShape = object({
  id: Type.String(),
  name: orNull(Type.String()),
  state: Type.Enum(['open', 'closed']),
  trail: Hex16,
  vkey: Type.String({ description: "Verifier key of the tenant's trail: pin it" }),
  policy: object({
    personal: Type.Array(Type.String()),
    confidential: Type.Array(Type.String()),
    retention_days: orNull(Type.Integer()),
  }),
})
const checkTenant = Compile(TenantBody)
const tenantParam = { tenant: Type.String({ pattern: tenantPattern }) }
/** The operator's own tenant is there already, and nobody's to change. */
const newTenantParam = { tenant: Type.String({ pattern: tenantPattern.replace('^', `^(?!${OPERATOR_TENANT}$)`) }) }
const json = <T>(schema: T) => ({ 'application/json': schema })

export function tenantOperations(parts: TenantParts): Operation[] {
  return [
    {
      method: 'PUT',
      path: '/v1/tenants/{tenant}',
      operationId: 'putTenant',
      tag: 'Tenants',
      summary: 'Make a tenant, or change its name and policy',
      description:
        'Making needs the scope tenants:create, changing tenants:write as well. A body is not needed. ' +
        'A change is sealed in the trail before it takes effect, which it does on every server within 10 seconds. ' +
        'Payloads are kept for good unless a retention is set before the first event; a shorter one later needs two ' +
        'principals: POST /v1/retentions.',
      scope: 'tenants:create',
      params: newTenantParam,
      body: json(TenantBody),
      bodyOptional: true,
      responses: {
        201: { description: 'Made', content: json(TenantShape) },
        200: { description: 'Changed, or as it was', content: json(TenantShape) },
      },
      problems: [...bodyProblems, 'conflict', 'needs_approval', 'tenant_closed'],
      handle: (call) => putTenant(parts, call),
    },
    {
      method: 'GET',
      path: '/v1/tenants/{tenant}',
      operationId: 'getTenant',
      tag: 'Tenants',
      summary: 'One tenant',
      scope: 'tenants:read',
      params: tenantParam,
      responses: { 200: { description: 'The tenant', content: json(TenantShape) } },
      problems: ['not_found'],
      handle: async (call) => ({
        status: 200,
        body: shape(parts, await parts.own.visible(call.principal!, call.params.tenant!)),
      }),
    },
    {
      method: 'GET',
      path: '/v1/tenants',
      operationId: 'listTenants',
      tag: 'Tenants',
      summary: 'Tenants in order of their ids',
      description: 'A key that is bound to a tenant sees that one.',
      scope: 'tenants:read',
      query: {
        after: Type.String({ pattern: tenantPattern, description: 'The `next` of the page before' }),
        limit: Type.Integer({ minimum: 1, maximum: 1000, default: 100 }),
      },
      responses: {
        200: {
          description: 'A page',
          content: json(object({ data: Type.Array(TenantShape), next: orNull(Type.String()) })),
        },
      },
      problems: [],
      handle: (call) => listTenants(parts, call),
    },
  ]
}

function shape({ vkey }: TenantParts, { id, name, state, trail, policy }: Tenant<TenantKeys>) {
  return {
    id,
    name,
    state,
    trail: trail.id,
    vkey: vkey(trail.id),
    policy: { personal: policy.personal, confidential: policy.confidential, retention_days: policy.retentionDays },
  }
}

async function putTenant(parts: TenantParts, call: Call): Promise<Reply> {
  const wanted = call.body.length === 0 ? {} : jsonBody(call.body, checkTenant)
  if (wanted.policy !== undefined) checkPolicy(parts.catalog, wanted.policy)
  const id = call.params.tenant!
  try {
    const { tenant, created } = await parts.tenants.create(id, wanted.name === undefined ? {} : { name: wanted.name })
    const now = created
      ? await settle(parts, call, tenant, wanted.policy)
      : await change(parts, call, tenant, wanted.name, wanted.policy)
    return { status: created ? 201 : 200, body: shape(parts, now) }
  } catch (error) {
    if (!(error instanceof TenantRefused)) throw error
    if (error.code === 'tenant_name_invalid') throw refuse('invalid_value', error.message, '/name')
    throw refuse('invalid_parameter', error.message)
  }
}

/** The first entries of a new tenant. */
async function settle(
  parts: TenantParts,
  { principal }: Call,
  tenant: Tenant<TenantKeys>,
  policy: PolicyInput | undefined,
): Promise<Tenant<TenantKeys>> {
  await parts.recorder.record(tenantCreated(tenant, actorOf(principal!, undefined)))
  const meant = policy === undefined ? tenant : { ...tenant, policy: completePolicy(policy) }
  await parts.sealPolicy(meant, principal!)
  return policy === undefined ? tenant : ((await parts.tenants.update(tenant.id, { policy })) ?? tenant)
}

async function change(
  parts: TenantParts,
  { principal }: Call,
  tenant: Tenant<TenantKeys>,
  name: string | undefined,
  policy: PolicyInput | undefined,
): Promise<Tenant<TenantKeys>> {
  const isRenamed = name !== undefined && name !== tenant.name
  const isOther = policy !== undefined && !isDeepStrictEqual(completePolicy(policy), { ...tenant.policy, operator: [] })
  if (!isRenamed && !isOther) return tenant
  if (tenant.state === 'closed')
    throw refuse('tenant_closed', 'The tenant was deleted: nothing of it changes any more.')
  if (!principal!.scopes.has('tenants:write'))
    throw refuse('missing_scope', 'Changing a tenant needs the scope tenants:write.')
  if (isOther) await refuseShortening(parts, tenant, policy)
  if (isOther) await parts.sealPolicy({ ...tenant, policy: completePolicy(policy) }, principal!)
  await parts.recorder.record({
    id: `tenant.updated:${randomUUID()}`,
    tenant: undefined,
    action: 'affidavit.tenant.updated',
    actor: actorOf(principal!, undefined),
    targets: [target(tenant)],
    metadata: { changed: [...(isRenamed ? ['name'] : []), ...(isOther ? ['policy'] : [])] },
  })
  const changes = { ...(isRenamed && { name }), ...(isOther && { policy }) }
  return (await parts.tenants.update(tenant.id, changes)) ?? tenant
}

/** Payloads that go sooner than was promised need a second principal; before the first event nothing is promised. */
async function refuseShortening(
  parts: TenantParts,
  tenant: Tenant<TenantKeys>,
  { retention_days: after = null }: PolicyInput,
): Promise<void> {
  const before = tenant.policy.retentionDays
  if (after === null || (before !== null && after >= before)) return
  if (before !== null || (await parts.promisedRetention(tenant)))
    throw refuse(
      'needs_approval',
      'A shorter retention, or a first one once there are events, needs a second principal: POST /v1/retentions.',
      '/policy/retention_days',
    )
}

const target = ({ id, name }: Tenant<TenantKeys>) => ({ type: 'tenant', id, ...(name !== null && { name }) })

/** A policy must work for every action there is: once it is stored, events are sealed under it. */
function checkPolicy(catalog: Catalog, policy: PolicyInput): void {
  const own = compilePolicy(policy)
  const [first] = own.ok ? [] : own.problems
  if (first !== undefined) throw new Refused({ ...first, pointer: `/policy${first.pointer ?? ''}` })
  for (const entry of catalog.list()) {
    if (entry.personal.length > 0 && !compilePolicy(entry, policy).ok)
      throw refuse(
        'conflict',
        `The action ${entry.action} treats a value as personal that holds a confidential one.`,
        '/policy/confidential',
      )
  }
}

async function listTenants(parts: TenantParts, call: Call): Promise<Reply> {
  const { principal, query } = call
  if (principal!.tenant !== null) {
    const own = await parts.own.visible(principal!, null)
    return { status: 200, body: { data: [shape(parts, own)], next: null } }
  }
  const limit = Number(query.get('limit') ?? 100)
  const after = query.get('after')
  const page = await parts.tenants.list({ limit: limit + 1, ...(after !== null && { after }) })
  const data = page.slice(0, limit)
  return {
    status: 200,
    body: { data: data.map((tenant) => shape(parts, tenant)), next: page.length > limit ? data.at(-1)!.id : null },
  }
}
