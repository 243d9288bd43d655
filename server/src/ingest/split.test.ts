import { encodeContent, TILE_WIDTH, USUAL_LIMIT } from '@affidavit/trail'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { standardCatalog } from '../catalog/standard-actions.ts'
import { join } from '../render/join.ts'
import { comparePointers, type Json, type JsonObject } from '../store/pointer.ts'
import { normalise } from './normalise.ts'
import { compilePolicy, openPolicy, type Policy } from './policy.ts'
import { type Split, split } from './split.ts'

const context = { arrival: Date.UTC(2026, 2, 20, 12), catalog: standardCatalog() }
const stamp = { id: 'e1', tenant: 'org_1', receivedAt: '2026-03-20T12:00:00.000Z', key: { id: 'k1', name: 'Prod' } }

function normal(value: object) {
  const normalised = normalise({ action: 'document.updated', ...value }, context)
  if (!normalised.ok) throw new Error(JSON.stringify(normalised.problems))
  return normalised.event
}

function parted(value: object, policy: Policy = openPolicy): Split {
  const parts = split(normal(value), stamp, policy)
  if (!parts.ok) throw new Error(parts.problem.detail)
  return parts
}

function policy(personal: string[], confidential: string[] = []): Policy {
  const compiled = compilePolicy({ personal, confidential })
  if (!compiled.ok) throw new Error(JSON.stringify(compiled.problems))
  return compiled.policy
}

const facts = (parts: Split) => JSON.parse(parts.facts) as JsonObject
const lines = (parts: Split) =>
  parts.subjects.map(({ identity, role, content }) => [identity, role, JSON.parse(content)])
const rejoined = (parts: Split) => join(parts.facts, { ...parts, personal: parts.subjects.map((line) => line.content) })
const p = (n: number) => ({ $personal: n })
const user = (id: string) => ({ kind: 'id', type: 'user', id, tenant: undefined })

test('facts are serialised in one fixed order, with what the server knows', () => {
  const event = {
    actor: { id: 'u1', type: 'user' },
    targets: [{ id: 'd1', type: 'doc' }],
    reason: 'r',
    source: { id: 's' },
    metadata: { b: 1, a: 2 },
    changes: [{ path: '/x', after: 1 }],
    context: { request_id: 'q' },
    outcome: 'success',
    occurred_at: '2026-03-20T11:00:00Z',
  }
  const text =
    '{"id":"e1","tenant":"org_1","action":"document.updated","version":1,"category":"mutation",' +
    '"occurred_at":"2026-03-20T11:00:00.000Z","received_at":"2026-03-20T12:00:00.000Z","actor":{"type":"user","id":"u1"},' +
    '"targets":[{"type":"doc","id":"d1"}],"outcome":"success","reason":"r","context":{"request_id":"q"},' +
    '"changes":[{"path":"/x","after":1}],"metadata":{"b":1,"a":2},"source":{"id":"s"},"key":{"id":"k1","name":"Prod"}}'
  expect(parted(event).facts).toBe(text.replace('{"type":"doc","id":"d1"}', '{"id":"d1","type":"doc"}'))
  expect(parted(event).subjects).toEqual([])
})

