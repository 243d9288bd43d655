import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { freshDatabase, type TestDatabase } from '../../test/database.ts'
import { type Log, silent } from '../store/log.ts'
import { Partitions } from './partitions.ts'

let database: TestDatabase
let partitions: Partitions
const alarms: string[] = []
const log: Log = { ...silent, error: (_, message) => alarms.push(message) }

beforeEach(async () => {
  database = await freshDatabase()
  partitions = new Partitions(database.store.pool('retention'), log)
  alarms.length = 0
})
afterEach(async () => {
  await partitions.stop()
  await database.drop()
})

const daysFromToday = async (days: number): Promise<string> => {
  const { rows } = await database.superuser.query(
    `select (clock_timestamp() at time zone 'UTC')::date + $1::int as day`,
    [days],
  )
  return rows[0].day
}

const insert = (client: pg.Client, day: string, seq: number) =>
  client.query(
    `insert into affidavit.events (seq, position, sealed_at, occurred_at, trail, tenant, day, shard, category, outcome, flags,
        facts_commitment, hash, terms)
      values ($2, $2, now(), now(), 1, 1, $1, 0, 1, 0, 0, '', '', array[($2::bigint)::int, 7])`,
    [day, seq],
  )

const indexes = async (day: string): Promise<string[]> => {
  const prefix = `events_${day.replaceAll('-', '')}_`
  const { rows } = await database.superuser.query(`select indexname from pg_indexes where indexname like $1`, [
    `${prefix}%`,
  ])
  return rows.map(({ indexname }) => indexname.slice(prefix.length)).sort()
}
const closedIndexes = ['action', 'actor', 'control', 'overflow', 'place', 'request', 'terms']
const openIndexes = ['action_open', 'actor_open', 'control_open', 'place_open', 'position_open', 'request_open']

const moveCursors = (day: string) => database.superuser.query('update affidavit.cursors set day = $1', [day])

test('partitions are there for two weeks before the first event is sealed', async () => {
  await partitions.start()
  expect(partitions.status).toEqual({ until: await daysFromToday(14), tomorrow: true, lastError: null })
  for (const days of [0, 1, 14]) await insert(database.superuser, await daysFromToday(days), days)
  await expect(insert(database.superuser, await daysFromToday(15), 15)).rejects.toThrow('no partition')
  expect(alarms).toEqual([])
})

test('a missing partition of tomorrow is an alarm, and no reason to start', async () => {
  await partitions.upkeep()
  await database.superuser.query(
    `alter table affidavit.events detach partition affidavit.events_${(await daysFromToday(1)).replaceAll('-', '')}`,
  )
  await expect(partitions.start()).rejects.toThrow('tomorrow')
  expect(partitions.status).toMatchObject({ tomorrow: false, until: await daysFromToday(0) })
  expect(alarms).toEqual([expect.stringContaining('tomorrow is missing')])
})

test('a day is closed once it is over and every cursor has left it, then trimmed', async () => {
  const [day, today] = [await daysFromToday(-2), await daysFromToday(0)]
  await database.superuser.query('select affidavit.create_partitions($1, 3)', [day])
  await insert(database.superuser, day, 1)
  await moveCursors(day)
  expect((await partitions.upkeep()).closed).toEqual([])
  await moveCursors(today)
  await database.superuser.query('update affidavit.cursors set day = $1 where shard = 3', [day])
  expect((await partitions.upkeep()).closed).toEqual([])
  expect(await indexes(day)).toEqual(openIndexes)
  await moveCursors(today)
  const upkeep = await partitions.upkeep()
  expect(upkeep.closed).toContain(day)
  expect(upkeep.trimmed).toEqual(upkeep.closed)
  expect(upkeep.left).toEqual([])
  expect(await indexes(day)).toEqual(closedIndexes)
  expect(await indexes(today)).toEqual(openIndexes)
  expect(await partitions.upkeep()).toEqual({ closed: [], trimmed: [], left: [] })
})

