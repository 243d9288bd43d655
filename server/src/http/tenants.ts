// Tenants and API keys over HTTP. Making and revoking are sealed in the trail of the tenant concerned (and the operator's
// for operator keys) before they are answered.
import Type from 'typebox'
import { Compile } from 'typebox/compile'
import { tenantPattern } from '../ingest/event.ts'
import { parseStrict } from '../ingest/strict-json.ts'
import type { TenantKeys } from '../keys/tenant-keys.ts'
import { type ApiKeyRecord, ApiKeyRefused, type ApiKeys, type Principal } from '../tenants/api-keys.ts'
import { PolicySchema } from '../tenants/policy.ts'
import { isScope, operatorScopes, scopes } from '../tenants/scopes.ts'
import { type Tenant, TenantRefused, type Tenants } from '../tenants/tenants.ts'
import type { Call, Operation, Reply } from './operation.ts'
import { actorOf, type PlatformRecorder } from './platform-events.ts'
import { Refused, refuse } from './refused.ts'
import { Time } from './schemas.ts'

export interface TenantParts {
  readonly tenants: Tenants<TenantKeys>
  readonly apiKeys: ApiKeys
  readonly recorder: PlatformRecorder
  /** What a verifier pins for a trail: origin and log key. */
  readonly vkey: (trailId: string) => string
  /** Seals the `open` entry of a new trail, or the `policy` entry of a change. */
  readonly sealOpening: (tenant: Tenant<TenantKeys>) => Promise<void>
  readonly sealPolicy: (tenant: Tenant<TenantKeys>, before: Tenant<TenantKeys>, principal: Principal) => Promise<void>
}

const TenantBody = Type.Object(
  { name: Type.Optional(Type.String({ minLength: 1, maxLength: 128 })), policy: Type.Optional(PolicySchema) },
  { additionalProperties: false },
)
const KeyBody = Type.Object(
  {
    name: Type.String({ minLength: 1, maxLength: 128, description: 'Shown in every event made with the key' }),
    tenant: Type.Optional(
      Type.String({ pattern: tenantPattern, description: 'Bind the key to one tenant; absent: an operator key' }),
    ),
    scopes: Type.Array(Type.String(), { minItems: 1, maxItems: 20, description: Object.keys(scopes).join(', ') }),
    internal: Type.Optional(Type.Boolean({ description: "Used by the operator's own staff or services" })),
    expires_at: Type.Optional(Type.String({ format: 'date-time', maxLength: 40 })),
  },
  { additionalProperties: false },
)
const TenantShape = Type.Object({
  id: Type.String(),
  name: Type.Union([Type.String(), Type.Null()]),
  state: Type.String(),
  trail: Type.String(),
  vkey: Type.String({ description: "Verifier key of the tenant's trail: pin it" }),
  policy: Type.Object({}, { additionalProperties: true }),
})
const KeyShape = Type.Object({
  id: Type.String(),
  name: Type.String(),
  tenant: Type.Union([Type.String(), Type.Null()]),
  scopes: Type.Array(Type.String()),
  internal: Type.Boolean(),
  created_at: Time,
  created_by: Type.Union([Type.String(), Type.Null()]),
  expires_at: Type.Union([Time, Type.Null()]),
  revoked_at: Type.Union([Time, Type.Null()]),
  last_used_at: Type.Union([Time, Type.Null()]),
})
const checkTenant = Compile(TenantBody)
const checkKey = Compile(KeyBody)
const tenantParam = { tenant: Type.String({ pattern: tenantPattern }) }
const json = <T>(schema: T) => ({ 'application/json': schema })

