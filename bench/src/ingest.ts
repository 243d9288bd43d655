// Sealed, durable ingest over HTTP in batches, against bare inserts of the same rows in the same run.
import { insertRates } from './baseline.ts'
import { Load } from './client.ts'
import { EventSource, favouriteMix, freshMix, type Mix, zipfMix } from './events.ts'
import { figure, report } from './report.ts'
import { type BenchServer, serverFlags, startBenchServer } from './server.ts'
import { warm } from './warm.ts'

const limits = `
What limits: CPU. Server and PostgreSQL take 105 to 140 µs for an event together, the less the quieter the host is, of two
hyperthreads that share one core with the load: some 55 µs the main thread (JSON and canonical JSON a fifth of it, eight
hashes, a row), 15 to 35 µs collection, tiles and checkpoints, 40 to 50 µs PostgreSQL, of which the bare insert of the same
row is some 30. So a ratio of 0.6 would leave 20 µs for everything that is not that insert. Decisions 0001, 0012, 0015,
0017 and 0021 tell what was tried.`

const batchEvents = 1_000
const connections = 16

const method = `
The server runs as its own process on the embedded PostgreSQL 18 (fsync on), with the flags that \`affidavit serve\` sets.
The load is a third process's worth of work on the same two cores: ${connections} kept connections, NDJSON batches of
${batchEvents} events made beforehand (about 560 bytes each, with ids, \`Prefer: return=minimal\`), tenants by Zipf(1.1) over
1,000. Before the clock starts every person of every tenant was seen once; then 5 % of events come with a new persona.
"One tenant" sends 90 % to one tenant. "Fresh" gives each event a persona of its own.
Baseline: rows sealed in this very run, encoded beforehand, inserted by the same client library into tables with the same
columns and indexes, 1,000 per commit; the best of 1, 2, 4 and 8 connections.
Each run has a server and a database of its own.`

async function rate(server: BenchServer, mix: Mix, events: number): Promise<number> {
  const source = new EventSource(mix)
  const batches = Array.from({ length: events / batchEvents }, () => source.batch(batchEvents, Date.now()))
  const load = new Load(server.url, server.key, connections)
  const seconds = await load.sendAll(batches, connections)
  load.close()
  return events / seconds
}

/** @param folder where data is written: the disk under test */
export async function ingest(folder: string, events: number, runs: number): Promise<void> {
  const rates = {
    zipf: [] as number[],
    favourite: [] as number[],
    fresh: [] as number[],
    baseline: [] as number[],
    ratio: [] as number[],
    memory: [] as number[],
  }
  for (let run = 0; run < runs; run++) {
    const server = await startBenchServer(folder, serverFlags)
    try {
      await warm(server, zipfMix)
      rates.zipf.push(await rate(server, { ...zipfMix, seed: 10 + run }, events))
      rates.favourite.push(await rate(server, { ...favouriteMix, seed: 1_010 + run }, events))
      rates.memory.push(server.peakMemory() / 1e6)
      rates.fresh.push(await rate(server, { ...freshMix, seed: 2_010 + run }, Math.min(events, 40_000)))
      const bare = Math.max(...(await insertRates(server, [1, 2, 4, 8], Math.floor(events / batchEvents))))
      rates.baseline.push(bare)
      rates.ratio.push(rates.zipf.at(-1)! / bare)
    } finally {
      await server.stop()
    }
    console.error(`run ${run + 1}: ${JSON.stringify(rates)}`)
  }
  report(
    'ingest',
    `${method}\n${events.toLocaleString('en')} events per mix and run.`,
    [
      figure('Zipf over 1,000 tenants, 95 % known personas', 'events/s', rates.zipf, '≥ 20,000'),
      figure('one tenant at 90 %', 'events/s', rates.favourite, '≥ 16,000'),
      figure('fresh persona per event', 'events/s', rates.fresh, 'reported'),
      figure('baseline: bare inserts of the same rows', 'rows/s', rates.baseline),
      figure('Zipf / baseline', '×', rates.ratio, '≥ 0.6'),
      figure('server RSS, peak over the first two mixes', 'MB', rates.memory, '≤ 400'),
    ],
    limits,
  )
}
