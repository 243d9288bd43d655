// Each field of an event wrong in type, length, range: refused with the pointer of the field and a stable code, while the
// rest of the batch goes in.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { freshDatabase, type TestDatabase } from './database.ts'
import { Api } from './http-api.ts'
import { type StartedServer, startedServer } from './started-server.ts'

let database: TestDatabase
let server: StartedServer
let api: Api

beforeAll(async () => {
  database = await freshDatabase()
  server = await startedServer(database.url)
  api = await Api.of(server.url, server.key)
})
afterAll(async () => {
  await server?.stop()
  await database?.drop()
})

/** What to send as the event, or its text; then code and pointer of the refusal. */
type Case = [name: string, sent: object | string, code: string, pointer: string | undefined]

const base = { action: 'user.updated', actor: { id: 'u1' } }
const nest = (depth: number, open: string, inner: string, close: string) =>
  open.repeat(depth) + inner + close.repeat(depth)
const long = (length: number) => 'x'.repeat(length)
const inDay = (days: number) => new Date(Date.now() + days * 86_400_000).toISOString()

const wrongTypes = (
  name: string,
  path: string[],
  good: 'string' | 'object' | 'array' | 'boolean' | 'integer',
): Case[] => {
  const values: [string, unknown][] = [
    ['string', 'x'],
    ['number', 1.5],
    ['boolean', true],
    ['array', [1]],
    ['object', { a: 1 }],
    ['null', null],
  ]
  return values
    .filter(([kind]) => kind !== good && kind !== 'null')
    .map(([kind, value]) => [`${name} is ${kind}`, place(path, value), 'wrong_type', `/${path.join('/')}`])
}

/** The base event with a value at a path. */
function place(path: string[], value: unknown): object {
  const event = structuredClone(base) as Record<string, unknown>
  let parent: Record<string, unknown> = event
  for (const [i, name] of path.slice(0, -1).entries()) {
    const next = /^\d+$/.test(path[i + 1]!) ? [] : {}
    parent[name] ??= next
    parent = parent[name] as Record<string, unknown>
  }
  parent[path.at(-1)!] = value
  // A target needs a type, or there is another mistake to tell.
  if (path[0] === 'targets' && path.length > 1) Object.assign((event.targets as object[])[0]!, { type: 'user' })
  return event
}

const texts: [path: string[], longest: number][] = [
  [['reason'], 1024],
  [['actor', 'name'], 256],
  [['actor', 'email'], 320],
  [['actor', 'role'], 256],
  [['actor', 'team'], 256],
  [['targets', '0', 'name'], 256],
  [['targets', '0', 'email'], 320],
  [['context', 'ip'], 64],
  [['context', 'user_agent'], 1024],
  [['context', 'location'], 256],
  [['context', 'api_key', 'name'], 256],
]
const words: string[][] = [
  ['actor', 'id'],
  ['targets', '0', 'id'],
  ['context', 'request_id'],
  ['context', 'trace_id'],
  ['context', 'session_id'],
  ['context', 'api_key', 'id'],
]
const choices: string[][] = [['category'], ['outcome'], ['actor', 'type'], ['context', 'auth_method']]

