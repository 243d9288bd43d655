// Tenants and API keys over HTTP, and what of them is sealed in the trail.
import { decodeControl } from '@affidavit/trail'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { freshDatabase, type TestDatabase } from './database.ts'
import { Api } from './http-api.ts'
import { type StartedServer, startedServer } from './started-server.ts'

let database: TestDatabase
let server: StartedServer
let api: Api
/** A key that was used, and then revoked by another server on the same database. */
let revoked: { key: string; at: number }

beforeAll(async () => {
  database = await freshDatabase()
  server = await startedServer(database.url)
  api = await Api.of(server.url, server.key)
  const { id, key } = await newKey({})
  expect((await api.with(key).get('/v1/events?limit=1')).status).toBe(200)
  await database.superuser.query('update keeper.api_keys set revoked_at = now() where id = $1', [id])
  revoked = { key, at: Date.now() }
})
afterAll(async () => {
  await server?.stop()
  await database?.drop()
})

const rest = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))
const event = { action: 'a.b', actor: { id: 'u1' } }

async function newKey(wanted: object): Promise<{ id: string; key: string }> {
  const { status, body } = await api.post('/v1/keys', {
    name: 'Nightly',
    scopes: ['events:write', 'events:read'],
    ...wanted,
  })
  expect([status, body]).toEqual([201, expect.anything()])
  return body
}

/** Events of a trail about keys and tenants: action, actor's name, names of targets. */
async function recorded(tenant: string): Promise<[string, string, string][]> {
  const { body } = await api.get(`/v1/events?tenant=${tenant}&action=affidavit.*&order=asc`)
  return body.data.map((one: { action: string; actor: { name: string }; targets: { name?: string; id: string }[] }) => [
    one.action.replace('affidavit.', ''),
    one.actor.name,
    one.targets[0]?.name ?? one.targets[0]?.id,
  ])
}

async function controls(tenant: string): Promise<string[]> {
  const { body } = await api.get(`/v1/events?tenant=${tenant}&control=true&order=asc`)
  return body.data.flatMap((one: { control?: string }) =>
    one.control === undefined ? [] : [decodeControl(one.control).kind],
  )
}

