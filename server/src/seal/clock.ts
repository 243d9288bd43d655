// Time on the database's clock, known without asking: the entry hash needs sealed_at before the round trip that stores
// it, so each commit's answer carries the database's clock and the node keeps its distance to it.

/** How far the distance may jump between two commits before a lane stops: beyond it, somebody set a clock. */
const jumpLimitMs = 5_000

export class DatabaseClock {
  #offsetMs: number | null = null

  /**
   * Takes in one reading of the database's clock.
   * @param sentMs local time when the statement was sent
   * @param databaseMs the clock it returned
   * @param receivedMs local time when the answer came
   * @returns false if the distance jumped by more than 5 seconds since the last reading
   */
  observe(sentMs: number, databaseMs: number, receivedMs: number): boolean {
    // The reading lies between sending and receiving; taking the answer as just now keeps sealed_at from running ahead.
    const offset = Math.floor(databaseMs - receivedMs)
    const slack = jumpLimitMs + (receivedMs - sentMs)
    const steady = this.#offsetMs === null || Math.abs(offset - this.#offsetMs) <= slack
    this.#offsetMs = offset
    return steady
  }

  get known(): boolean {
    return this.#offsetMs !== null
  }

  /** Milliseconds since 1970 on the database's clock. */
  now(): number {
    if (this.#offsetMs === null) throw new Error('the database clock was never read')
    return Date.now() + this.#offsetMs
  }
}
