// Upkeep of the hot tier: partitions are made two weeks ahead, so that sealing never meets a day without one, and a day
// that is over is closed: its search index is built, the indexes that only an open day needs go. Each step takes one
// transaction with a short lock timeout and is tried again later, so that neither sealing nor reading ever waits long
// for it.
//
// Days leave the hot tier through `drop_day` and `drop_week` (retention, later), which stand beside these functions.
import { setTimeout as sleep } from 'node:timers/promises'
import { type Pool, type Queryable, storeError } from '../store/database.ts'
import type { Log } from '../store/log.ts'

const days_ahead = 14
const every_ms = 3_600_000
/** After an upkeep that did not succeed in full. */
const again_ms = 60_000
const attempts = 5
const pause_ms = 500

/**
 * Everybody who comes after a waiting DDL statement waits with it, so the timeout bounds what others feel. Only the
 * dropping of an index needs a lock that readers conflict with.
 */
const steps = {
  create_partitions: {
    text: `select affidavit.create_partitions((clock_timestamp() at time zone 'UTC')::date, $1)`,
    lock_timeout: '1s',
  },
  close_day: { text: 'select affidavit.close_day($1) as done', lock_timeout: '1s' },
  trim_day: { text: 'select affidavit.trim_day($1) as done', lock_timeout: '200ms' },
}

export interface Upkeep {
  /** Days whose indexes for closed days were built. */
  readonly closed: readonly string[]
  /** Days that lost the indexes of an open day. */
  readonly trimmed: readonly string[]
  /** What could not be done now, in words; it is tried again. */
  readonly left: readonly string[]
}

export interface PartitionsStatus {
  /** Last day (UTC) for which a partition is there; null until the first upkeep. */
  readonly until: string | null
  /** False is an alarm: from midnight on nothing could be sealed. */
  readonly tomorrow: boolean
  readonly lastError: string | null
}

export class Partitions {
  readonly #pool: Pool
  readonly #log: Log
  readonly #stopping = new AbortController()
  #running: Promise<void> | null = null
  #status: PartitionsStatus = { until: null, tomorrow: false, lastError: null }

  /** @param pool of the role `retention` */
  constructor(pool: Pool, log: Log) {
    this.#pool = pool
    this.#log = log
  }

  get status(): PartitionsStatus {
    return this.#status
  }

  /**
   * Makes the partitions that are missing, before the first event is sealed; then keeps house every hour.
   * @throws StoreUnavailable, or what refused the partitions, if today's or tomorrow's is missing afterwards
   */
  async start(): Promise<void> {
    let failure: unknown = new Error('the partition of tomorrow is missing')
    await this.#create().catch((error) => {
      failure = error
    })
    await this.#look()
    if (!this.#status.tomorrow) throw failure
    this.#running ??= this.#run()
  }

  /** Waits for the step under way. */
  async stop(): Promise<void> {
    this.#stopping.abort()
    await this.#running
  }

  /** Makes, closes and trims what is due. Throws only if the database is away. */
  async upkeep(): Promise<Upkeep> {
    const left: string[] = []
    const attempt = async (what: string, work: () => Promise<boolean>) => {
      try {
        return await work()
      } catch (error) {
        if (this.#stopping.signal.aborted) return false
        left.push(`${what}: ${(error as Error).message}`)
        return false
      }
    }
    await attempt('create partitions', () => this.#create())
    await this.#look()
    const due = await this.#pool.query<{ day: string; closed: boolean }>('select * from affidavit.days_due()')
    const closed: string[] = []
    const trimmed: string[] = []
    for (const { day, closed: already } of due.rows) {
      if (this.#stopping.signal.aborted) break
      const isClosed = already || (await attempt(`close ${day}`, () => this.#step('close_day', [day])))
      if (isClosed && !already) closed.push(day)
      if (isClosed && (await attempt(`trim ${day}`, () => this.#step('trim_day', [day])))) trimmed.push(day)
    }
    return { closed, trimmed, left }
  }

  async #run(): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      let wait_ms = every_ms
      try {
        const { closed, left } = await this.upkeep()
        if (closed.length > 0) this.#log.info({ days: closed }, 'closed days of the hot tier')
        this.#note(left.length === 0 ? null : left.join('; '))
        if (left.length > 0) wait_ms = again_ms
      } catch (error) {
        this.#note(String((storeError(error) as Error).message))
        wait_ms = again_ms
      }
      await sleep(wait_ms, undefined, { signal: this.#stopping.signal }).catch(() => {})
    }
  }

  #note(problem: string | null): void {
    if (problem !== null && problem !== this.#status.lastError)
      this.#log.warn({ problem }, 'upkeep of the hot tier is not complete; it is tried again')
    this.#status = { ...this.#status, lastError: problem }
  }

  #create(): Promise<boolean> {
    return this.#step('create_partitions', [days_ahead])
  }

  /** How far ahead partitions are there, by what is attached, not by what was noted. */
  async #look(): Promise<void> {
    const { rows } = await this.#pool.query<{ until: string | null; tomorrow: boolean }>(
      'select * from affidavit.partitions_ahead()',
    )
    const { until, tomorrow } = rows[0]!
    this.#status = { ...this.#status, until, tomorrow }
    if (!tomorrow)
      this.#log.error({ until }, 'the partition of tomorrow is missing: from midnight UTC on, nothing could be sealed')
  }

  /** One guarded function in a transaction of its own; a lock that is not free soon is waited for outside. */
  async #step(name: keyof typeof steps, values: unknown[]): Promise<boolean> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#pool.transaction(async (session: Queryable) => {
          await session.query(`set local lock_timeout = '${steps[name].lock_timeout}'`)
          const { rows } = await session.query<{ done: unknown }>(steps[name].text, values)
          return rows[0]!.done === true
        })
      } catch (error) {
        const locked = (error as { code?: string }).code === '55P03'
        if (!locked || attempt === attempts || this.#stopping.signal.aborted) throw error
        await sleep(pause_ms * attempt, undefined, { signal: this.#stopping.signal }).catch(() => {})
      }
    }
  }
}
