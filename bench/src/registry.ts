// What the registry costs: an epoch over many trails, what single events feel of it meanwhile, a slot proof, and the
// proof of one event in a large trail.
import { Agent, request } from 'node:http'
import pg from 'pg'
import { Load } from './client.ts'
import { EventSource, random, zipfMix } from './events.ts'
import { makeTenants } from './many-tenants.ts'
import { figure, percentile, report } from './report.ts'
import { type BenchServer, serverFlags, startBenchServer } from './server.ts'

export interface RegistryBench {
  readonly folder: string
  readonly trails: number
  /** Entries of the large trail. */
  readonly events: number
  /** Epochs measured. */
  readonly epochs: number
}

const interval_ms = 15_000
const perSecond = 200
const proofs = 500
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

interface Epoch {
  readonly number: number
  /** Milliseconds since 1970. */
  readonly at: number
  readonly seconds: number
}

/** As /metrics shows it, with the epoch's time from the database. */
async function newestEpoch(server: BenchServer, client: pg.Client): Promise<Epoch | undefined> {
  const text = await (await fetch(`${server.url}/metrics`)).text()
  const seconds = Number(/^affidavit_registry_epoch_duration_seconds (.*)$/m.exec(text)?.[1])
  const number = Number(/^affidavit_registry_epoch (.*)$/m.exec(text)?.[1])
  const { rows } = await client.query<{ at: string }>(
    'select extract(epoch from at) * 1000 as at from affidavit.registry_epochs where number = $1',
    [number],
  )
  return rows[0] && Number.isFinite(seconds) ? { number, at: Number(rows[0].at), seconds } : undefined
}

/** Waits until all trails are under an epoch. */
async function settled(client: pg.Client): Promise<void> {
  for (;;) {
    const { rows } = await client.query<{ open: string }>(
      'select count(*) as open from affidavit.slots s join affidavit.heads h using (trail) where s.size <> h.size',
    )
    if (Number(rows[0]!.open) === 0) return
    await pause(2_000)
  }
}

/** One event for each tenant. */
async function fill(server: BenchServer, trails: number): Promise<void> {
  const source = new EventSource({ ...zipfMix, seed: 501 })
  const load = new Load(server.url, server.key, 2)
  const batches: Buffer[] = []
  for (let from = 0; from < trails; from += 1_000) {
    const lines = Array.from({ length: Math.min(1_000, trails - from) }, (_, n) =>
      JSON.stringify(source.of(from + n, 0, Date.now())),
    )
    batches.push(Buffer.from(lines.join('\n')))
  }
  await load.sendAll(batches, 2)
  load.close()
}

interface Timed {
  readonly sent: number
  readonly took_ms: number
}

/** Single awaited events at a fixed rate to one trail in a hundred, until `stop` says so. */
async function trickle(server: BenchServer, trails: number, stop: () => boolean): Promise<Timed[]> {
  const source = new EventSource({ ...zipfMix, seed: 502 })
  const load = new Load(server.url, server.key, 256)
  const changing = Math.max(1, Math.floor(trails / 100))
  const timed: Timed[] = []
  const waiting: Promise<unknown>[] = []
  const start = performance.now() + 50
  for (let n = 0; !stop(); n++) {
    const body = Buffer.from(JSON.stringify(source.of((n % changing) * 100, 0, Date.now())))
    await pause(Math.max(0, start + (n * 1000) / perSecond - performance.now()))
    const sent = performance.now()
    const at = Date.now()
    waiting.push(
      load
        .post('/v1/events', body, 'application/json')
        .then(() => timed.push({ sent: at, took_ms: performance.now() - sent })),
    )
  }
  await Promise.all(waiting)
  load.close()
  return timed
}

const agent = new Agent({ keepAlive: true, maxSockets: 1 })

function get(server: BenchServer, path: string): Promise<number> {
  const began = performance.now()
  return new Promise((resolve, reject) => {
    request(server.url + path, { agent, headers: { authorization: `Bearer ${server.key}` } }, (reply) => {
      reply.resume().on('end', () => {
        if (reply.statusCode === 200) resolve(performance.now() - began)
        else reject(new Error(`${path}: ${reply.statusCode}`))
      })
    })
      .on('error', reject)
      .end()
  })
}

