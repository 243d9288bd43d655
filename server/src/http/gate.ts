// How much is worked on at once. One thread prepares all batches, so more at once would not be faster, only larger: a
// waiting batch is a buffer, one under work is several times its size in objects. Single events do not wait here.

interface Waiting {
  readonly weight: number
  readonly enter: () => void
}

export class Gate {
  readonly #capacity: number
  readonly #least: number
  #free: number
  readonly #waiting: Waiting[] = []

  /**
   * @param capacity bytes of bodies under work at once; a larger body is worked on alone
   * @param places most batches at once, however small
   */
  constructor(capacity: number, places: number) {
    this.#capacity = capacity
    this.#least = Math.ceil(capacity / places)
    this.#free = capacity
  }

  /** Runs `work` when there is room for `bytes`; first come, first served. */
  async within<Result>(bytes: number, work: () => Promise<Result>): Promise<Result> {
    const weight = Math.min(this.#capacity, Math.max(this.#least, bytes))
    if (this.#waiting.length === 0 && this.#free >= weight) this.#free -= weight
    else await new Promise<void>((enter) => this.#waiting.push({ weight, enter }))
    try {
      return await work()
    } finally {
      this.#free += weight
      this.#admit()
    }
  }

  #admit(): void {
    for (let first = this.#waiting[0]; first !== undefined && this.#free >= first.weight; first = this.#waiting[0]) {
      this.#waiting.shift()
      this.#free -= first.weight
      first.enter()
    }
  }
}