const structured: Case[] = [
  ...texts.flatMap(([path, longest]): Case[] => [
    ...wrongTypes(path.join('.'), path, 'string'),
    [`${path.join('.')} is too long`, place(path, long(longest + 1)), 'too_long', `/${path.join('/')}`],
  ]),
  ...words.flatMap((path): Case[] => [
    ...wrongTypes(path.join('.'), path, 'string'),
    [`${path.join('.')} is empty`, place(path, ''), 'too_short', `/${path.join('/')}`],
    [`${path.join('.')} is too long`, place(path, long(257)), 'too_long', `/${path.join('/')}`],
  ]),
  ...choices.map(
    (path): Case => [
      `${path.join('.')} is another word`,
      place(path, 'perhaps'),
      'invalid_value',
      `/${path.join('/')}`,
    ],
  ),
  ...wrongTypes('action', ['action'], 'string'),
  ...wrongTypes('targets', ['targets'], 'array'),
  ...wrongTypes('changes', ['changes'], 'array'),
  ...wrongTypes('context', ['context'], 'object'),
  ...wrongTypes('metadata', ['metadata'], 'object'),
  ...wrongTypes('source', ['source'], 'object'),
  ...wrongTypes('actor.internal', ['actor', 'internal'], 'boolean'),
  ...wrongTypes('on_behalf_of', ['actor', 'on_behalf_of'], 'object'),
  ['action is empty', place(['action'], ''), 'invalid_value', '/action'],
  ['action has a space', place(['action'], 'a b'), 'invalid_value', '/action'],
  ['action looks like Latin', place(['action'], 'usеr.login'), 'invalid_value', '/action'],
  ['action is too long', place(['action'], long(129)), 'too_long', '/action'],
  ['action is ours', place(['action'], 'affidavit.key.created'), 'reserved_action', '/action'],
  ['action is missing', { actor: { id: 'u' } }, 'missing_field', '/action'],
  ['actor is missing', { action: 'a.b', targets: [] }, 'missing_field', '/actor'],
  ['actor is a string', { action: 'a.b', actor: 'u1' }, 'wrong_type', '/actor'],
  ['id has a slash', place(['id'], 'a/b'), 'invalid_value', '/id'],
  ['id is too long', place(['id'], long(65)), 'too_long', '/id'],
  ['tenant has a slash', place(['tenant'], '../x'), 'invalid_value', '/tenant'],
  ['occurred_at is no time', place(['occurred_at'], 'yesterday'), 'invalid_time', '/occurred_at'],
  ['occurred_at has a month too many', place(['occurred_at'], '2026-13-01T00:00:00Z'), 'invalid_time', '/occurred_at'],
  ['occurred_at is before 1970', place(['occurred_at'], '1969-12-31T23:59:59Z'), 'invalid_time', '/occurred_at'],
  ['occurred_at is far ahead', place(['occurred_at'], inDay(2)), 'invalid_time', '/occurred_at'],
  [
    'occurred_at is in the year 275760',
    place(['occurred_at'], '+275760-09-13T00:00:00Z'),
    'invalid_time',
    '/occurred_at',
  ],
  ['occurred_at is a number', place(['occurred_at'], 1_760_000_000), 'wrong_type', '/occurred_at'],
  ['ip is no address', place(['context', 'ip'], '999.1.1.1'), 'invalid_value', '/context/ip'],
  ['65 targets', place(['targets'], Array(65).fill({ type: 'user' })), 'too_many', '/targets'],
  ['a target without type', place(['targets'], [{ id: 'x' }]), 'missing_field', '/targets/0/type'],
  ['101 changes', place(['changes'], Array(101).fill({ path: '/a' })), 'too_many', '/changes'],
  ['a change without path', place(['changes'], [{ before: 1 }]), 'missing_field', '/changes/0/path'],
  ['a change whose path is no pointer', place(['changes'], [{ path: 'role' }]), 'invalid_value', '/changes/0/path'],
  [
    '51 metadata keys',
    place(['metadata'], Object.fromEntries(Array.from({ length: 51 }, (_, i) => [`k${i}`, i]))),
    'too_many',
    '/metadata',
  ],
  ['a key of ours', place(['metadata'], { a: [{ $personal: 0 }] }), 'reserved_key', '/metadata/a/0/$personal'],
  [
    'a key of ours in changes',
    place(['changes'], [{ path: '/a', after: { $confidential: true } }]),
    'reserved_key',
    '/changes/0/after/$confidential',
  ],
  ['source.seq is negative', place(['source'], { id: 'x', seq: -1 }), 'invalid_value', '/source/seq'],
  ['source.seq is a fraction', place(['source'], { id: 'x', seq: 1.5 }), 'wrong_type', '/source/seq'],
  ['source without id', place(['source'], { seq: 1 }), 'missing_field', '/source/id'],
  ['an unknown field', place(['colour'], 'red'), 'unknown_field', '/colour'],
  ['an unknown field below', place(['context', 'colour'], 'red'), 'unknown_field', '/context/colour'],
  ['a key with a slash and a tilde', place(['actor', 'a/b~c'], 1), 'unknown_field', '/actor/a~1b~0c'],
  [
    '6 delegators in a row',
    place(['actor'], JSON.parse(nest(6, '{"on_behalf_of":', '{"id":"x"}', '}'))),
    'too_deep',
    '/actor/on_behalf_of/on_behalf_of/on_behalf_of/on_behalf_of/on_behalf_of/on_behalf_of',
  ],
]