export function tenantOperations(parts: TenantParts): Operation[] {
  return [
    {
      method: 'PUT',
      path: '/v1/tenants/{tenant}',
      operationId: 'putTenant',
      tag: 'Tenants',
      summary: 'Make a tenant, or change its name and policy',
      description: 'Making needs the scope tenants:create, changing tenants:write.',
      scope: 'tenants:create',
      params: tenantParam,
      body: json(TenantBody),
      responses: {
        201: { description: 'Made', content: json(TenantShape) },
        200: { description: 'Changed, or as it was', content: json(TenantShape) },
      },
      problems: ['invalid_json', 'invalid_value', 'unknown_field'],
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
      handle: async (call) => ({ status: 200, body: shape(parts, await visible(parts, call, call.params.tenant!)) }),
    },
    {
      method: 'GET',
      path: '/v1/tenants',
      operationId: 'listTenants',
      tag: 'Tenants',
      summary: 'Tenants in order of their ids',
      scope: 'tenants:read',
      query: {
        after: Type.String({ pattern: tenantPattern, description: 'The `next` of the page before' }),
        limit: Type.Integer({ minimum: 1, maximum: 1000, default: 100 }),
      },
      responses: {
        200: {
          description: 'A page',
          content: json(Type.Object({ data: Type.Array(TenantShape), next: Type.Union([Type.String(), Type.Null()]) })),
        },
      },
      problems: ['invalid_parameter'],
      handle: (call) => listTenants(parts, call),
    },
    {
      method: 'POST',
      path: '/v1/keys',
      operationId: 'createKey',
      tag: 'Keys',
      summary: 'Make an API key',
      description:
        'The answer holds the key itself, this once. Its making is sealed in the trail before it is handed out.',
      scope: 'keys:manage',
      body: json(KeyBody),
      responses: {
        201: { description: 'Made', content: json(Type.Object({ key: Type.String(), ...KeyShape.properties })) },
      },
      problems: ['invalid_json', 'invalid_value', 'unknown_tenant', 'missing_scope', 'wrong_tenant'],
      handle: (call) => createKey(parts, call),
    },
    {
      method: 'GET',
      path: '/v1/keys',
      operationId: 'listKeys',
      tag: 'Keys',
      summary: 'API keys, without their secrets',
      scope: 'keys:manage',
      query: { tenant: tenantParam.tenant },
      responses: { 200: { description: 'Keys', content: json(Type.Object({ data: Type.Array(KeyShape) })) } },
      problems: ['not_found'],
      handle: (call) => listKeys(parts, call),
    },
    {
      method: 'DELETE',
      path: '/v1/keys/{key}',
      operationId: 'revokeKey',
      tag: 'Keys',
      summary: 'Revoke an API key',
      description: 'It is refused everywhere within 10 seconds.',
      scope: 'keys:manage',
      params: {
        key: Type.String({ pattern: '^[A-Za-z0-9]{1,40}$', description: 'Its id, the third part of the key' }),
      },
      responses: { 204: { description: 'Revoked, now or before' } },
      problems: ['not_found'],
      handle: (call) => revokeKey(parts, call),
    },
  ]
}

function shape({ vkey }: TenantParts, tenant: Tenant<TenantKeys>) {
  const { personal, confidential, operator, retentionDays } = tenant.policy
  return {
    id: tenant.id,
    name: tenant.name,
    state: tenant.state,
    trail: tenant.trail.id,
    vkey: vkey(tenant.trail.id),
    policy: { personal, confidential, operator, retention_days: retentionDays },
  }
}

/** A tenant that the principal may know of; to the others it does not exist. */
async function visible({ tenants }: TenantParts, { principal }: Call, id: string): Promise<Tenant<TenantKeys>> {
  const tenant = await tenants.get(id)
  if (tenant === undefined || (principal!.tenant !== null && principal!.tenant !== tenant.number)) {
    throw refuse('not_found', 'There is no such tenant, or the key may not know of it.')
  }
  return tenant
}