describe('personal by default', () => {
  test('names, e-mails, address and browser of the actor are one line', () => {
    const parts = parted({
      actor: { id: 'u1', name: 'Sarah', email: 'S@x.y', role: 'admin' },
      context: { user_agent: 'UA', ip: '::1', location: 'Berlin', request_id: 'r' },
    })
    expect(facts(parts)).toMatchObject({
      actor: { id: 'u1', name: p(0), email: p(0), role: 'admin' },
      context: { ip: p(0), user_agent: p(0), location: p(0), request_id: 'r' },
    })
    expect(lines(parts)).toEqual([
      [
        user('u1'),
        'actor',
        [
          ['/actor/email', 'S@x.y'],
          ['/actor/name', 'Sarah'],
          ['/context/ip', '::1'],
          ['/context/location', 'Berlin'],
          ['/context/user_agent', 'UA'],
        ],
      ],
    ])
  })

  test('each person has a line of their own, in the order in which their markers appear', () => {
    const parts = parted({
      actor: {
        id: 'u1',
        email: 'a@x.y',
        on_behalf_of: { id: 'u2', name: 'Bo' },
        impersonator: { id: 'u3', name: 'Cy', impersonator: { id: 'u1', name: 'Al' } },
      },
      targets: [
        { type: 'doc', id: 'd', name: 'Plan' },
        { type: 'user', id: 'u4', name: 'Di' },
        { type: 'user', id: 'u2', name: 'Bob' },
      ],
    })
    expect(facts(parts)).toMatchObject({
      actor: { email: p(0), on_behalf_of: { name: p(1) }, impersonator: { name: p(2), impersonator: { name: p(0) } } },
      targets: [{ name: 'Plan' }, { name: p(3) }, { name: p(1) }],
    })
    expect(lines(parts)).toEqual([
      [
        user('u1'),
        'actor',
        [
          ['/actor/email', 'a@x.y'],
          ['/actor/impersonator/impersonator/name', 'Al'],
        ],
      ],
      [
        user('u2'),
        'on_behalf_of',
        [
          ['/actor/on_behalf_of/name', 'Bo'],
          ['/targets/2/name', 'Bob'],
        ],
      ],
      [user('u3'), 'impersonator', [['/actor/impersonator/name', 'Cy']]],
      [user('u4'), 'target', [['/targets/1/name', 'Di']]],
    ])
  })

  test.each<[object, object]>([
    [{ actor: { type: 'service', id: 's', name: 'Sync' } }, { actor: { name: 'Sync' } }],
    [{ actor: { type: 'agent', id: 's', name: 'Helper' } }, { actor: { name: 'Helper' } }],
    [{ actor: { type: 'service', id: 's', email: 'ops@x.y' } }, { actor: { email: p(0) } }],
    [{ actor: { type: 'anonymous', name: 'Eve' } }, { actor: { name: p(0) } }],
    [{ actor: { id: 'eve@x.y' } }, { actor: { id: p(0) } }],
    [{ actor: { id: '+49 30 1234567' } }, { actor: { id: p(0) } }],
    [{ actor: { id: '203.0.113.9' } }, { actor: { id: p(0) } }],
    [{ actor: { type: 'service', id: '203.0.113.9' } }, { actor: { id: '203.0.113.9' } }],
    [
      {
        actor: {},
        targets: [
          { type: 'user', id: '::1' },
          { type: 'host', id: '::1' },
        ],
      },
      { targets: [{ id: p(0) }, { id: '::1' }] },
    ],
    [{ actor: { id: 'npm:@scope/pkg@1.0' } }, { actor: { id: 'npm:@scope/pkg@1.0' } }],
    [{ actor: {}, targets: [{ type: 'invoice', id: 'a@b.c', name: 'N' }] }, { targets: [{ id: p(0), name: 'N' }] }],
    [{ actor: {}, targets: [{ type: 'Customer', name: 'N' }] }, { targets: [{ name: p(0) }] }],
    [
      { actor: {}, targets: [{ type: 'account', name: 'N', email: 'n@x.y' }] },
      { targets: [{ name: p(0), email: p(0) }] },
    ],
    [
      { actor: {}, metadata: { user_email: 'a@b.c', clientIp: '::1', name: 'N', n: 1 } },
      { metadata: { user_email: p(0), clientIp: p(1), name: 'N', n: 1 } },
    ],
    [
      { actor: {}, metadata: { email: null, phone: '', ip: false } },
      { metadata: { email: null, phone: '', ip: false } },
    ],
    [{ actor: {}, targets: [{ type: 'user', id: 'u' }], metadata: { name: 'N' } }, { metadata: { name: p(0) } }],
    [
      { actor: {}, changes: [{ path: '/profile/email', before: 'a@b.c', after: null }] },
      { changes: [{ before: p(0), after: null }] },
    ],
    [
      { actor: {}, targets: [{ type: 'user', id: 'u' }], changes: [{ path: '/name', before: 'A', after: 'B' }] },
      { changes: [{ before: p(0), after: p(0) }] },
    ],
    [
      { actor: {}, targets: [{ type: 'doc', id: 'd' }], changes: [{ path: '/name', after: 'B' }] },
      { changes: [{ after: 'B' }] },
    ],
  ])('%j', (event, expected) => expect(facts(parted(event))).toMatchObject(expected))
})

