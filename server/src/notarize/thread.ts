// The main thread's handle on the notary's worker: starts it, starts it again should it die, wakes it after commits.
import { Worker } from 'node:worker_threads'
import type { Login } from '../store/database.ts'
import type { Log } from '../store/log.ts'
import type { NotaryStatus } from './notary.ts'

export interface WorkerSettings {
  readonly login: Login
  /** The folder that `openKeys` made. */
  readonly keyFolder: string
  /** Root key from the environment, if it is not in the folder. */
  readonly rootKey?: string
  readonly logName: string
  /** Default 1,000. */
  readonly interval_ms?: number
}

export type ToWorker = { type: 'wake' } | { type: 'stop' } | { type: 'status'; id: number }
export type FromWorker =
  | { type: 'ready' }
  | { type: 'log'; level: keyof Log; fields: object; message: string }
  | { type: 'status'; id: number; status: NotaryStatus }

const wake_every_ms = 50
const restart_after_ms = 2_000

export class NotaryThread {
  readonly #settings: WorkerSettings
  readonly #log: Log
  readonly #asked = new Map<number, (status: NotaryStatus | null) => void>()
  #worker: Worker | null = null
  #restart: NodeJS.Timeout | null = null
  #waking: NodeJS.Timeout | null = null
  #stopping = false
  #ids = 0

  private constructor(settings: WorkerSettings, log: Log) {
    this.#settings = settings
    this.#log = log
  }

  /**
   * Resolves once the worker has opened its keys and runs.
   * @throws what kept the worker from starting, e.g. KeyUnusable's message
   */
  static async start(settings: WorkerSettings, log: Log): Promise<NotaryThread> {
    const thread = new NotaryThread(settings, log)
    await thread.#spawn()
    return thread
  }

  /** To be called after each commit; the worker hears of it at most every 50 ms. */
  wake(): void {
    this.#waking ??= setTimeout(() => {
      this.#waking = null
      this.#send({ type: 'wake' })
    }, wake_every_ms).unref()
  }

  /** Null while the worker is down. */
  status(): Promise<NotaryStatus | null> {
    if (this.#worker === null) return Promise.resolve(null)
    const id = ++this.#ids
    return new Promise((resolve) => {
      this.#asked.set(id, resolve)
      this.#send({ type: 'status', id })
    })
  }

  /** Resolves once the transaction under way is finished and the worker has gone. */
  async stop(): Promise<void> {
    this.#stopping = true
    for (const timer of [this.#restart, this.#waking]) if (timer !== null) clearTimeout(timer)
    const worker = this.#worker
    if (worker === null) return
    const gone = new Promise((resolve) => worker.once('exit', resolve))
    this.#send({ type: 'stop' })
    await gone
  }

  #send(message: ToWorker): void {
    this.#worker?.postMessage(message)
  }

  #spawn(): Promise<void> {
    const worker = new Worker(new URL('./worker.ts', import.meta.url), {
      workerData: this.#settings,
      // Several isolates share the server's memory; left alone, each would take what suits the main thread.
      resourceLimits: { maxYoungGenerationSizeMb: 12, maxOldGenerationSizeMb: 128 },
    })
    this.#worker = worker
    return new Promise((resolve, reject) => {
      let ready = false
      worker.on('message', (message: FromWorker) => {
        if (message.type === 'ready') {
          ready = true
          resolve()
        } else if (message.type === 'log') this.#log[message.level](message.fields, message.message)
        else this.#answer(message.id, message.status)
      })
      worker.on('error', (error) => {
        this.#log.error({ err: error }, 'the notary thread failed')
        reject(error)
      })
      worker.on('exit', () => {
        this.#worker = null
        for (const id of this.#asked.keys()) this.#answer(id, null)
        if (ready && !this.#stopping) this.#respawnLater()
      })
    })
  }

  #answer(id: number, status: NotaryStatus | null): void {
    this.#asked.get(id)?.(status)
    this.#asked.delete(id)
  }

  /** Until then the trails only lag. */
  #respawnLater(): void {
    this.#restart = setTimeout(() => {
      this.#spawn().catch(() => {
        if (!this.#stopping) this.#respawnLater()
      })
    }, restart_after_ms)
  }
}
