// The main thread's end of the registry's worker: starts it, starts it again should it die, and asks it for slot proofs,
// which take a few milliseconds that no request should wait for.
import { Worker } from 'node:worker_threads'
import type { Login } from '../store/database.ts'
import type { Log } from '../store/log.ts'
import type { EpochOutcome } from './epoch.ts'
import type { SlotProofOutcome } from './proof.ts'
import type { RegistryStatus } from './registry.ts'

export interface RegistrySettings {
  readonly login: Login
  /** The folder that `openKeys` made. */
  readonly keyFolder: string
  /** Root key from the environment, if it is not in the folder. */
  readonly rootKey?: string
  readonly logName: string
  /** What `openObjects` takes. */
  readonly objects: string
  /** Default 60,000. */
  readonly interval_ms?: number
}

/** What the worker can be asked, and what it answers. */
export interface Questions {
  status: { ask: null; answer: RegistryStatus }
  epoch: { ask: null; answer: EpochOutcome }
  proof: { ask: { tenant: number; epoch: number | 'latest' }; answer: SlotProofOutcome }
}

export type ToWorker =
  | { type: 'stop' }
  | { [Name in keyof Questions]: { type: 'ask'; id: number; name: Name; ask: Questions[Name]['ask'] } }[keyof Questions]
export type FromWorker =
  | { type: 'ready' }
  | { type: 'log'; level: keyof Log; fields: object; message: string }
  | { type: 'answer'; id: number; answer: unknown }
  | { type: 'failed'; id: number; message: string }

/** The worker is starting, or failed to answer: to be tried again. */
export class RegistryUnavailable extends Error {
  override name = 'RegistryUnavailable'
}

interface Waiting {
  readonly resolve: (answer: never) => void
  readonly reject: (error: Error) => void
}

const restart_after_ms = 2_000

export class RegistryThread {
  readonly #settings: RegistrySettings
  readonly #log: Log
  readonly #waiting = new Map<number, Waiting>()
  #worker: Worker | null = null
  #restart: NodeJS.Timeout | null = null
  #stopping = false
  #ids = 0

  private constructor(settings: RegistrySettings, log: Log) {
    this.#settings = settings
    this.#log = log
  }

  /**
   * Resolves once the worker has opened its keys and objects, and runs.
   * @throws what kept the worker from starting, e.g. KeyUnusable's message
   */
  static async start(settings: RegistrySettings, log: Log): Promise<RegistryThread> {
    const thread = new RegistryThread(settings, log)
    await thread.#spawn()
    return thread
  }

  /** Null while the worker is down. */
  status(): Promise<RegistryStatus | null> {
    return this.#ask('status', null).catch(() => null)
  }

  /** The proof that an epoch holds one head for this tenant's slot. @throws RegistryUnavailable */
  slotProof(tenant: number, epoch: number | 'latest'): Promise<SlotProofOutcome> {
    return this.#ask('proof', { tenant, epoch })
  }

  /** An epoch now, whichever process leads. @throws RegistryUnavailable */
  trigger(): Promise<EpochOutcome> {
    return this.#ask('epoch', null)
  }

  /** Resolves once the epoch under way is finished and the worker has gone. */
  async stop(): Promise<void> {
    this.#stopping = true
    if (this.#restart !== null) clearTimeout(this.#restart)
    const worker = this.#worker
    if (worker === null) return
    const gone = new Promise((resolve) => worker.once('exit', resolve))
    worker.postMessage({ type: 'stop' } satisfies ToWorker)
    await gone
  }

  #ask<Name extends keyof Questions>(name: Name, ask: Questions[Name]['ask']): Promise<Questions[Name]['answer']> {
    const worker = this.#worker
    if (worker === null) return Promise.reject(new RegistryUnavailable('the registry thread is starting'))
    const id = ++this.#ids
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject })
      worker.postMessage({ type: 'ask', id, name, ask })
    })
  }

  #spawn(): Promise<void> {
    const worker = new Worker(new URL('./worker.ts', import.meta.url), {
      workerData: this.#settings,
      // Several isolates share the server's memory; left alone, each would take what suits the main thread.
      resourceLimits: { maxYoungGenerationSizeMb: 12, maxOldGenerationSizeMb: 256 },
    })
    this.#worker = worker
    return new Promise((resolve, reject) => {
      let ready = false
      worker.on('message', (message: FromWorker) => {
        if (message.type === 'ready') {
          ready = true
          resolve()
        } else if (message.type === 'log') this.#log[message.level](message.fields, message.message)
        else this.#settle(message)
      })
      worker.on('error', (error) => {
        this.#log.error({ err: error }, 'the registry thread failed')
        reject(error)
      })
      worker.on('exit', () => {
        this.#worker = null
        for (const id of this.#waiting.keys())
          this.#settle({ type: 'failed', id, message: 'the registry thread ended' })
        if (ready && !this.#stopping) this.#respawnLater()
      })
    })
  }

  #settle(message: Extract<FromWorker, { type: 'answer' | 'failed' }>): void {
    const waiting = this.#waiting.get(message.id)
    this.#waiting.delete(message.id)
    if (message.type === 'answer') waiting?.resolve(message.answer as never)
    else waiting?.reject(new RegistryUnavailable(message.message))
  }

  /** Until then the registry only lags. */
  #respawnLater(): void {
    this.#restart = setTimeout(() => {
      this.#spawn().catch(() => {
        if (!this.#stopping) this.#respawnLater()
      })
    }, restart_after_ms)
  }
}
