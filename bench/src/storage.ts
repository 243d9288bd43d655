// What a stored event takes on disk, by object: an open day as the server left it, then the same day closed by the
// server's own functions, whose only change is that they may close today.
import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { startEmbedded } from '@affidavit/server/store/embedded.ts'
import { silent } from '@affidavit/server/store/log.ts'
import pg from 'pg'
import { Load } from './client.ts'
import { EventSource, zipfMix } from './events.ts'
import { type Figure, figure, report } from './report.ts'
import { type BenchServer, serverFlags, startOn } from './server.ts'

const batchEvents = 1_000
const connections = 4
const hotDays = 30

/** Bytes per event by object; partitions lose their date. */
type Sizes = ReadonlyMap<string, number>

/** @param keep leaves the data folder for a closer look */
export async function storage(folder: string, events: number, keep: boolean): Promise<void> {
  const dataDir = mkdtempSync(join(folder, 'affidavit-storage-'))
  try {
    await record(dataDir, events)
    const postgres = await startEmbedded({ folder: join(dataDir, 'postgres'), log: silent })
    const client = new pg.Client(postgres.connection)
    await client.connect()
    const open = await sizes(client)
    await closeToday(client)
    const closed = await sizes(client)
    await client.end()
    await postgres.stop()
    publish(events, open, closed)
  } finally {
    if (keep) console.error(`kept: ${dataDir}`)
    else rmSync(dataDir, { recursive: true, force: true })
  }
}

async function record(dataDir: string, events: number): Promise<void> {
  const server = await startOn(dataDir, serverFlags)
  try {
    await send(server, events)
    await notarized(server)
  } finally {
    await server.stop()
  }
}

async function send(server: BenchServer, events: number): Promise<void> {
  const source = new EventSource({ ...zipfMix, seed: 4_711 })
  const load = new Load(server.url, server.key, connections)
  const round = 50_000
  for (let sent = 0; sent < events; sent += round) {
    const batches = Array.from({ length: Math.ceil(Math.min(round, events - sent) / batchEvents) }, () =>
      source.batch(batchEvents, Date.now()),
    )
    await load.sendAll(batches, connections)
  }
  load.close()
}

/** Waits for the notary, who writes the tiles. */
async function notarized(server: BenchServer): Promise<void> {
  const client = new pg.Client(server.login)
  await client.connect()
  for (;;) {
    const { rows } = await client.query<{ behind: string }>(
      `select sum(s.position - c.position) as behind from affidavit.shards s join affidavit.cursors c using (shard) where c.name = 'notary'`,
    )
    if (Number(rows[0]!.behind) === 0) break
    await pause(2_000)
  }
  await client.end()
}

const measured = `
  select regexp_replace(t.relname, '_\\d{8}$', '') as table, regexp_replace(i.relname, '_\\d{8}', '') as index,
    case when i.oid is null then pg_table_size(t.oid) else pg_relation_size(i.oid) end as bytes
  from pg_class t join pg_namespace n on n.oid = t.relnamespace
    left join lateral (select null::oid as oid, null as relname union all
      select c.oid, c.relname from pg_index x join pg_class c on c.oid = x.indexrelid where x.indrelid = t.oid) i on true
  where n.nspname = 'affidavit' and t.relkind = 'r' and (t.relname ~ '^(events|event_ids)_\\d+$' or t.relname = 'tiles')
    and pg_relation_size(t.oid) > 0 -- days to come are there already`

async function sizes(client: pg.Client): Promise<Sizes> {
  await client.query('vacuum')
  const { rows: counted } = await client.query<{ count: string }>('select count(*) from affidavit.events')
  const { rows } = await client.query<{ table: string; index: string | null; bytes: string }>(measured)
  const sums = new Map<string, number>()
  for (const { table, index, bytes } of rows) {
    const name = index === null ? table : `${table}: index ${index.replace(/^(events|event_ids)_/, '')}`
    sums.set(name, (sums.get(name) ?? 0) + Number(bytes) / Number(counted[0]!.count))
  }
  return sums
}

/** The steps of closing, which refuse a day that is not over, without that refusal. */
async function closeToday(client: pg.Client): Promise<void> {
  const { rows } = await client.query<{ steps: string }>(
    `select string_agg(pg_get_functiondef(p.oid), ';') as steps from pg_proc p join pg_namespace n on n.oid = p.pronamespace
      where n.nspname = 'affidavit' and p.proname = 'close_day'`,
  )
  const guard = `p_day >= (clock_timestamp() at time zone 'UTC')::date`
  const steps = rows[0]!.steps
  if (!steps.includes(guard)) throw new Error('close_day has another guard')
  await client.query(steps.replace(guard, 'false'))
  const { rows: days } = await client.query<{ day: string }>('select distinct day::text as day from affidavit.events')
  for (const { day } of days) {
    await client.query('select affidavit.close_day($1)', [day])
    await client.query('select affidavit.trim_day($1)', [day])
  }
}

const total = (all: Sizes) => [...all.values()].reduce((sum, bytes) => sum + bytes, 0)

function publish(events: number, open: Sizes, closed: Sizes): void {
  const month = ((hotDays - 1) * total(closed) + total(open)) / hotDays
  const parts = (name: string, all: Sizes): Figure[] =>
    [...all].filter(([, bytes]) => bytes >= 0.05).map(([what, bytes]) => figure(`${name} ${what}`, 'bytes', [bytes]))
  report(
    'storage',
    `
${events.toLocaleString('en')} events over HTTP as in the ingest benchmark (540 bytes each as JSON, tenants by Zipf(1.1) over 1,000), sealed
and notarized by the server. Main fork and TOAST of tables, and indexes, divided by the number of entries: rows, their
indexes, ids and tiles. People, trails and heads do not grow with events and are left out. Then the day is closed by the
server's own functions and measured again; its ids still have the index of a week that is not over, which closes with a
Sunday. Thirty hot days are one open day and twenty-nine closed ones.`,
    [
      figure('thirty hot days, per event', 'bytes', [month], '≤ 1,400'),
      figure('an open day, per event', 'bytes', [total(open)]),
      figure('a closed day, per event', 'bytes', [total(closed)]),
      ...parts('open:', open),
      ...parts('closed:', closed),
    ],
  )
}
