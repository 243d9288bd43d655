// Lanes that share commits: what waits in many shards is stored by few transactions, and what is wrong with one lane's
// batch is nobody else's trouble.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Ingest } from '../src/ingest/accept.ts'
import type { Accepted } from '../src/ingest/answer.ts'
import { type Keys, openKeys } from '../src/keys/open-keys.ts'
import type { Sealer } from '../src/seal/sealer.ts'
import { freshDatabase, type TestDatabase } from './database.ts'
import { pipeline } from './faults-pipeline.ts'

const tenants = Array.from({ length: 64 }, (_, n) => `joint-${n}`)
let database: TestDatabase
let folder: string
let keys: Keys
let sealer: Sealer
let ingest: Ingest

beforeAll(async () => {
  database = await freshDatabase()
  folder = await mkdtemp(`${tmpdir()}/affidavit-joint-`)
  keys = await openKeys({ keeper: database.store.pool('keeper'), folder })
  await database.store.pool('retention').query('select affidavit.create_partitions(current_date, 2)')
  ;[sealer, ingest] = await pipeline(database, keys, database.store)
  await send(tenants.map((tenant) => event(tenant, `first-${tenant}`)))
})

afterAll(async () => {
  await sealer.drain()
  await database.drop()
  await rm(folder, { recursive: true, force: true })
})

const event = (tenant: string, id: string, marker = id) => ({
  tenant,
  id,
  action: 'user.login',
  actor: { type: 'user', id: 'u1' },
  metadata: { marker },
})

function send(events: readonly ReturnType<typeof event>[]): Promise<Accepted[]> {
  const producer = { key: { id: 'k', name: 'K' }, tenant: undefined, mayCreateTenants: true, personal: [] }
  return ingest.accept(
    events.map((value) => ({ ok: true as const, value })),
    producer,
    Date.now(),
  )
}

const kinds = (results: readonly Accepted[]) => results.map((result) => (result.ok ? result.kind : result.problem.code))

interface Stored {
  readonly marker: string
  readonly transaction: string
  readonly shard: number
  readonly position: number
  readonly sealed_at: number
}

async function stored(like: string): Promise<Stored[]> {
  const { rows } = await database.superuser.query<Stored>(
    `select facts::jsonb -> 'metadata' ->> 'marker' as marker, xmin::text as transaction, shard, position, sealed_at
     from affidavit.events where facts::jsonb -> 'metadata' ->> 'marker' like $1 order by shard, position`,
    [like],
  )
  return rows
}

/** Positions of each shard have no gap, and its row stands behind the last of them. */
async function expectShardsWhole(): Promise<void> {
  const { rows } = await database.superuser.query(
    `select s.shard, s.position, count(e.*)::int as events, max(e.position) as last
     from affidavit.shards s join affidavit.events e using (shard) group by s.shard, s.position`,
  )
  expect(rows.length).toBeGreaterThan(4)
  for (const { position, events, last } of rows) expect([events, last]).toEqual([position, position - 1])
}

test('one event of each of many tenants: one commit over many shards', async () => {
  expect(kinds(await send(tenants.map((tenant) => event(tenant, `joint-of-${tenant}`))))).toEqual(
    tenants.map(() => 'sealed'),
  )
  const rows = await stored('joint-of-%')
  expect(rows.length).toBe(tenants.length)
  expect(new Set(rows.map(({ shard }) => shard)).size).toBeGreaterThan(4)
  expect(new Set(rows.map(({ transaction }) => transaction)).size).toBe(1)
  expect(new Set(rows.map(({ sealed_at }) => sealed_at)).size).toBe(1)
  await expectShardsWhole()
})

test('an id that was used before, a row that cannot be stored: the others are sealed all the same', async () => {
  const ids = (marker: string) =>
    tenants.map((tenant, n) => event(tenant, n === 7 ? `first-${tenant}` : `${marker}-${n}`))
  const results = kinds(await send(ids('used')))
  expect(results).toEqual(tenants.map((_, n) => (n === 7 ? 'duplicate' : 'sealed')))
  expect((await stored('used-%')).length).toBe(tenants.length - 1)

  const other = tenants.map((tenant, n) => event(tenant, n === 9 ? `first-${tenant}` : `other-${n}`, `other-${n}`))
  expect(kinds(await send(other))).toEqual(tenants.map((_, n) => (n === 9 ? 'id_reused' : 'sealed')))
  await expectShardsWhole()
})

test('an id of last week is refused as well, and the others are sealed', async () => {
  const [old, week] = [tenants[5]!, `date_trunc('week', now() at time zone 'UTC')::date - 7`]
  await database.superuser.query(`select affidavit.create_week(${week})`)
  const { rowCount } = await database.superuser.query(
    `with gone as (
       delete from affidavit.event_ids i using affidavit.trails r join affidavit.tenants t on t.number = r.tenant
         where i.trail = r.number and i.seq = 1 and t.id = $1 returning i.*)
     insert into affidavit.event_ids select id, body, seq, trail, ${week} from gone`,
    [old],
  )
  expect(rowCount).toBe(1)
  const results = kinds(await send(tenants.map((tenant, n) => event(tenant, n === 5 ? `first-${old}` : `week-${n}`))))
  // Its event does not lie in that week, so there is nothing to answer with.
  expect(results).toEqual(tenants.map((_, n) => (n === 5 ? 'id_reused' : 'sealed')))
  await expectShardsWhole()
})

test('another node moved one of the shards: that lane reads it anew, the others go on', async () => {
  const [elsewhere, there] = await pipeline(database, keys, database.store)
  const producer = { key: { id: 'k', name: 'K' }, tenant: undefined, mayCreateTenants: true, personal: [] }
  const moved = await there.accept(
    [{ ok: true as const, value: event(tenants[3]!, 'elsewhere') }],
    producer,
    Date.now(),
  )
  expect(kinds(moved)).toEqual(['sealed'])
  await elsewhere.drain()
  const results = await send(tenants.map((tenant) => event(tenant, `after-${tenant}`)))
  expect(kinds(results)).toEqual(tenants.map(() => 'sealed'))
  expect((await stored('after-%')).length).toBe(tenants.length)
  await expectShardsWhole()
})
