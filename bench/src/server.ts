// Starts and measures the server under test.
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

export interface BenchServer {
  readonly url: string
  readonly key: string
  readonly dataDir: string
  readonly pid: number
  /** Database of the embedded PostgreSQL, for baselines and sizes. */
  readonly login: { host: string; port: number; user: string; database: string }
  /** Resident memory of the server process, peak since its start or `forgetPeak`, bytes. */
  peakMemory(): number
  /** The peak counts from now on. */
  forgetPeak(): void
  stop(): Promise<void>
}

/** What `affidavit serve` starts Node with, besides MALLOC_ARENA_MAX and where it keeps compiled sources. */
export const serverFlags = [
  '--max-old-space-size=320',
  '--max-semi-space-size=16',
  '--heap-growing-percent=100',
  '--no-allocation-site-pretenuring',
]
const compiled = join(import.meta.dirname, '..', '..', 'cli', 'node_modules', '.cache', 'affidavit')

/**
 * @param folder parent of the data folder: what disk is measured
 * @param nodeArguments for example --cpu-prof
 * @param settings further ones, by their names in config.ts
 */
export async function startBenchServer(
  folder: string,
  nodeArguments: readonly string[] = [],
  settings: Readonly<Record<string, string>> = {},
): Promise<BenchServer> {
  const dataDir = mkdtempSync(join(folder, 'affidavit-bench-'))
  const server = await startOn(dataDir, nodeArguments, settings)
  return {
    ...server,
    stop: async () => {
      await server.stop()
      rmSync(dataDir, { recursive: true, force: true })
    },
  }
}

/** A server on a data folder that is there, and stays when the server stops. */
export async function startOn(
  dataDir: string,
  nodeArguments: readonly string[],
  settings: Readonly<Record<string, string>> = {},
): Promise<BenchServer> {
  const child = spawn(process.execPath, [...nodeArguments, join(import.meta.dirname, 'server-entry.ts')], {
    env: {
      ...process.env,
      MALLOC_ARENA_MAX: '2',
      NODE_COMPILE_CACHE: compiled,
      AFFIDAVIT_DATA_DIR: dataDir,
      PORT: '0',
      AFFIDAVIT_LOG_LEVEL: 'warn',
      DATABASE_URL: '',
      AFFIDAVIT_RATE_EVENTS: '100000000',
      ...settings,
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const url = await firstLine(child)
  const run = join(dataDir, 'postgres', 'run')
  const socket = readdirSync(run).find((name) => /^\.s\.PGSQL\.\d+$/.test(name))
  return {
    url,
    key: readFileSync(join(dataDir, 'operator.key'), 'utf8').trim(),
    dataDir,
    pid: child.pid!,
    login: { host: run, port: Number(socket!.split('.').at(-1)), user: 'postgres', database: 'affidavit' },
    peakMemory: () => Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))![1]) * 1024,
    forgetPeak: () => writeFileSync(`/proc/${child.pid}/clear_refs`, '5'), // proc_pid_clear_refs(5)
    stop: async () => {
      const gone = new Promise((resolve) => child.once('exit', resolve))
      child.kill('SIGTERM')
      await gone
    },
  }
}

async function firstLine(child: ChildProcess): Promise<string> {
  for await (const line of createInterface({ input: child.stdout! })) {
    const { url } = JSON.parse(line) as { url?: string }
    if (url !== undefined) return url
  }
  throw new Error('the server did not start')
}
