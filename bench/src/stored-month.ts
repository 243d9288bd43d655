// A tenant with thirty days of stored events, made fast enough for ten million: one day comes in the real way, over HTTP,
// with its people, terms and facts; the other days are copies of its rows by a superuser, in the partitions of the days
// before, with their own sequence numbers, times, event ids and request ids. All days but today are closed. Hashes are
// not chained from day to day: this is for measuring searches, not proofs.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { readConfig } from '@affidavit/server/config.ts'
import { startServer } from '@affidavit/server/main.ts'
import { type Embedded, startEmbedded } from '@affidavit/server/store/embedded.ts'
import { silent } from '@affidavit/server/store/log.ts'
import pg from 'pg'
import { Load } from './client.ts'
import { EventSource, random, zipfMix } from './events.ts'

export const days = 30
export const people = 1_000
/** Person 0 does a tenth of everything. */
export const worst = { id: 'user_0', email: 'user0@tenant0.example.com', share: 0.1 }
export const tenantId = 'tenant_0'

export interface StoredMonth {
  readonly dataDir: string
  readonly events: number
  /** Seconds that making it took; 0 when it was there. */
  readonly seconds: number
}

const batchEvents = 1_000

/** Makes the month in `dataDir`, or takes the one that is there. */
export async function storedMonth(dataDir: string, events: number): Promise<StoredMonth> {
  const marker = join(dataDir, 'stored-month.json')
  if (existsSync(marker)) return { ...(JSON.parse(readFileSync(marker, 'utf8')) as StoredMonth), dataDir, seconds: 0 }
  mkdirSync(dataDir, { recursive: true })
  const started = performance.now()
  const since = () => Math.round((performance.now() - started) / 1000)
  const perDay = Math.ceil(events / days)
  await recordToday(dataDir, perDay)
  console.error(`${perDay.toLocaleString('en')} events of today after ${since()} s`)
  const postgres = await startEmbedded({ folder: join(dataDir, 'postgres'), log: silent, settings: hasty })
  const total = await copyDays(postgres, (day) => console.error(`day ${day} of ${days} after ${since()} s`))
  await postgres.stop()
  const made = { dataDir, events: total, seconds: since() }
  writeFileSync(marker, JSON.stringify(made))
  return made
}

/** Nobody misses this database after a crash. */
const hasty = {
  fsync: 'off',
  synchronous_commit: 'off',
  full_page_writes: 'off',
  wal_level: 'minimal',
  max_wal_senders: '0',
  max_wal_size: '16GB',
  checkpoint_timeout: '1h',
  maintenance_work_mem: '1GB',
  autovacuum: 'off',
}

async function recordToday(dataDir: string, count: number): Promise<void> {
  const settings = readConfig({
    AFFIDAVIT_DATA_DIR: dataDir,
    PORT: '0',
    AFFIDAVIT_LOG_LEVEL: 'warn',
    AFFIDAVIT_RATE_EVENTS: '100000000',
  })
  if (!settings.ok) throw new Error(settings.problems.join('\n'))
  const server = await startServer(settings.config)
  const load = new Load(server.url, readFileSync(join(dataDir, 'operator.key'), 'utf8').trim(), 8)
  const source = new EventSource({ ...zipfMix, people })
  const choice = random(7)
  const person = () => (choice() < worst.share ? 0 : 1 + Math.floor(choice() * (people - 1)))
  const rounds = 20
  for (let round = 0; round < rounds; round++) {
    const batches: Buffer[] = []
    const end = Math.floor((count * (round + 1)) / rounds)
    for (let at = Math.floor((count * round) / rounds); at < end; at += batchEvents) {
      const lines = Array.from({ length: Math.min(batchEvents, end - at) }, () =>
        JSON.stringify(source.of(0, person(), Date.now(), choice() < 0.01)),
      )
      batches.push(Buffer.from(`${lines.join('\n')}\n`))
    }
    await load.sendAll(batches, 8)
  }
  load.close()
  await server.stop()
}

async function connect(postgres: Embedded): Promise<pg.Client> {
  const client = new pg.Client({ ...postgres.connection, options: '-c timezone=UTC' })
  await client.connect()
  return client
}

