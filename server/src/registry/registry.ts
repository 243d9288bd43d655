// The registry's clock: an epoch every interval, also when nothing changed, made by one of any number of processes. An
// advisory lock says which; it saves work, no more: the compare-and-set of the commit decides.
import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'
import type { LogKey } from '../keys/log-key.ts'
import { type Database, storeError } from '../store/database.ts'
import type { Log } from '../store/log.ts'
import type { Objects } from '../store/objects.ts'
import { BodyMemory } from './bodies.ts'
import { type BrokenHead, type EpochOutcome, makeEpoch, type Step } from './epoch.ts'
import { type SlotProofOutcome, slotProof } from './proof.ts'
import { SlotBlinds } from './slots.ts'
import { prune, readState } from './statements.ts'

export interface RegistryOptions {
  readonly store: Database
  readonly objects: Objects
  readonly log: Log
  /** The registry secret, 32 bytes. */
  readonly secret: Uint8Array
  readonly logName: string
  /** Keys that sign, the newest first; at least one. */
  readonly logKeys: readonly LogKey[]
  /** Entry that names the newest key, signed by the recovery key, if there is one. */
  readonly announced?: string | null
  /** From one epoch to the next; default 60,000. */
  readonly interval_ms?: number
  /** Told of each step of an epoch. */
  readonly onStep?: (step: Step) => void
}

export interface RegistryStatus {
  /** Whether this process makes the epochs. */
  readonly leads: boolean
  /** The newest epoch, by whichever process; 0: none yet. */
  readonly epoch: number
  /** Its time, milliseconds since 1970. */
  readonly at: number | null
  /** Seconds since then by the database's clock, when last looked. */
  readonly age_s: number | null
  /** No epoch came for more than three intervals. */
  readonly late: boolean
  /** The objects know epochs that this database cannot complete. */
  readonly behind: boolean
  readonly depth: number
  /** Slots in use. */
  readonly slots: number
  /** Of the last epoch that this process made. */
  readonly duration_ms: number | null
  readonly changed: number
  readonly broken: readonly BrokenHead[]
  /** Why there is no epoch, or null when the last attempt went well. */
  readonly lastError: string | null
}

/** First key of the two-key advisory lock; any constant does. */
export const lock_class = 4_100_003
const look_ms = 1_000
const late_intervals = 3
const late_at_least_ms = 30_000
const keep_days = 7
const prune_epochs = 100
const prune_every_ms = 60_000

