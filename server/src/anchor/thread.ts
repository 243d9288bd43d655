// The main thread's handle on the anchors' worker: starts it, and starts it again should it die.
import { Worker } from 'node:worker_threads'
import type { Login } from '../store/database.ts'
import type { Log } from '../store/log.ts'

export interface WorkerSettings {
  readonly login: Login
  /** Path of the policy file, if there is one. */
  readonly policy?: string
  /** Path of the anchors' file, if there is one. */
  readonly anchors?: string
  readonly interval_ms?: number
  readonly retry_ms?: number
}

export type ToWorker = 'wake' | 'stop'
export type FromWorker =
  | { type: 'ready' }
  /** A file cannot be used; the message is for the operator. */
  | { type: 'refused'; message: string }
  | { type: 'log'; level: keyof Log; fields: object; message: string }

/** The policy file or the anchors' file is not usable. */
export class AnchorsRefused extends Error {
  override name = 'AnchorsRefused'
}

const restart_after_ms = 2_000

export class AnchorThread {
  readonly #settings: WorkerSettings
  readonly #log: Log
  #worker: Worker | null = null
  #restart: NodeJS.Timeout | null = null
  #stopping = false

  private constructor(settings: WorkerSettings, log: Log) {
    this.#settings = settings
    this.#log = log
  }

  /**
   * Resolves once the worker has read its files and runs; at once where neither file is configured.
   * @throws AnchorsRefused
   */
  static async start(settings: WorkerSettings, log: Log): Promise<AnchorThread> {
    const thread = new AnchorThread(settings, log)
    await thread.#spawn()
    return thread
  }

  /** To be called after an epoch: it is also noticed without, a second later. */
  wake(): void {
    this.#send('wake')
  }

  /** Resolves once the worker has gone. */
  async stop(): Promise<void> {
    this.#stopping = true
    if (this.#restart !== null) clearTimeout(this.#restart)
    const worker = this.#worker
    if (worker === null) return
    const gone = new Promise((resolve) => worker.once('exit', resolve))
    this.#send('stop')
    await gone
  }

  #send(message: ToWorker): void {
    this.#worker?.postMessage(message)
  }

  #spawn(): Promise<void> {
    const worker = new Worker(new URL('./worker.ts', import.meta.url), {
      workerData: this.#settings,
      // Several isolates share the server's memory; left alone, each would take what suits the main thread.
      resourceLimits: { maxYoungGenerationSizeMb: 6, maxOldGenerationSizeMb: 64 },
    })
    this.#worker = worker
    return new Promise((resolve, reject) => {
      let ready = false
      worker.on('message', (message: FromWorker) => {
        if (message.type === 'log') this.#log[message.level](message.fields, message.message)
        else if (message.type === 'refused') reject(new AnchorsRefused(message.message))
        else {
          ready = true
          resolve()
        }
      })
      worker.on('error', (error) => {
        this.#log.error({ err: error }, 'the anchors thread failed')
        reject(error)
      })
      worker.on('exit', () => {
        this.#worker = null
        if (ready && !this.#stopping) this.#respawnLater()
      })
    })
  }

  /** Until then the anchors only lag. */
  #respawnLater(): void {
    this.#restart = setTimeout(() => {
      this.#spawn().catch((error: unknown) => {
        this.#log.error({ err: error }, 'the anchors thread does not start')
        if (!this.#stopping) this.#respawnLater()
      })
    }, restart_after_ms)
  }
}
