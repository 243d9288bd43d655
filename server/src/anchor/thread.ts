// The main thread's handle on the anchors.
import { Background, Task, TaskRefused } from '../store/background.ts'
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

export type ToAnchors = 'wake'

/** The policy file or the anchors' file is not usable. */
export class AnchorsRefused extends Error {
  override name = 'AnchorsRefused'
}

export class AnchorThread {
  readonly #task: Task<ToAnchors, never>

  private constructor(task: Task<ToAnchors, never>) {
    this.#task = task
  }

  /**
   * Resolves once the anchors have read their files and run.
   * @throws AnchorsRefused
   */
  static async start(
    settings: WorkerSettings,
    log: Log,
    background: Background = new Background(log),
  ): Promise<AnchorThread> {
    try {
      return new AnchorThread(
        await Task.start<ToAnchors, never>(
          background,
          { name: 'the anchors', module: new URL('./worker.ts', import.meta.url), settings },
          log,
        ),
      )
    } catch (error) {
      throw error instanceof TaskRefused ? new AnchorsRefused(error.message) : error
    }
  }

  /** To be called after an epoch: it is also noticed without, a second later. */
  wake(): void {
    this.#task.send('wake')
  }

  stop(): Promise<void> {
    return this.#task.stop()
  }
}
