import { describe, expect, test } from 'vitest'
import { standardCatalog } from '../catalog/standard-actions.ts'
import { type Readable, render } from './sentence.ts'
import { parseTemplate } from './template.ts'

const catalog = standardCatalog()
const sarah = { type: 'user', id: 'user_4821', name: 'Sarah Johnson', email: 'sarah@example.com' }
const mark = { type: 'user', id: 'user_456', name: 'Mark Chen' }

const say = (action: string, event: Readable = {}) =>
  render({ actor: sarah, outcome: 'success', ...event }, catalog.resolve(action).sentence, { operator: 'Acme' }).text

describe('sentences', () => {
  test.each<[string, Readable, string]>([
    [
      'user.role.updated',
      { targets: [mark], changes: [{ path: '/role', before: 'Member', after: 'Admin' }] },
      'Sarah Johnson changed the role of Mark Chen from Member to Admin',
    ],
    ['user.role.updated', { targets: [mark] }, 'Sarah Johnson changed the role of Mark Chen'],
    ['user.role.updated', {}, 'Sarah Johnson changed the role of a user'],
    ['user.login', {}, 'Sarah Johnson signed in'],
    ['user.login', { metadata: { method: 'passkey' } }, 'Sarah Johnson signed in with passkey'],
    [
      'user.login',
      { outcome: 'failure', reason: 'invalid_password' },
      'Sarah Johnson failed to sign in: invalid password',
    ],
    ['authentication_failure', { outcome: 'failure' }, 'Sarah Johnson failed to sign in'],
    [
      'access_denied',
      { outcome: 'denied', targets: [{ type: 'billing_settings' }] },
      'Sarah Johnson tried to use billing settings but was denied',
    ],
    [
      'invoice.download',
      { targets: [{ type: 'invoice', id: 'inv_1822' }] },
      'Sarah Johnson downloaded invoice inv_1822',
    ],
    [
      'data_export',
      { metadata: { dataset: 'customers', record_count: 18230 } },
      'Sarah Johnson exported 18230 records of customers',
    ],
    [
      'group.member.added',
      { targets: [mark, { type: 'group', name: 'Finance' }] },
      'Sarah Johnson added Mark Chen to group Finance',
    ],
    [
      'group.member.added',
      { outcome: 'failure', targets: [mark], reason: 'The group is full' },
      'Sarah Johnson failed to add Mark Chen to a group: The group is full',
    ],
    [
      'document.deleted',
      {
        targets: [
          { type: 'document', name: 'Plan' },
          { type: 'document', name: 'Budget' },
        ],
      },
      'Sarah Johnson deleted document Plan and document Budget',
    ],
    [
      'document.deleted',
      { targets: [1, 2, 3, 4].map((n) => ({ type: 'document', id: `d${n}` })) },
      'Sarah Johnson deleted document d1 and 3 others',
    ],
    [
      'settings.updated',
      { changes: [{ path: '/security/mfa_required', before: false, after: true }] },
      'Sarah Johnson changed the settings: security mfa required from false to true',
    ],
    ['plan.changed', { changes: [{ path: '/plan', before: null, after: 'Pro' }] }, 'Sarah Johnson changed the plan'],
    [
      'plan.changed',
      { changes: [{ path: '/plan', before: { seats: 5 }, after: { seats: 9 } }] },
      'Sarah Johnson changed the plan from {"seats":5} to {"seats":9}',
    ],
  ])('%s %j', (action, event, expected) => expect(say(action, event)).toBe(expected))
})

describe('who acted', () => {
  test.each([
    [{ type: 'user', id: 'u', email: 'e@x.y' }, 'e@x.y signed in'],
    [{ type: 'user', id: 'u1' }, 'u1 signed in'],
    [{ type: 'service', id: 'sync' }, 'Service sync signed in'],
    [{ type: 'api_key', name: 'Nightly Data Sync' }, 'Nightly Data Sync signed in'],
    [{ type: 'system' }, 'The system signed in'],
    [{ type: 'anonymous' }, 'Someone signed in'],
    [{}, 'Someone signed in'],
    [{ ...sarah, internal: true }, 'Acme internal signed in'],
    [{ ...sarah, impersonator: { id: 'u9', name: 'Dan' } }, 'Dan as Sarah Johnson signed in'],
    [{ ...sarah, impersonator: { id: 'u9', internal: true } }, 'Acme internal as Sarah Johnson signed in'],
    [{ type: 'agent', id: 'a7', on_behalf_of: sarah }, 'Agent a7 on behalf of Sarah Johnson signed in'],
    [{ type: 'user', id: 'u1', name: null, email: null }, 'u1 signed in'],
    [{ type: 'user', id: null }, 'An erased person signed in'],
    [{ type: 'user', id: 'the-boss' }, 'the-boss signed in'],
    [{ type: 'user', name: 'the boss' }, 'the boss signed in'],
    [{ type: 'user', name: '  ', id: 'u1' }, 'u1 signed in'],
  ])('%j: %s', (actor, expected) => expect(say('user.login', { actor })).toBe(expected))
})