const flat: Case[] = [
  ['no action', { actor_id: 'u' }, 'missing_field', '/action'],
  ['result is another word', { action: 'a', result: 'perhaps' }, 'invalid_value', '/result'],
  ['outcome is another word', { action: 'a', outcome: 'perhaps' }, 'invalid_value', '/outcome'],
  ['actor_type is another word', { action: 'a', actor_type: 'alien' }, 'invalid_value', '/actor_type'],
  ['timestamp is no time', { action: 'a', timestamp: 'now' }, 'invalid_time', '/timestamp'],
  ['timestamp is far ahead', { action: 'a', timestamp: inDay(400) }, 'invalid_time', '/timestamp'],
  ['ip_address is no address', { action: 'a', ip_address: 'localhost' }, 'invalid_value', '/ip_address'],
  ['event_id has a space', { action: 'a', event_id: 'a b' }, 'invalid_value', '/event_id'],
  ['tenant_id has a slash', { action: 'a', tenant_id: 'a/b' }, 'invalid_value', '/tenant_id'],
  ['metadata_json is cut off', { action: 'a', metadata_json: '{"a":' }, 'invalid_json', '/metadata_json'],
  ['metadata_json is a list', { action: 'a', metadata_json: '[1]' }, 'wrong_type', '/metadata_json'],
  ['metadata_json has a key twice', { action: 'a', metadata_json: '{"a":1,"a":2}' }, 'duplicate_key', '/metadata_json'],
  ['changes_json is a number', { action: 'a', changes_json: '7' }, 'wrong_type', '/changes_json'],
  ['changes_json without a path', { action: 'a', changes_json: [{ before: 1 }] }, 'invalid_value', '/changes_json'],
  [
    '51 fields of its own',
    { action: 'a', ...Object.fromEntries(Array.from({ length: 51 }, (_, i) => [`k${i}`, i])) },
    'too_many',
    '',
  ],
  ['a key of ours', { action: 'a', extra: { $operator: 1 } }, 'reserved_key', '/extra/$operator'],
]

const text = (inner: string) => `{"action":"a.b","actor":{"id":"u"},"metadata":${inner}}`
const bytes: Case[] = [
  ['nothing but a brace', '{', 'invalid_json', ''],
  ['cut off', text('{').slice(0, -2), 'invalid_json', ''],
  ['a comma too many', text('{"a":1,}'), 'invalid_json', ''],
  ['a comment', text('{/*x*/}'), 'invalid_json', ''],
  ['NaN', text('{"a":NaN}'), 'invalid_json', ''],
  ['a bare control character', text('{"a":"\u0001"}'), 'invalid_json', ''],
  ['a key twice', text('{"a":1,"b":2,"a":3}'), 'duplicate_key', '/metadata/a'],
  ['a key twice, once escaped', text('{"a":1,"\\u0061":3}'), 'duplicate_key', '/metadata/a'],
  ['__proto__ twice', text('{"__proto__":1,"__proto__":2}'), 'duplicate_key', '/metadata/__proto__'],
  ['half a character', text('{"a":"\\ud800"}'), 'lone_surrogate', '/metadata/a'],
  ['half a character as key', text('{"\\udc00":1}'), 'lone_surrogate', undefined],
  ['2^53 + 1', text('{"n":9007199254740993}'), 'number_not_exact', '/metadata/n'],
  ['1e400', text('{"n":1e400}'), 'number_not_exact', '/metadata/n'],
  ['a long decimal', text('{"n":0.1234567890123456789}'), 'number_not_exact', '/metadata/n'],
  ['70 levels', text(nest(70, '[', '', ']')), 'too_deep', undefined],
  ['100,000 levels', text(nest(100_000, '[', '', ']')), 'too_deep', undefined],
  ['64 levels of objects', text(nest(64, '{"a":', '1', '}')), 'too_deep', undefined],
  ['300 KiB', text(`{"a":"${long(300_000)}"}`), 'event_too_large', undefined],
  ['a number', '17', 'wrong_type', ''],
  ['a string', '"event"', 'wrong_type', ''],
  ['null', 'null', 'wrong_type', ''],
  ['a list', '[[]]', 'wrong_type', ''],
]