describe('whose a value is', () => {
  const identities = (event: object, more = openPolicy) => parted(event, more).subjects.map((line) => line.identity)
  test('type and id, else the e-mail in lower case, else nobody known', () => {
    expect(identities({ actor: { id: 'u', name: 'N', email: 'E@X.Y' } })).toEqual([user('u')])
    expect(identities({ actor: { email: ' E@X.Y' } })).toEqual([{ kind: 'email', email: 'e@x.y' }])
    expect(identities({ actor: {}, context: { ip: '::1' } })).toEqual([{ kind: 'unknown' }])
  })

  test('two nobodies share a line; a user and a service with one id do not', () => {
    expect(identities({ actor: { name: 'A' }, targets: [{ type: 'user', name: 'B' }] })).toEqual([{ kind: 'unknown' }])
    expect(
      identities({ actor: { id: 'x', email: 'a@b.c' }, targets: [{ type: 'service', id: 'x', email: 'c@d.e' }] }),
    ).toHaveLength(2)
  })

  test('a home tenant tells people of two tenants with one id apart', () => {
    const event = {
      actor: { id: 'u', name: 'A', tenant: 'org_2' },
      targets: [{ type: 'user', id: 'u', name: 'B', tenant: 'org_1' }],
    }
    expect(identities(event)).toEqual([{ kind: 'id', type: 'user', id: 'u', tenant: 'org_2' }, user('u')])
  })

  test('the parts of an identity cannot run into each other', () => {
    const both = [
      { type: 'a', id: 'b/c', email: 'x@y.z' },
      { type: 'a', id: 'c', tenant: 'b', email: 'x@y.z' },
      { type: 'ab', id: '/c', email: 'x@y.z' },
    ]
    expect(identities({ actor: { type: 'system' }, targets: both })).toHaveLength(3)
  })

  test('an address in metadata belongs to the person with that address, another value to the actor', () => {
    const event = {
      actor: { id: 'u1', email: 'me@x.y' },
      targets: [{ type: 'user', id: 'u2', email: 'You@x.y' }],
      metadata: { email: 'ME@x.y', other_email: 'you@x.y', third_email: 'third@x.y', phone: '123' },
    }
    expect(facts(parted(event)).metadata).toEqual({ email: p(0), other_email: p(1), third_email: p(2), phone: p(0) })
    expect(parted(event).subjects[2]).toMatchObject({
      identity: { kind: 'email', email: 'third@x.y' },
      role: 'mentioned',
    })
  })

  test('the actor is known for the filter even where nothing was cut', () => {
    expect(parted({ actor: { type: 'service', id: 's' } }).actorIdentity).toEqual({
      kind: 'id',
      type: 'service',
      id: 's',
      tenant: undefined,
    })
    expect(parted({ actor: { type: 'system' } }).actorIdentity).toBeUndefined()
  })
})

