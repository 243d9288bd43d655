// Ours against Tessera's POSIX driver, the fastest transparency log there is to embed, in one run on one disk: in batches,
// and one event that is waited for. Tessera runs in process, without HTTP, tenants, content rules or search; ours over
// HTTP with all of that. bench/tessera is built on demand through the Go module proxy.
import { execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Load } from './client.ts'
import { EventSource, zipfMix } from './events.ts'
import { figure, percentile, report } from './report.ts'
import { serverFlags, startBenchServer } from './server.ts'
import { warm } from './warm.ts'

const limits = `
What limits: see ingest.md. Tessera hashes and stores bytes that it does not look at; ours parses an event, cuts people out
of it, encrypts what is new of them, commits to each part, and stores it with what searches need, for each event by itself.`

const batchEvents = 1_000
const connections = 16
const awaited = 200
const longestPauseMs = 250

interface TesseraResult {
  readonly events: number
  readonly seconds: number
  readonly await_ms: readonly number[]
  readonly await_quick_ms: readonly number[]
}

interface Measured {
  readonly rate: number
  readonly awaitMs: readonly number[]
}

const method = (events: number) => `
Both in one run, alternately first, on the same disk and the same ${events.toLocaleString('en')} events (about 560 bytes of JSON each, tenants by
Zipf(1.1) over 1,000, 5 % with a new persona), two cores for everything, the load included.
Tessera v1.0.4: POSIX driver, in process, no antispam, default batching (256 or 250 ms) and pushback (4,096); events are in
memory beforehand; the clock stops when the last one is integrated.
Ours: the server as \`affidavit serve\` starts it, with its embedded PostgreSQL 18 (fsync on), over HTTP: NDJSON batches of
${batchEvents} on ${connections} connections, \`Prefer: return=minimal\`, after every person was seen once; the clock stops when the
last batch is answered, and so durable. An answered event has its hash and its place; its checkpoint follows in the background.
One awaited event: ${awaited} times at random moments, alone, until the answer that says it is durable. Tessera's default waits for
a batch to fill; "1 ms" is the same with a batch age of 1 ms.`

function build(into: string): string {
  const program = join(into, 'tessera-bench')
  const env = { ...process.env, GOTOOLCHAIN: 'local' }
  const folder = join(import.meta.dirname, '..', 'tessera')
  try {
    execFileSync('go', ['build', '-mod=mod', '-trimpath', '-o', program, '.'], { cwd: folder, env, stdio: 'inherit' })
  } catch (error) {
    throw new Error('bench/tessera could not be built: it needs Go 1.24 or newer and its module proxy', {
      cause: error,
    })
  }
  return program
}

async function runTessera(program: string, folder: string, batches: readonly Buffer[]): Promise<TesseraResult> {
  const dir = mkdtempSync(join(folder, 'tessera-bench-'))
  try {
    const events = join(dir, 'events')
    writeFileSync(events, Buffer.concat(batches))
    const args = ['-dir', dir, '-events', events, '-await', String(awaited)]
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'ignore'] })
    let output = ''
    child.stdout.on('data', (chunk: Buffer) => (output += chunk))
    const code = await new Promise((resolve) => child.once('close', resolve))
    if (code !== 0) throw new Error(`tessera-bench ended with ${code}`)
    return JSON.parse(output) as TesseraResult
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

async function runOurs(folder: string, batches: readonly Buffer[], seed: number): Promise<Measured> {
  const server = await startBenchServer(folder, serverFlags)
  try {
    await warm(server, zipfMix)
    const load = new Load(server.url, server.key, connections)
    const seconds = await load.sendAll(batches, connections)
    const source = new EventSource({ ...zipfMix, seed: seed + 5_000 })
    const awaitMs: number[] = []
    for (let n = 0; n < awaited; n++) {
      await new Promise((resolve) => setTimeout(resolve, Math.random() * longestPauseMs))
      const body = Buffer.from(JSON.stringify(source.next(Date.now())))
      const sent = performance.now()
      await load.post('/v1/events', body, 'application/json')
      awaitMs.push(performance.now() - sent)
    }
    load.close()
    return { rate: (batches.length * batchEvents) / seconds, awaitMs }
  } finally {
    await server.stop()
  }
}

/** @param folder where data is written: the disk under test */
export async function tessera(folder: string, events: number, runs: number): Promise<void> {
  const place = mkdtempSync(join(tmpdir(), 'affidavit-tessera-'))
  const program = build(place)
  const of = {
    ours: [] as number[],
    theirs: [] as number[],
    ratio: [] as number[],
    oursP50: [] as number[],
    theirsP50: [] as number[],
    quickP50: [] as number[],
    times: [] as number[],
    timesQuick: [] as number[],
  }
  for (let run = 0; run < runs; run++) {
    const seed = 300 + run
    const source = new EventSource({ ...zipfMix, seed })
    const batches = Array.from({ length: Math.floor(events / batchEvents) }, () =>
      source.batch(batchEvents, Date.now()),
    )
    // Whoever comes first has the colder disk cache, and the emptier disk queue.
    const early = run % 2 === 0 ? await runTessera(program, folder, batches) : undefined
    const ours = await runOurs(folder, batches, seed)
    const theirs = early ?? (await runTessera(program, folder, batches))
    of.ours.push(ours.rate)
    of.theirs.push(theirs.events / theirs.seconds)
    of.ratio.push(of.ours.at(-1)! / of.theirs.at(-1)!)
    of.oursP50.push(percentile(ours.awaitMs, 50))
    of.theirsP50.push(percentile(theirs.await_ms, 50))
    of.quickP50.push(percentile(theirs.await_quick_ms, 50))
    of.times.push(of.theirsP50.at(-1)! / of.oursP50.at(-1)!)
    of.timesQuick.push(of.quickP50.at(-1)! / of.oursP50.at(-1)!)
    console.error(`run ${run + 1}: ${JSON.stringify(of)}`)
  }
  rmSync(place, { recursive: true, force: true })
  report(
    'tessera',
    method(events),
    [
      figure('ours over HTTP, batches', 'events/s', of.ours),
      figure('Tessera POSIX in process, integrated', 'events/s', of.theirs),
      figure('ours / Tessera', '×', of.ratio, '≥ 1'),
      figure('one awaited event, ours over HTTP, p50', 'ms', of.oursP50),
      figure('one awaited event, Tessera, p50', 'ms', of.theirsP50),
      figure('Tessera / ours', '×', of.times, '≥ 3'),
      figure('one awaited event, Tessera with a batch age of 1 ms, p50', 'ms', of.quickP50),
      figure('Tessera at 1 ms / ours', '×', of.timesQuick, 'reported'),
    ],
    limits,
  )
}