describe.each([
  ['the structured form', structured],
  ['the flat form', flat],
  ['JSON', bytes],
])('%s', (_form, cases) => {
  test.each(cases)('%s', async (_name, sent, code, pointer) => {
    const { body } = await api.post('/v1/events', typeof sent === 'string' ? sent : JSON.stringify(sent))
    expect(body).toMatchObject({ code, ...(pointer !== undefined && { pointer }) })
  })

  test('in a batch costs only itself', async () => {
    const good = JSON.stringify({ ...base, tenant: 'kept' })
    const lines = cases.flatMap(([, sent]) => [
      typeof sent === 'string' ? sent.replaceAll('\n', ' ') : JSON.stringify(sent),
      good,
    ])
    const { body } = await api.post('/v1/events/batch', lines.join('\n'), {
      headers: { 'content-type': 'application/x-ndjson' },
    })
    expect(body).toMatchObject({ accepted: cases.length, rejected: cases.length })
    const codes = body.results
      .filter((_: unknown, i: number) => i % 2 === 0)
      .map((one: { error: { code: string } }) => one.error.code)
    expect(codes).toEqual(cases.map(([, , code]) => code))
  })
})

interface Schema {
  readonly type?: string | readonly string[]
  readonly enum?: readonly unknown[]
  readonly pattern?: string
  readonly minLength?: number
  readonly maxLength?: number
  readonly minimum?: number
  readonly maximum?: number
  readonly properties?: Readonly<Record<string, Schema | false>>
  readonly items?: Schema
  readonly $ref?: string
}

/** Every field of a form, as the server's own document has it; delegators one deep. */
function* fieldsOf(schemas: Readonly<Record<string, Schema>>, schema: Schema, path: string[] = []): Generator<Field> {
  const own = schema.$ref === undefined ? schema : schemas[schema.$ref.split('/').at(-1)!]!
  if (path.length > 0) yield { path, schema: own }
  if (path.filter((name) => name === 'on_behalf_of' || name === 'impersonator').length > 1) return
  for (const [name, member] of Object.entries(own.properties ?? {}))
    if (member !== false) yield* fieldsOf(schemas, member, [...path, name])
  if (own.items !== undefined) yield* fieldsOf(schemas, own.items, [...path, '0'])
}

interface Field {
  readonly path: string[]
  readonly schema: Schema
}

/** What the schema of a field forbids, each value with the codes that say so. */
function* wrongValues({ type, ...schema }: Schema): Generator<[value: unknown, ...codes: string[]]> {
  const kinds = { string: 'x', integer: 7, boolean: true, array: [1], object: { a: 1 }, null: null }
  const takes = (kind: string) =>
    schema.enum === undefined ? [type].flat().includes(kind) : kind === 'null' && schema.enum.includes(null)
  if (type === undefined && schema.enum === undefined) return // any JSON
  for (const [kind, value] of Object.entries(kinds))
    if (!takes(kind)) yield [value, 'wrong_type', ...(schema.enum ? ['invalid_value'] : [])]
  if (type === 'integer') yield [1.5, 'wrong_type']
  if (schema.pattern !== undefined) yield ['ä b', 'invalid_value']
  if (schema.minLength !== undefined) yield ['', 'too_short']
  if (schema.maxLength !== undefined) yield [long(schema.maxLength + 1), 'too_long', 'invalid_value']
  if (schema.minimum !== undefined) yield [schema.minimum - 1, 'invalid_value']
  if (schema.maximum !== undefined) yield [schema.maximum + 1, 'invalid_value']
}