describe('policies', () => {
  const event = {
    actor: { id: 'u1', role: 'admin', on_behalf_of: { id: 'u2', role: 'x' } },
    targets: [
      { type: 'doc', id: 'd1' },
      { type: 'doc', id: 'd2' },
    ],
    reason: 'why',
    context: { request_id: 'r' },
    changes: [{ path: '/a', before: 1, after: { deep: ['x'] } }],
    metadata: { customer: { email: 'c@x.y', n: 1 }, list: ['a', 'b'] },
  }
  test.each<[string, object, number]>([
    ['/actor/role', { actor: { role: p(0) } }, 1],
    ['/actor/on_behalf_of/role', { actor: { role: 'admin', on_behalf_of: { role: p(0) } } }, 1],
    ['/targets/*/id', { targets: [{ id: p(0) }, { id: p(1) }] }, 2],
    ['/targets/1/id', { targets: [{ id: 'd1' }, { id: p(0) }] }, 1],
    ['/reason', { reason: p(0) }, 1],
    ['/context/request_id', { context: { request_id: p(0) } }, 1],
    ['/changes/*/before', { changes: [{ before: p(0) }] }, 1],
    ['/changes/*/after/deep/0', { changes: [{ after: { deep: [p(0)] } }] }, 1],
    ['/metadata', { metadata: p(0) }, 1],
    ['/metadata/*', { metadata: { customer: p(0), list: p(0) } }, 1],
    ['/metadata/customer/email', { metadata: { customer: { email: p(0), n: 1 } } }, 1],
    ['/metadata/list/*', { metadata: { list: [p(0), p(0)] } }, 1],
    ['/metadata/absent/*/x', { metadata: event.metadata }, 0],
    ['/metadata/toString', { metadata: event.metadata }, 0],
  ])('%s', (pointer, expected, count) => {
    const parts = parted(event, policy([pointer]))
    expect(facts(parts)).toMatchObject(expected)
    expect(parts.subjects).toHaveLength(count)
    const { event: back, erased, withheld } = rejoined(parts)
    expect(back).toMatchObject(event)
    expect([erased, withheld]).toEqual([[], []])
  })

  test('an address that a policy names belongs to the person with that address', () => {
    expect(parted(event, policy(['/metadata/customer/email'])).subjects[0]?.identity).toEqual({
      kind: 'email',
      email: 'c@x.y',
    })
  })

  test('confidential values leave a marker, together with personal ones inside them', () => {
    const parts = parted(
      { ...event, metadata: { email: 'c@x.y', n: 1 } },
      policy([], ['/metadata', '/changes', '/reason']),
    )
    expect(facts(parts)).toMatchObject({
      metadata: { $confidential: true },
      changes: { $confidential: true },
      reason: { $confidential: true },
    })
    expect(JSON.parse(parts.confidential!)).toEqual([
      ['/changes', event.changes],
      ['/metadata', { email: p(0), n: 1 }],
      ['/reason', 'why'],
    ])
    expect(rejoined(parts).event).toMatchObject({ ...event, metadata: { email: 'c@x.y', n: 1 } })
    const without = join(parts.facts, { personal: parts.subjects.map((line) => line.content) })
    expect(without).toMatchObject({
      event: { metadata: null, reason: null },
      withheld: ['/reason', '/changes', '/metadata'],
      erased: [],
    })
  })

  test.each([
    '',
    'metadata',
    '/',
    '/id',
    '/tenant',
    '/action',
    '/outcome',
    '/occurred_at',
    '/actor',
    '/targets',
    '/targets/0',
    '/context',
    '/actor/type',
    '/actor/on_behalf_of/type',
    '/targets/*/type',
    '/changes/0/path',
    '/context/auth_method',
    '/source/id',
    '/metadata/~2',
    '/__proto__/x',
    `/metadata${'/x'.repeat(40)}`,
  ])('the pointer %j is refused', (pointer) => {
    expect(compilePolicy({ confidential: [pointer] })).toMatchObject({
      ok: false,
      problems: [{ code: 'invalid_value', pointer: '/confidential/0' }],
    })
  })

  test('a confidential value cannot hide in a personal one, which more readers see', () => {
    expect(compilePolicy({ personal: ['/metadata/*'] }, { confidential: ['/metadata/a/b'] }).ok).toBe(false)
    expect(compilePolicy({ personal: ['/metadata/a/b'] }, { confidential: ['/metadata/a'] }).ok).toBe(true)
  })

  test('the event that came in is not changed', () => {
    const before = normal(event)
    const copy = structuredClone(before)
    split(
      before,
      stamp,
      policy(['/metadata/list/*', '/changes/*/after/deep/0', '/actor/role', '/targets/*/id'], ['/metadata/customer']),
    )
    expect(before).toEqual(copy)
  })
})

test('session and raw key id are for the operator only', () => {
  const parts = parted({ actor: { id: 'u' }, context: { session_id: 's1', api_key: { id: 'k9', name: 'Nightly' } } })
  expect(facts(parts).context).toEqual({
    session_id: { $operator: true },
    api_key: { id: { $operator: true }, name: 'Nightly' },
  })
  expect(parts.operator).toBe('[["/context/api_key/id","k9"],["/context/session_id","s1"]]')
  expect(rejoined(parts).event.context).toEqual({ session_id: 's1', api_key: { id: 'k9', name: 'Nightly' } })
  expect(join(parts.facts, { personal: [] }).withheld).toEqual(['/context/session_id', '/context/api_key/id'])
})

