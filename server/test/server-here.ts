// A server that a test stops, changes something under, and starts again, in the test's own process: what is compiled stays
// compiled, so a start costs a fraction of that of a process. For what kills a server there is server-process.ts.
//
//   const server = await ServerHere.start({ databaseUrl: database.url, settings: { … } })
//   await server.stop(); …; await server.start()     // on the same folder, under the same address
//   await server.remove()                            // stops it, and deletes its folder
import { readFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { readConfig } from '../src/config.ts'
import { type RunningServer, startServer } from '../src/main.ts'
import { freePort } from './ports.ts'
import { type ProcessOptions, temporaryFolder } from './server-process.ts'

export class ServerHere {
  readonly folder: string
  readonly #options: ProcessOptions
  #port = 0
  #running: RunningServer | undefined

  private constructor(folder: string, options: ProcessOptions) {
    this.folder = folder
    this.#options = options
  }

  /** Starts a server and waits until it can seal. */
  static async start(options: ProcessOptions): Promise<ServerHere> {
    const server = new ServerHere(options.folder ?? (await temporaryFolder()), options)
    await server.start()
    return server
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`
  }

  get operatorKey(): string {
    return readFileSync(join(this.folder, 'operator.key'), 'utf8').trim()
  }

  /** @throws what the server says if it does not start */
  async start(): Promise<void> {
    const { databaseUrl, settings } = this.#options
    this.#port ||= await freePort()
    const read = readConfig({
      PORT: String(this.#port),
      AFFIDAVIT_DATA_DIR: this.folder,
      AFFIDAVIT_LOG_LEVEL: 'silent',
      AFFIDAVIT_NOTARY_INTERVAL_MS: '300',
      ...(databaseUrl !== undefined && { DATABASE_URL: databaseUrl }),
      ...settings,
    })
    if (!read.ok) throw new Error(read.problems.join('\n'))
    this.#running = await startServer(read.config)
    for (const until = Date.now() + 60_000; ; await sleep(20)) {
      const response = await fetch(`${this.url}/readyz`)
      const text = await response.text()
      if (response.ok) return
      if (Date.now() > until) throw new Error(`the server does not become ready: ${text}`)
    }
  }

  async stop(): Promise<void> {
    await this.#running?.stop()
    this.#running = undefined
  }

  async restart(): Promise<void> {
    await this.stop()
    await this.start()
  }

  /** Stops it and deletes its folder. */
  async remove(): Promise<void> {
    await this.stop()
    await rm(this.folder, { recursive: true, force: true, maxRetries: 5 })
  }
}