function body<T>(
  call: Call,
  check: {
    Check(value: unknown): value is T
    Errors(value: unknown): readonly { instancePath: string; message: string; keyword: string; params: unknown }[]
  },
): T {
  if (call.body.length === 0) throw refuse('invalid_json', 'A JSON object is needed as body.', '')
  const parsed = parseStrict(call.body)
  if (!parsed.ok) throw new Refused(parsed.problem)
  if (check.Check(parsed.value)) return parsed.value
  const [error] = check.Errors(parsed.value)
  const extra = (error?.params as { additionalProperties?: string[] } | undefined)?.additionalProperties?.[0]
  if (extra !== undefined)
    throw refuse(
      'unknown_field',
      'This field is not known here.',
      `${error!.instancePath}/${extra.replaceAll('~', '~0').replaceAll('/', '~1')}`,
    )
  throw refuse('invalid_value', `The value ${error?.message ?? 'is not allowed'}.`, error?.instancePath ?? '')
}

async function putTenant(parts: TenantParts, call: Call): Promise<Reply> {
  const { tenants, recorder, sealOpening, sealPolicy } = parts
  const principal = call.principal!
  const wanted = call.body.length === 0 ? {} : body(call, checkTenant)
  const id = call.params.tenant!
  try {
    const { tenant, created } = await tenants.create(id, wanted.name === undefined ? {} : { name: wanted.name })
    await sealOpening(tenant)
    const changes = {
      ...(wanted.name !== undefined && !created && wanted.name !== tenant.name && { name: wanted.name }),
      ...(wanted.policy !== undefined && { policy: wanted.policy }),
    }
    let now = tenant
    if (Object.keys(changes).length > 0) {
      if (!created && !principal.scopes.has('tenants:write'))
        throw refuse('missing_scope', 'Changing a tenant needs the scope tenants:write.')
      now = (await tenants.update(id, changes)) ?? tenant
      await sealPolicy(now, tenant, principal)
    }
    if (created || now !== tenant) {
      const action = created ? 'affidavit.tenant.created' : 'affidavit.tenant.updated'
      await recorder.record({
        id: `${action}:${id}:${created ? 0 : call.arrivalMs}`.slice(-64),
        tenant: undefined,
        action,
        actor: actorOf(principal),
        targets: [{ type: 'tenant', id, ...(now.name !== null && { name: now.name }) }],
      })
    }
    return { status: created ? 201 : 200, body: shape(parts, now) }
  } catch (error) {
    if (error instanceof TenantRefused) throw refuse('invalid_value', error.message)
    throw error
  }
}

async function listTenants(parts: TenantParts, call: Call): Promise<Reply> {
  const { principal } = call
  if (principal!.tenant !== null) {
    const [own] = (await parts.tenants.byNumber([principal!.tenant])).values()
    return { status: 200, body: { data: own === undefined ? [] : [shape(parts, own)], next: null } }
  }
  const limit = Number(call.query.get('limit') ?? 100)
  const after = call.query.get('after')
  const page = await parts.tenants.list({ limit: limit + 1, ...(after !== null && { after }) })
  const data = page.slice(0, limit)
  return {
    status: 200,
    body: { data: data.map((tenant) => shape(parts, tenant)), next: page.length > limit ? data.at(-1)!.id : null },
  }
}

const time = (ms: number | null): string | null => (ms === null ? null : new Date(ms).toISOString())

function keyShape(record: ApiKeyRecord, tenant: string | null) {
  return {
    id: record.id,
    name: record.name,
    tenant,
    scopes: record.scopes,
    internal: record.internal,
    created_at: time(record.createdAt),
    created_by: record.createdBy,
    expires_at: time(record.expiresAt),
    revoked_at: time(record.revokedAt),
    last_used_at: time(record.lastUsedAt),
  }
}