test('pairs are ordered by the bytes of their pointers', () => {
  const keys = ['\u{10000}_email', '\uffff_email', 'z_email', 'é_email', 'A_email']
  const parts = parted({ actor: { id: 'u' }, metadata: Object.fromEntries(keys.map((key) => [key, 'x'])) })
  const pointers = parts.subjects[0]!.pairs.map(([pointer]) => pointer)
  expect(pointers).toEqual([...pointers].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))))
  expect(pointers).toHaveLength(5)
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' }), (a, b) => {
      expect(Math.sign(comparePointers(a, b))).toBe(Buffer.compare(Buffer.from(a), Buffer.from(b)))
    }),
  )
})

describe('limits', () => {
  test('facts of 256 KiB', () => {
    const size = (n: number) => split(normal({ actor: { id: 'u' }, metadata: { a: 'é'.repeat(n) } }), stamp, openPolicy)
    expect(size(130_000).ok).toBe(true)
    expect(size(131_072)).toMatchObject({ ok: false, problem: { code: 'event_too_large' } })
  })

  test('256 of the largest fit into one member of a pack', () => {
    const salt = Buffer.alloc(16).toString('base64')
    const lineOf = ({ facts: content, subjects, confidential, operator }: Split) =>
      `${encodeContent({
        seq: Number.MAX_SAFE_INTEGER,
        facts: { salt, content },
        ...(confidential !== undefined && { confidential: { salt, content: confidential } }),
        ...(operator !== undefined && { operator: { salt, content: operator } }),
        personal: subjects.map((line, n) => ({ n, salt, content: line.content })),
      })}\n`
    const people = Array.from({ length: 99 }, (_, i) => `u${i}@x.y`)
    // Escaped twice; in personas; in three bytes each; written longer than they came.
    const fills: ((n: number) => Record<string, Json>)[] = [
      (n) => ({ a: '"'.repeat(n) }),
      (n) => ({ email: '"'.repeat(n) }),
      (n) => ({ secret: '\u4e00'.repeat(n) }),
      (n) => ({ secret: Array.from({ length: n }, () => 1e20) }),
    ]
    for (const fill of fills) {
      const filled = (n: number) =>
        split(
          normal({
            actor: { id: 'u' },
            context: { session_id: 's' },
            metadata: { to: people, few: 1, ...fill(n) },
          }),
          stamp,
          policy(['/metadata/to/*'], ['/metadata/secret', '/metadata/few']),
        )
      let [fits, not] = [1, 300_000]
      while (not - fits > 1) {
        const middle = Math.floor((fits + not) / 2)
        if (filled(middle).ok) fits = middle
        else not = middle
      }
      expect(filled(not)).toMatchObject({ ok: false, problem: { code: 'event_too_large' } })
      const length = Buffer.byteLength(lineOf(filled(fits) as Split))
      expect(length).toBeLessThanOrEqual(USUAL_LIMIT / TILE_WIDTH)
    }
  })

  test('a hundred people', () => {
    const people = (n: number) =>
      split(
        normal({ actor: { type: 'system' }, metadata: { to: Array.from({ length: n }, (_, i) => `u${i}@x.y`) } }),
        stamp,
        policy(['/metadata/to/*']),
      )
    expect(people(100)).toMatchObject({ ok: true, subjects: { length: 100 } })
    expect(people(101)).toMatchObject({ ok: false, problem: { code: 'too_many' } })
  })
})

test('an erased person leaves null and the pointers; everyone else stays', () => {
  const parts = parted({
    actor: { id: 'u1', name: 'A' },
    targets: [{ type: 'user', id: 'u2', name: 'B' }],
    context: { ip: '::1' },
  })
  const { event, erased } = join(parts.facts, { personal: [null, parts.subjects[1]!.content] })
  expect(event).toMatchObject({
    actor: { id: 'u1', name: null },
    targets: [{ id: 'u2', name: 'B' }],
    context: { ip: null },
  })
  expect(erased).toEqual(['/actor/name', '/context/ip'])
})