describe('actions nobody registered', () => {
  const invoice = { type: 'invoice', id: 'inv_1822' }
  test.each<[string, Readable, string]>([
    ['invoice.archived', { targets: [invoice] }, 'archived invoice inv_1822'],
    ['invoice.archive', { targets: [invoice] }, 'archived invoice inv_1822'],
    ['archive_invoice', { targets: [invoice] }, 'archived invoice inv_1822'],
    ['invoice_archived', {}, 'archived an invoice'],
    [
      'billing_settings.update',
      { outcome: 'denied', targets: [{ type: 'billing_settings' }] },
      'tried to update billing settings but was denied',
    ],
    ['project.member.pinned', { targets: [{ type: 'project', id: 'p1' }] }, 'pinned member of project p1'],
    ['project.member.pinned', { targets: [{ type: 'member', name: 'Mark Chen' }] }, 'pinned Mark Chen'],
    ['project.member.pinned', {}, 'pinned project member'],
    ['s3.GetObject', { targets: [{ type: 'bucket', id: 'logs' }] }, 'retrieved object on bucket logs'],
    ['aws.iam.CreateAccessKey', {}, 'created iam access key'],
    ['okta.user.session.start', {}, 'started user session'],
    ['sign_in_activity', {}, 'signed in'],
    ['user_logged_out', {}, 'signed out'],
    ['add_application_to_whitelist', {}, 'added an application to whitelist'],
    ['invite_accepted', {}, 'accepted an invite'],
    ['order_update', {}, 'updated an order'],
    ['workflow.deletion', { outcome: 'failure' }, 'failed to delete a workflow'],
    ['sso_login', {}, 'signed in'],
    ['widget.frobnicated', { outcome: 'failure' }, 'failed to frobnicate a widget'],
    ['nightly_job', {}, 'performed nightly job'],
    ['nightly_job', { targets: [invoice] }, 'performed nightly job on invoice inv_1822'],
    ['...', {}, 'performed an action'],
    ['restart', { targets: [{ type: 'server', id: 's1' }] }, 'restarted server s1'],
    ['restart', {}, 'restarted'],
  ])('%s %j', (action, event, expected) => expect(say(action, event)).toBe(`Sarah Johnson ${expected}`))
})

describe('segments', () => {
  test('say what each part is, and put together they are the text', () => {
    const event = {
      actor: sarah,
      outcome: 'success',
      targets: [mark],
      changes: [{ path: '/role', before: 'Member', after: 'Admin' }],
    }
    const { segments, text } = render(event, catalog.resolve('user.role.updated').sentence, { operator: 'Acme' })
    expect(segments).toEqual([
      { kind: 'actor', text: 'Sarah Johnson' },
      { kind: 'text', text: ' changed the role of ' },
      { kind: 'target', text: 'Mark Chen' },
      { kind: 'text', text: ' from ' },
      { kind: 'value', text: 'Member' },
      { kind: 'text', text: ' to ' },
      { kind: 'value', text: 'Admin' },
    ])
    expect(segments.map((segment) => segment.text).join('')).toBe(text)
  })

  test('what users typed cannot break the line, reverse it, or act as a template', () => {
    const actor = { type: 'user', name: 'Eve\n\u202eadmin {target}[x]<a|b>' }
    expect(say('user.login', { actor })).toBe('Eve admin {target}[x]<a|b> signed in')
    const long = say('user.login', { actor: { name: '😀'.repeat(500) } })
    expect(long.length).toBeLessThan(140)
    expect(long.isWellFormed()).toBe(true)
  })

  test('hostile keys of metadata are not looked up in prototypes', () => {
    expect(render({ metadata: {} }, '<did|do>[ {metadata.constructor}]', { operator: 'A' }).text).toBe('Someone did')
  })
})

describe('every sentence of the catalog', () => {
  const targets = [
    { type: 'thing', id: 't1' },
    { type: 'other', id: 't2' },
  ]
  const changes = [{ path: '/p', before: 'B', after: 'A' }]
  const metadata = { method: 'M', record_count: 3, dataset: 'D', amount: 9 }
  test.each([...catalog.list()].map((entry) => [entry.action, entry.sentence]))('%s: %s', (_, sentence) => {
    const parsed = parseTemplate(sentence)
    if (!parsed.ok) throw new Error(parsed.detail)
    for (const outcome of ['success', 'failure', 'denied']) {
      for (const event of [{ targets, changes, metadata }, { targets: targets.slice(0, 1) }, {}]) {
        const { text } = render({ actor: sarah, outcome, ...event }, sentence, { operator: 'Acme' })
        const { past, base } = parsed.template
        const start = { success: past, failure: `failed to ${base}`, denied: `tried to ${base}` }[outcome]
        expect(text).toMatch(new RegExp(`^Sarah Johnson ${start}( |$)`))
        expect(text).not.toMatch(/undefined|null|something|[{}[\]<>|]| {2}| $/)
      }
    }
    if (sentence.includes('{target'))
      expect(render({ targets }, sentence, { operator: 'A' }).text).toContain('thing t1')
    if (sentence.includes('{before}'))
      expect(render({ changes }, sentence, { operator: 'A' }).text).toContain('from B to A')
  })
})

describe('templates', () => {
  test.each([
    ['signed in', 'A sentence begins with its verb: <changed|change>.'],
    ['<changed> {target}', 'A sentence begins with its verb: <changed|change>.'],
    ['<a|b> {target', 'The { at 1 is not closed.'],
    ['<a|b>[ of {target}', 'The [ at 0 is not closed.'],
    ['<a|b> {secret}', '{secret} names no value.'],
    ['<a|b> {}', '{} names no value.'],
    ['<a|b> {target|x|y}', '{target|x|y} names no value.'],
    ['<a|b> [[x]]', 'Unexpected [.'],
    ['<a|b> <c|d>', 'Unexpected <.'],
    ['<a|b> x}', 'Unexpected }.'],
  ])('%s', (source, detail) => expect(parseTemplate(source)).toEqual({ ok: false, detail }))

  test('one that cannot be read still gives a sentence', () => {
    expect(render({ actor: sarah }, 'nonsense', { operator: 'A' }).text).toBe('Sarah Johnson performed an action')
  })
})
