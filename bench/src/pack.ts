// An evidence pack of one tenant's whole trail: made by the server over HTTP, and verified offline on one core by the
// verifier in one file and by the command line.
import { execFileSync, spawn } from 'node:child_process'
import { createWriteStream, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { get } from 'node:http'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { Load } from './client.ts'
import { EventSource, zipfMix } from './events.ts'
import { type Figure, figure, percentile, report } from './report.ts'
import { type BenchServer, serverFlags, startBenchServer } from './server.ts'

const batchEvents = 1_000
const connections = 8
/** The only tenant of the mix. */
const tenant = 'tenant_0'
const root = join(import.meta.dirname, '..', '..')

const method = `
A server as in the ingest benchmark, one tenant, events of about 560 bytes from 40 people, recorded once. When all are under
a checkpoint, \`GET /v1/trails/{tenant}/pack\` streams the pack to a file on the same disk, once per run: that is "made". CPU
time is user and system of all threads of the server, without PostgreSQL's; its memory is the peak since that run began.
After the runs, a pack of 300,000 events is made while single events of another tenant are recorded, one every 10 ms after the
answer to the one before: what they wait. Then the server is stopped, and the last file is verified as often as it was made, by
a process bound to one core with \`taskset\`: "verified" is wall time from its start to its exit, CPU time is user and system
of all its threads, memory its peak resident set.`

/** Events of the pack that is made while others record. */
const busyEvents = 300_000
const pause_ms = 10

type Measured = Record<
  'made' | 'cpuPerEvent' | 'memory' | 'bytes' | 'program' | 'cpu' | 'rss' | 'cli' | 'cliRss' | 'p50' | 'p99',
  number[]
>

/** @param events at least 1,000 */
export async function pack(folder: string, events: number, runs: number): Promise<void> {
  execFileSync(process.execPath, ['web/verify/build.ts'], { cwd: root })
  const measured: Measured = {
    made: [],
    cpuPerEvent: [],
    memory: [],
    bytes: [],
    program: [],
    cpu: [],
    rss: [],
    cli: [],
    cliRss: [],
    p50: [],
    p99: [],
  }
  const files = mkdtempSync(join(folder, 'affidavit-pack-'))
  const path = join(files, 'pack.zip')
  const server = await startBenchServer(folder, serverFlags)
  try {
    await record(server, events)
    for (let run = 0; run < runs; run++) await make(server, path, events, measured)
    await whileMaking(server, join(files, 'other.zip'), Math.min(events, busyEvents), measured)
  } finally {
    await server.stop()
  }
  for (let run = 0; run < runs; run++) {
    const program = await verified([join(root, 'server/dist/verifier/affidavit-verify.mjs'), path])
    measured.program.push(program.seconds)
    measured.cpu.push(program.cpuSeconds)
    measured.rss.push(program.megabytes)
    const cli = await verified([join(root, 'cli/bin/affidavit.mjs'), 'verify', path])
    measured.cli.push(cli.seconds)
    measured.cliRss.push(cli.megabytes)
    console.error(`verified, run ${run + 1}: ${program.seconds.toFixed(1)} s, ${cli.seconds.toFixed(1)} s`)
  }
  rmSync(files, { recursive: true })
  const of = (name: keyof Measured, what: string, unit: string, budget?: string): Figure =>
    figure(what, unit, measured[name], budget)
  report('pack', `${method}\n${events.toLocaleString('en')} events.`, [
    of('made', 'pack made', 's', '≤ 60 for 1 M events'),
    of('cpuPerEvent', "of that the server's CPU time, per event", 'µs'),
    of('memory', 'server RSS, peak', 'MB', '≤ 400'),
    of('bytes', 'size of the pack', 'bytes/event'),
    of('p50', 'one awaited event while a pack is made, p50', 'ms'),
    of('p99', 'one awaited event while a pack is made, p99', 'ms', '≤ 20'),
    of('program', 'verified by the single file, one core', 's', '≤ 15 for 1 M events'),
    of('cpu', 'of that CPU time, user and system', 's'),
    of('rss', 'memory of the single file, peak', 'MB', '≤ 200'),
    of('cli', 'verified by the command line, one core', 's', '≤ 15 for 1 M events'),
    of('cliRss', 'memory of the command line, peak', 'MB', '≤ 200'),
  ])
}

async function make(server: BenchServer, path: string, events: number, measured: Measured): Promise<void> {
  writeFileSync(`/proc/${server.pid}/clear_refs`, '5')
  const cpu = cpuSeconds(server.pid)
  const start = performance.now()
  await download(server, path, '')
  const seconds = (performance.now() - start) / 1000
  measured.made.push(seconds)
  measured.cpuPerEvent.push(((cpuSeconds(server.pid) - cpu) * 1e6) / events)
  measured.memory.push(server.peakMemory() / 1e6)
  measured.bytes.push(statSync(path).size / events)
  console.error(`made in ${seconds.toFixed(1)} s, ${measured.cpuPerEvent.at(-1)!.toFixed(1)} µs of CPU per event`)
}

/** User and system time of a process. */
function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ')
  return (Number(stat[11]) + Number(stat[12])) / 100
}

