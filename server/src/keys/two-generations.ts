// A bounded cache that costs one map lookup: entries live in a young and an old map. When the young one is full it
// becomes the old one, and what the old one still held is dropped; a hit in the old map moves the entry to the young.
// What is used at least once per turn therefore stays, and nothing is ever sorted, timed or swept.

export interface CacheLimits {
  /** Of both generations together. */
  entries: number
  /** Estimated, of both generations together. */
  bytes: number
}

export class TwoGenerations<Value extends object | number> {
  readonly #limits: CacheLimits
  readonly #weigh: (key: string, value: Value) => number
  #young = new Map<string, Value>()
  #old = new Map<string, Value>()
  #young_bytes = 0

  /** @param weigh estimated bytes of an entry, its key included; the same at any time */
  constructor(limits: CacheLimits, weigh: (key: string, value: Value) => number) {
    this.#limits = limits
    this.#weigh = weigh
  }

  get size(): number {
    return this.#young.size + this.#old.size
  }

  get(key: string): Value | undefined {
    const young = this.#young.get(key)
    if (young !== undefined) return young
    const old = this.#old.get(key)
    if (old === undefined) return undefined
    this.#old.delete(key)
    this.#put(key, old)
    return old
  }

  /** A value heavier than a whole generation is not kept. */
  set(key: string, value: Value): void {
    this.delete(key)
    if (this.#weigh(key, value) * 2 <= this.#limits.bytes) this.#put(key, value)
  }

  delete(key: string): void {
    const young = this.#young.get(key)
    if (young !== undefined) {
      this.#young.delete(key)
      this.#young_bytes -= this.#weigh(key, young)
    }
    this.#old.delete(key)
  }

  /** Walks everything: for the rare moment when somebody must be forgotten. */
  deleteWhere(drop: (value: Value, key: string) => boolean): void {
    for (const map of [this.#young, this.#old]) for (const [key, value] of map) if (drop(value, key)) this.delete(key)
  }

  #put(key: string, value: Value): void {
    const weight = this.#weigh(key, value)
    if (this.#young.size * 2 >= this.#limits.entries || (this.#young_bytes + weight) * 2 > this.#limits.bytes) {
      this.#old = this.#young
      this.#young = new Map()
      this.#young_bytes = 0
    }
    this.#young.set(inOnePiece(key), value)
    this.#young_bytes += weight
  }
}

/** A copy of well-formed text that refers to no other string: what a key was joined from would be kept with it. */
export const inOnePiece = (text: string): string => Buffer.from(text).toString()

/** V8 keeps text outside ISO 8859-1 at two bytes a character. */
export const textBytes = (text: string): number =>
  Buffer.byteLength(text) === text.length ? text.length : 2 * text.length
