// API keys over HTTP. Making and revoking are sealed in the trail of the tenant concerned, for operator keys in the
// operator's, before they are answered.
import Type from 'typebox'
import { Compile } from 'typebox/compile'
import { tenantPattern } from '../ingest/event.ts'
import type { TenantKeys } from '../keys/tenant-keys.ts'
import { type ApiKeyRecord, ApiKeyRefused, type ApiKeys, type Principal } from '../tenants/api-keys.ts'
import { operatorScopes, type Scope, scopes } from '../tenants/scopes.ts'
import type { Tenant, Tenants } from '../tenants/tenants.ts'
import { bodyProblems, jsonBody } from './json-body.ts'
import type { Call, Operation, Reply } from './operation.ts'
import type { OwnTenants } from './own-tenants.ts'
import { actorOf, type PlatformRecorder } from './platform-events.ts'
import { refuse } from './refused.ts'
import { object, orNull, Time } from './schemas.ts'

export interface KeyParts {
  readonly tenants: Tenants<TenantKeys>
  readonly own: OwnTenants
  readonly apiKeys: ApiKeys
  readonly recorder: PlatformRecorder
}

const KeyBody = Type.Object(
  {
    name: Type.String({ minLength: 1, maxLength: 128, description: 'Shown in every event made with the key' }),
    tenant: Type.Optional(
      Type.String({ pattern: tenantPattern, description: 'Bind the key to one tenant; absent: an operator key' }),
    ),
    scopes: Type.Array(Type.Enum(Object.keys(scopes) as Scope[]), { minItems: 1, uniqueItems: true }),
    internal: Type.Optional(
      Type.Boolean({ description: "Used by the operator's own staff or services: its actors are flagged so" }),
    ),
    expires_at: Type.Optional(
      Type.String({
        format: 'date-time',
        maxLength: 40,
        description: 'At the latest, and by default, when the key that makes it expires',
      }),
    ),
  },
  { additionalProperties: false },
)
const keyFields = {
  id: Type.String(),
  name: Type.String(),
  tenant: orNull(Type.String()),
  scopes: Type.Array(Type.String()),
  internal: Type.Boolean(),
  created_at: Time,
  created_by: orNull(Type.String()),
  expires_at: orNull(Time),
  revoked_at: orNull(Time),
  last_used_at: orNull(Time),
}
const KeyShape = object(keyFields)
const NewKeyShape = object({ key: Type.String({ description: 'The key itself, shown this once' }), ...keyFields })
const checkKey = Compile(KeyBody)
const json = <T>(schema: T) => ({ 'application/json': schema })

export function keyOperations(parts: KeyParts): Operation[] {
  return [
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
      responses: { 201: { description: 'Made', content: json(NewKeyShape) } },
      problems: [...bodyProblems, 'unknown_tenant', 'missing_scope', 'wrong_tenant'],
      handle: (call) => createKey(parts, call),
    },
    {
      method: 'GET',
      path: '/v1/keys',
      operationId: 'listKeys',
      tag: 'Keys',
      summary: 'API keys, without their secrets',
      description: 'The newest 1,000, revoked ones included. `tenant=_operator` lists the operator keys.',
      scope: 'keys:manage',
      query: { tenant: Type.String({ pattern: tenantPattern }) },
      responses: {
        200: {
          description: 'Keys',
          content: json(object({ data: Type.Array(KeyShape) })),
        },
      },
      problems: ['not_found'],
      handle: (call) => listKeys(parts, call),
    },
    {
      method: 'DELETE',
      path: '/v1/keys/{id}',
      operationId: 'revokeKey',
      tag: 'Keys',
      summary: 'Revoke an API key',
      description: 'It is refused everywhere within 10 seconds.',
      scope: 'keys:manage',
      params: {
        id: Type.String({ pattern: '^[A-Za-z0-9]{1,40}$', description: 'Its id, the third part of the key' }),
      },
      responses: { 204: { description: 'Revoked, now or before' } },
      problems: ['not_found'],
      handle: (call) => revokeKey(parts, call),
    },
  ]
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

async function createKey(parts: KeyParts, call: Call): Promise<Reply> {
  const principal = call.principal!
  const wanted = jsonBody(call.body, checkKey)
  const tenant = await keyTenant(parts, principal, wanted.tenant)
  for (const [i, scope] of wanted.scopes.entries()) {
    if (!principal.scopes.has(scope))
      throw refuse('missing_scope', 'No key hands on a scope that it lacks.', `/scopes/${i}`)
    if (tenant !== null && operatorScopes.has(scope))
      throw refuse('invalid_value', 'A key bound to a tenant cannot have this scope.', `/scopes/${i}`)
  }
  if (wanted.internal === true && principal.tenant !== null)
    throw refuse('invalid_value', 'Only the operator makes internal keys.', '/internal')
  const expiresAt = expiryOf(principal, wanted.expires_at)
  try {
    const { key, record } = await parts.apiKeys.create({
      name: wanted.name,
      tenant: tenant?.number ?? null,
      scopes: wanted.scopes,
      createdBy: principal.keyId,
      ...(wanted.internal !== undefined && { internal: wanted.internal }),
      expiresAt,
    })
    // Unrecorded, the key must not leave the house.
    try {
      await parts.recorder.record({
        id: `key.created:${record.id}`,
        tenant: tenant?.id,
        action: 'affidavit.key.created',
        actor: actorOf(principal, tenant?.id),
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

/** No key outlives itself in one that it makes. @returns ms since 1970; null: never */
function expiryOf({ expiresAt: own = null }: Principal, wanted: string | undefined): number | null {
  if (wanted === undefined) return own
  const expiresAt = Date.parse(wanted)
  if (own !== null && expiresAt > own)
    throw refuse(
      'invalid_value',
      `The key that makes it expires at ${time(own)}, and so must what it makes.`,
      '/expires_at',
    )
  return expiresAt
}

async function keyTenant(
  parts: KeyParts,
  principal: Principal,
  id: string | undefined,
): Promise<Tenant<TenantKeys> | null> {
  if (principal.tenant !== null) {
    if (id !== undefined && id !== (await parts.own.idOf(principal.tenant)))
      throw refuse('wrong_tenant', 'The key is bound to another tenant.', '/tenant')
    return parts.own.visible(principal, null)
  }
  if (id === undefined) return null
  const tenant = await parts.tenants.get(id)
  if (tenant === undefined) throw refuse('unknown_tenant', 'There is no such tenant.', '/tenant')
  return tenant
}

async function listKeys(parts: KeyParts, call: Call): Promise<Reply> {
  const asked = call.query.get('tenant')
  const own = call.principal!.tenant
  let tenant: number | null | 'any' = own ?? 'any'
  if (asked !== null) {
    const { number, operator } = await parts.own.visible(call.principal!, asked)
    tenant = operator ? null : number
  }
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

async function revokeKey(parts: KeyParts, call: Call): Promise<Reply> {
  const principal = call.principal!
  const id = call.params.id!
  const revoked = await parts.apiKeys.revoke(id, principal.tenant ?? 'any')
  if (revoked === undefined) throw refuse('not_found', 'There is no such key, or the key may not know of it.')
  const { record } = revoked
  const tenant = record.tenant === null ? undefined : await parts.own.idOf(record.tenant)
  await parts.recorder.record({
    id: `key.revoked:${id}`,
    tenant,
    action: 'affidavit.key.revoked',
    actor: actorOf(principal, tenant),
    targets: [{ type: 'api_key', id, name: record.name }],
  })
  return { status: 204 }
}
