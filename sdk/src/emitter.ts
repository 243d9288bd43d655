/**
 * Recording in the background: `emit` only puts text into a bounded queue; one loop sends it in order, batch by batch.
 *
 * A batch is repeated until the server has answered for it, whatever the reason (no connection, 503, a revoked key):
 * waiting costs a place in the queue, giving up would cost evidence. Only a batch that the server calls malformed or too
 * large is cut in halves, until the one event at fault is found and reported. Ids make every repeat harmless.
 */

import { batchRequest, readBatchReply } from './batch.ts'
import { AffidavitError } from './error.ts'
import type { AuditEvent } from './event.ts'
import { BoundedQueue, type DroppedRange, type QueueBounds, type Waiting } from './queue.ts'
import { isRetryable, retryDelayMs, sleep } from './retry.ts'
import { attemptOnce, type Endpoint, type Reply } from './transport.ts'

/** An event that will never be stored, and why. `event` is missing if it could not be written as JSON at all. */
export interface RejectedEvent {
  event: AuditEvent | undefined
  error: AffidavitError
}

export interface EmitOptions {
  /** Most events that wait or are under way. Default 10,000. */
  maxQueueEvents?: number
  /** Most bytes of JSON that wait or are under way. Default 32 MiB. */
  maxQueueBytes?: number
  /** Which event gives way when the queue is full. Default `newest`: a flood cannot push out what happened before it. */
  drop?: QueueBounds['drop']
  /** Most events in one request. Default 1,000. */
  batchEvents?: number
  /** Longest wait of an event before it is sent, in milliseconds. Default 200. */
  intervalMs?: number
  /** Called for each event that the server refused. */
  onRejected?: (rejected: RejectedEvent) => void
  /** Called with each range of counter numbers that was dropped. */
  onDropped?: (range: DroppedRange) => void
  /** Called for each failed attempt; the batch is tried again. */
  onError?: (error: AffidavitError) => void
}

export interface EmitStats {
  /** Events that wait or are under way. */
  queued: number
  queuedBytes: number
  accepted: number
  duplicates: number
  rejected: number
  dropped: number
  /** The newest ranges of dropped counter numbers. */
  droppedRanges: DroppedRange[]
  /** Failed attempts. */
  failures: number
  lastError: AffidavitError | undefined
}

/** What the emitter needs from the client. `prepare` turns a caller's event and its number into JSON text. */
export interface EmitterParts {
  endpoint: Endpoint
  attemptMs: number
  prepare: (event: AuditEvent, seq: number) => string
  options: EmitOptions
  /** Takes the receipts out of each reply; then receipts are asked for. Never rejects. */
  onReply?: (reply: Reply) => Promise<void>
}

const BATCH_BYTES = 1024 * 1024
const SPLIT_STATUSES = new Set([400, 413, 422])
/** How often events are sent that the server refused for the moment while it took others, and the first pause between. */
const MOST_REPEATS = 5
const REPEAT_MS = 200

export class Emitter {
  readonly #parts: EmitterParts
  readonly #queue: BoundedQueue
  readonly #batchEvents: number
  readonly #intervalMs: number
  readonly #counts = { accepted: 0, duplicates: 0, rejected: 0, failures: 0 }
  #lastError: AffidavitError | undefined
  #seq = 0
  #timer: ReturnType<typeof setTimeout> | undefined
  #running = false
  #state: 'open' | 'closing' | 'closed' = 'open'
  #stop = new AbortController()
  #waiters: { until: number; resolve: () => void }[] = []