describe('a key', () => {
  test('is made, used, listed, revoked, and all of it is in the trail', async () => {
    await api.put('/v1/tenants/keyed')
    const { key, id } = await newKey({ tenant: 'keyed', name: 'Nightly Data Sync' })
    expect(key).toMatch(/^aff_live_[A-Za-z0-9]{12}_/)
    expect(key.split('_')[2]).toBe(id)
    const holder = api.with(key)
    const { body: accepted } = await holder.post('/v1/events', event)
    expect(accepted.tenant).toBe('keyed')
    expect((await holder.get(`/v1/events/${accepted.id}`)).body.key).toEqual({ id, name: 'Nightly Data Sync' })

    // Last use is written every few seconds.
    const listed = async () =>
      (await api.get('/v1/keys?tenant=keyed')).body.data.find((one: { id: string }) => one.id === id)
    for (let waited = 0; (await listed()).last_used_at === null && waited < 60_000; waited += 100) await rest(100)
    expect(await listed()).toMatchObject({
      name: 'Nightly Data Sync',
      tenant: 'keyed',
      revoked_at: null,
      internal: false,
    })
    expect(Date.now() - Date.parse((await listed()).last_used_at)).toBeLessThan(120_000)

    expect((await api.delete(`/v1/keys/${id}`)).status).toBe(204)
    expect((await holder.get('/v1/events')).body).toMatchObject({ status: 401, code: 'unauthorized' })
    expect((await api.delete(`/v1/keys/${id}`)).status).toBe(204)
    expect((await listed()).revoked_at).not.toBeNull()

    for (let waited = 0; (await recorded('keyed')).length < 3 && waited < 60_000; waited += 100) await rest(100)
    expect((await recorded('keyed')).toSorted()).toEqual([
      ['key.created', 'Operator', 'Nightly Data Sync'],
      ['key.revoked', 'Operator', 'Nightly Data Sync'],
      ['key.used', 'Nightly Data Sync', 'Nightly Data Sync'],
    ])
    const { body } = await api.get('/v1/events?tenant=keyed&action=affidavit.key.created')
    expect(body.data[0].actor).toMatchObject({ type: 'api_key', internal: true })
    expect(body.data[0].metadata).toEqual({ scopes: ['events:write', 'events:read'] })
  })

  test('expires', async () => {
    const expires = Date.now() + 1_500
    const { key } = await newKey({ expires_at: new Date(expires).toISOString() })
    const { status } = await api.with(key).get('/v1/events?limit=1')
    if (Date.now() < expires) expect(status).toBe(200)
    await rest(expires + 100 - Date.now())
    const { body, headers } = await api.with(key).get('/v1/events?limit=1')
    expect(body).toMatchObject({ status: 401, detail: 'The key has expired.' })
    expect(headers.get('www-authenticate')).toBe('Bearer realm="affidavit"')
  })

  test('of an operator is recorded in the operator trail', async () => {
    const { id } = await newKey({ name: 'Second operator key' })
    await api.delete(`/v1/keys/${id}`)
    expect(await recorded('_operator')).toContainEqual(['key.created', 'Operator', 'Second operator key'])
    expect(await recorded('_operator')).toContainEqual(['key.revoked', 'Operator', 'Second operator key'])
    const { body } = await api.get('/v1/keys?tenant=_operator')
    expect(body.data.map(({ name }: { name: string }) => name)).toEqual(
      expect.arrayContaining(['Operator', 'Second operator key']),
    )
    expect(body.data.every(({ tenant }: { tenant: null }) => tenant === null)).toBe(true)
  })

  test('hands on no scope it lacks, and no other tenant', async () => {
    await api.put('/v1/tenants/handing')
    await api.put('/v1/tenants/not-handing')
    const { key } = await newKey({ tenant: 'handing', scopes: ['keys:manage', 'events:read'] })
    const manager = api.with(key)
    const made = await manager.post('/v1/keys', { name: 'Reader', scopes: ['events:read'] })
    expect(made.body).toMatchObject({ tenant: 'handing', scopes: ['events:read'] })
    expect((await manager.post('/v1/keys', { name: 'W', scopes: ['events:read', 'events:write'] })).body).toMatchObject(
      {
        code: 'missing_scope',
        pointer: '/scopes/1',
      },
    )
    for (const tenant of ['not-handing', 'nobody', '_operator'])
      expect((await manager.post('/v1/keys', { name: 'X', scopes: ['events:read'], tenant })).body).toMatchObject({
        code: 'wrong_tenant',
        pointer: '/tenant',
      })
    expect((await manager.post('/v1/keys', { name: 'X', scopes: ['events:read'], internal: true })).body.pointer).toBe(
      '/internal',
    )
    expect((await manager.get('/v1/keys')).body.data).toHaveLength(2)
    const foreign = await newKey({ tenant: 'not-handing' })
    expect((await manager.delete(`/v1/keys/${foreign.id}`)).body.code).toBe('not_found')
    expect((await api.with(foreign.key).get('/v1/events')).status).toBe(200)
  })

  test.each([
    ['nothing', '', 'invalid_json', ''],
    ['no JSON', '{', 'invalid_json', ''],
    ['no object', '[]', 'wrong_type', ''],
    ['no name', { scopes: ['verify'] }, 'missing_field', '/name'],
    ['an empty name', { name: '', scopes: ['verify'] }, 'too_short', '/name'],
    ['a name of spaces', { name: '  ', scopes: ['verify'] }, 'invalid_value', '/name'],
    ['a long name', { name: 'x'.repeat(129), scopes: ['verify'] }, 'too_long', '/name'],
    ['a name with NUL', { name: 'a\u0000b', scopes: ['verify'] }, 'invalid_value', '/name'],
    ['a name that is a number', { name: 7, scopes: ['verify'] }, 'wrong_type', '/name'],
    ['no scopes', { name: 'x' }, 'missing_field', '/scopes'],
    ['empty scopes', { name: 'x', scopes: [] }, 'too_short', '/scopes'],
    ['an unknown scope', { name: 'x', scopes: ['verify', 'root'] }, 'invalid_value', '/scopes/1'],
    ['a scope twice', { name: 'x', scopes: ['verify', 'verify'] }, 'invalid_value', '/scopes'],
    ['a tenant that is not there', { name: 'x', scopes: ['verify'], tenant: 'nobody' }, 'unknown_tenant', '/tenant'],
    ['a tenant with a slash', { name: 'x', scopes: ['verify'], tenant: 'a/b' }, 'invalid_value', '/tenant'],
    [
      'an operator scope for a tenant',
      { name: 'x', scopes: ['operator'], tenant: 'keyed' },
      'invalid_value',
      '/scopes/0',
    ],
    [
      'an expiry in the past',
      { name: 'x', scopes: ['verify'], expires_at: '2020-01-01T00:00:00Z' },
      'invalid_value',
      '/expires_at',
    ],
    [
      'an expiry that is no time',
      { name: 'x', scopes: ['verify'], expires_at: 'soon' },
      'invalid_value',
      '/expires_at',
    ],
    ['an unknown member', { name: 'x', scopes: ['verify'], colour: 'red' }, 'unknown_field', '/colour'],
    ['__proto__', '{"name":"x","scopes":["verify"],"__proto__":{}}', 'unknown_field', '/__proto__'],
    ['a key twice', '{"name":"x","name":"y","scopes":["verify"]}', 'duplicate_key', '/name'],
  ])('with %s is not made', async (_name, body, code, pointer) => {
    const answer = await api.post('/v1/keys', body)
    expect(answer.body).toMatchObject({ code, pointer })
  })

  test.each([
    ['no header', {}, 'There is no Authorization: Bearer header.'],
    ['an empty header', { authorization: '' }, 'There is no Authorization: Bearer header.'],
    [
      'another scheme',
      { authorization: 'Basic eA==' },
      'The key is not a key of this system; a character may be missing.',
    ],
    [
      'a key of another system',
      { authorization: 'Bearer sk_live_x' },
      'The key is not a key of this system; a character may be missing.',
    ],
  ])('%s is 401', async (_name, headers, detail) => {
    const { status, body } = await api.get('/v1/events', { key: null, headers })
    expect([status, body.detail]).toEqual([401, detail])
  })

  test('with a wrong secret is as unknown as one that does not exist', async () => {
    const { key } = await newKey({})
    const broken = key.replace(/.$/, key.endsWith('A') ? 'B' : 'A')
    expect((await api.with(broken).get('/v1/events')).status).toBe(401)
    expect((await api.get('/v1/events', { key: null, headers: { authorization: `bearer ${key}` } })).status).toBe(200)
  })
})