test.each([
  [
    'StructuredEvent',
    {
      action: 'a.b',
      actor: { id: 'u', on_behalf_of: { id: 'v' }, impersonator: { id: 'w' } },
      targets: [{ type: 'user' }],
      changes: [{ path: '/a' }],
      context: { api_key: {} },
      source: { id: 's' },
    },
    40,
  ],
  ['FlatEvent', { action: 'a.b', actor_id: 'u' }, 25],
])(
  'every field of a %s has its bounds, and each that is passed is refused with its pointer',
  async (name, good, least) => {
    const { schemas } = api.document.components as { schemas: Record<string, Schema> }
    const fields = [...fieldsOf(schemas, schemas[name]!)]
    expect(fields.length).toBeGreaterThan(least)
    const wrong = fields.flatMap(({ path, schema }) =>
      [...wrongValues(schema)].map(([value, ...codes]) => ({ path, value, codes })),
    )
    const sent = wrong.map(({ path, value }) => {
      const event = structuredClone(good) as Record<string, unknown>
      const parent = path.slice(0, -1).reduce((at, member) => at[member] as Record<string, unknown>, event)
      parent[path.at(-1)!] = value
      return event
    })
    const { body } = await api.post('/v1/events/batch', [...sent, { ...good, tenant: 'bounds' }])
    expect(body).toMatchObject({ accepted: 1, rejected: wrong.length })
    const told = wrong.map(({ path, value, codes }, i) => {
      const { code, pointer } = body.results[i].error
      const asked = `/${path.join('/')} ${JSON.stringify(value).slice(0, 20)}`
      return { asked, pointer, code: codes.includes(code) ? 'expected' : code }
    })
    expect(told).toEqual(wrong.map(({ path }, i) => ({ ...told[i], pointer: `/${path.join('/')}`, code: 'expected' })))
  },
)

test('several mistakes are all told, and no answer repeats what was sent', async () => {
  const { body } = await api.post('/v1/events', {
    action: 'secret action',
    actor: { id: 7, email: 9 },
    outcome: 'SECRET',
  })
  expect(body.errors.map(({ pointer }: { pointer: string }) => pointer).toSorted()).toEqual([
    '/action',
    '/actor/email',
    '/actor/id',
    '/outcome',
  ])
  expect(JSON.stringify(body)).not.toMatch(/secret/i)
})

test('what looks hostile but is allowed comes back as it was sent', async () => {
  const metadata = {
    constructor: { prototype: 'x' },
    toString: null,
    hasOwnProperty: 1,
    nul: 'a\u0000b',
    emoji: '👩🏽‍🚀 \u202e\u2028',
    sql: "'; drop table events; --",
    html: '<script>alert(1)</script>',
    '': 'empty key',
    'a/b~c.d e': [],
    large: Number.MAX_SAFE_INTEGER,
    small: -0.000001,
    csv: '=cmd()',
  }
  const sent = JSON.stringify({ ...base, tenant: 'odd', metadata }).replace(
    '"nul"',
    '"__proto__":{"polluted":true},"nul"',
  )
  const { status, body } = await api.post('/v1/events', sent)
  expect(status).toBe(201)
  const stored = (await api.get(`/v1/events/${body.id}?tenant=odd`)).body
  expect(Object.getOwnPropertyDescriptor(stored.metadata, '__proto__')?.value).toEqual({ polluted: true })
  expect({ ...stored.metadata }).toMatchObject(metadata)
  expect(({} as { polluted?: boolean }).polluted).toBeUndefined()
})
