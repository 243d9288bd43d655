import { describe, expect, test } from 'vitest'
import { standardCatalog } from '../catalog/standard-actions.ts'
import { normalise } from './normalise.ts'

const context = { arrival: Date.UTC(2026, 2, 20, 12), catalog: standardCatalog(), keyTenant: 'org_key' }

function accepted(value: unknown) {
  const normalised = normalise(value, context)
  if (!normalised.ok) throw new Error(JSON.stringify(normalised.problems))
  return { ...normalised.event, moved: normalised.moved }
}

const problems = (value: unknown) => {
  const normalised = normalise(value, context)
  return normalised.ok ? [] : normalised.problems.map(({ code, pointer }) => `${code} ${pointer}`)
}

describe('fields find their places', () => {
  test.each<[object, object]>([
    [{ event_id: 'e1' }, { id: 'e1' }],
    [{ tenant_id: 'org_1' }, { tenant: 'org_1' }],
    [{ tenant: 'org_1' }, { tenant: 'org_1' }],
    [
      { actor_id: 'u', actor_name: 'N', actor_email: 'e@x', actor_role: 'r' },
      { actor: { id: 'u', name: 'N', email: 'e@x', role: 'r', type: 'user' } },
    ],
    [{ user_id: 'u' }, { actor: { id: 'u' } }],
    [{ actor_type: 'human' }, { actor: { type: 'user' } }],
    [{ actor_type: 'API_KEY', actor_id: 'k' }, { actor: { type: 'api_key', id: 'k' } }],
    [{}, { actor: { type: 'anonymous' }, targets: [], context: undefined, metadata: undefined, moved: [] }],
    [{ target_type: 'doc', target_id: 'd' }, { targets: [{ type: 'doc', id: 'd' }] }],
    [{ resource_type: 'doc' }, { targets: [{ type: 'doc' }] }],
    [
      { ip_address: '1.2.3.4', user_agent: 'UA', request_id: 'r', session_id: 's' },
      { context: { ip: '1.2.3.4', user_agent: 'UA', request_id: 'r', session_id: 's' } },
    ],
    [{ metadata: { ip: '::1', a: 1 } }, { context: { ip: '::1' }, metadata: { a: 1 } }],
    [{ metadata: { ip: '::1' } }, { context: { ip: '::1' }, metadata: undefined }],
    [{ metadata: { ip: 'office' } }, { context: undefined, metadata: { ip: 'office' } }],
    [
      { metadata: { ip: '::1' }, ip_address: '::2' },
      { context: { ip: '::2' }, metadata: { ip: '::1' } },
    ],
    [{ timestamp: '2026-03-10T18:33:14' }, { occurred_at: '2026-03-10T18:33:14.000Z' }],
    [{ occurred_at: '2026-03-10T18:33:14' }, { occurred_at: '2026-03-10T18:33:14.000Z' }],
    [
      { reason: 'because', category: 'billing' },
      { reason: 'because', category: 'billing' },
    ],
    [{ metadata_json: '{"a":[1]}' }, { metadata: { a: [1] } }],
    [
      { actor_id: null, ip_address: null, metadata: null, metadata_json: null, changes_json: null, result: null },
      { actor: { type: 'anonymous' }, moved: [] },
    ],
  ])('%j', (fields, expected) => expect(accepted({ action: 'x.y', ...fields })).toMatchObject(expected))
})