export class RegistryClock {
  readonly #options: RegistryOptions
  readonly #interval_ms: number
  readonly #parts
  readonly #stopping = new AbortController()
  #session: pg.Client | null = null
  #leads = false
  #running: Promise<void> | null = null
  /** Epochs are made one after the other, asked for or due. */
  #making: Promise<unknown> = Promise.resolve()
  #pruned_ms = Number.NEGATIVE_INFINITY
  readonly #started_ms = performance.now()
  /** That the registry is late is said once. */
  #isTold = false
  #status: RegistryStatus = {
    leads: false,
    epoch: 0,
    at: null,
    age_s: null,
    late: false,
    behind: false,
    depth: 0,
    slots: 0,
    duration_ms: null,
    changed: 0,
    broken: [],
    lastError: null,
  }

  constructor(options: RegistryOptions) {
    const { store, objects, secret, logName, logKeys, announced = null, onStep } = options
    const pool = store.pool('notary')
    this.#options = options
    this.#interval_ms = options.interval_ms ?? 60_000
    this.#parts = {
      pool,
      objects,
      secret,
      blinds: new SlotBlinds(secret),
      bodies: new BodyMemory(pool, logName),
      logName,
      logKeys,
      announced,
      ...(onStep !== undefined && { onStep }),
    }
  }

  get status(): RegistryStatus {
    return { ...this.#status, leads: this.#leads }
  }

  /** Runs until `stop`. A database or a bucket that is away is waited for. */
  start(): void {
    this.#running ??= this.#run()
  }

  /** Finishes the epoch under way, then leaves the lead to others. */
  async stop(): Promise<void> {
    this.#stopping.abort()
    await this.#running
    await this.#making.catch(() => {})
    await this.#session?.end().catch(() => {})
  }

  /** An epoch now, whoever leads. */
  epoch(): Promise<EpochOutcome> {
    const made = this.#making.then(() => this.#make())
    this.#making = made.catch(() => {})
    return made
  }

  /** @throws StoreUnavailable */
  proof(tenant: number, epoch: number | 'latest'): Promise<SlotProofOutcome> {
    const { pool, blinds, logName } = this.#parts
    return slotProof({ db: pool, blinds, logName }, tenant, epoch)
  }

  async #run(): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      let rest_ms = look_ms
      try {
        rest_ms = await this.#look()
      } catch (error) {
        this.#trouble((error as Error).message, error)
      }
      await sleep(rest_ms, undefined, { signal: this.#stopping.signal }).catch(() => {})
    }
  }

  /** @returns how long to rest */
  async #look(): Promise<number> {
    const leads = await this.#lead()
    const due_ms = await this.#due()
    // Who leads may need longer than the interval, or not come to it at all: the others do not hurry for that.
    if (!leads) return Math.min(look_ms, this.#interval_ms)
    if (due_ms > 0) return Math.min(look_ms, Math.max(due_ms, 1))
    const outcome = await this.epoch()
    if (outcome.kind === 'made') {
      await this.#prune()
      return 1
    }
    if (outcome.kind === 'postponed' && outcome.reason === 'keys') await this.#leave()
    return Math.min(look_ms, this.#interval_ms)
  }

  /** Milliseconds until the next epoch is due; notes how late the newest one is. */
  async #due(): Promise<number> {
    const { epoch, at, now, depth, used } = await readState(this.#parts.pool)
    const age_ms = at === null ? null : now - at
    const late = age_ms !== null && age_ms > Math.max(late_intervals * this.#interval_ms, late_at_least_ms)
    // Whoever was not running until now has not been late yet.
    const isWorth = late && performance.now() - this.#started_ms > late_at_least_ms
    if (isWorth && !this.#isTold)
      this.#options.log.error({ epoch, age_s: age_ms / 1000, why: this.#status.lastError }, 'the registry is late')
    this.#isTold = isWorth
    this.#status = {
      ...this.#status,
      epoch,
      at,
      age_s: age_ms === null ? null : age_ms / 1000,
      late,
      depth,
      slots: used,
    }
    return age_ms === null ? 0 : this.#interval_ms - age_ms
  }

  async #make(): Promise<EpochOutcome> {
    const began = performance.now()
    const outcome = await makeEpoch(this.#parts)
    if (outcome.kind === 'made') {
      const { epoch, changed, depth, broken } = outcome
      this.#report(broken)
      this.#status = {
        ...this.#status,
        epoch,
        depth,
        changed,
        broken,
        behind: false,
        duration_ms: performance.now() - began,
        lastError: null,
      }
    } else if (outcome.kind === 'postponed') {
      this.#status = { ...this.#status, behind: outcome.reason === 'behind' }
      this.#trouble(outcome.message)
    }
    return outcome
  }

  /** Old epochs are pruned beside the new ones, a few at a time. */
  async #prune(): Promise<void> {
    const now = performance.now()
    if (now - this.#pruned_ms < prune_every_ms) return
    const pruned = await prune(this.#parts.pool, keep_days, prune_epochs)
    if (pruned < prune_epochs) this.#pruned_ms = now
  }

  async #lead(): Promise<boolean> {
    const session = this.#session ?? (await this.#join())
    if (this.#leads) return true
    const lock = 'select pg_try_advisory_lock($1, 0) as taken'
    const { rows } = await session.query<{ taken: boolean }>(lock, [lock_class]).catch((error: unknown) => {
      throw storeError(error)
    })
    this.#leads = rows[0]!.taken
    return this.#leads
  }

  /** Another process may be able to. */
  async #leave(): Promise<void> {
    if (this.#leads) await this.#session?.query('select pg_advisory_unlock($1, 0)', [lock_class])
    this.#leads = false
  }

  /** The lock goes with the session: when this process dies, or the connection, another takes the lead. */
  async #join(): Promise<pg.Client> {
    const session = await this.#options.store.dedicated('notary')
    session.once('end', () => {
      if (this.#session !== session) return
      this.#session = null
      this.#leads = false
    })
    this.#session = session
    return session
  }

  #report(broken: readonly BrokenHead[]): void {
    const known = new Set(this.#status.broken.map(({ trail }) => trail))
    for (const { trail, reason } of broken) {
      if (known.has(trail)) continue
      this.#options.log.error({ trail, reason }, 'a trail stays as the registry has it: what is stored of it is wrong')
    }
  }

  #trouble(message: string, error?: unknown): void {
    if (this.#status.lastError !== message)
      this.#options.log.warn({ why: message, ...(error !== undefined && { err: error }) }, 'the registry waits')
    this.#status = { ...this.#status, lastError: message }
  }
}
