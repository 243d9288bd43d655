// Whatever the number of trails that nothing happens to, sealing and notarizing the others reads as many rows.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Keys, openKeys } from '../src/keys/open-keys.ts'
import { makeTrails } from '../src/notarize/fixture.ts'
import { Notary } from '../src/notarize/notary.ts'
import { silent } from '../src/store/log.ts'
import { freshDatabase, type TestDatabase } from './database.ts'
import { pipeline } from './faults-pipeline.ts'
import { countingRows } from './rows-read.ts'

const idle = 4_000
const busy = 10
let database: TestDatabase
let keys: Keys
let folder: string

beforeAll(async () => {
  database = await freshDatabase()
  folder = await mkdtemp(join(tmpdir(), 'affidavit-keys-'))
  keys = await openKeys({ keeper: database.store.pool('keeper'), folder })
  await makeTrails(database.superuser, idle, 16)
  await database.superuser.query(
    `insert into affidavit.notarized (trail, size, root, range, note, signed_at)
       select trail, 1, sha256(''), '', repeat('n', 300), now() from affidavit.heads;
     insert into affidavit.slots (slot, tenant, trail) select number, tenant, number from affidavit.trails;
     update affidavit.slot_space set used = ${idle}, depth = affidavit.slot_depth(${idle});
     analyze`,
  )
})
afterAll(async () => {
  await database.drop()
  await rm(folder, { recursive: true })
})

const event = (n: number, request: number) => ({
  tenant: `busy_${n}`,
  action: 'document.viewed',
  actor: { type: 'user', id: 'user_1', name: 'Sarah Johnson' },
  context: { request_id: `req_${request}` },
})

test('a round of events and checkpoints reads some rows for each trail that changed, and none for the others', async () => {
  const counted = countingRows(database.store)
  const [sealer, ingest] = await pipeline({ ...database, store: counted.store }, keys, counted.store)
  const notary = new Notary({ store: counted.store, log: silent, logKey: keys.logKey, logName: keys.logName })
  const producer = { key: { id: 'k', name: 'Test' }, tenant: undefined, mayCreateTenants: true, personal: [] }
  const taken: { sealing: number; notarizing: number }[] = []
  for (let round = 0; round < 4; round++) {
    const events = Array.from({ length: busy }, (_, n) => ({ ok: true as const, value: event(n, round) }))
    const results = await ingest.accept(events, producer, Date.now())
    expect(results.map(({ ok }) => ok)).toEqual(events.map(() => true))
    const sealing = counted.taken()
    expect((await notary.round()).checkpoints).toBe(busy)
    taken.push({ sealing, notarizing: counted.taken() })
  }
  await sealer.drain()
  await notary.stop()
  // One look at all of the idle ones would be several times as much. The later rounds run the plans that PostgreSQL keeps.
  for (const { sealing, notarizing } of taken) {
    for (const rows of [sealing, notarizing]) {
      expect(rows).toBeGreaterThanOrEqual(busy)
      expect(rows).toBeLessThan(idle / 4)
    }
  }
})

test('what is new to many single events is asked for in a few statements', async () => {
  const statements: string[] = []
  const store = {
    ...database.store,
    pool: (role: Parameters<typeof database.store.pool>[0]) => {
      const pool = database.store.pool(role)
      const query: typeof pool.query = (text, values) => {
        statements.push(typeof text === 'string' ? text : text.text)
        return pool.query(text, values)
      }
      return { ...pool, role, query, value: pool.value.bind(pool), transaction: pool.transaction.bind(pool) }
    },
  }
  const [sealer, ingest] = await pipeline({ ...database, store }, keys, store)
  const producer = { key: { id: 'k', name: 'Test' }, tenant: undefined, mayCreateTenants: true, personal: [] }
  const results = await Promise.all(
    Array.from({ length: 100 }, (_, n) => {
      const value = { ...event(n % busy, 100 + n), action: `thing.done_${n}` }
      return ingest.accept([{ ok: true as const, value }], producer, Date.now())
    }),
  )
  expect(results.flat().every(({ ok }) => ok)).toBe(true)
  expect(statements.filter((text) => text.includes('insert into affidavit.actions')).length).toBeLessThan(10)
  expect(statements.filter((text) => text.includes('from affidavit.tenants t')).length).toBeLessThan(10)
  await sealer.drain()
})
