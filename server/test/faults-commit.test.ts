// The sealer's crash points one by one. Only the sealer's connections fail here; afterwards a real
// server is started on the same database, and the oracle looks at what its clients would have been told.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, beforeEach, expect, onTestFinished, test } from 'vitest'
import type { Ingest } from '../src/ingest/accept.ts'
import type { Accepted } from '../src/ingest/answer.ts'
import { type Keys, openKeys } from '../src/keys/open-keys.ts'
import type { Sealer } from '../src/seal/sealer.ts'
import { type Database, openDatabase } from '../src/store/database.ts'
import { silent } from '../src/store/log.ts'
import { SealUnavailable } from '../src/store/sealable.ts'
import { type Acknowledged, checkTrails } from './check-trail.ts'
import { freshDatabase, type TestDatabase } from './database.ts'
import { pipeline } from './faults-pipeline.ts'
import { type Cut, PostgresProxy } from './faults-proxy.ts'
import { startProcess } from './server-process.ts'

const clearUpMs = 1_500
let database: TestDatabase
let folder: string
let keys: Keys
let proxy: PostgresProxy
let store: Database
let sealer: Sealer
let ingest: Ingest
let count = 0
const acknowledged: Acknowledged[] = []

beforeAll(async () => {
  database = await freshDatabase()
  folder = await mkdtemp(`${tmpdir()}/affidavit-commit-`)
  keys = await openKeys({ keeper: database.store.pool('keeper'), folder })
  proxy = await PostgresProxy.open(database.login)
  await expectNoPartition()
  await database.store.pool('retention').query('select affidavit.create_partitions(current_date, 2)')
})

beforeEach(async () => {
  store = openDatabase({ login: proxy.login, log: silent })
  ;[sealer, ingest] = await pipeline(database, keys, store, { clearUpMs })
})

afterEach(async () => {
  proxy.up()
  await sealer.drain()
  await store.end()
})

afterAll(async () => {
  await proxy.close()
  await database.drop()
  await rm(folder, { recursive: true, force: true })
})

/** Without a partition for today nothing can be stored: that is nobody's event's fault. */
async function expectNoPartition(): Promise<void> {
  const [, ingest] = await pipeline(database, keys, database.store, { clearUpMs })
  const results = await send([makeEvent(), makeEvent()], ingest)
  expect(kinds(results)).toEqual(['unavailable', 'unavailable'])
}

const makeEvent = () => ({
  id: `crash-${count++}`,
  action: 'user.login',
  actor: { type: 'user', id: 'u1', name: 'Ada' },
  metadata: { marker: `m${count}` },
})

/** Sends events to one tenant, as one batch, and notes what was acknowledged. */
async function send(events: readonly ReturnType<typeof makeEvent>[], through = ingest): Promise<Accepted[]> {
  const producer = { key: { id: 'k', name: 'K' }, tenant: 'crash', mayCreateTenants: true, personal: [] }
  const items = events.map((value) => ({ ok: true as const, value }))
  const results = await through.accept(items, producer, Date.now())
  for (const [i, result] of results.entries())
    if (result.ok)
      acknowledged.push({
        id: result.id,
        tenant: 'crash',
        seq: result.seq,
        hash: Buffer.from(result.hash, 'base64').toString('hex'),
        previous: Buffer.from(result.previous, 'base64').toString('hex'),
        marker: events[i]!.metadata.marker,
      })
  return results
}

const kinds = (results: readonly Accepted[]) => results.map((result) => (result.ok ? result.kind : result.problem.code))
const details = (results: readonly Accepted[]) => results.map((result) => (result.ok ? '' : result.problem.detail))

async function stored(events: readonly { id: string }[]): Promise<number> {
  const { rows } = await database.superuser.query<{ n: number }>(
    `select count(*) as n from affidavit.events where facts::jsonb ->> 'id' = any($1)`,
    [events.map(({ id }) => id)],
  )
  return rows[0]!.n
}

/** The id is what settles any doubt: repeating it yields the one event, however it came to be. */
async function expectRepeatable(events: ReturnType<typeof makeEvent>[], already: boolean): Promise<void> {
  expect(kinds(await send(events))).toEqual(events.map(() => (already ? 'duplicate' : 'sealed')))
  expect(kinds(await send(events))).toEqual(events.map(() => 'duplicate'))
  expect(await stored(events)).toBe(events.length)
}

