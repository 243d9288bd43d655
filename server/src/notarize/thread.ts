// The main thread's handle on the notary: wakes it after commits, and asks how far it is.
import type { KeyPlace } from '../keys/open-provider.ts'
import { Background, Task } from '../store/background.ts'
import type { Login } from '../store/database.ts'
import type { Log } from '../store/log.ts'
import type { NotaryStatus } from './notary.ts'

export interface NotarySettings {
  readonly login: Login
  /** What `openKeys` opened. */
  readonly keys: KeyPlace
  readonly logName: string
  /** Default 1,000. */
  readonly interval_ms?: number
}

export type ToNotary = { type: 'wake' } | { type: 'status'; id: number }
export type FromNotary = { type: 'status'; id: number; status: NotaryStatus }

const wake_every_ms = 50

export class NotaryThread {
  readonly #asked = new Map<number, (status: NotaryStatus | null) => void>()
  #task!: Task<ToNotary, FromNotary>
  #waking: NodeJS.Timeout | null = null
  #ids = 0

  private constructor() {}

  /**
   * Resolves once the notary has opened its keys and runs.
   * @throws TaskRefused with what kept it from starting
   */
  static async start(
    settings: NotarySettings,
    log: Log,
    // Not below requests: trails are to be signed every second, and a round is paced by itself.
    background: Background = new Background(log, { niceness: 0 }),
  ): Promise<NotaryThread> {
    const thread = new NotaryThread()
    thread.#task = await Task.start<ToNotary, FromNotary>(
      background,
      {
        name: 'the notary',
        module: new URL('./worker.ts', import.meta.url),
        settings,
        onMessage: ({ id, status }) => thread.#answer(id, status),
        onEnd: () => {
          for (const id of thread.#asked.keys()) thread.#answer(id, null)
        },
      },
      log,
    )
    return thread
  }

  /** To be called after each commit; the notary hears of it at most every 50 ms. */
  wake(): void {
    this.#waking ??= setTimeout(() => {
      this.#waking = null
      this.#task.send({ type: 'wake' })
    }, wake_every_ms).unref()
  }

  /** Null while the notary is down. */
  status(): Promise<NotaryStatus | null> {
    const id = ++this.#ids
    return new Promise((resolve) => {
      this.#asked.set(id, resolve)
      if (!this.#task.send({ type: 'status', id })) this.#answer(id, null)
    })
  }

  /** Resolves once the transaction under way is finished. */
  async stop(): Promise<void> {
    if (this.#waking !== null) clearTimeout(this.#waking)
    await this.#task.stop()
  }

  #answer(id: number, status: NotaryStatus | null): void {
    this.#asked.get(id)?.(status)
    this.#asked.delete(id)
  }
}
