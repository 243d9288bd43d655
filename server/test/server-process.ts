// A real server in a process of its own, for tests that kill it, starve it or run several on one database.
//
//   const server = await startProcess()                          // embedded PostgreSQL in a temporary folder
//   const node = await startProcess({ databaseUrl: database.url })  // on the test run's PostgreSQL
//   await server.kill(); await server.start()                    // SIGKILL, and up again on the same folder
//   await server.remove()                                        // stops it, and deletes its folder
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { runnable } from './packed.ts'
import { freePort } from './ports.ts'

export interface ProcessOptions {
  /** Default: the embedded PostgreSQL in the server's folder. */
  databaseUrl?: string
  /** Default: a temporary folder, deleted by `remove`. */
  folder?: string
  /** Further settings, by their names in config.ts. */
  settings?: Record<string, string>
}

const entry = runnable('server/test/server-process-entry.ts')

export const temporaryFolder = (): Promise<string> => mkdtemp(join(tmpdir(), 'affidavit-server-'))

/** Starts a server and waits until it can seal. */
export async function startProcess(options: ProcessOptions = {}): Promise<ServerProcess> {
  const folder = options.folder ?? (await temporaryFolder())
  const server = new ServerProcess(folder, options)
  await server.start()
  return server
}

export class ServerProcess {
  readonly folder: string
  readonly #options: ProcessOptions
  /** A killed server comes back under its address, so that clients need not be told. */
  #port = 0
  #child: ChildProcess | undefined
  #log = ''

  constructor(folder: string, options: ProcessOptions) {
    this.folder = folder
    this.#options = options
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`
  }

  get operatorKey(): string {
    return readFileSync(join(this.folder, 'operator.key'), 'utf8').trim()
  }

  get pid(): number {
    return this.#child!.pid!
  }

  /** Process id of the embedded PostgreSQL's postmaster, or undefined while there is none. */
  get postgresPid(): number | undefined {
    try {
      return Number.parseInt(readFileSync(join(this.folder, 'postgres', 'data', 'postmaster.pid'), 'utf8'), 10)
    } catch {
      return undefined
    }
  }

  /** The errors that the server logged since its last start, and whatever was not written by its logger. */
  get log(): string {
    return this.#log
      .split('\n')
      .filter((line) => !/^{"level":[1-4]0,/.test(line))
      .map((line) => line.slice(0, 2_000))
      .join('\n')
  }

  /** Starts the process without waiting for it to listen. */
  launch(): ChildProcess {
    const { databaseUrl, settings } = this.#options
    this.#log = ''
    // Most live for seconds: collecting what their start leaves behind costs a tenth of it.
    const child = spawn(process.execPath, ['--min-semi-space-size=16', entry], {
      env: {
        PATH: process.env.PATH,
        TMPDIR: tmpdir(),
        NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE,
        PORT: String(this.#port),
        AFFIDAVIT_DATA_DIR: this.folder,
        AFFIDAVIT_LOG_LEVEL: 'warn',
        AFFIDAVIT_NOTARY_INTERVAL_MS: '300',
        ...(databaseUrl !== undefined && { DATABASE_URL: databaseUrl }),
        ...settings,
      },
      stdio: ['pipe', 'pipe', 'pipe'],
    })
    child.stderr!.on('data', (chunk: Buffer) => {
      this.#log = (this.#log + chunk).slice(-1_000_000)
    })
    this.#child = child
    return child
  }

  /** @throws what the server says if it does not start */
  async start(): Promise<void> {
    this.#port ||= await freePort()
    const child = this.launch()
    let output = ''
    child.stdout!.on('data', (chunk: Buffer) => (output += chunk))
    while (!output.includes('\n')) {
      if (child.exitCode !== null || child.signalCode !== null) break
      await Promise.race([once(child.stdout!, 'data'), once(child, 'close')])
    }
    const told = JSON.parse(output.split('\n')[0] || '{"error":"it ended without a word"}') as {
      url?: string
      error?: string
    }
    if (told.url === undefined) throw new Error(`${told.error}\n${this.log}`)
    await this.ready()
  }

  /** Waits until /readyz says 200. */
  async ready(patience_ms = 60_000): Promise<void> {
    let last: unknown
    for (const until = Date.now() + patience_ms; Date.now() < until; await sleep(20)) {
      try {
        const response = await fetch(`${this.url}/readyz`, { signal: AbortSignal.timeout(10_000) })
        last = await response.text()
        if (response.ok) return
      } catch (error) {
        last = error
      }
    }
    throw new Error(`the server does not become ready: ${last}\n${this.log}`)
  }

  /** SIGKILL, as the kernel does when memory ends. The embedded PostgreSQL is left running. */
  async kill(): Promise<void> {
    await this.#end('SIGKILL')
  }

  /** SIGTERM. @returns the exit code */
  stop(): Promise<number | null> {
    return this.#end('SIGTERM')
  }

  async restart(): Promise<void> {
    await this.stop()
    await this.start()
  }

  async #end(signal: NodeJS.Signals): Promise<number | null> {
    const child = this.#child
    if (child === undefined) return null
    if (child.exitCode === null && child.signalCode === null) {
      const ended = once(child, 'exit')
      child.kill(signal)
      await ended
    }
    return child.exitCode
  }

  /** Ends everything and deletes the folder. */
  async remove(): Promise<void> {
    await this.kill()
    const postgres = this.postgresPid
    if (postgres !== undefined && isAlive(postgres)) {
      process.kill(postgres, 'SIGQUIT')
      for (const until = Date.now() + 10_000; isAlive(postgres) && Date.now() < until; ) await sleep(20)
    }
    await rm(this.folder, { recursive: true, force: true, maxRetries: 5 })
  }
}

export function isAlive(pid: number): boolean {
  return existsSync(`/proc/${pid}`)
}
