// Time on the database's clock, known without asking: the entry hash needs sealed_at before the round trip that stores
// it, so each commit's answer carries the database's clock and the node keeps its distance to it.

/** How far the distance may jump between two commits before a lane stops: beyond it, somebody set a clock. */
const jumpLimitMs = 5_000

export class DatabaseClock {
  /** The distance lies between these two, for the database read its clock between our sending and our receiving. */
  #leastMs: number | null = null
  #mostMs = 0

  /**
   * Takes in one reading of the database's clock.
   * @param sentMs local time when the statement was sent
   * @param databaseMs the clock it returned
   * @param receivedMs local time when the answer came
   * @returns false if the distance jumped by more than 5 seconds since the last reading. A slow answer is no jump: a
   *   disk that stalls or a process that is paused only makes the reading vague.
   */
  observe(sentMs: number, databaseMs: number, receivedMs: number): boolean {
    const leastMs = Math.floor(databaseMs - Math.max(sentMs, receivedMs))
    const mostMs = Math.ceil(databaseMs - Math.min(sentMs, receivedMs))
    const steady =
      this.#leastMs === null || (leastMs <= this.#mostMs + jumpLimitMs && mostMs >= this.#leastMs - jumpLimitMs)
    this.#leastMs = leastMs
    this.#mostMs = mostMs
    return steady
  }

  get known(): boolean {
    return this.#leastMs !== null
  }

  /** Milliseconds since 1970 on the database's clock; rather late than early, so that sealed_at does not run ahead. */
  now(): number {
    if (this.#leastMs === null) throw new Error('the database clock was never read')
    return Date.now() + this.#leastMs
  }
}