test('cut before the statement is sent: not stored, and said so', async () => {
  await send([makeEvent()])
  const events = [makeEvent(), makeEvent()]
  const cut = proxy.cut('before it is sent')
  const results = await send(events)
  await cut
  expect(kinds(results)).toEqual(['unavailable', 'unavailable'])
  expect(details(results)[0]).toMatch(/was not stored/)
  expect(await stored(events)).toBe(0)
  await expectRepeatable(events, false)
})

test('cut after commit, before the answer is read: acknowledged as stored, once', async () => {
  await send([makeEvent()])
  const events = [makeEvent(), makeEvent(), makeEvent()]
  const cut = proxy.cut('before its answer is read')
  expect(kinds(await send(events))).toEqual(['sealed', 'sealed', 'sealed'])
  await cut
  await expectRepeatable(events, true)
})

test('cut while it runs: the answer is true, whichever way it went', async () => {
  for (let round = 0; round < 10; round++) {
    const events = [makeEvent(), makeEvent()]
    const cut = proxy.cut('while it runs')
    const results = await send(events)
    await cut
    const isStored = (await stored(events)) === 2
    expect(kinds(results)).toEqual(events.map(() => (isStored ? 'sealed' : 'unavailable')))
    if (!isStored) expect(details(results)[0]).toMatch(/was not stored/)
    await expectRepeatable(events, isStored)
  }
})

test('cut while it waits for a lock: whoever clears up waits for it, and finds it stored', async () => {
  await send([makeEvent()])
  const { rows } = await database.superuser.query<{ shard: number }>('select shard from affidavit.trails')
  const holder = await database.connect()
  await holder.query('begin')
  await holder.query('select from affidavit.shards where shard = $1 for update', [rows[0]!.shard])
  const events = [makeEvent()]
  const cut = proxy.cut('while it runs')
  const sending = send(events)
  await cut
  await sleep(300)
  expect(await stored(events)).toBe(0)
  await holder.query('commit')
  const results = await sending
  const isStored = (await stored(events)) === 1
  expect(kinds(results)).toEqual([isStored ? 'sealed' : 'unavailable'])
  await expectRepeatable(events, isStored)
})

test('a statement that arrives after its sender gave it up is refused by the fence', async () => {
  await send([makeEvent()])
  const events = [makeEvent()]
  const cut = proxy.cut('and it arrives late')
  const results = await send(events)
  await cut
  expect(kinds(results)).toEqual(['unavailable'])
  expect(details(results)[0]).toMatch(/was not stored/)
  await proxy.deliver()
  expect(await stored(events)).toBe(0)
  await expectRepeatable(events, false)
})

test.each<Cut>(['before its answer is read', 'while it runs', 'and it arrives late'])(
  'cut %s, and nobody to ask for long: the outcome is called unknown, soon, and a repeat tells',
  async (where) => {
    await send([makeEvent()])
    const events = [makeEvent()]
    const cut = proxy.cut(where).then(() => proxy.down())
    const started = Date.now()
    const results = await send(events)
    await cut
    expect(Date.now() - started).toBeLessThan(clearUpMs + 8_000)
    expect(kinds(results)).toEqual(['unavailable'])
    expect(details(results)[0]).toMatch(/Repeat it with the same id to learn whether it was/)
    // As long as the database is away, others are told so at once.
    const waits: number[] = []
    for (let other = 0; other < 3; other++) {
      const asked = Date.now()
      expect(kinds(await send([makeEvent()]))).toEqual(['unavailable'])
      waits.push(Date.now() - asked)
    }
    expect(Math.min(...waits)).toBeLessThan(1_000) // a busy machine may stall one of them
    proxy.up()
    const first = kinds(await send(events))
    expect(['sealed', 'duplicate']).toContain(first[0])
    await proxy.deliver()
    await expectRepeatable(events, true)
  },
)