async function times(server: BenchServer, path: (n: number) => string): Promise<number[]> {
  const taken: number[] = []
  for (let n = 0; n < proofs; n++) taken.push(await get(server, path(n)))
  return taken.slice(20) // the first ones make connections and plans
}

/** Seals `events` in one trail, and asks for the proofs of some, spread over all of it. */
async function large(server: BenchServer, events: number, client: pg.Client): Promise<number[]> {
  const source = new EventSource({ ...zipfMix, tenants: 1, zipf: 0, seed: 503 })
  const load = new Load(server.url, server.key, 8)
  const round = 100_000
  for (let sent = 0; sent < events; sent += round) {
    const batches = Array.from({ length: Math.min(round, events - sent) / 1_000 }, () =>
      source.batch(1_000, Date.now()),
    )
    await load.sendAll(batches, 8)
  }
  load.close()
  for (;;) {
    const { rows } = await client.query<{ behind: string }>(
      `select sum(s.position - c.position) as behind from affidavit.shards s join affidavit.cursors c using (shard) where c.name = 'notary'`,
    )
    if (Number(rows[0]!.behind) === 0) break
    await pause(2_000)
  }
  const next = random(9)
  return times(server, () => `/v1/events/bench-503-${Math.floor(next() * events).toString(36)}/proof?tenant=tenant_0`)
}

export async function registry({ folder, trails, events, epochs: wanted }: RegistryBench): Promise<void> {
  const server = await startBenchServer(folder, serverFlags, { AFFIDAVIT_REGISTRY_INTERVAL_MS: String(interval_ms) })
  const client = new pg.Client(server.login)
  await client.connect()
  await makeTenants(server, trails)
  console.error(`${trails} tenants made`)
  await fill(server, trails)
  console.error('each has an event')
  await settled(client)
  const first = await newestEpoch(server, client)
  console.error(`the first epoch over all of them took ${first?.seconds} s`)
  const epochs: Epoch[] = []
  const running = trickle(server, trails, () => epochs.length >= wanted + 1)
  for (let last = first?.number ?? 0; epochs.length < wanted + 1; await pause(1_000)) {
    const newest = await newestEpoch(server, client)
    if (newest === undefined || newest.number === last) continue
    last = newest.number
    epochs.push(newest)
    console.error(JSON.stringify(newest))
  }
  const timed = await running
  const measured = epochs.slice(1) // before the first of them not all of one in a hundred had changed
  const within = ({ sent }: Timed) => epochs.some(({ at, seconds }) => sent >= at && sent < at + seconds * 1000)
  const during = timed.filter(within).map(({ took_ms }) => took_ms)
  const between = timed.filter((one) => !within(one)).map(({ took_ms }) => took_ms)
  const slots = await times(server, (n) => `/v1/trails/tenant_${(n * 97) % trails}/slot`)
  const proven = await large(server, events, client)
  const memory = server.peakMemory() / 1e6
  await client.end()
  agent.destroy()
  await server.stop()
  report(
    'registry',
    `
${trails.toLocaleString('en')} tenants with keys, slots and a sealed event each, in one server process on the embedded PostgreSQL 18 (fsync
on), load and server on the same two cores. An epoch every ${interval_ms / 1000} s instead of every minute. Between two epochs single awaited
events go to one trail in a hundred (${perSecond}/s, open loop); the epoch is timed by the worker, from its first query to its commit,
with the object on disk. Latencies of those events are told apart by whether they were sent while an epoch was made. Then ${proofs}
slot proofs one after the other, and ${proofs} proofs of random events by id in one trail of ${events.toLocaleString('en')} entries.`,
    [
      figure(
        `epoch over ${trails.toLocaleString('en')} trails, 1 % changed`,
        's',
        measured.map(({ seconds }) => seconds),
        '≤ 3',
      ),
      figure('one event, p99, while an epoch is made', 'ms', [percentile(during, 99)], '≤ 20'),
      figure('one event, p99, between epochs', 'ms', [percentile(between, 99)]),
      figure('one event, p50, while an epoch is made', 'ms', [percentile(during, 50)], '≤ 5'),
      figure('one event, p50, between epochs', 'ms', [percentile(between, 50)]),
      figure('slot proof, p95', 'ms', [percentile(slots, 95)]),
      figure(`proof of one event of ${events.toLocaleString('en')}, p95`, 'ms', [percentile(proven, 95)], '≤ 10'),
      figure('server RSS, peak', 'MB', [memory]),
    ],
  )
}
