// Whether ingest slows down as events pile up.
import { join } from 'node:path'
import { Load } from './client.ts'
import { EventSource, zipfMix } from './events.ts'
import { figure, median, report } from './report.ts'
import { serverFlags, startOn } from './server.ts'
import { storedMonth } from './stored-month.ts'
import { warm } from './warm.ts'

const batchEvents = 1_000
const connections = 16
const few = 1_000_000

async function rateOn(dataDir: string, events: number, seed: number): Promise<number> {
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
    return events / seconds
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
  for (let run = 0; run < runs; run++) {
    small.push(await rateOn(place(few), events, 5_000 + run))
    large.push(await rateOn(place(many), events, 6_000 + run))
    console.error(`run ${run + 1}: ${JSON.stringify({ small, large })}`)
  }
  report(
    'growth',
    `
Two stores of thirty days, one of ${few.toLocaleString('en')} and one of ${many.toLocaleString('en')} events (today's came over HTTP, those of the
days before are copies with values of their own). Servers on them are started in turn, and each takes ${events.toLocaleString('en')}
events over HTTP as in the ingest benchmark, so that both see the same machine. What an event takes is in storage.md.`,
    [
      figure('rate at 1 M stored', 'events/s', small),
      figure(`rate at ${many / 1e6} M stored`, 'events/s', large),
      figure('late / early', '×', [median(large) / median(small)], '≥ 0.9'),
    ],
  )
}
