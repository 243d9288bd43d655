// The main thread's end of the registry's worker: starts it, starts it again should it die, and asks it for slot proofs,
// which take a few milliseconds that no request should wait for.
import type { KeyPlace } from '../keys/open-provider.ts'
import { Background, Task } from '../store/background.ts'
import type { Login } from '../store/database.ts'
import type { Log } from '../store/log.ts'
import type { EpochOutcome } from './epoch.ts'
import type { SlotProofOutcome } from './proof.ts'
import type { RegistryStatus } from './registry.ts'

export interface RegistrySettings {
  readonly login: Login
  /** What `openKeys` opened. */
  readonly keys: KeyPlace
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

export type ToRegistry = {
  [Name in keyof Questions]: { id: number; name: Name; ask: Questions[Name]['ask'] }
}[keyof Questions]
export type FromRegistry =
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

export class RegistryThread {
  readonly #waiting = new Map<number, Waiting>()
  #task!: Task<ToRegistry, FromRegistry>
  #ids = 0

  private constructor() {}

  /**
   * Resolves once the registry has opened its keys and objects, and runs.
   * @throws TaskRefused with what kept it from starting
   */
  static async start(
    settings: RegistrySettings,
    log: Log,
    background: Background = new Background(log),
  ): Promise<RegistryThread> {
    const thread = new RegistryThread()
    thread.#task = await Task.start<ToRegistry, FromRegistry>(
      background,
      {
        name: 'the registry',
        module: new URL('./worker.ts', import.meta.url),
        settings,
        onMessage: (message) => thread.#settle(message),
        onEnd: () => {
          for (const id of thread.#waiting.keys())
            thread.#settle({ type: 'failed', id, message: 'the registry thread ended' })
        },
      },
      log,
    )
    return thread
  }

  /** Null while the registry is down. */
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

  /** Resolves once the epoch under way is finished. */
  stop(): Promise<void> {
    return this.#task.stop()
  }

  #ask<Name extends keyof Questions>(name: Name, ask: Questions[Name]['ask']): Promise<Questions[Name]['answer']> {
    const id = ++this.#ids
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject })
      const message = { id, name, ask } as ToRegistry
      if (!this.#task.send(message)) this.#settle({ type: 'failed', id, message: 'the registry thread is starting' })
    })
  }

  #settle(message: FromRegistry): void {
    const waiting = this.#waiting.get(message.id)
    this.#waiting.delete(message.id)
    if (message.type === 'answer') waiting?.resolve(message.answer as never)
    else waiting?.reject(new RegistryUnavailable(message.message))
  }
}