/** @returns events stored */
async function copyDays(postgres: Embedded, onDay: (day: number) => void): Promise<number> {
  const [copier, closer] = [await connect(postgres), await connect(postgres)]
  const { rows } = await copier.query<{ trail: number; size: number; today: string }>(
    `select t.number as trail, h.size::int, (select max(day)::text from affidavit.events e where e.trail = t.number) as today
     from affidavit.trails t join affidavit.heads h on h.trail = t.number
       join affidavit.tenants n on n.number = t.tenant where n.id = $1`,
    [tenantId],
  )
  const { trail, size, today } = rows[0]!
  let closing: Promise<unknown> = Promise.resolve()
  for (let n = 0; n < days - 1; n++) {
    const name = await copyDay(copier, { trail, size, today, back: days - 1 - n, first: n * size })
    await closing
    closing = closeDay(closer, name)
    onDay(n + 1)
  }
  await closing
  await moveToday(copier, { trail, size, today, back: 0, first: (days - 1) * size })
  await copier.query(
    `insert into affidavit.days (trail, tenant, day, first_seq, last_seq, occurred_from, occurred_to, events)
       select trail, tenant, day, min(seq), max(seq), min(occurred_at), max(occurred_at), count(*)
       from affidavit.events where trail = ${trail} group by trail, tenant, day
     on conflict (trail, day) do update set first_seq = excluded.first_seq, last_seq = excluded.last_seq,
       events = excluded.events, occurred_from = excluded.occurred_from, occurred_to = excluded.occurred_to`,
  )
  await copier.query('update affidavit.heads set size = $2 where trail = $1', [trail, days * size])
  await copier.query('vacuum analyze')
  await Promise.all([copier.end(), closer.end()])
  return days * size
}

interface Copy {
  readonly trail: number
  /** Events of one day. */
  readonly size: number
  /** Day of the original. */
  readonly today: string
  /** Days before it. */
  readonly back: number
  /** Sequence number of the copy's first event. */
  readonly first: number
}

const columns = `seq, position, sealed_at, occurred_at, actor, facts_salt, trail, tenant, action, day, shard,
  category, outcome, flags, facts_commitment, hash, facts, personal, confidential, operator, control, terms`

/** The first term of every event is that of its request's id. */
function copied({ trail, size, today, back, first }: Copy): string {
  const at = `'${today}'::timestamptz - interval '${back} days' + (seq::float8 / ${size}) * interval '1 day'`
  return `select ${first} + seq, position, ${at}, ${at}, actor, gen_random_uuid(), trail, tenant, action,
    day - ${back}, shard, category, outcome, flags, facts_commitment, hash, facts, personal, confidential, operator,
    control, case when control is null then array[terms[1] # ${back}] || terms[2:] end
    from affidavit.events where trail = ${trail} and day = '${today}' and seq < ${size}`
}

/** In one transaction with the making of the partition, which spares the log. @returns the partition */
async function copyDay(client: pg.Client, copy: Copy): Promise<string> {
  await client.query('begin')
  await client.query('select affidavit.create_day($1::date - $2::int)', [copy.today, copy.back])
  await client.query(`insert into affidavit.events (${columns}) ${copied(copy)}`)
  const { rows } = await client.query<{ name: string }>(
    `select 'events_' || to_char($1::date - $2::int, 'YYYYMMDD') as name`,
    [copy.today, copy.back],
  )
  await client.query('commit')
  return rows[0]!.name
}

/** As the server closes a day, after the vacuum that follows a day's inserts. */
async function closeDay(client: pg.Client, name: string): Promise<void> {
  await client.query(`vacuum (freeze) affidavit.${name}`)
  await client.query(`select affidavit.close_day(to_date(right('${name}', 8), 'YYYYMMDD'))`)
  await client.query(`select affidavit.trim_day(to_date(right('${name}', 8), 'YYYYMMDD'))`)
}

/** Today's events come last in the trail. */
async function moveToday(client: pg.Client, copy: Copy): Promise<void> {
  await client.query('begin')
  await client.query("set local session_replication_role = 'replica'")
  await client.query(`create temporary table moved (${columns}) on commit drop as ${copied(copy)}`)
  await client.query(`delete from affidavit.events where trail = ${copy.trail} and day = '${copy.today}'`)
  await client.query(`insert into affidavit.events (${columns}) select * from moved`)
  await client.query('commit')
}
