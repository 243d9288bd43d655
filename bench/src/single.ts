// One awaited event: the time from request to durable answer at a fixed rate, and one after the other.
import { Load } from './client.ts'
import { EventSource, zipfMix } from './events.ts'
import { figure, percentile, report } from './report.ts'
import { serverFlags, startBenchServer } from './server.ts'
import { warm } from './warm.ts'

const limits = `
What limits: an event of its own takes about a millisecond of the main thread, of which an eighth is the kernel's and a
twentieth the receipt's signature, and three quarters of a millisecond of PostgreSQL. At 500 a second the two hyperthreads of
one core are more than half busy, the load included, so that requests queue whenever anything else runs: collection (some
6 ms for 200 events), a checkpoint of the trails, autovacuum (once a minute), or another guest of the same host: in bad minutes
p99 was three times as long.`

const perSecond = 500

/** Sends at fixed times whatever the answers do, so that a stall shows in every request that it delays. */
async function openLoop(load: Load, bodies: readonly Buffer[]): Promise<number[]> {
  const latencies = new Array<number>(bodies.length)
  const start = performance.now() + 50
  await Promise.all(
    bodies.map(async (body, i) => {
      const due = start + (i * 1000) / perSecond
      await new Promise((resolve) => setTimeout(resolve, due - performance.now()))
      // Timers are late by up to a millisecond; the clock starts when the request was really sent.
      const sent = performance.now()
      await load.post('/v1/events', body, 'application/json')
      latencies[i] = performance.now() - sent
    }),
  )
  return latencies
}

async function closedLoop(load: Load, bodies: readonly Buffer[]): Promise<number[]> {
  const latencies: number[] = []
  for (const body of bodies) {
    const sent = performance.now()
    await load.post('/v1/events', body, 'application/json')
    latencies.push(performance.now() - sent)
  }
  return latencies
}

export async function single(folder: string, events: number, runs: number): Promise<void> {
  const open: number[][] = []
  const closed: number[][] = []
  for (let run = 0; run < runs; run++) {
    const server = await startBenchServer(folder, serverFlags)
    try {
      await warm(server, zipfMix)
      const source = new EventSource({ ...zipfMix, seed: 31 + run })
      const bodies = (count: number) =>
        Array.from({ length: count }, () => Buffer.from(JSON.stringify(source.next(Date.now()))))
      const load = new Load(server.url, server.key, 256)
      await openLoop(load, bodies(3_000))
      open.push(await openLoop(load, bodies(events)))
      closed.push(await closedLoop(load, bodies(500)))
      load.close()
    } finally {
      await server.stop()
    }
  }
  const of = (runs: number[][], p: number) => runs.map((latencies) => percentile(latencies, p))
  report(
    'single',
    `
Single \`POST /v1/events\` with receipts, ${perSecond} requests per second sent at fixed times (open loop) over as many kept
connections as needed, ${events.toLocaleString('en')} per run after 3,000 to warm up and one batch event of every person, tenants and
people by Zipf, 5 % with a new persona; then 500 one after the
other on one connection. Embedded PostgreSQL 18, fsync on; load and server share the two cores.`,
    [
      figure(`p50 at ${perSecond} requests/s`, 'ms', of(open, 50), '≤ 5'),
      figure(`p99 at ${perSecond} requests/s`, 'ms', of(open, 99), '≤ 20'),
      figure('p50 one after the other', 'ms', of(closed, 50)),
      figure('p99 one after the other', 'ms', of(closed, 99)),
    ],
    limits,
  )
}
