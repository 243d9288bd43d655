import { Compile } from 'typebox/compile'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { freshDatabase, type TestDatabase } from '../../test/database.ts'
import type { Queryable } from '../store/database.ts'
import { PolicySchema } from './policy-schema.ts'
import { type Chest, most_stale_ms, OPERATOR_TENANT, Tenants } from './tenants.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await freshDatabase()
})
afterAll(() => database.drop())

/** What keys are is not this folder's business; these remember what they were opened from. */
interface Opened {
  keyring: string
  rows: string[]
}
const chest: Chest<Opened> = {
  make: async (keyring) => ({ data: Buffer.from(`d${keyring}`), index: Buffer.from(`i${keyring}`) }),
  open: async (keyring, rows) => ({
    keyring,
    rows: rows.map(({ kind, generation, wrapped }) => `${kind} ${generation} ${wrapped}`),
  }),
  gone: () => ({ keyring: '', rows: [] }),
}
const newTenants = (options: { now?: () => number; keeper?: Queryable; capacity?: number } = {}) =>
  new Tenants({ keeper: database.store.pool('keeper'), chest, ...options })

describe('creating', () => {
  test('makes a tenant whole: trail, shard, keys; the second time it is found', async () => {
    const tenants = newTenants()
    const { tenant, created } = await tenants.create('org_1', { name: 'Example Ltd' })
    expect(created).toBe(true)
    expect(tenant).toMatchObject({ id: 'org_1', name: 'Example Ltd', operator: false, state: 'open' })
    expect(tenant.trail).toMatchObject({ tenant: tenant.number, ordinal: 0, id: tenant.keyring })
    expect(tenant.keyring).toMatch(/^[0-9a-f]{32}$/)
    expect(tenant.trail.shard).toBe(Number.parseInt(tenant.keyring.slice(-1), 16))
    expect(tenant.keys).toEqual({
      keyring: tenant.keyring,
      rows: [`data 0 d${tenant.keyring}`, `index 0 i${tenant.keyring}`],
    })
    expect(await newTenants().create('org_1', { name: 'Other' })).toEqual({ tenant, created: false })
  })

  test('by four servers at once has one winner', async () => {
    const results = await Promise.all(Array.from({ length: 4 }, () => newTenants().create('org_race')))
    expect(results.filter(({ created }) => created)).toHaveLength(1)
    expect(new Set(results.map(({ tenant }) => tenant.keyring)).size).toBe(1)
  })

  test('refuses ids and names that are none', async () => {
    const tenants = newTenants()
    for (const id of ['', 'a b', 'ä', 'x'.repeat(65), "a'; drop table", 'a\n'])
      await expect(tenants.create(id)).rejects.toMatchObject({ code: 'tenant_id_invalid' })
    await expect(tenants.create(OPERATOR_TENANT)).rejects.toMatchObject({ code: 'tenant_id_reserved' })
    for (const name of ['', 'x'.repeat(129), 'a\0', '\ud800'])
      await expect(tenants.create('org_n', { name })).rejects.toMatchObject({ code: 'tenant_name_invalid' })
  })

  test('the operator’s own tenant is made once', async () => {
    const first = await newTenants().operator()
    expect(first).toMatchObject({ created: true, tenant: { id: OPERATOR_TENANT, operator: true } })
    expect(await newTenants().operator()).toEqual({ tenant: first.tenant, created: false })
  })
})

describe('reading', () => {
  test('loads what is unknown in one query, and leaves out what does not exist', async () => {
    let queries = 0
    const pool = database.store.pool('keeper')
    const keeper: Queryable = {
      query: async (text, values) => {
        queries++
        return pool.query(text, values)
      },
    }
    for (const id of ['m1', 'm2', 'm3']) await newTenants().create(id)
    const tenants = newTenants({ keeper })
    expect([...(await tenants.load(['m1', 'm2', 'm2', 'nobody', 'not an id', 'm3'])).keys()].sort()).toEqual([
      'm1',
      'm2',
      'm3',
    ])
    await tenants.load(['m1', 'm2', 'm3'])
    expect(queries).toBe(1)
    expect(await tenants.get('nobody')).toBeUndefined()
    const m1 = tenants.peek('m1')!
    expect((await tenants.byNumber([m1.number])).get(m1.number)).toEqual(m1)
    expect((await tenants.list({ after: 'm1', limit: 1 })).map(({ id }) => id)).toEqual(['m2'])
  })

  test('a change elsewhere is seen in the background after 5 s, and nothing older than 10 s is used', async () => {
    let now_ms = 1_000_000
    const tenants = newTenants({ now: () => now_ms })
    await tenants.create('fresh')
    await newTenants().update('fresh', { policy: { personal: ['/metadata/phone'] } })
    now_ms += 4_999
    expect(tenants.peek('fresh')!.policy.personal).toEqual([])
    now_ms += 1
    const before = tenants.peek('fresh')!
    await expect.poll(() => tenants.peek('fresh')!.policy.personal).toEqual(['/metadata/phone'])
    expect(tenants.peek('fresh')!.keys).toBe(before.keys) // keys that did not change are not opened again
    now_ms += most_stale_ms
    expect(tenants.peek('fresh')).toBeUndefined()
    expect((await tenants.get('fresh'))!.id).toBe('fresh')
  })

  test('a database that does not answer leaves no tenant usable for longer than 10 s', async () => {
    let now_ms = 0
    let down = false
    const pool = database.store.pool('keeper')
    const keeper: Queryable = {
      query: (text, values) => (down ? Promise.reject(new Error('down')) : pool.query(text, values)),
    }
    const tenants = newTenants({ now: () => now_ms, keeper })
    await tenants.create('down')
    down = true
    now_ms = 6_000
    expect(tenants.peek('down')).toBeDefined()
    now_ms = most_stale_ms
    await expect(tenants.get('down')).rejects.toThrow('down')
    down = false
    expect(await tenants.get('down')).toBeDefined()
  })

  test('holds no more tenants than its capacity', async () => {
    const tenants = newTenants({ capacity: 2 })
    for (const id of ['c1', 'c2', 'c3']) await tenants.create(id)
    expect(['c1', 'c2', 'c3'].map((id) => tenants.peek(id)?.id)).toEqual([undefined, 'c2', 'c3'])
  })
})

test('update changes what is given, and says when there is nobody', async () => {
  const tenants = newTenants()
  await tenants.create('up', { name: 'Before' })
  expect(await tenants.update('up', { name: 'After' })).toMatchObject({
    name: 'After',
    policy: { retentionDays: null },
  })
  expect(await tenants.update('up', { policy: { retention_days: 30 } })).toMatchObject({
    name: 'After',
    policy: { retentionDays: 30 },
  })
  expect(await tenants.update('nobody', { name: 'x' })).toBeUndefined()
})

test('policies: unknown fields, bad pointers and impossible days are refused with their pointer', () => {
  const schema = Compile(PolicySchema)
  expect(schema.Check({ personal: ['/a~1b/c'], confidential: ['/changes'], retention_days: null })).toBe(true)
  for (const [policy, pointer] of [
    [{ personal: ['a'] }, '/personal/0'],
    [{ personal: ['/a~2'] }, '/personal/0'],
    [{ confidential: '/changes' }, '/confidential'],
    [{ retention_days: 0 }, '/retention_days'],
    [{ retention: 1 }, ''],
  ] as const) {
    expect(schema.Errors(policy).map(({ instancePath }) => instancePath)).toContain(pointer)
  }
})