  constructor(parts: EmitterParts) {
    this.#parts = parts
    const { options } = parts
    this.#queue = new BoundedQueue({
      maxEvents: options.maxQueueEvents ?? 10_000,
      maxBytes: options.maxQueueBytes ?? 32 * 1024 * 1024,
      drop: options.drop ?? 'newest',
    })
    this.#batchEvents = options.batchEvents ?? 1000
    this.#intervalMs = options.intervalMs ?? 200
  }

  emit(event: AuditEvent): void {
    const seq = this.#seq++
    if (this.#state !== 'open') {
      this.#queue.drop(seq)
      return
    }
    let text: string
    try {
      text = this.#parts.prepare(event, seq)
    } catch (cause) {
      const error = new AffidavitError(
        { status: 0, code: 'not_json', detail: 'the event cannot be written as JSON' },
        { cause },
      )
      this.#reject(event, error)
      return
    }
    const before = this.#queue.dropped
    this.#queue.push({ seq, text, bytes: Buffer.byteLength(text) })
    if (this.#queue.dropped === before && this.#queue.hasNewRanges) this.#reportDrops()
    if (this.#queue.waiting >= this.#batchEvents || this.#queue.waitingBytes >= BATCH_BYTES) this.#wake()
    else this.#timer ??= setTimeout(() => this.#wake(), this.#intervalMs).unref()
  }

  /** Waits until every event emitted so far was answered for or dropped; false if `timeoutMs` was not enough. */
  async flush(timeoutMs: number): Promise<boolean> {
    const until = this.#seq
    this.#wake()
    if (!this.#isDone(until)) {
      let timer: ReturnType<typeof setTimeout> | undefined
      await new Promise<void>((resolve) => {
        this.#waiters.push({ until, resolve })
        timer = setTimeout(resolve, timeoutMs)
      })
      clearTimeout(timer)
    }
    this.#reportDrops()
    return this.#isDone(until)
  }

  /** Takes no more events, flushes, and drops what could not be sent in time. */
  async close(timeoutMs: number): Promise<boolean> {
    if (this.#state === 'closed') return this.#queue.size === 0
    this.#state = 'closing'
    const sent = await this.flush(timeoutMs)
    this.#state = 'closed'
    this.#stop.abort()
    clearTimeout(this.#timer)
    this.#queue.discard()
    this.#releaseWaiters()
    this.#reportDrops()
    return sent
  }

  stats(): EmitStats {
    return {
      queued: this.#queue.size,
      queuedBytes: this.#queue.bytes,
      ...this.#counts,
      dropped: this.#queue.dropped,
      droppedRanges: this.#queue.ranges,
      lastError: this.#lastError,
    }
  }

  #wake(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (this.#running) return
    this.#running = true
    void this.#run()
  }

  async #run(): Promise<void> {
    while (this.#queue.waiting > 0) {
      await this.#deliver(this.#queue.take(this.#batchEvents, BATCH_BYTES))
      if (this.#stop.signal.aborted) break
      this.#queue.settle()
      this.#releaseWaiters()
    }
    this.#running = false
  }

  /**
   * Returns when the server has answered for each event of the batch, or when the emitter was closed. Events of one tenant
   * that it cannot take just then, while it took the others, are repeated a few times: for as long as that, they hold up
   * everybody else's.
   */
  async #deliver(batch: readonly Waiting[]): Promise<void> {
    let rest = batch
    for (let repeat = 1; rest.length > 0; repeat++) {
      const delayed: Waiting[] = []
      await this.#deliverAll(rest, repeat < MOST_REPEATS ? delayed : undefined)
      if (this.#stop.signal.aborted) return
      rest = delayed
      if (rest.length > 0) await sleep(REPEAT_MS * 2 ** (repeat - 1), this.#stop.signal, true)
    }
  }

  /** @param delayed takes the events that the server may take later; without it they are rejected */
  async #deliverAll(batch: readonly Waiting[], delayed: Waiting[] | undefined): Promise<void> {
    for (let attempt = 1; !this.#stop.signal.aborted; attempt++) {
      const error = await this.#attempt(batch, delayed)
      if (!error) return
      if (SPLIT_STATUSES.has(error.status)) {
        if (batch.length === 1) return this.#reject(parse(batch[0]!.text), error)
        const half = batch.length >> 1
        await this.#deliverAll(batch.slice(0, half), delayed)
        return this.#deliverAll(batch.slice(half), delayed)
      }
      await sleep(retryDelayMs(attempt, error.retryAfterMs), this.#stop.signal, true)
    }
  }

  async #attempt(batch: readonly Waiting[], delayed?: Waiting[]): Promise<AffidavitError | undefined> {
    // A controller of its own per attempt: composed signals on one long-lived signal would pile up.
    const attempt = new AbortController()
    const abort = () => attempt.abort()
    this.#stop.signal.addEventListener('abort', abort, { once: true })
    try {
      const request = await batchRequest(
        batch.map((item) => item.text),
        { receipts: this.#parts.onReply !== undefined },
      )
      const reply = await attemptOnce(this.#parts.endpoint, request, this.#parts.attemptMs, attempt.signal)
      // Closed while the answer was under way: the events were counted as dropped already.
      if (this.#stop.signal.aborted) return undefined
      const result = readBatchReply(reply, batch.length)
      await this.#parts.onReply?.(reply)
      this.#counts.accepted += result.accepted
      this.#counts.duplicates += result.duplicates
      this.#counts.rejected += result.rejected
      for (const rejection of result.rejections) {
        const error = new AffidavitError({ ...rejection, status: rejection.status ?? 422 })
        if (delayed !== undefined && isRetryable(error)) {
          delayed.push(batch[rejection.index]!)
          this.#counts.rejected--
        } else call(this.#parts.options.onRejected, { event: parse(batch[rejection.index]!.text), error })
      }
      return undefined
    } catch (cause) {
      if (this.#stop.signal.aborted) return undefined
      const error =
        cause instanceof AffidavitError
          ? cause
          : new AffidavitError({ status: 0, code: 'network', detail: 'the batch could not be sent' }, { cause })
      this.#counts.failures++
      this.#lastError = error
      call(this.#parts.options.onError, error)
      return error
    } finally {
      this.#stop.signal.removeEventListener('abort', abort)
    }
  }

  #reject(event: AuditEvent | undefined, error: AffidavitError): void {
    this.#counts.rejected++
    call(this.#parts.options.onRejected, { event, error })
  }

  #reportDrops(): void {
    if (!this.#queue.hasNewRanges) return
    for (const range of this.#queue.takeNewRanges()) call(this.#parts.options.onDropped, range)
  }

  /** True if no event numbered below `until` waits or is under way. */
  #isDone(until: number): boolean {
    return (this.#queue.oldest ?? until) >= until
  }

  #releaseWaiters(): void {
    this.#waiters = this.#waiters.filter(({ until, resolve }) => {
      if (!this.#isDone(until)) return true
      resolve()
      return false
    })
  }
}

function parse(text: string): AuditEvent {
  return JSON.parse(text) as AuditEvent
}

/** A listener that throws must not stop the loop, nor reach the caller of `emit`. */
function call<T>(listener: ((value: T) => void) | undefined, value: T): void {
  try {
    listener?.(value)
  } catch {
    // The listener's own fault; there is nobody to tell.
  }
}
