/**
 * What waits to be sent, bounded by count and by bytes. What does not fit is dropped, and every drop is remembered
 * as a range of the producer's counter, so that a loss is always a number that somebody can look up.
 */

/** One event, already JSON text. */
export interface Waiting {
  seq: number
  text: string
  bytes: number
}

/** Counter numbers `from` to `to`, both included, were dropped. */
export interface DroppedRange {
  from: number
  to: number
}

export interface QueueBounds {
  maxEvents: number
  maxBytes: number
  /** Which event gives way when the queue is full. */
  drop: 'newest' | 'oldest'
}

const REMEMBERED_RANGES = 100

export class BoundedQueue {
  readonly #bounds: QueueBounds
  #items: Waiting[] = []
  #head = 0
  #bytes = 0
  #taken: Waiting[] = []
  #takenBytes = 0
  #dropped = 0
  #ranges: DroppedRange[] = []
  #reported = 0

  constructor(bounds: QueueBounds) {
    this.#bounds = bounds
  }

  /** Events that wait or are under way. */
  get size(): number {
    return this.#items.length - this.#head + this.#taken.length
  }
  get waiting(): number {
    return this.#items.length - this.#head
  }
  get waitingBytes(): number {
    return this.#bytes
  }
  get bytes(): number {
    return this.#bytes + this.#takenBytes
  }
  get dropped(): number {
    return this.#dropped
  }
  /** Number of the oldest event that waits or is under way. */
  get oldest(): number | undefined {
    return (this.#taken[0] ?? this.#items[this.#head])?.seq
  }
  /** The newest ranges of dropped numbers, at most a hundred. */
  get ranges(): DroppedRange[] {
    return this.#ranges.map((range) => ({ ...range }))
  }

  /** Adds an event, or drops one; never grows beyond the bounds. */
  push(item: Waiting): void {
    if (this.#bounds.drop === 'oldest') {
      while (this.waiting > 0 && !this.#fits(item)) this.#dropOldest()
    }
    if (!this.#fits(item)) {
      this.drop(item.seq)
      return
    }
    this.#items.push(item)
    this.#bytes += item.bytes
  }

  /** Notes that event `seq` is lost and leaves the queue, or never entered it. */
  drop(seq: number): void {
    this.#dropped++
    const last = this.#ranges.at(-1)
    if (last && this.#reported < this.#ranges.length && seq === last.to + 1) {
      last.to = seq
      return
    }
    this.#ranges.push({ from: seq, to: seq })
    if (this.#ranges.length > REMEMBERED_RANGES) {
      this.#ranges.shift()
      this.#reported = Math.max(0, this.#reported - 1)
    }
  }

  /** Takes the next batch; it stays in the bounds until `settle` or `discard`. */
  take(maxEvents: number, maxBytes: number): Waiting[] {
    let bytes = 0
    while (this.#taken.length < maxEvents && this.#head < this.#items.length) {
      const next = this.#items[this.#head]!
      if (this.#taken.length > 0 && bytes + next.bytes > maxBytes) break
      bytes += next.bytes
      this.#taken.push(next)
      this.#head++
    }
    this.#bytes -= bytes
    this.#takenBytes = bytes
    this.#compact()
    return this.#taken
  }

  /** The batch under way is done. */
  settle(): void {
    this.#taken = []
    this.#takenBytes = 0
  }

  /** Drops everything, the batch under way included. */
  discard(): void {
    for (const item of this.#taken) this.drop(item.seq)
    this.settle()
    while (this.waiting > 0) this.#dropOldest()
  }

  /** Ranges that ended since the last call. */
  takeNewRanges(): DroppedRange[] {
    const fresh = this.#ranges.slice(this.#reported).map((range) => ({ ...range }))
    this.#reported = this.#ranges.length
    return fresh
  }

  get hasNewRanges(): boolean {
    return this.#reported < this.#ranges.length
  }

  #fits(item: Waiting): boolean {
    return this.size < this.#bounds.maxEvents && this.bytes + item.bytes <= this.#bounds.maxBytes
  }

  #dropOldest(): void {
    const oldest = this.#items[this.#head++]!
    this.#bytes -= oldest.bytes
    this.drop(oldest.seq)
    this.#compact()
  }

  /** Gives the memory of taken events back in large steps, so that taking stays cheap. */
  #compact(): void {
    if (this.#head < 1024 && this.#head < this.#items.length) return
    if (this.#head * 2 < this.#items.length) return
    this.#items = this.#items.slice(this.#head)
    this.#head = 0
  }
}
