// What the registry costs: an epoch over many trails, what single events feel of it meanwhile and what the many trails
// cost them anyway, a slot proof, the proof of one event in a large trail, and memory.
import { Agent, request } from 'node:http'
import pg from 'pg'
import { Load } from './client.ts'
import { actions, EventSource, random, zipfMix } from './events.ts'
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
  /** Milliseconds since 1970. */
  readonly sent: number
  readonly took_ms: number
}

/** Numbers of one trail in a hundred. */
const oneInAHundred = (trails: number, offset: number) =>
  Array.from({ length: Math.max(1, Math.floor(trails / 100)) }, (_, n) => n * 100 + offset)

/** Single awaited events at a fixed rate, to these trails in turn, `count` of them or until `stop` says so. */
async function trickle(
  server: BenchServer,
  seed: number,
  trails: readonly number[],
  until: { count: number } | { stop: () => boolean },
): Promise<Timed[]> {
  const source = new EventSource({ ...zipfMix, seed })
  const load = new Load(server.url, server.key, 256)
  const timed: Timed[] = []
  const waiting: Promise<unknown>[] = []
  const start = performance.now() + 50
  for (let n = 0; 'count' in until ? n < until.count : !until.stop(); n++) {
    const body = Buffer.from(JSON.stringify(source.of(trails[n % trails.length]!, 0, Date.now())))
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

/** One event of every action for each of these trails: what a trail that is in use has done before. */
async function acquaint(server: BenchServer, trails: readonly number[]): Promise<void> {
  const source = new EventSource({ ...zipfMix, seed: 504 })
  const load = new Load(server.url, server.key, 2)
  const lines = trails.flatMap((trail) =>
    actions.map((action) => JSON.stringify({ ...source.of(trail, 0, Date.now()), action })),
  )
  const batches = Array.from({ length: Math.ceil(lines.length / 1_000) }, (_, n) =>
    Buffer.from(lines.slice(n * 1_000, (n + 1) * 1_000).join('\n')),
  )
  await load.sendAll(batches, 2)
  load.close()
}

/** The epochs from now on, as they come; ends after `wanted` of them. */
async function watchEpochs(server: BenchServer, client: pg.Client, wanted: number): Promise<Epoch[]> {
  const epochs: Epoch[] = []
  for (let last = (await newestEpoch(server, client))?.number ?? 0; epochs.length < wanted; await pause(1_000)) {
    const newest = await newestEpoch(server, client)
    if (newest === undefined || newest.number === last) continue
    last = newest.number
    epochs.push(newest)
    console.error(JSON.stringify(newest))
  }
  return epochs
}

/** What was under way while an epoch was made, and the rest until the next one, epoch by epoch. */
function toldApart(timed: readonly Timed[], epochs: readonly Epoch[]): { during: number[][]; between: number[][] } {
  const during: number[][] = []
  const between: number[][] = []
  for (const [n, { at, seconds }] of epochs.slice(0, -1).entries()) {
    const end = at + seconds * 1000
    const next = epochs[n + 1]!.at
    const touches = ({ sent, took_ms }: Timed) => sent < end && sent + took_ms >= at
    const mine = timed.filter((one) => touches(one) || (one.sent >= end && one.sent + one.took_ms < next))
    during.push(mine.filter(touches).map(({ took_ms }) => took_ms))
    between.push(mine.filter((one) => !touches(one)).map(({ took_ms }) => took_ms))
  }
  return { during, between }
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

export async function registry(options: RegistryBench): Promise<void> {
  const settings = { AFFIDAVIT_REGISTRY_INTERVAL_MS: String(interval_ms) }
  const server = await startBenchServer(options.folder, serverFlags, settings)
  try {
    await measure(server, options)
  } finally {
    await server.stop()
  }
}

async function measure(server: BenchServer, { trails, events, epochs: wanted }: RegistryBench): Promise<void> {
  const client = new pg.Client(server.login)
  client.on('error', () => {}) // its server stops first where a run fails
  await client.connect()
  await makeTenants(server, trails)
  console.error(`${trails} tenants made`)
  await fill(server, trails)
  console.error('each has an event')
  await settled(client)
  console.error('all of them are under an epoch')
  const filling = server.peakMemory() / 1e6
  const strangers = oneInAHundred(trails, 50)
  const cold = (await trickle(server, 505, strangers, { count: strangers.length })).map(({ took_ms }) => took_ms)
  console.error('events of trails that were not in memory sent')
  const changing = oneInAHundred(trails, 0)
  await acquaint(server, changing)
  await settled(client)
  server.forgetPeak()
  let over = false
  const running = trickle(server, 502, changing, { stop: () => over })
  // Before the first of them not all of one in a hundred had changed; after the last one there is no full interval.
  const epochs = (await watchEpochs(server, client, wanted + 2)).slice(1)
  over = true
  const { during, between } = toldApart(await running, epochs)
  const steady = server.peakMemory() / 1e6
  const slots = await times(server, (n) => `/v1/trails/tenant_${(n * 97) % trails}/slot`)
  const proven = await large(server, events, client)
  const peak = server.peakMemory() / 1e6
  await client.end()
  agent.destroy()
  const of = (runs: readonly number[][], p: number) => runs.map((latencies) => percentile(latencies, p))
  report(
    'registry',
    `
${trails.toLocaleString('en')} tenants with keys, slots and a sealed event each, in one server process on the embedded PostgreSQL 18 (fsync
on), load and server on the same two cores. An epoch every ${interval_ms / 1000} s instead of every minute. Once all trails are under an
epoch, single awaited events are sent at ${perSecond}/s (open loop), each measurement apart: first one to each of ${strangers.length.toLocaleString('en')} trails of
which nothing is in memory, mostly with an action that is new to its tenant; then, after a batch with every action, to ${changing.length.toLocaleString('en')}
others in turn, so that 1 % change between two epochs. An epoch is timed by the worker, from its first query to its commit, with
the object on disk. Events that were under way while an epoch was made are told apart from the others, and each figure is given
per epoch. Then ${proofs} slot proofs one after the other, ${events.toLocaleString('en')} events in batches to one trail, and ${proofs} proofs of random events
by id in it. Memory is the peak of each part.`,
    [
      figure(
        `epoch over ${trails.toLocaleString('en')} trails, 1 % changed`,
        's',
        epochs.slice(0, -1).map(({ seconds }) => seconds),
        '≤ 3',
      ),
      figure('one event, p99, while an epoch is made', 'ms', of(during, 99), '≤ 20'),
      figure('one event, p99, between epochs', 'ms', of(between, 99), '≤ 20'),
      figure('one event, p50, while an epoch is made', 'ms', of(during, 50), '≤ 5'),
      figure('one event, p50, between epochs', 'ms', of(between, 50), '≤ 5'),
      figure('one event, p99, of trails not in memory', 'ms', [percentile(cold, 99)]),
      figure('one event, p50, of trails not in memory', 'ms', [percentile(cold, 50)]),
      figure('slot proof, p95', 'ms', [percentile(slots, 95)]),
      figure('slot proof, p50', 'ms', [percentile(slots, 50)]),
      figure(`proof of one event of ${events.toLocaleString('en')}, p95`, 'ms', [percentile(proven, 95)], '≤ 10'),
      figure('server RSS, peak while the trails are filled', 'MB', [filling], '≤ 400'),
      figure('server RSS, peak during the epochs', 'MB', [steady], '≤ 400'),
      figure('server RSS, peak while one trail is filled in batches', 'MB', [peak], '≤ 400'),
    ],
  )
}