test.each([
  ['one tenant', { eventsPerTenant: 2 }, ['rate_limited', 'rate_limited', 'sealed', 'sealed', 'sealed']],
  ['all tenants together', { waitingBytes: 1 }, ['overloaded', 'overloaded', 'overloaded', 'sealed', 'sealed']],
])(
  'more waits of %s than may: refused at once, the others are sealed, a repeat goes in',
  async (_name, bounds, told) => {
    await send([makeEvent()])
    const [, through] = await pipeline(database, keys, store, { clearUpMs, batchEvents: 1, ...bounds })
    const { rows } = await database.superuser.query<{ shard: number }>('select shard from affidavit.trails')
    const holder = await database.connect()
    await holder.query('begin')
    await holder.query('select from affidavit.shards where shard = $1 for update', [rows[0]!.shard])
    const blocked = () =>
      database.superuser.query(
        `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
      )
    const events = told.map(makeEvent)
    const answers: string[] = []
    // What finds no room in the process as a whole is refused with its request, which the door answers with 503.
    const sendOne = async (event: ReturnType<typeof makeEvent>) =>
      void answers.push(...(await send([event], through).then(kinds, (error: { code: string }) => [error.code])))
    const sending = [sendOne(events[0]!)]
    await expect.poll(async () => (await blocked()).rowCount).toBe(1)
    sending.push(...events.slice(1).map(sendOne))
    await expect.poll(() => answers).toEqual(told.filter((kind) => kind !== 'sealed'))
    await holder.query('commit')
    await Promise.all(sending)
    expect(answers.toSorted()).toEqual(told)
    expect(await stored(events)).toBe(told.filter((kind) => kind === 'sealed').length)
    const again = kinds(await send(events))
    expect(again.toSorted()).toEqual(told.map((kind) => (kind === 'sealed' ? 'duplicate' : 'sealed')).toSorted())
  },
)

test('a batch of which some are sealed when the rest cannot be any more says so of each', async () => {
  // Two tenants in two shards; of one, keys are destroyed meanwhile, so that its event has to be made anew.
  await send([makeEvent()])
  const shardOf = async (tenant: string) => {
    const { rows } = await database.superuser.query<{ shard: number }>(
      'select t.shard from affidavit.trails t join affidavit.tenants o on o.number = t.tenant where o.id = $1',
      [tenant],
    )
    return rows[0]!.shard
  }
  const producer = { key: { id: 'k', name: 'K' }, tenant: undefined, mayCreateTenants: true, personal: [] }
  const accept = (...tenants: string[]) => {
    const events = tenants.map((tenant) => ({ tenant, action: 'user.login', actor: { type: 'user', id: 'u1' } }))
    return ingest.accept(
      events.map((value) => ({ ok: true as const, value })),
      producer,
      Date.now(),
    )
  }
  const own = await shardOf('crash')
  let other = 'other-0'
  for (let n = 0; n === 0 || (await shardOf(other)) === own; n++) {
    other = `other-${n}`
    await accept(other)
  }
  await database.superuser.query('update affidavit.shards set key_epoch = key_epoch + 1 where shard = $1', [own])
  const submit = sealer.submit.bind(sealer)
  let submissions = 0
  sealer.submit = async (sealables) => {
    submissions += 1
    if (submissions === 2) throw new SealUnavailable('overloaded', 'too much waits to be sealed')
    return submit(sealables)
  }
  expect(kinds(await accept('crash', other))).toEqual(['unavailable', 'sealed'])
  expect(submissions).toBe(2)
  expect(kinds(await accept('crash'))).toEqual(['sealed'])
})

test('many copies of one id in one batch: one is sealed, all the others are its repeats', async () => {
  const one = makeEvent()
  const copies = Array.from({ length: 200 }, () => one)
  const other = { ...one, metadata: { marker: 'other' } }
  const results = await send([...copies, other, makeEvent()])
  expect(kinds(results)).toEqual(['sealed', ...copies.slice(1).map(() => 'duplicate'), 'id_reused', 'sealed'])
  expect(await stored([one])).toBe(1)
})

test('afterwards a real server finds every trail whole, and every acknowledgement kept', async () => {
  const server = await startProcess({ databaseUrl: database.url, settings: { AFFIDAVIT_KEYS_DIR: folder } })
  onTestFinished(() => server.remove())
  const service = { url: server.url, key: server.operatorKey }
  expect(acknowledged.length).toBeGreaterThan(60)
  expect(await checkTrails({ service, tenants: ['crash'], acknowledged, kept: new Map() })).toEqual([])
  expect(await server.stop()).toBe(0)
})