describe('what has no place of its own goes to metadata, and the reply lists it', () => {
  test.each<[object, string[], object]>([
    [{ dataset: 'c', n: 1 }, ['dataset', 'n'], { dataset: 'c', n: 1 }],
    [{ actor_id: 'a', user_id: 'u' }, ['user_id'], { user_id: 'u' }],
    [
      { target_type: 't', resource_type: 'r', target_id: '1', resource_id: '2' },
      ['resource_type', 'resource_id'],
      { resource_type: 'r', resource_id: '2' },
    ],
    [{ tenant_id: 'a', tenant: 'b' }, ['tenant'], { tenant: 'b' }],
    [{ id: 17 }, ['id'], { id: 17 }],
    [
      { nothing: null, list: [1], context: 'checkout', changes: { a: 1 }, user_id: 'u' },
      ['nothing', 'list', 'context', 'changes'],
      { nothing: null, list: [1], context: 'checkout', changes: { a: 1 } },
    ],
    [{ metadata: { a: 1 }, a: 2, metadata_json: { a: 3, b: 4 } }, ['a'], { a: 1, a_2: 3, b: 4, a_3: 2 }],
  ])('%j', (fields, moved, metadata) => {
    const event = accepted({ action: 'x.y', ...fields })
    expect(event.moved.sort()).toEqual(moved.sort())
    expect(event.metadata).toEqual(metadata)
  })

  test('a field called __proto__ is a field', () => {
    const event = accepted(JSON.parse('{"action":"x.y","__proto__":{"admin":true}}'))
    expect(Object.getOwnPropertyDescriptor(event.metadata, '__proto__')?.value).toEqual({ admin: true })
    expect(({} as { admin?: boolean }).admin).toBeUndefined()
  })
})

describe('the action', () => {
  test.each([
    [{ action: 'update', resource_type: 'user' }, 'user.update'],
    [{ action: 'user.update', resource_type: 'doc' }, 'user.update'],
    [{ action: 'update' }, 'update'],
    [{ event_type: 'data_export' }, 'data_export'],
    [{ event_type: 'viewed', target_type: 'doc' }, 'doc.viewed'],
    [{ action: 'update', resource_type: 'Billing Settings' }, 'Billing_Settings.update'],
    [{ action: 'update', resource_type: '$x' }, '_x.update'],
  ])('%j is %s', (fields, action) => expect(accepted(fields).action).toBe(action))

  test('a target id without a type takes the type from the action', () => {
    expect(accepted({ action: 'invoice.line.viewed', target_id: '7' }).targets).toEqual([
      { type: 'invoice.line', id: '7' },
    ])
    expect(accepted({ action: 'view', target_id: '7' }).targets).toEqual([{ type: 'resource', id: '7' }])
  })

  test.each([
    [{ action: 'read', event_type: 'authorization_failure' }, 'authorization', 'denied'],
    [{ action: 'read', event_type: 'login_failed' }, 'authentication', 'failure'],
    [{ action: 'delete', event_type: 'something' }, 'mutation', 'success'],
    [{ action: 'delete', event_type: 'authorization_failure', result: 'ok' }, 'authorization', 'success'],
    [{ event_type: 'login_failed' }, 'authentication', 'failure'],
  ])('%j is %s and a %s', (fields, category, outcome) => expect(accepted(fields)).toMatchObject({ category, outcome }))
})

test.each([
  ['success ok allowed OK Success', 'success'],
  ['failure failed error FAILED', 'failure'],
  ['denied forbidden Denied', 'denied'],
])('the results %s are %s', (words, outcome) => {
  for (const result of words.split(' ')) expect(accepted({ action: 'x', result }).outcome).toBe(outcome)
  for (const result of words.split(' ')) expect(accepted({ action: 'x', outcome: result }).outcome).toBe(outcome)
})

test.each<[unknown, unknown]>([
  [{ role: { before: 'a', after: 'b' } }, [{ path: '/role', before: 'a', after: 'b' }]],
  ['{"role":{"before":"a","after":"b"}}', [{ path: '/role', before: 'a', after: 'b' }]],
  [{ 'a/b~c': { after: null } }, [{ path: '/a~1b~0c', after: null }]],
  [
    { title: 'new', tags: ['x'], o: { before: 1, other: 2 }, e: {} },
    [
      { path: '/title', after: 'new' },
      { path: '/tags', after: ['x'] },
      { path: '/o', after: { before: 1, other: 2 } },
      { path: '/e', after: {} },
    ],
  ],
  [
    [{ path: '/x', before: 1 }, { path: '/y' }],
    [{ path: '/x', before: 1 }, { path: '/y' }],
  ],
  [{}, undefined],
  [[], undefined],
])('changes_json %j', (changes_json, expected) =>
  expect(accepted({ action: 'x', changes_json }).changes).toEqual(expected),
)

