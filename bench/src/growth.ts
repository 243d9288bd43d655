// Whether ingest slows down as events pile up, and what they take on disk.
import { join } from 'node:path'
import pg from 'pg'
import { Load } from './client.ts'
import { EventSource, zipfMix } from './events.ts'
import { figure, median, report } from './report.ts'
import { type BenchServer, serverFlags, startOn } from './server.ts'
import { storedMonth } from './stored-month.ts'
import { warm } from './warm.ts'

const batchEvents = 1_000
const connections = 16
const few = 1_000_000

async function storedBytes(server: BenchServer): Promise<{ events: number; bytes: number }> {
  const client = new pg.Client(server.login)
  await client.connect()
  const { rows } = await client.query<{ events: string; bytes: string }>(`
    select (select sum(greatest(c.reltuples, 0)) from pg_class c join pg_inherits i on i.inhrelid = c.oid
        where i.inhparent = 'affidavit.events'::regclass and c.relkind = 'r') as events,
      sum(pg_total_relation_size(c.oid)) as bytes from pg_class c join pg_namespace n on n.oid = c.relnamespace
      where n.nspname in ('affidavit', 'keeper') and c.relkind = 'r'`)
  await client.end()
  return { events: Number(rows[0]!.events), bytes: Number(rows[0]!.bytes) }
}

async function rateOn(dataDir: string, events: number, seed: number): Promise<{ rate: number; bytes: number }> {
  // The days before today are copies, which the scrub would rightly take for a forgery.
  const server = await startOn(dataDir, serverFlags, { AFFIDAVIT_SCRUB_EVENTS: '0' })
  try {
    // The data stays from run to run: ids must be new each time.
    const fresh = seed + Date.now()
    await warm(server, zipfMix, fresh)
    const source = new EventSource({ ...zipfMix, seed: fresh + 1 })
    const batches = Array.from({ length: events / batchEvents }, () => source.batch(batchEvents, Date.now()))
    const load = new Load(server.url, server.key, connections)
    const seconds = await load.sendAll(batches, connections)
    load.close()
    const stored = await storedBytes(server)
    return { rate: events / seconds, bytes: stored.bytes / stored.events }
  } finally {
    await server.stop()
  }
}

/** @param many events of the larger store; @param events sent per run */
export async function growth(folder: string, many: number, events: number, runs: number): Promise<void> {
  const place = (stored: number) => join(folder, `affidavit-month-${stored}`)
  for (const stored of [few, many]) await storedMonth(place(stored), stored)
  const small: number[] = []
  const large: number[] = []
  const bytes: number[] = []
  for (let run = 0; run < runs; run++) {
    small.push((await rateOn(place(few), events, 5_000 + run)).rate)
    const { rate, bytes: each } = await rateOn(place(many), events, 6_000 + run)
    large.push(rate)
    bytes.push(each)
    console.error(`run ${run + 1}: ${JSON.stringify({ small, large, bytes })}`)
  }
  report(
    'growth',
    `
Two stores of thirty days, one of ${few.toLocaleString('en')} and one of ${many.toLocaleString('en')} events (today's came over HTTP, those of the
days before are copies with values of their own). Servers on them are started in turn, and each takes ${events.toLocaleString('en')}
events over HTTP as in the ingest benchmark, so that both see the same machine. Size: all tables, indexes and TOAST of the
schemas affidavit and keeper on the larger store, divided by PostgreSQL's own estimate of its events.`,
    [
      figure('rate at 1 M stored', 'events/s', small),
      figure(`rate at ${many / 1e6} M stored`, 'events/s', large),
      figure('late / early', '×', [median(large) / median(small)], '≥ 0.9'),
      figure('hot storage per event', 'bytes', bytes, '≤ 1,400'),
    ],
  )
}
