// The main thread's handle on the scrub's worker: starts it, starts it again should it die, hears of findings.
import { Worker } from 'node:worker_threads'
import type { Login } from '../store/database.ts'
import type { Log } from '../store/log.ts'

export interface ScrubSettings {
  readonly login: Login
  /** The folder that `openKeys` made. */
  readonly keyFolder: string
  /** Root key from the environment, if it is not in the folder. */
  readonly rootKey?: string
  /** Events per second. */
  readonly rate: number
}

export interface Told {
  readonly tenant: string
  readonly trailId: string
  readonly seq: number | null
  readonly what: string
  readonly message: string
  readonly print: string
}

export type FromScrub =
  | { type: 'found'; found: Told }
  | { type: 'log'; level: keyof Log; fields: object; message: string }

const restart_after_ms = 10_000

export class ScrubThread {
  readonly #settings: ScrubSettings
  readonly #log: Log
  readonly #onFound: (found: Told) => void
  #worker: Worker | null = null
  #restart: NodeJS.Timeout | null = null
  #stopping = false

  /** @param onFound called for what was not known; it is in the database by then */
  constructor(settings: ScrubSettings, log: Log, onFound: (found: Told) => void) {
    this.#settings = settings
    this.#log = log
    this.#onFound = onFound
    this.#spawn()
  }

  /** Resolves once the page under way is judged and the worker has gone. */
  async stop(): Promise<void> {
    this.#stopping = true
    if (this.#restart !== null) clearTimeout(this.#restart)
    const worker = this.#worker
    if (worker === null) return
    const gone = new Promise((resolve) => worker.once('exit', resolve))
    worker.postMessage('stop')
    await gone
  }

  #spawn(): void {
    const worker = new Worker(new URL('./worker.ts', import.meta.url), {
      workerData: this.#settings,
      // Several isolates share the server's memory; left alone, each would take what suits the main thread.
      resourceLimits: { maxYoungGenerationSizeMb: 6, maxOldGenerationSizeMb: 96 },
    })
    this.#worker = worker
    worker.on('message', (message: FromScrub) => {
      if (message.type === 'found') this.#onFound(message.found)
      else this.#log[message.level](message.fields, message.message)
    })
    worker.on('error', (error) => this.#log.error({ err: error }, 'the scrub thread failed'))
    worker.on('exit', () => {
      this.#worker = null
      if (!this.#stopping) this.#restart = setTimeout(() => this.#spawn(), restart_after_ms).unref()
    })
  }
}