describe('a tenant', () => {
  test('is made once, with one opening entry, however often and by how many it is asked for', async () => {
    const answers = await Promise.all(
      Array.from({ length: 8 }, () => api.put('/v1/tenants/newcomer', { name: 'Newcomer' })),
    )
    expect(answers.filter(({ status }) => status === 201)).toHaveLength(1)
    expect(new Set(answers.map(({ body }) => body.trail)).size).toBe(1)
    expect((await api.put('/v1/tenants/newcomer')).status).toBe(200)
    await api.post('/v1/events', { ...event, tenant: 'newcomer' })
    expect(await controls('newcomer')).toEqual(['open', 'policy'])
    const { body } = await api.get('/v1/tenants/newcomer')
    expect(body).toMatchObject({ id: 'newcomer', name: 'Newcomer', state: 'open' })
    expect(body.vkey).toContain(body.trail)
    expect(await recorded('_operator')).toContainEqual(['tenant.created', 'Operator', 'Newcomer'])
  })

  test('that an event makes has the same opening', async () => {
    await Promise.all(Array.from({ length: 8 }, () => api.post('/v1/events', { ...event, tenant: 'walk-in' })))
    expect(await controls('walk-in')).toEqual(['open'])
  })

  test('changes its policy: sealed first, then in force', async () => {
    await api.put('/v1/tenants/changing')
    const policy = { personal: ['/metadata/phone'], confidential: ['/changes'], retention_days: 90 }
    const { status, body } = await api.put('/v1/tenants/changing', { policy })
    expect([status, body.policy]).toEqual([200, policy])
    // What is captured, and how long it is kept, are two entries.
    expect(await controls('changing')).toEqual(['open', 'policy', 'policy', 'policy'])
    // As it was: nothing to seal.
    await api.put('/v1/tenants/changing', { policy })
    expect(await controls('changing')).toHaveLength(4)
    const sealed = (await api.get('/v1/events?tenant=changing&control=true&limit=1')).body.data[0]
    expect(sealed.details.policy).toMatchObject({ personal: ['/metadata/phone'], retentionDays: 90 })
    const sent = { ...event, tenant: 'changing', metadata: { phone: '1' }, changes: [{ path: '/x', after: 1 }] }
    const { facts } = (await api.get(`/v1/events/${(await api.post('/v1/events', sent)).body.id}?tenant=changing`)).body
    expect(JSON.parse(facts)).toMatchObject({
      metadata: { phone: { $personal: expect.any(Number) } },
      changes: { $confidential: true },
    })
  })

  test('promises to keep payloads for good with its first event: from then on one key alone cannot shorten that', async () => {
    await api.put('/v1/tenants/promised')
    // Neither the tenant's keys nor a change of other rules promise anything.
    await newKey({ tenant: 'promised', scopes: ['events:write'] })
    expect((await api.put('/v1/tenants/promised', { policy: { personal: ['/reason'] } })).status).toBe(200)
    await api.post('/v1/events', { ...event, tenant: 'promised' })
    expect(await api.put('/v1/tenants/promised', { policy: { retention_days: 30_000 } })).toMatchObject({
      status: 409,
      body: { code: 'needs_approval', pointer: '/policy/retention_days' },
    })
    expect((await api.get('/v1/tenants/promised')).body.policy.retention_days).toBe(null)
    await api.put('/v1/tenants/unused')
    await newKey({ tenant: 'unused', scopes: ['events:write'] })
    expect((await api.put('/v1/tenants/unused', { policy: { retention_days: 30 } })).status).toBe(200)
    // A longer one, and for good, break no promise; what was promised once is not taken back by way of it.
    expect((await api.put('/v1/tenants/unused', { policy: {} })).status).toBe(200)
    expect((await api.put('/v1/tenants/unused', { policy: { retention_days: 30 } })).status).toBe(409)
  })

  test('is renamed without touching its policy', async () => {
    await api.put('/v1/tenants/renamed', { name: 'Old', policy: { personal: ['/reason'] } })
    const { body } = await api.put('/v1/tenants/renamed', { name: 'New' })
    expect(body).toMatchObject({ name: 'New', policy: { personal: ['/reason'] } })
    expect(await controls('renamed')).toEqual(['open', 'policy'])
    expect(await recorded('_operator')).toContainEqual(['tenant.updated', 'Operator', 'Old'])
  })

  test('is changed only by a key that may', async () => {
    const { key } = await newKey({ scopes: ['tenants:create'] })
    expect((await api.with(key).put('/v1/tenants/made-by-maker')).status).toBe(201)
    expect((await api.with(key).put('/v1/tenants/made-by-maker')).status).toBe(200)
    expect((await api.with(key).put('/v1/tenants/made-by-maker', { name: 'X' })).body.code).toBe('missing_scope')
  })

  test.each([
    [
      'a policy for what must stay in the clear',
      { policy: { personal: ['/action'] } },
      'invalid_value',
      '/policy/personal/0',
    ],
    ['a policy that is no pointer', { policy: { confidential: ['x'] } }, 'invalid_value', '/policy/confidential/0'],
    [
      'a policy against itself',
      { policy: { personal: ['/metadata/a'], confidential: ['/metadata/a/b'] } },
      'conflict',
      '/policy/confidential',
    ],
    [
      'a policy against an action',
      { policy: { confidential: ['/metadata/invitee/name'] } },
      'conflict',
      '/policy/confidential',
    ],
    ['a retention of no days', { policy: { retention_days: 0 } }, 'invalid_value', '/policy/retention_days'],
    ['an unknown part', { policy: { secret: [] } }, 'unknown_field', '/policy/secret'],
    ['a name with a line feed', { name: 'a\nb' }, 'invalid_value', '/name'],
    ['an unknown member', { id: 'x' }, 'unknown_field', '/id'],
    ['no object', '"x"', 'wrong_type', ''],
  ])('is not made with %s', async (_name, body, code, pointer) => {
    const answer = await api.put('/v1/tenants/unmade', body)
    expect(answer.body).toMatchObject({ code, pointer })
    expect((await api.get('/v1/tenants/unmade')).status).toBe(404)
  })

  test.each(['_operator', 'a%20b', 'x'.repeat(65), '%00', 'ä'])('cannot be called %s', async (id) => {
    expect((await api.put(`/v1/tenants/${id}`)).body.code).toBe('invalid_parameter')
  })

  test('lists page through all, bound keys see their own', async () => {
    for (const id of ['list-a', 'list-b', 'list-c']) await api.put(`/v1/tenants/${id}`)
    const ids: string[] = []
    for (let after = ''; ; ) {
      const { body } = await api.get(`/v1/tenants?limit=2${after}`)
      ids.push(...body.data.map(({ id }: { id: string }) => id))
      if (body.next === null) break
      after = `&after=${body.next}`
    }
    expect(ids).toEqual([...new Set(ids)])
    expect(ids).toEqual(expect.arrayContaining(['_operator', 'list-a', 'list-b', 'list-c']))
    const { key } = await newKey({ tenant: 'list-b', scopes: ['tenants:read'] })
    expect((await api.with(key).get('/v1/tenants')).body).toMatchObject({ data: [{ id: 'list-b' }], next: null })
    for (const query of ['limit=0', 'limit=1001', 'limit=1.5', 'after=a%2Fb', 'x=1'])
      expect((await api.get(`/v1/tenants?${query}`)).body.code).toBe('invalid_parameter')
  })
})

// At the end, so that nothing waits for it.
test('a key that was revoked elsewhere is refused within 10 seconds', async () => {
  for (;;) {
    const asked = Date.now() // an answer may take its time; what counts is when the question came
    if ((await api.with(revoked.key).get('/v1/events?limit=1')).status !== 200) break
    expect(asked - revoked.at).toBeLessThan(10_500)
    await rest(200)
  }
})
