// A bounded cache that costs one map lookup: entries live in a young and an old map. When the young one is full it
// becomes the old one, and what the old one still held is dropped; a hit in the old map moves the entry to the young.
// What is used at least once per turn therefore stays, and nothing is ever sorted, timed or swept.

interface Held<Value> {
  /** In one piece: what a key was joined from would be kept with it. */
  readonly key: string
  readonly value: Value
  readonly weight: number
}

export interface CacheLimits {
  /** Of both generations together. */
  entries: number
  /** Estimated, of both generations together. */
  bytes: number
}

export class TwoGenerations<Value> {
  readonly #limits: CacheLimits
  readonly #weigh: (key: string, value: Value) => number
  #young = new Map<string, Held<Value>>()
  #old = new Map<string, Held<Value>>()
  #young_bytes = 0

  /** @param weigh estimated bytes of an entry, its key included */
  constructor(limits: CacheLimits, weigh: (key: string, value: Value) => number) {
    this.#limits = limits
    this.#weigh = weigh
  }

  get size(): number {
    return this.#young.size + this.#old.size
  }

  get(key: string): Value | undefined {
    const young = this.#young.get(key)
    if (young !== undefined) return young.value
    const old = this.#old.get(key)
    if (old === undefined) return undefined
    this.#old.delete(key)
    this.#put(old)
    return old.value
  }

  /** A value heavier than a whole generation is not kept. */
  set(key: string, value: Value): void {
    const weight = this.#weigh(key, value)
    this.delete(key)
    if (weight * 2 <= this.#limits.bytes) this.#put({ key: inOnePiece(key), value, weight })
  }

  delete(key: string): void {
    const held = this.#young.get(key)
    if (held !== undefined) {
      this.#young.delete(key)
      this.#young_bytes -= held.weight
    }
    this.#old.delete(key)
  }

  /** Walks everything: for the rare moment when somebody must be forgotten. */
  deleteWhere(drop: (value: Value, key: string) => boolean): void {
    for (const map of [this.#young, this.#old])
      for (const [key, { value }] of map) if (drop(value, key)) this.delete(key)
  }

  #put(held: Held<Value>): void {
    if (this.#young.size * 2 >= this.#limits.entries || (this.#young_bytes + held.weight) * 2 > this.#limits.bytes) {
      this.#old = this.#young
      this.#young = new Map()
      this.#young_bytes = 0
    }
    this.#young.set(held.key, held)
    this.#young_bytes += held.weight
  }
}

/** A copy of well-formed text that refers to no other string. */
export const inOnePiece = (text: string): string => Buffer.from(text).toString()