test.each<[object, string]>([
  [{ reason: 'no action' }, 'missing_field /action'],
  [{ action: null }, 'missing_field /action'],
  [{ action: 5 }, 'wrong_type /action'],
  [{ action: 'a b' }, 'invalid_value /action'],
  [{ event_type: '$login' }, 'invalid_value /event_type'],
  [{ event_type: 'affidavit.x' }, 'reserved_action /event_type'],
  [{ action: 'x'.repeat(100), resource_type: 'y'.repeat(40) }, 'too_long /resource_type'],
  [{ action: 'x', actor_id: 5 }, 'wrong_type /actor_id'],
  [{ action: 'x', user_id: '' }, 'too_short /user_id'],
  [{ action: 'x', actor_type: 'robot' }, 'invalid_value /actor_type'],
  [{ action: 'x', result: 'perhaps' }, 'invalid_value /result'],
  [{ action: 'x', result: 'constructor' }, 'invalid_value /result'],
  [{ action: 'x', category: 'constructor' }, 'invalid_value /category'],
  [{ action: 'x', event_id: 'a b' }, 'invalid_value /event_id'],
  [{ action: 'x', tenant_id: 'a/b' }, 'invalid_value /tenant_id'],
  [{ action: 'x', tenant: 7 }, 'wrong_type /tenant'],
  [{ action: 'x', ip_address: 'localhost' }, 'invalid_value /ip_address'],
  [{ action: 'x', timestamp: 'now' }, 'invalid_time /timestamp'],
  [{ action: 'x', occurred_at: '1960-01-01T00:00:00Z' }, 'invalid_time /occurred_at'],
  [{ action: 'x', timestamp: 1773167594 }, 'wrong_type /timestamp'],
  [{ action: 'x', metadata: 'text' }, 'wrong_type /metadata'],
  [{ action: 'x', metadata: [] }, 'wrong_type /metadata'],
  [{ action: 'x', metadata: { a: { $personal: 1 } } }, 'reserved_key /metadata/a/$personal'],
  [{ action: 'x', own: { $personal: 1 } }, 'reserved_key /own/$personal'],
  [{ action: 'x', $personal: 1 }, 'reserved_key /$personal'],
  [{ action: 'x', metadata_json: { a: { $personal: 1 } } }, 'reserved_key /metadata_json'],
  [{ action: 'x', metadata_json: '{"a":1,"a":2}' }, 'duplicate_key /metadata_json'],
  [{ action: 'x', metadata_json: '[1]' }, 'wrong_type /metadata_json'],
  [{ action: 'x', metadata_json: 'null' }, 'none'],
  [{ action: 'x', metadata_json: '{' }, 'invalid_json /metadata_json'],
  [{ action: 'x', metadata_json: 5 }, 'wrong_type /metadata_json'],
  [{ action: 'x', changes_json: '"text"' }, 'wrong_type /changes_json'],
  [{ action: 'x', changes_json: [{ before: 1 }] }, 'invalid_value /changes_json'],
  [{ action: 'x', changes_json: [{ path: 'role' }] }, 'invalid_value /changes_json'],
  [{ action: 'x', changes_json: [{ path: '/role', who: 'me' }] }, 'invalid_value /changes_json'],
  [{ action: 'x', changes_json: [5] }, 'invalid_value /changes_json'],
  [{ action: 'x', changes_json: { a: { after: { $personal: 0 } } } }, 'reserved_key /changes_json'],
  [
    { action: 'x', changes_json: Object.fromEntries(Array.from({ length: 101 }, (_, i) => [i, i])) },
    'too_many /changes_json',
  ],
  [{ action: 'x', changes_json: { ['k'.repeat(1024)]: 1 } }, 'too_long /changes_json'],
  [Object.fromEntries([['action', 'x'], ...Array.from({ length: 51 }, (_, i) => [`k${i}`, i])]), 'too_many '],
  [{ action: 'x', metadata: Object.fromEntries(Array.from({ length: 51 }, (_, i) => [i, i])) }, 'too_many /metadata'],
])('%j', (value, expected) => expect(problems(value)).toEqual(expected === 'none' ? [] : [expected]))
