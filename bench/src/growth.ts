// Whether ingest slows down as events pile up, and what they take on disk.
import pg from 'pg'
import { Load } from './client.ts'
import { EventSource, zipfMix } from './events.ts'
import { figure, report } from './report.ts'
import { type BenchServer, serverFlags, startBenchServer } from './server.ts'

const batchEvents = 1_000
const connections = 16
/** Rates are taken over windows of so many events. */
const window = 250_000

async function sizes(server: BenchServer): Promise<{ events: number; bytes: number }> {
  const client = new pg.Client(server.login)
  await client.connect()
  const { rows } = await client.query<{ events: string; bytes: string }>(`
    select (select sum(size) from affidavit.heads) as events,
      sum(pg_total_relation_size(c.oid)) as bytes from pg_class c join pg_namespace n on n.oid = c.relnamespace
      where n.nspname in ('affidavit', 'keeper') and c.relkind = 'r'`)
  await client.end()
  return { events: Number(rows[0]!.events), bytes: Number(rows[0]!.bytes) }
}

export async function growth(folder: string, millions: number): Promise<void> {
  const server = await startBenchServer(folder, serverFlags)
  const source = new EventSource({ ...zipfMix, seed: 5 })
  const load = new Load(server.url, server.key, connections)
  const rates: number[] = []
  for (let sent = 0; sent < millions * 1_000_000; sent += window) {
    const batches = Array.from({ length: window / batchEvents }, () => source.batch(batchEvents, Date.now()))
    rates.push(window / (await load.sendAll(batches, connections)))
    console.error(
      `${(sent + window).toLocaleString('en')}: ${Math.round(rates.at(-1)!)} events/s, RSS ${Math.round(server.peakMemory() / 1e6)} MB`,
    )
  }
  load.close()
  const { events, bytes } = await sizes(server)
  const memory = server.peakMemory() / 1e6
  await server.stop()
  const perMillion = 1_000_000 / window
  const early = rates.slice(perMillion / 2, perMillion + perMillion / 2)
  const late = rates.slice(-perMillion)
  report(
    'growth',
    `
${millions} M events over HTTP into one server and one day (the worst case for its indexes: 30 days would spread them over 30
partitions), as in the ingest benchmark, personas included. Rate around 1 M stored against the rate over the last million,
windows of ${window.toLocaleString('en')}. Size: all tables, indexes and TOAST of the schemas affidavit and keeper, divided by events.`,
    [
      figure('rate around 1 M stored', 'events/s', early),
      figure(`rate at ${millions} M stored`, 'events/s', late),
      figure(
        'late / early',
        '×',
        [late.reduce((a, b) => a + b, 0) / late.length / (early.reduce((a, b) => a + b, 0) / early.length)],
        '≥ 0.9',
      ),
      figure('hot storage per event of an open day', 'bytes', [bytes / events], '≤ 1,400'),
      figure('server RSS, peak', 'MB', [memory], '≤ 400'),
    ],
  )
}