test('only a day that is over can be closed, only a closed day trimmed, and only by retention', async () => {
  await partitions.start()
  const retention = database.store.pool('retention')
  const today = await daysFromToday(0)
  await expect(retention.query('select affidavit.close_day($1)', [today])).rejects.toMatchObject({ code: 'AF009' })
  await expect(retention.query('select affidavit.trim_day($1)', [today])).rejects.toMatchObject({ code: 'AF009' })
  for (const role of ['ingest', 'sealer', 'notary', 'follower', 'reader'] as const)
    for (const call of ['close_day($1)', 'trim_day($1)', 'create_day($1)'])
      await expect(database.store.pool(role).query(`select affidavit.${call}`, [today])).rejects.toMatchObject({
        code: '42501',
      })
})

test('a reader who sits in a past day delays its trimming, not its closing, and nobody else', async () => {
  const [day, today] = [await daysFromToday(-2), await daysFromToday(0)]
  await database.superuser.query('select affidavit.create_partitions($1, 3)', [day])
  await moveCursors(today)
  const reader = await database.connect()
  await reader.query('begin')
  await reader.query('select count(*) from affidavit.events where day = $1', [day])
  const upkeep = partitions.upkeep()
  const waits: number[] = []
  let done = false
  void upkeep.finally(() => {
    done = true
  })
  for (let seq = 0; !done; seq++) {
    const began = performance.now()
    await database.superuser.query('select count(*) from affidavit.events')
    await insert(database.superuser, today, seq)
    waits.push(performance.now() - began)
    await sleep(10)
  }
  const { closed, trimmed, left } = await upkeep
  expect(closed).toContain(day)
  expect(trimmed).not.toContain(day)
  expect(left).toEqual([expect.stringContaining(`trim ${day}`)])
  expect(Math.max(...waits)).toBeLessThan(5_000) // the reader is still there: who waited for it would wait for good
  await reader.query('commit')
  expect((await partitions.upkeep()).trimmed).toEqual([day])
})

test('inserts go on, without waiting, while partitions are created, attached and closed', async () => {
  const [day, today] = [await daysFromToday(-2), await daysFromToday(0)]
  await database.superuser.query('select affidavit.create_partitions($1, 3)', [day])
  for (let seq = 0; seq < 200; seq++) await insert(database.superuser, day, seq)
  await moveCursors(today)
  // A writer whose transaction stays open the whole time: whoever needs a lock that it holds, fails.
  const holder = await database.connect()
  await holder.query('begin')
  await insert(holder, today, 1_000_000)
  // And the other way round: partitions made, attached and closed in transactions that stay open.
  const upkeep = await database.connect()
  await upkeep.query(`begin; set local lock_timeout = '1s'`)
  await upkeep.query('select affidavit.create_partitions($1, 20)', [today])
  await upkeep.query('select affidavit.close_day($1)', [day])
  const writer = await database.connect()
  await writer.query(`set lock_timeout = '200ms'`)
  for (let seq = 0; seq < 50; seq++) await insert(writer, today, seq)
  await upkeep.query('commit')
  await insert(holder, today, 1_000_001)
  await holder.query('commit')
  expect(await indexes(day)).toEqual([...closedIndexes, ...openIndexes].sort())
  expect((await partitions.upkeep()).trimmed).toContain(day)
  const { rows } = await database.superuser.query('select count(*) from affidavit.events where day = $1', [today])
  expect(rows[0].count).toBe(52)
})

test('two servers keeping house at once do every step once', async () => {
  const day = await daysFromToday(-3)
  await database.superuser.query('select affidavit.create_partitions($1, 3)', [day])
  await moveCursors(await daysFromToday(0))
  const other = new Partitions(database.store.pool('retention'), log)
  const [a, b] = await Promise.all([partitions.upkeep(), other.upkeep()])
  const closed = [...a.closed, ...b.closed].sort()
  expect(closed).toContain(day)
  expect(new Set(closed).size).toBe(closed.length)
  expect(await indexes(day)).toEqual(closedIndexes)
})
