// Clocks that jump, stall or run backwards. The database's clock is set as far as the server can see it: a function
// clock_timestamp of our own stands before PostgreSQL's.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Ingest } from '../src/ingest/accept.ts'
import type { Accepted } from '../src/ingest/answer.ts'
import { openKeys } from '../src/keys/open-keys.ts'
import { DatabaseClock } from '../src/seal/clock.ts'
import type { Sealer } from '../src/seal/sealer.ts'
import { type Database, openDatabase } from '../src/store/database.ts'
import { silent } from '../src/store/log.ts'
import { freshDatabase, type TestDatabase } from './database.ts'
import { pipeline } from './faults-pipeline.ts'

let database: TestDatabase
let folder: string
let store: Database
let sealer: Sealer
let ingest: Ingest

beforeEach(async () => {
  database = await freshDatabase()
  await database.store.pool('retention').query('select affidavit.create_partitions(current_date, 2)')
  await database.superuser.query(`
    create schema fake;
    grant usage on schema fake to public;
    create table fake.clock (jump interval);
    insert into fake.clock values ('0');
    create function fake.clock_timestamp() returns timestamptz language sql security definer
      as 'select pg_catalog.clock_timestamp() + jump from fake.clock';
    alter database ${database.login.database} set search_path = fake, pg_catalog, public;
    alter function affidavit.advance set search_path = fake, pg_catalog, affidavit, pg_temp;
    alter function affidavit.seal set search_path = fake, pg_catalog, affidavit, pg_temp;`)
  folder = await mkdtemp(`${tmpdir()}/affidavit-clock-`)
  const keys = await openKeys({ keeper: database.store.pool('keeper'), folder })
  store = openDatabase({ login: database.login, log: silent })
  ;[sealer, ingest] = await pipeline(database, keys, store)
})

afterEach(async () => {
  await sealer.drain()
  await store.end()
  await database.drop()
  await rm(folder, { recursive: true, force: true })
})

const jump = (by: string) => database.superuser.query('update fake.clock set jump = jump + $1::interval', [by])

async function send(): Promise<Accepted> {
  const producer = { key: { id: 'k', name: 'K' }, tenant: 'clocks', mayCreateTenants: true, personal: [] }
  const value = { action: 'user.login', actor: { type: 'user', id: 'u1' } }
  const [result] = await ingest.accept([{ ok: true as const, value }], producer, Date.now())
  return result!
}

const sealedAt = (result: Accepted) => (result.ok ? Date.parse(result.sealedAt) : Number.NaN)

test('the database clock goes back by less than 5 seconds: sealing waits for it, times never run backwards', async () => {
  const first = await send()
  await jump('-2 seconds')
  const started = Date.now()
  const second = await send()
  const third = await send()
  expect(sealer.stopped).toEqual([])
  expect(sealedAt(second)).toBeGreaterThanOrEqual(sealedAt(first))
  expect(sealedAt(third)).toBeGreaterThanOrEqual(sealedAt(second))
  expect(Date.now() - started).toBeLessThan(15_000)
})

test('the database clock goes back by an hour: the lane stops loudly and seals nothing', async () => {
  expect((await send()).ok).toBe(true)
  await jump('-1 hour')
  expect(await send()).toMatchObject({ ok: false, problem: { code: 'unavailable' } })
  expect(sealer.stopped).toHaveLength(1)
  expect(sealer.stopped[0]!.reason.message).toMatch(/clock/)
  expect(await send()).toMatchObject({ ok: false, problem: { code: 'unavailable' } })
  const { rows } = await database.superuser.query('select count(*) as n from affidavit.events where control is null')
  expect(rows[0].n).toBe(1)
})

test('the database clock goes forward by an hour: what was sealed is acknowledged, then the lane stops', async () => {
  expect((await send()).ok).toBe(true)
  await jump('4 minutes')
  const last = await send()
  expect(last.ok).toBe(true)
  expect(sealer.stopped).toHaveLength(1)
  expect(await send()).toMatchObject({ ok: false, problem: { code: 'unavailable' } })
})

test('a batch that was chained long ago is chained anew, not stored under an old time', async () => {
  await send()
  await jump('3 seconds')
  const result = await send()
  expect(result.ok).toBe(true)
  expect(sealer.stopped).toEqual([])
  const before = Date.now()
  expect(sealedAt(await send())).toBeGreaterThan(before + 2_000)
})

test('a slow answer is not a jump, however slow; a jump is one, however slow the answer', () => {
  const clock = new DatabaseClock()
  expect(clock.observe(0, 1_000_000, 5)).toBe(true)
  // The answer took 20 s, most of it after the clock was read: a stalled disk, or a process that was paused.
  expect(clock.observe(10_000, 1_010_001, 30_000)).toBe(true)
  expect(clock.observe(30_000, 1_030_001, 30_002)).toBe(true)
  // The answer took 20 s, most of it before the clock was read: a lock that was waited for.
  expect(clock.observe(40_000, 1_059_999, 60_000)).toBe(true)
  expect(clock.observe(60_000, 1_060_001, 60_002)).toBe(true)
  expect(clock.observe(70_000, 1_080_000, 70_002)).toBe(false)
  expect(clock.observe(71_000, 1_081_000, 71_002)).toBe(true)
  expect(clock.observe(80_000, 1_050_000, 90_000)).toBe(false)
})
