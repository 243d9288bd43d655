import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, expect, onTestFinished, test } from 'vitest'
import { freshDatabase, type TestDatabase } from '../../test/database.ts'
import { openDatabase } from '../store/database.ts'
import { silent } from '../store/log.ts'
import { examine, makeTrails, seal, testLogKey, testLogName } from './fixture.ts'
import { ShardMemory } from './memory.ts'
import { Notary, type NotaryOptions } from './notary.ts'
import { visitShard } from './visit.ts'

let database: TestDatabase
const notaries: Notary[] = []

beforeEach(async () => {
  database = await freshDatabase()
})
afterEach(async () => {
  await Promise.all(notaries.splice(0).map((notary) => notary.stop()))
  await database.drop()
})

function makeNotary(options: Partial<NotaryOptions> = {}): Notary {
  const notary = new Notary({
    store: database.store,
    log: silent,
    logKey: testLogKey,
    logName: testLogName,
    ...options,
  })
  notaries.push(notary)
  return notary
}

async function catchUp(...all: Notary[]): Promise<void> {
  for (const deadline = Date.now() + 60_000; ; await sleep(10)) {
    const done = await Promise.all(all.map((notary) => notary.round()))
    const lag = await database.superuser.query(
      `select from affidavit.shards s join affidavit.cursors c using (shard) where c.name = 'notary' and c.position < s.position`,
    )
    if (lag.rows.length === 0) return
    if (Date.now() > deadline) throw new Error(`no progress: ${JSON.stringify(done)}`)
  }
}

const pick = (trails: readonly number[], count: number) =>
  Array.from({ length: count }, () => trails[Math.floor(Math.random() ** 3 * trails.length)]!)

const until = async (what: () => Promise<boolean> | boolean) => {
  const deadline = Date.now() + 60_000
  while (!(await what())) {
    if (Date.now() > deadline) throw new Error('it does not happen')
    await sleep(20)
  }
}

test('tiles, ranges, roots, checkpoints and days follow the sealed hashes, over days and batches', async () => {
  const trails = await makeTrails(database.superuser, 12, 3)
  const notary = makeNotary({ batch: 700 })
  for (const daysAgo of [3, 1, 1, 0, 0]) {
    await seal(database.superuser, pick(trails, 1_500), { daysAgo })
    await notary.round()
    await examine(database.superuser)
  }
  await catchUp(notary)
  const examined = await examine(database.superuser)
  expect(examined.reduce((sum, { size }) => sum + size, 0)).toBe(7_500)
  expect(examined.every(({ size, sealed }) => size === sealed)).toBe(true)
  expect(notary.status).toMatchObject({ events: 7_500, missing: 0, stopped: [], lastError: null })
})

test('an unchanged trail is not signed again, and an idle shard names today', async () => {
  const [trail, other] = await makeTrails(database.superuser, 2, 1)
  const notary = makeNotary()
  await seal(database.superuser, [trail!, other!], { daysAgo: 2 })
  await notary.round()
  const note = async () =>
    (await database.superuser.query('select note, signed_at from affidavit.notarized where trail = $1', [trail]))
      .rows[0]
  const before = await note()
  await seal(database.superuser, [other!])
  expect(await notary.round()).toMatchObject({ events: 1, checkpoints: 1, behind: false })
  expect(await note()).toEqual(before)
  expect(await notary.round()).toMatchObject({ events: 0, checkpoints: 0 })
  const { rows } = await database.superuser.query(
    `select from affidavit.cursors where day < ((clock_timestamp() - interval '10 minutes') at time zone 'UTC')::date`,
  )
  expect(rows).toHaveLength(0)
})

test('a shard with more than one visit takes is visited again without waiting for the next interval', async () => {
  const trails = await makeTrails(database.superuser, 2, 1)
  await seal(database.superuser, pick(trails, 100))
  const notary = makeNotary({ batch: 10, interval_ms: 60_000 })
  notary.start()
  await until(() => notary.status.events === 100)
})

test('two notaries at once share the shards, and the result is that of one', async () => {
  const trails = await makeTrails(database.superuser, 40, 16)
  const second = openDatabase({ login: database.login, log: silent })
  const [a, b] = [makeNotary({ batch: 50 }), makeNotary({ batch: 50, store: second })]
  for (let round = 0; round < 6; round++) {
    await seal(database.superuser, pick(trails, 1_000))
    await Promise.all([a.round(), b.round()])
    await examine(database.superuser)
  }
  // Ownership is balanced every two seconds.
  await until(async () => {
    await Promise.all([a.round(), b.round()])
    return a.status.owned.length === 8 && b.status.owned.length === 8
  })
  await catchUp(a, b)
  expect(new Set([...a.status.owned, ...b.status.owned]).size).toBe(16)
  expect((await examine(database.superuser)).every(({ size, sealed }) => size === sealed)).toBe(true)
  expect(a.status.events + b.status.events).toBe(6_000)
  await b.stop()
  await second.end()
  await until(async () => {
    await a.round()
    return a.status.owned.length === 16
  })
})

