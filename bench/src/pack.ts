// An evidence pack of one tenant's whole trail: made by the server over HTTP, and verified offline on one core by the
// verifier in one file and by the command line.
import { execFileSync, spawn } from 'node:child_process'
import { createWriteStream, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { get } from 'node:http'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { Load } from './client.ts'
import { EventSource, zipfMix } from './events.ts'
import { type Figure, figure, report } from './report.ts'
import { type BenchServer, serverFlags, startBenchServer } from './server.ts'

const batchEvents = 1_000
const connections = 8
/** The only tenant of the mix. */
const tenant = 'tenant_0'
const root = join(import.meta.dirname, '..', '..')

const method = `
A server as in the ingest benchmark, one tenant, events of about 560 bytes from 40 people. When all are under a checkpoint,
\`GET /v1/trails/{tenant}/pack\` streams the pack to a file on the same disk: that is "made", and the server's memory is its
peak since the events were in. Then the server is stopped, and the file is verified by a process bound to one core with
\`taskset\`: "verified" is wall time from its start to its exit, CPU time is user and system of all its threads, memory its
peak resident set.`

/** @param events at least 1,000 */
export async function pack(folder: string, events: number, runs: number): Promise<void> {
  execFileSync(process.execPath, ['web/verify/build.ts'], { cwd: root })
  const measured: Record<string, number[]> = {
    made: [],
    memory: [],
    bytes: [],
    program: [],
    cpu: [],
    rss: [],
    cli: [],
    cliRss: [],
  }
  for (let run = 0; run < runs; run++) {
    const files = mkdtempSync(join(folder, 'affidavit-pack-'))
    const path = join(files, 'pack.zip')
    const server = await startBenchServer(folder, serverFlags)
    await record(server, events, run)
    const start = performance.now()
    await download(server, path)
    measured.made!.push((performance.now() - start) / 1000)
    measured.memory!.push(server.peakMemory() / 1e6)
    measured.bytes!.push(statSync(path).size / events)
    await server.stop()
    const program = await verified([join(root, 'server/dist/verifier/affidavit-verify.mjs'), path])
    measured.program!.push(program.seconds)
    measured.cpu!.push(program.cpuSeconds)
    measured.rss!.push(program.megabytes)
    const cli = await verified([join(root, 'cli/bin/affidavit.mjs'), 'verify', path])
    measured.cli!.push(cli.seconds)
    measured.cliRss!.push(cli.megabytes)
    rmSync(files, { recursive: true })
    console.error(`run ${run + 1}: ${JSON.stringify(measured)}`)
  }
  const of = (name: string, what: string, unit: string, budget?: string): Figure =>
    figure(what, unit, measured[name]!, budget)
  report('pack', `${method}\n${events.toLocaleString('en')} events per run.`, [
    of('made', 'pack made', 's', '≤ 60 for 1 M events'),
    of('memory', 'server RSS, peak', 'MB', '≤ 400'),
    of('bytes', 'size of the pack', 'bytes/event'),
    of('program', 'verified by the single file, one core', 's', '≤ 15 for 1 M events'),
    of('cpu', 'of that CPU time, user and system', 's'),
    of('rss', 'memory of the single file, peak', 'MB', '≤ 200'),
    of('cli', 'verified by the command line, one core', 's', '≤ 15 for 1 M events'),
    of('cliRss', 'memory of the command line, peak', 'MB', '≤ 200'),
  ])
}

async function record(server: BenchServer, events: number, run: number): Promise<void> {
  const source = new EventSource({ ...zipfMix, tenants: 1, people: 40, seed: 50 + run })
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

async function download(server: BenchServer, path: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const headers = { authorization: `Bearer ${server.key}` }
    get(`${server.url}/v1/trails/${tenant}/pack`, { headers }, (reply) => {
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
async function verified(args: readonly string[]): Promise<Ran> {
  const start = performance.now()
  const child = spawn('taskset', ['-c', '0', process.execPath, ...args], { stdio: ['ignore', 'ignore', 'inherit'] })
  let [ticks, kilobytes] = [0, 0]
  let seconds = 0
  const ended = new Promise<number | null>((resolve) =>
    child.on('exit', (code) => {
      seconds = (performance.now() - start) / 1000
      resolve(code)
    }),
  )
  while (child.exitCode === null && child.signalCode === null) {
    try {
      const stat = readFileSync(`/proc/${child.pid}/stat`, 'utf8').split(') ')[1]!.split(' ')
      ticks = Number(stat[11]) + Number(stat[12])
      kilobytes = Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))?.[1] ?? kilobytes)
    } catch {
      // it has just ended
    }
    await sleep(100)
  }
  const code = await ended
  if (code !== 0) throw new Error(`${args.join(' ')} ended with ${code}`)
  return { seconds, cpuSeconds: ticks / 100, megabytes: kilobytes / 1000 }
}
