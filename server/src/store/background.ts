// Worker threads for the stages that must never keep a request waiting: notary, registry, anchors, scrub. Several tasks
// may share one thread, for each thread is an isolate of its own and costs some 30 MB before it does anything. A task is a
// module that exports `openTask`; it gets its settings, a log, and a port to its handle on the main thread. Should the
// thread die, every task of it is started again.
import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads'
import type { Log } from './log.ts'

/** What a task is told by this file, apart from its own messages. */
export type ToTask = { type: 'message'; message: unknown } | { type: 'stop' }
export type FromTask =
  | { type: 'ready' }
  /** It cannot run; the message is for the operator. */
  | { type: 'refused'; message: string }
  | { type: 'message'; message: unknown }
  | { type: 'log'; level: keyof Log; fields: object; message: string }

/** What the thread is asked to begin. */
export interface Begin {
  readonly module: string
  readonly settings: unknown
  readonly port: MessagePort
}

/** What the thread itself is told when it starts. */
export interface ThreadSettings {
  readonly niceness: number
}

/** A task in its thread. */
export interface Running<In> {
  receive(message: In): void
  /** Resolves once nothing of it is left. */
  stop(): Promise<void>
}

/**
 * What a task's module exports under this name. Messages are cloned on their way.
 * @throws what keeps the task from running, said in one sentence
 */
export type OpenTask<Settings, In, Out> = (
  settings: Settings,
  context: { readonly log: Log; readonly send: (message: Out) => void },
) => Promise<Running<In>>

/** A task did not start; the message is its own. */
export class TaskRefused extends Error {
  override name = 'TaskRefused'
}

export interface BackgroundOptions {
  /** Bound of the thread's heap; default 256. */
  readonly megabytes?: number
  /** As in nice(1), relative to the process; default 5: a third of the weight of a request. */
  readonly niceness?: number
}

/** One thread. It begins with its first task and ends after its last. */
export class Background {
  readonly #megabytes: number
  readonly #niceness: number
  readonly #log: Log
  #worker: Worker | null = null
  readonly #ports = new Set<MessagePort>()

  constructor(log: Log, { megabytes = 256, niceness = 5 }: BackgroundOptions = {}) {
    this.#log = log
    this.#megabytes = megabytes
    this.#niceness = niceness
  }

  /** @returns the port to a task, whose 'close' says that the task or its thread has ended */
  begin(module: URL, settings: unknown): MessagePort {
    const { port1, port2 } = new MessageChannel()
    this.#ports.add(port1)
    port1.on('close', () => {
      this.#ports.delete(port1)
      if (this.#ports.size === 0) this.#worker?.postMessage('end')
    })
    const begin: Begin = { module: module.href, settings, port: port2 }
    this.#worker ??= this.#spawn()
    this.#worker.postMessage(begin, [port2])
    return port1
  }

  #spawn(): Worker {
    const worker = new Worker(new URL('./background-worker.ts', import.meta.url), {
      workerData: { niceness: this.#niceness } satisfies ThreadSettings,
      // Left alone, each isolate would take what suits the main thread.
      resourceLimits: { maxYoungGenerationSizeMb: 12, maxOldGenerationSizeMb: this.#megabytes },
    })
    worker.on('error', (error) => this.#log.error({ err: error }, 'a background thread failed'))
    worker.on('exit', () => {
      if (this.#worker === worker) this.#worker = null
      for (const port of this.#ports) port.close()
    })
    return worker
  }
}

export interface TaskOptions<Out> {
  /** For the log. */
  readonly name: string
  readonly module: URL
  readonly settings: unknown
  readonly onMessage?: (message: Out) => void
  /** The task ended, on purpose or not: what was asked of it will not be answered. */
  readonly onEnd?: () => void
}

const restart_after_ms = 2_000

/** The main thread's handle on one task. */
export class Task<In, Out> {
  readonly #background: Background
  readonly #options: TaskOptions<Out>
  readonly #log: Log
  #port: MessagePort | null = null
  #restart: NodeJS.Timeout | null = null
  #stopping = false

  private constructor(background: Background, options: TaskOptions<Out>, log: Log) {
    this.#background = background
    this.#options = options
    this.#log = log
  }

  /**
   * Resolves once the task runs.
   * @throws TaskRefused
   */
  static async start<In, Out>(background: Background, options: TaskOptions<Out>, log: Log): Promise<Task<In, Out>> {
    const task = new Task<In, Out>(background, options, log)
    await task.#begin()
    return task
  }

  /** @returns false while the task is down */
  send(message: In): boolean {
    if (this.#port === null) return false
    this.#port.postMessage({ type: 'message', message } satisfies ToTask)
    return true
  }

  /** Resolves once the task has finished what it was doing. */
  async stop(): Promise<void> {
    this.#stopping = true
    if (this.#restart !== null) clearTimeout(this.#restart)
    const port = this.#port
    if (port === null) return
    const gone = new Promise((resolve) => port.once('close', resolve))
    port.postMessage({ type: 'stop' } satisfies ToTask)
    await gone
  }

  #begin(): Promise<void> {
    const { name, module, settings, onMessage, onEnd } = this.#options
    const port = this.#background.begin(module, settings)
    this.#port = port
    return new Promise((resolve, reject) => {
      let ready = false
      port.on('message', (told: FromTask) => {
        if (told.type === 'message') onMessage?.(told.message as Out)
        else if (told.type === 'log') this.#log[told.level](told.fields, told.message)
        else if (told.type === 'refused') reject(new TaskRefused(told.message))
        else {
          ready = true
          resolve()
        }
      })
      port.on('close', () => {
        this.#port = null
        onEnd?.()
        reject(new TaskRefused(`${name} ended before it ran`))
        if (ready && !this.#stopping) this.#beginLater()
      })
    })
  }

  /** Until then what the task does only lags. */
  #beginLater(): void {
    this.#restart = setTimeout(() => {
      this.#begin().catch((error: unknown) => {
        this.#log.error({ err: error }, `${this.#options.name} does not start`)
        if (!this.#stopping) this.#beginLater()
      })
    }, restart_after_ms)
  }
}
