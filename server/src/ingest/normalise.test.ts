import { existsSync, readdirSync, readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { standardCatalog } from '../catalog/standard-actions.ts'
import { join } from '../render/join.ts'
import { type Json, type JsonObject, valueAt } from '../store/pointer.ts'
import { fingerprint, normalise } from './normalise.ts'
import { openPolicy } from './policy.ts'
import { split } from './split.ts'

const arrival = Date.UTC(2026, 2, 20, 12)
const context = { arrival, catalog: standardCatalog(), keyTenant: 'org_key' }

function accepted(value: unknown, more: object = {}) {
  const normalised = normalise(value, { ...context, ...more })
  if (!normalised.ok) throw new Error(JSON.stringify(normalised.problems))
  return normalised
}

const problems = (value: unknown) => {
  const normalised = normalise(value, context)
  return normalised.ok ? [] : normalised.problems.map(({ code, pointer }) => `${code} ${pointer}`)
}

/** What a reader gets back. */
function stored(value: unknown): JsonObject {
  const { event } = accepted(value)
  const stamp = { id: event.id ?? 'made', tenant: event.tenant ?? 'operator', receivedAt: 'x', key: undefined }
  const parts = split(event, stamp, openPolicy)
  if (!parts.ok) throw new Error(parts.problem.detail)
  return join(parts.facts, { ...parts, personal: parts.subjects.map((line) => line.content) }).event
}

const vectors = new URL('../../../../shared/vectors/requests/', import.meta.url)
const files = existsSync(vectors) ? readdirSync(vectors).filter((name) => name.endsWith('.json')) : []

describe.skipIf(files.length === 0)("users' existing loggers (skipped where the vectors are absent)", () => {
  test.each(files)('%s', (name) => {
    const { body, expect: expected } = JSON.parse(readFileSync(new URL(name, vectors), 'utf8')) as Record<
      string,
      JsonObject
    >
    const event = stored(body)
    for (const [field, value] of Object.entries(expected!)) {
      const wanted =
        value === '<arrival>' ? new Date(arrival).toISOString() : value === "<the key's tenant>" ? 'org_key' : value
      expect(event[field], field).toEqual(wanted)
    }
  })
})

const minimal = { action: 'document.updated', actor: { id: 'u1' } }
const full = {
  id: '01J:a.b_c-d',
  tenant: 'org_921',
  action: 'user.role.updated',
  category: 'authorization',
  occurred_at: '2026-03-10T18:33:14.123Z',
  actor: {
    type: 'user',
    id: 'user_4821',
    name: 'Sarah Johnson',
    email: 'sarah@example.com',
    role: 'admin',
    team: 'finance',
    internal: false,
    on_behalf_of: { type: 'service', id: 's1' },
    impersonator: { type: 'user', id: 'u9', on_behalf_of: { type: 'agent', id: 'a1' } },
    tenant: 'org_921',
  },
  targets: [{ type: 'user', id: 'user_456', name: 'Mark Chen', email: 'mark@example.com', tenant: 'org_921' }],
  outcome: 'success',
  reason: 'promotion',
  context: {
    ip: '203.0.113.42',
    user_agent: 'Mozilla/5.0',
    request_id: 'r1',
    trace_id: 't1',
    session_id: 's1',
    location: 'Berlin',
    auth_method: 'sso',
    api_key: { id: 'k1', name: 'Nightly' },
  },
  changes: [{ path: '/role', before: 'viewer', after: 'editor' }],
  metadata: { ticket: 'OPS-7', nested: { a: [1, null, true] } },
  source: { id: 'api-7', boot: 'b1', seq: 1041, system: 'stripe' },
}

describe('the structured form', () => {
  test('every field comes back as it went in', () => {
    expect(stored(full)).toMatchObject(full)
  })

  test('defaults', () => {
    const { event } = accepted(minimal)
    expect(event).toMatchObject({
      id: undefined,
      tenant: 'org_key',
      category: 'mutation',
      version: 1,
      occurred_at: '2026-03-20T12:00:00.000Z',
      occurredMs: arrival,
      outcome: 'success',
      actor: { type: 'user', id: 'u1' },
      targets: [],
      late: false,
      assumed: { category: true, occurred_at: true, outcome: true },
    })
  })

  test.each([
    [{}, 'anonymous'],
    [{ role: 'guest' }, 'anonymous'],
    [{ id: 'x' }, 'user'],
    [{ email: 'a@b.c' }, 'user'],
    [{ id: 'x', type: 'service' }, 'service'],
  ])('the type of actor %j is %s', (actor, type) => expect(accepted({ ...minimal, actor }).event.actor.type).toBe(type))

  test.each([
    ['user.login.failed', 'failure', 'authentication'],
    ['access_denied', 'denied', 'authorization'],
    ['authorization_failure', 'denied', 'authorization'],
    ['report.export', 'success', 'data_access'],
    ['invoice.paid', 'success', 'billing'],
    ['webhook.deleted', 'success', 'administration'],
  ])('%s is a %s in %s', (action, outcome, category) => {
    expect(accepted({ ...minimal, action }).event).toMatchObject({ outcome, category })
  })

  test('what the client says beats every default', () => {
    const said = { outcome: 'success', category: 'billing', tenant: 'other' }
    expect(accepted({ ...minimal, action: 'user.login.failed', ...said }).event).toMatchObject(said)
  })

  test('an event is late from 15 minutes on', () => {
    const at = (ms: number) => accepted({ ...minimal, occurred_at: new Date(arrival - ms).toISOString() }).event.late
    expect([at(15 * 60_000), at(15 * 60_000 + 1)]).toEqual([false, true])
  })
})

describe('refusals name the pointer', () => {
  const long = (n: number) => 'x'.repeat(n)
  const deep = (n: number): Json => JSON.parse('['.repeat(n) + ']'.repeat(n)) as Json
  const chain = (n: number): object => (n === 0 ? { id: 'x' } : { id: 'x', on_behalf_of: chain(n - 1) })
  const bush = (n: number): object => (n === 0 ? { id: 'x' } : { on_behalf_of: bush(n - 1), impersonator: bush(n - 1) })
  const many = (n: number) => Object.fromEntries(Array.from({ length: n }, (_, i) => [`k${i}`, i]))

  test.each<[object, string]>([
    [{ more: 1 }, 'unknown_field /more'],
    [{ 'a/b~c': 1 }, 'unknown_field /a~1b~0c'],
    [JSON.parse('{"__proto__":1}') as object, 'unknown_field /__proto__'],
    [{ actor: { id: 'x', color: 'red' } }, 'unknown_field /actor/color'],
    [{ actor: { on_behalf_of: { impersonator: { x: 1 } } } }, 'unknown_field /actor/on_behalf_of/impersonator/x'],
    [{ context: { ipaddress: '1.2.3.4' } }, 'unknown_field /context/ipaddress'],
    [{ targets: [{ type: 'a' }, { type: 'b', x: 1 }] }, 'unknown_field /targets/1/x'],
    [{ actor: null }, 'wrong_type /actor'],
    [{ actor: 'bob' }, 'wrong_type /actor'],
    [{ actor: [] }, 'wrong_type /actor'],
    [{ actor: { id: 7 } }, 'wrong_type /actor/id'],
    [{ actor: { internal: 'yes' } }, 'wrong_type /actor/internal'],
    [{ actor: { type: 'robot' } }, 'invalid_value /actor/type'],
    [{ actor: { id: '' } }, 'too_short /actor/id'],
    [{ actor: { id: long(257) } }, 'too_long /actor/id'],
    [{ actor: { name: long(257) } }, 'too_long /actor/name'],
    [{ actor: { email: long(321) } }, 'too_long /actor/email'],
    [{ actor: chain(6) }, `too_deep /actor${'/on_behalf_of'.repeat(6)}`],
    [{ actor: bush(4) }, 'too_many /actor'],
    [{ id: 'a b' }, 'invalid_value /id'],
    [{ id: long(65) }, 'invalid_value /id'],
    [{ id: 5 }, 'wrong_type /id'],
    [{ tenant: 'a/b' }, 'invalid_value /tenant'],
    [{ tenant: '' }, 'invalid_value /tenant'],
    [{ tenant: null }, 'wrong_type /tenant'],
    [{ action: '' }, 'invalid_value /action'],
    [{ action: '$user.login' }, 'invalid_value /action'],
    [{ action: 'user login' }, 'invalid_value /action'],
    [{ action: 'usér.login' }, 'invalid_value /action'],
    [{ action: 'user.login\n' }, 'invalid_value /action'],
    [{ action: 'user\0' }, 'invalid_value /action'],
    [{ action: long(129) }, 'too_long /action'],
    [{ action: 'affidavit.key.created' }, 'reserved_action /action'],
    [{ action: undefined }, 'missing_field /action'],
    [{ category: 'other' }, 'invalid_value /category'],
    [{ outcome: 'ok' }, 'invalid_value /outcome'],
    [{ occurred_at: 5 }, 'wrong_type /occurred_at'],
    [{ occurred_at: 'yesterday' }, 'invalid_time /occurred_at'],
    [{ occurred_at: '1969-12-31T23:59:59Z' }, 'invalid_time /occurred_at'],
    [{ occurred_at: new Date(arrival + 86_400_001).toISOString() }, 'invalid_time /occurred_at'],
    [{ occurred_at: '9999-12-31T23:59:59Z' }, 'invalid_time /occurred_at'],
    [{ reason: long(1025) }, 'too_long /reason'],
    [{ context: { ip: '300.1.2.3' } }, 'invalid_value /context/ip'],
    [{ context: { ip: 's3.amazonaws.com' } }, 'invalid_value /context/ip'],
    [{ context: { user_agent: long(1025) } }, 'too_long /context/user_agent'],
    [{ context: { auth_method: 'magic' } }, 'invalid_value /context/auth_method'],
    [{ context: { api_key: { secret: 'x' } } }, 'unknown_field /context/api_key/secret'],
    [{ targets: {} }, 'wrong_type /targets'],
    [{ targets: [{ id: 'x' }] }, 'missing_field /targets/0/type'],
    [{ targets: Array(65).fill({ type: 'x' }) }, 'too_many /targets'],
    [{ changes: Array(101).fill({ path: '/x' }) }, 'too_many /changes'],
    [{ changes: [{ before: 1 }] }, 'missing_field /changes/0/path'],
    [{ changes: [{ path: 'role' }] }, 'invalid_value /changes/0/path'],
    [{ changes: [{ path: '/a~2' }] }, 'invalid_value /changes/0/path'],
    [{ changes: [{ path: '/a', after: { $personal: 0 } }] }, 'reserved_key /changes/0/after/$personal'],
    [{ metadata: [] }, 'wrong_type /metadata'],
    [{ metadata: many(51) }, 'too_many /metadata'],
    [{ metadata: { a: [{ 'b/c': { $personal: 1 } }] } }, 'reserved_key /metadata/a/0/b~1c/$personal'],
    [{ metadata: { $confidential: true } }, 'reserved_key /metadata/$confidential'],
    [{ metadata: { a: deep(70) } }, `too_deep /metadata/a${'/0'.repeat(62)}`],
    [{ source: { seq: 1 } }, 'missing_field /source/id'],
    [{ source: { id: 'x', seq: -1 } }, 'invalid_value /source/seq'],
    [{ source: { id: 'x', seq: 1.5 } }, 'wrong_type /source/seq'],
  ])('%j', (change, expected) => {
    const event: Record<string, unknown> = { ...minimal }
    for (const key of Object.keys(change)) {
      Object.defineProperty(event, key, { value: (change as JsonObject)[key], enumerable: true, configurable: true })
    }
    expect(problems(JSON.parse(JSON.stringify(event)))).toContain(expected)
  })

  test('the largest permitted values are accepted', () => {
    const event = {
      id: long(64),
      tenant: long(64),
      action: long(128),
      actor: { ...chain(5), name: long(256), email: long(320) },
      targets: Array(64).fill({ type: long(256), id: long(256) }),
      changes: Array(100).fill({ path: '', before: null }),
      metadata: { ...many(49), deep: deep(62) },
      context: { ip: '2001:db8:ffff:ffff:ffff:ffff:255.255.255.255', user_agent: long(1024) },
      occurred_at: new Date(arrival + 86_400_000).toISOString(),
      source: { id: 'x', seq: Number.MAX_SAFE_INTEGER },
    }
    expect(problems(event)).toEqual([])
  })

  test('astral characters count as one', () => {
    expect(problems({ ...minimal, actor: { name: '😀'.repeat(256) } })).toEqual([])
    expect(problems({ ...minimal, actor: { name: '😀'.repeat(257) } })).toEqual(['too_long /actor/name'])
  })

  test('several at once', () => {
    expect(problems({ ...minimal, tenant: '', outcome: 'x', more: 1 }).sort()).toEqual([
      'invalid_value /outcome',
      'invalid_value /tenant',
      'unknown_field /more',
    ])
    expect(problems({ ...minimal, occurred_at: 'x', context: { ip: 'y' } })).toEqual([
      'invalid_time /occurred_at',
      'invalid_value /context/ip',
    ])
  })

  test.each([null, 1, 'x', true, [], [minimal]])('%j is no event', (value) =>
    expect(problems(value)).toEqual(['wrong_type ']),
  )

  test('a structured event whose actor was forgotten', () => {
    expect(problems({ action: 'a.b', targets: [{ type: 'x' }] })).toEqual(['missing_field /actor'])
    expect(problems({ tenant: 't', action: 'a.b', context: {} })).toEqual(['missing_field /actor'])
  })

  test('no detail repeats a value of the body', () => {
    const secret = {
      ...minimal,
      tenant: 'hunter2!',
      action: 'hunter2!',
      context: { ip: 'hunter2!' },
      outcome: 'hunter2!',
    }
    expect(JSON.stringify(normalise(secret, context))).not.toContain('hunter2')
  })
})

test('the platform alone uses its prefix', () => {
  const action = 'affidavit.key.created'
  expect(accepted({ ...minimal, action }, { platform: true }).event.category).toBe('authorization')
})

describe('the fingerprint', () => {
  const print = (value: unknown, more: object = {}) => fingerprint(accepted(value, more).event)

  test('is the same for a repeat that arrives later, under another catalog, in another order of fields', () => {
    const later = { arrival: arrival + 5000, catalog: new (context.catalog.constructor as new (e: []) => never)([]) }
    expect(print(minimal, later)).toBe(print(minimal))
    expect(print(Object.fromEntries(Object.entries(full).reverse()))).toBe(print(full))
  })

  test('is another as soon as the client says anything else', () => {
    const other = [
      { ...minimal, outcome: 'success' },
      { ...minimal, category: 'mutation' },
      { ...minimal, occurred_at: new Date(arrival).toISOString() },
      { ...minimal, actor: { id: 'u2' } },
      { ...minimal, metadata: { a: 1 } },
      { ...minimal, reason: 'x' },
    ]
    expect(new Set([minimal, ...other].map((value) => print(value))).size).toBe(other.length + 1)
  })
})

describe('anything', () => {
  const names = [
    ...Object.keys(full),
    ...'actor_id user_id event_type tenant_id target_type target_id resource_type resource_id result ip_address timestamp changes_json metadata_json actor_type'.split(
      ' ',
    ),
    '__proto__',
    'constructor',
    'x',
  ]
  const value = fc.oneof(
    fc.jsonValue(),
    fc.constantFrom(
      ...Object.values(full),
      ...Object.values(full.actor),
      'user.login',
      '',
      'failed',
      '{"a":1}',
      '[',
      '1.2.3.4',
    ),
  )
  const event = fc
    .array(fc.tuple(fc.constantFrom(...names), value), { maxLength: 12 })
    .map((members) => Object.fromEntries(members))
  const mutated = fc
    .array(fc.tuple(fc.constantFrom(...Object.keys(full)), value), { maxLength: 2 })
    .map((members) => ({ ...full, ...Object.fromEntries(members) }))
  const anything = fc
    .oneof(
      fc.jsonValue(),
      event,
      mutated,
      event.map((e) => ({ ...minimal, ...e })),
    )
    .map((v) => JSON.parse(JSON.stringify(v)) as Json)

  test('is either stored without loss or refused with a pointer to a value or a missing member; nothing throws', () => {
    fc.assert(
      fc.property(anything, (body) => {
        const before = JSON.stringify(body)
        const normalised = normalise(body, context)
        expect(JSON.stringify(body)).toBe(before)
        if (normalised.ok) {
          expect(stored(body).action).toBe(normalised.event.action)
          return
        }
        expect(normalised.problems.length).toBeGreaterThan(0)
        for (const { code, pointer } of normalised.problems) {
          const parent = pointer!.slice(0, Math.max(0, pointer!.lastIndexOf('/')))
          if (code === 'missing_field') {
            expect(valueAt(body, pointer!) ?? undefined).toBeUndefined()
            expect(valueAt(body, parent)).toBeTypeOf('object')
          } else {
            expect(valueAt(body, pointer!), `${code} ${pointer}`).not.toBeUndefined()
          }
        }
      }),
      { numRuns: 1000 },
    )
  })
})