async function whileMaking(server: BenchServer, path: string, events: number, measured: Measured): Promise<void> {
  const source = new EventSource({ ...zipfMix, tenants: 1, seed: 99 })
  const load = new Load(server.url, server.key, 1)
  const send = async () => {
    const event = { ...source.next(Date.now()), tenant: 'tenant_other' }
    const start = performance.now()
    await load.post('/v1/events', Buffer.from(JSON.stringify(event)), 'application/json')
    return performance.now() - start
  }
  await send()
  let isMade = false
  const made = download(server, path, `?to=${events}`).finally(() => {
    isMade = true
  })
  const waited: number[] = []
  while (!isMade) {
    waited.push(await send())
    await sleep(pause_ms)
  }
  await made
  load.close()
  measured.p50.push(percentile(waited, 50))
  measured.p99.push(percentile(waited, 99))
}

async function record(server: BenchServer, events: number): Promise<void> {
  const source = new EventSource({ ...zipfMix, tenants: 1, people: 40, seed: 50 })
  const load = new Load(server.url, server.key, connections)
  for (let left = events / batchEvents; left > 0; left -= 100) {
    const batches = Array.from({ length: Math.min(100, left) }, () => source.batch(batchEvents, Date.now()))
    await load.sendAll(batches, connections)
  }
  load.close()
  for (;;) {
    const metrics = await (await fetch(`${server.url}/metrics`)).text()
    if (/^affidavit_notary_lag_events 0$/m.test(metrics)) return
    await sleep(500)
  }
}

async function download(server: BenchServer, path: string, query: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const headers = { authorization: `Bearer ${server.key}` }
    get(`${server.url}/v1/trails/${tenant}/pack${query}`, { headers }, (reply) => {
      if (reply.statusCode !== 200) reject(new Error(`the pack is answered with ${reply.statusCode}`))
      else pipeline(reply, createWriteStream(path)).then(resolve, reject)
    }).on('error', reject)
  })
}

interface Ran {
  readonly seconds: number
  readonly cpuSeconds: number
  readonly megabytes: number
}

/** Runs a verifier on one core. Throws unless everything held. */
export async function verified(args: readonly string[]): Promise<Ran> {
  const start = performance.now()
  const child = spawn('taskset', ['-c', '0', process.execPath, ...args], { stdio: ['ignore', 'ignore', 'inherit'] })
  let [used, kilobytes] = [0, 0]
  let seconds = 0
  const ended = new Promise<number | null>((resolve) =>
    child.on('exit', (code) => {
      seconds = (performance.now() - start) / 1000
      resolve(code)
    }),
  )
  while (child.exitCode === null && child.signalCode === null) {
    try {
      used = cpuSeconds(child.pid!)
      kilobytes = Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))?.[1] ?? kilobytes)
    } catch {
      // it has just ended
    }
    await sleep(100)
  }
  const code = await ended
  if (code !== 0) throw new Error(`${args.join(' ')} ended with ${code}`)
  return { seconds, cpuSeconds: used, megabytes: kilobytes / 1000 }
}