async function createKey(parts: TenantParts, call: Call): Promise<Reply> {
  const principal = call.principal!
  const wanted = body(call, checkKey)
  const unknown = wanted.scopes.findIndex((scope) => !isScope(scope))
  if (unknown >= 0)
    throw refuse('invalid_value', `A scope is one of ${Object.keys(scopes).join(', ')}.`, `/scopes/${unknown}`)
  const tenant = await keyTenant(parts, principal, wanted.tenant)
  for (const [i, scope] of wanted.scopes.entries()) {
    if (isScope(scope) && !principal.scopes.has(scope))
      throw refuse('missing_scope', 'No key hands on a scope that it lacks.', `/scopes/${i}`)
    if (isScope(scope) && tenant !== null && operatorScopes.has(scope))
      throw refuse('invalid_value', 'A key bound to a tenant cannot have this scope.', `/scopes/${i}`)
  }
  if (wanted.internal === true && principal.tenant !== null)
    throw refuse('invalid_value', 'Only the operator makes internal keys.', '/internal')
  try {
    const { key, record } = await parts.apiKeys.create({
      name: wanted.name,
      tenant: tenant?.number ?? null,
      scopes: wanted.scopes,
      createdBy: principal.keyId,
      ...(wanted.internal !== undefined && { internal: wanted.internal }),
      ...(wanted.expires_at !== undefined && { expiresAt: Date.parse(wanted.expires_at) }),
    })
    // Unrecorded, the key must not leave the house.
    try {
      await parts.recorder.record({
        id: `key.created:${record.id}`,
        tenant: tenant?.id,
        action: 'affidavit.key.created',
        actor: actorOf(principal),
        targets: [{ type: 'api_key', id: record.id, name: record.name }],
        metadata: { scopes: wanted.scopes },
      })
    } catch (error) {
      await parts.apiKeys.revoke(record.id, 'any')
      throw error
    }
    return { status: 201, body: { key, ...keyShape(record, tenant?.id ?? null) } }
  } catch (error) {
    if (error instanceof ApiKeyRefused)
      throw refuse(
        'invalid_value',
        error.message,
        `/${error.code === 'key_expiry_invalid' ? 'expires_at' : error.code === 'key_name_invalid' ? 'name' : 'scopes'}`,
      )
    throw error
  }
}

async function keyTenant(
  parts: TenantParts,
  principal: Principal,
  id: string | undefined,
): Promise<Tenant<TenantKeys> | null> {
  if (principal.tenant !== null) {
    const [own] = (await parts.tenants.byNumber([principal.tenant])).values()
    if (id !== undefined && id !== own?.id)
      throw refuse('wrong_tenant', 'The key is bound to another tenant.', '/tenant')
    return own!
  }
  if (id === undefined) return null
  const tenant = await parts.tenants.get(id)
  if (tenant === undefined) throw refuse('unknown_tenant', 'There is no such tenant.', '/tenant')
  return tenant
}

async function listKeys(parts: TenantParts, call: Call): Promise<Reply> {
  const asked = call.query.get('tenant')
  const own = call.principal!.tenant
  let tenant: number | null | 'any' = own ?? 'any'
  if (asked !== null) tenant = (await visible(parts, call, asked)).number
  const records = await parts.apiKeys.list(tenant)
  const names = await parts.tenants.byNumber([
    ...new Set(records.flatMap((record) => (record.tenant === null ? [] : [record.tenant]))),
  ])
  return {
    status: 200,
    body: {
      data: records.map((record) =>
        keyShape(record, record.tenant === null ? null : (names.get(record.tenant)?.id ?? null)),
      ),
    },
  }
}

async function revokeKey(parts: TenantParts, call: Call): Promise<Reply> {
  const principal = call.principal!
  const id = call.params.key!
  const revoked = await parts.apiKeys.revoke(id, principal.tenant ?? 'any')
  if (revoked === undefined) throw refuse('not_found', 'There is no such key, or the key may not know of it.')
  const { record } = revoked
  const tenant =
    record.tenant === null ? undefined : (await parts.tenants.byNumber([record.tenant])).get(record.tenant)?.id
  await parts.recorder.record({
    id: `key.revoked:${id}`,
    tenant,
    action: 'affidavit.key.revoked',
    actor: actorOf(principal),
    targets: [{ type: 'api_key', id, name: record.name }],
  })
  return { status: 204 }
}