test('the cursor, not the lock, keeps two owners of one shard apart', async () => {
  const trails = await makeTrails(database.superuser, 3, 1)
  const signing = { logKey: testLogKey, logName: testLogName }
  for (let round = 0; round < 10; round++) {
    await seal(database.superuser, pick(trails, 300))
    const pool = database.store.pool('notary')
    await Promise.all([1, 2, 3, 4].map(() => visitShard(pool, signing, 0, new ShardMemory(), 100)))
  }
  await catchUp(makeNotary())
  expect((await examine(database.superuser)).every(({ size, sealed }) => size === sealed)).toBe(true)
})

test('SIGKILL at any moment repeats or finishes a batch, and no checkpoint regresses', async () => {
  const trails = await makeTrails(database.superuser, 8, 2)
  const writer = await database.connect()
  const writing = new AbortController()
  const write = (async () => {
    while (!writing.signal.aborted) {
      await seal(writer, pick(trails, 400))
      // A notary that is killed at once gets little done; the backlog must stay within what one can catch up with.
      await sleep(50)
    }
  })()
  onTestFinished(() => writing.abort())
  const sizes = new Map<number, number>()
  for (let round = 0; round < (process.env.AFFIDAVIT_LONG === '1' ? 12 : 5); round++) {
    const victim = spawn(process.execPath, [join(import.meta.dirname, 'notary.process.ts'), database.url], {
      stdio: ['ignore', 'ignore', 'inherit'],
    })
    const moved = async () => {
      const { rows } = await database.superuser.query(
        'select coalesce(sum(size), 0)::bigint as sum from affidavit.notarized',
      )
      return rows[0].sum as number
    }
    const before = await moved()
    await until(async () => (await moved()) > before)
    await sleep(Math.random() * 60)
    victim.kill('SIGKILL')
    await once(victim, 'exit')
    for (const { trail, size } of await examine(database.superuser)) {
      expect(size).toBeGreaterThanOrEqual(sizes.get(trail) ?? 0)
      sizes.set(trail, size)
    }
  }
  writing.abort()
  await write
  await catchUp(makeNotary())
  expect((await examine(database.superuser)).every(({ size, sealed }) => size === sealed)).toBe(true)
}, 300_000)

test.each([
  ['a deleted event', 'delete from affidavit.events where trail = $1 and seq = 300', 'missing'],
  ['a cut leaf hash', `update affidavit.events set hash = 'x' where trail = $1 and seq = 300`, '32 bytes'],
  ['a notarized leaf deleted', 'delete from affidavit.events where trail = $1 and seq = 258', 'notarized already'],
  [
    'a range of another size',
    'update affidavit.notarized set size = 300, range = range || root where trail = $1',
    'is expected',
  ],
  ['a spoilt range', `update affidavit.notarized set range = 'x' where trail = $1`, 'compact range'],
  ['a tile taken away', 'delete from affidavit.tiles where trail = $1 and level = 1', 'a tile'],
  ['a tile put in place', `insert into affidavit.tiles (trail, level, index, hashes) values ($1, 0, 1, 'x')`, 'a tile'],
])('%s stops its trail and no other', async (_, tamper, reason) => {
  const [victim, ...others] = await makeTrails(database.superuser, 4, 1)
  const earlier = makeNotary()
  await seal(database.superuser, [...Array.from({ length: 290 }, () => victim!), ...pick(others, 300)])
  await catchUp(earlier)
  await earlier.stop()
  const notary = makeNotary() // which remembers nothing
  await seal(database.superuser, [...Array.from({ length: 300 }, () => victim!), ...pick(others, 300)])
  await database.superuser.query('set session_replication_role = replica')
  await database.superuser.query(tamper, [victim])
  await database.superuser.query('reset session_replication_role')
  await catchUp(notary)
  await seal(database.superuser, [victim!, ...others])
  await catchUp(notary)
  expect(notary.status.stopped).toEqual([{ trail: victim, reason: expect.stringContaining(reason) }])
  const { rows } = await database.superuser.query(
    `select h.trail from affidavit.heads h join affidavit.notarized n using (trail) where h.size = n.size order by 1`,
  )
  expect(rows.map(({ trail }) => trail)).toEqual(others)
  // Another notary comes to the same view from the same rows.
  const fresh = makeNotary()
  await seal(database.superuser, [victim!])
  await notary.stop()
  await catchUp(fresh)
  expect(fresh.status.stopped.map(({ trail }) => trail)).toEqual([victim])
})

test('start wakes, waits for a database that is away, and stops cleanly', async () => {
  const [trail] = await makeTrails(database.superuser, 1, 1)
  const idle = makeNotary({ interval_ms: 600_000 })
  idle.start()
  await until(() => idle.status.rounds > 0)
  await seal(database.superuser, [trail!])
  idle.wake()
  await until(() => idle.status.events === 1) // by itself it would look again in ten minutes
  await idle.stop()
  const notary = makeNotary({ interval_ms: 500 })
  notary.start()
  await until(() => notary.status.rounds > 0)
  await database.superuser.query(
    `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'affidavit notary' and datname = current_database()`,
  )
  await seal(database.superuser, [trail!])
  await until(() => notary.status.events === 1)
  await notary.stop()
  expect(await examine(database.superuser)).toEqual([{ trail, size: 2, sealed: 2 }])
  const { rows } = await database.superuser.query(
    `select from pg_locks where locktype = 'advisory' and classid = 4100002 and database = (select oid from pg_database where datname = current_database())`,
  )
  expect(rows).toHaveLength(0)
})