describe('any event', () => {
  const text = fc.oneof(fc.string(), fc.constantFrom('a@b.c', 'A@B.C', '+4930123456', 'x', ''))
  const word = text.filter((s) => s !== '').map((s) => s.slice(0, 100))
  const optional = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined })
  const json = fc.jsonValue({ maxDepth: 3 }).map((value) => JSON.parse(JSON.stringify(value)) as never)
  const actorMembers = {
    type: optional(fc.constantFrom('user', 'service', 'anonymous')),
    id: optional(fc.constantFrom('u1', 'u2', 'a@b.c')),
    name: optional(text),
    email: optional(text),
    role: optional(text),
    tenant: optional(fc.constantFrom('org_1', 'org_2')),
  }
  const delegate = fc.record(actorMembers)
  const event = fc.record({
    actor: fc.record({ ...actorMembers, on_behalf_of: optional(delegate), impersonator: optional(delegate) }),
    targets: optional(
      fc.array(
        fc.record({
          type: fc.constantFrom('user', 'doc', 'customer'),
          id: optional(fc.constantFrom('u1', 'd1', 'a@b.c')),
          name: optional(text),
          email: optional(text),
        }),
        { maxLength: 4 },
      ),
    ),
    reason: optional(text),
    context: optional(
      fc.record({
        ip: optional(fc.ipV4()),
        user_agent: optional(text),
        session_id: optional(word),
        request_id: optional(word),
        api_key: optional(fc.record({ id: optional(word), name: optional(text) })),
      }),
    ),
    changes: optional(
      fc.array(
        fc.record({
          path: fc.constantFrom('/role', '/email', '/name', ''),
          before: optional(json),
          after: optional(json),
        }),
        { maxLength: 3 },
      ),
    ),
    metadata: optional(
      fc.dictionary(
        fc.oneof(fc.constantFrom('email', 'phone', 'name', 'a/b', '~', '__proto__', '0'), fc.string()),
        json,
        { maxKeys: 5, noNullPrototype: true },
      ),
    ),
  })
  const patterns = fc.subarray([
    '/metadata/*',
    '/metadata/email',
    '/reason',
    '/targets/*/id',
    '/targets/0/name',
    '/changes/*/before',
    '/changes/*/after/*',
    '/actor/role',
    '/actor/on_behalf_of/role',
    '/context/request_id',
    '/metadata/a~1b',
    '/metadata/__proto__/*',
  ])
  const secrets = fc.subarray(
    ['/metadata', '/changes', '/reason', '/metadata/0', '/metadata/__proto__', '/context/user_agent'],
    { maxLength: 2 },
  )

  test('comes back from its parts exactly, and no part repeats a value of another', () => {
    fc.assert(
      fc.property(event, patterns, secrets, (raw, personal, confidential) => {
        const given = JSON.parse(JSON.stringify(raw)) as JsonObject
        const compiled = compilePolicy({ personal, confidential })
        fc.pre(compiled.ok)
        const normalised = normalise({ action: 'x.y', ...given }, context)
        fc.pre(normalised.ok)
        const parts = split(normalised.event, stamp, compiled.policy)
        if (!parts.ok) throw new Error(parts.problem.detail)
        const { event: back, erased, withheld } = rejoined(parts)
        expect([erased, withheld]).toEqual([[], []])
        const { metadata = {}, changes = [], targets = [], context: around = {}, actor, ...rest } = given
        expect(back).toMatchObject(rest)
        expect(back.actor).toEqual({
          ...(actor as object),
          type: normalised.event.actor.type,
          ...typed(normalised.event.actor),
        })
        expect([back.metadata, back.changes, back.targets, back.context]).toEqual([metadata, changes, targets, around])
        for (const { content, pairs } of parts.subjects) {
          expect(JSON.parse(content)).toEqual(pairs)
          expect(pairs.length).toBeGreaterThan(0)
        }
      }),
      { numRuns: 500 },
    )
  })

  /** Delegators get a default type too. */
  function typed(actor: { on_behalf_of?: object | undefined; impersonator?: object | undefined }) {
    const plain = (one: object | undefined) => (one === undefined ? {} : (JSON.parse(JSON.stringify(one)) as object))
    return {
      ...(actor.on_behalf_of && { on_behalf_of: plain(actor.on_behalf_of) }),
      ...(actor.impersonator && { impersonator: plain(actor.impersonator) }),
    }
  }
})
