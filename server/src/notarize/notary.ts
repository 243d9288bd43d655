// The notary: a follower that visits, about once a second, every shard in which something was sealed. A round is paced:
// after each shard it rests in proportion to what the shard took, so that at most a quarter of a core goes to it however
// far it is behind; and because signing costs per changed trail, the rounds of a busy server become fewer and larger.
import { setTimeout as sleep } from 'node:timers/promises'
import type { LogKey } from '../keys/log-key.ts'
import { type Database, isUnavailable, storeError } from '../store/database.ts'
import type { Log } from '../store/log.ts'
import { ShardMemory } from './memory.ts'
import { Ownership } from './ownership.ts'
import { readShards } from './statements.ts'
import { type Visit, visitShard } from './visit.ts'

export interface NotaryOptions {
  readonly store: Database
  readonly log: Log
  readonly logKey: LogKey
  readonly logName: string
  /** From one round to the next; default 1,000. */
  readonly interval_ms?: number
  /** Most events of one transaction; default 16,384: more than one shard is sealed in a second, and sorted in memory. */
  readonly batch?: number
}

export interface NotaryStatus {
  /** Shards that this process visits; others belong to another process. */
  readonly owned: readonly number[]
  /** Sealed and not yet notarized when the last round began, for every shard. */
  readonly lag: readonly { shard: number; events: number }[]
  /** Trails that are not notarized any further, because what is stored of them is contradictory. */
  readonly stopped: readonly { trail: number; reason: string }[]
  /** Events at positions that were sealed and are gone. */
  readonly missing: number
  readonly events: number
  readonly checkpoints: number
  readonly rounds: number
  readonly lastRound_ms: number
  /** Null when the last round went well. */
  readonly lastError: string | null
}

export interface Round {
  readonly events: number
  readonly checkpoints: number
  /** A shard has more than one batch could take. */
  readonly behind: boolean
  /** Time spent on shards, without rests. */
  readonly worked_ms: number
}

/** Rest after each shard, as a multiple of what it took: at most a quarter of a core. */
const rest_factor = 3
/** The time from one round's begin to the next as a multiple of its work, and at most as a multiple of the interval. */
const round_factor = 8
const stretch_max = 4

export class Notary {
  readonly #options: NotaryOptions
  readonly #interval_ms: number
  readonly #stopped = new Map<number, string>()
  readonly #failing = new Map<number, string>()
  readonly #memories = new Map<number, ShardMemory>()
  #ownership: Ownership | null = null
  #leave: () => Promise<void> = async () => {}
  #status: Omit<NotaryStatus, 'owned' | 'stopped'> = {
    lag: [],
    missing: 0,
    events: 0,
    checkpoints: 0,
    rounds: 0,
    lastRound_ms: 0,
    lastError: null,
  }
  #running: Promise<void> | null = null
  #stopping = new AbortController()
  #woken = new AbortController()

  constructor(options: NotaryOptions) {
    this.#options = options
    this.#interval_ms = options.interval_ms ?? 1_000
  }

  get status(): NotaryStatus {
    return {
      ...this.#status,
      owned: [...(this.#ownership?.owned ?? [])].sort((a, b) => a - b),
      stopped: [...this.#stopped].map(([trail, reason]) => ({ trail, reason })),
    }
  }

  /** Runs rounds until `stop`. A database that is away is waited for. */
  start(): void {
    this.#running ??= this.#run()
  }

  /** Something was sealed: an idle notary begins its round now instead of at the next interval. */
  wake(): void {
    this.#woken.abort()
  }

  /** Finishes the transaction under way, then gives up its shards. */
  async stop(): Promise<void> {
    this.#stopping.abort()
    this.#woken.abort()
    await this.#running
    await this.#leave()
  }

  /** One round without rests: every shard that is due, one batch each. Not to be called while another one runs. */
  round(): Promise<Round> {
    return this.#round(async () => {})
  }

  async #run(): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      this.#woken = new AbortController()
      const began = performance.now()
      let idle = true
      try {
        const round = await this.#round((took_ms) => this.#rest(took_ms * rest_factor))
        idle = round.events === 0
        const stretched_ms = Math.min(round.worked_ms * round_factor, this.#interval_ms * stretch_max)
        // A shard with more than one visit takes is not kept waiting: it would never catch up with a busy server.
        const next = began + (round.behind ? 0 : Math.max(this.#interval_ms, stretched_ms))
        if (!idle) await this.#rest(next - performance.now())
      } catch (error) {
        this.#note(error)
      }
      if (idle) await this.#rest(this.#interval_ms, this.#woken.signal)
    }
  }

  async #round(rest: (took_ms: number) => Promise<void>): Promise<Round> {
    const began = performance.now()
    const pool = this.#options.store.pool('notary')
    const shards = await readShards(pool)
    const ownership = await this.#join(shards.map(({ shard }) => shard))
    await ownership.balance(began)
    const lag = shards.map(({ shard, position, sealed }) => ({ shard, events: sealed - position }))
    this.#status = { ...this.#status, lag, rounds: this.#status.rounds + 1 }
    const total = { events: 0, checkpoints: 0, behind: false, worked_ms: 0 }
    let failed = false
    for (const { shard, position, sealed, dayBehind } of shards) {
      if (this.#stopping.signal.aborted) break
      if (!(sealed > position || dayBehind) || !ownership.mayVisit(shard, position, began)) continue
      const visitBegan = performance.now()
      const visit = await this.#visit(shard)
      const took_ms = performance.now() - visitBegan
      total.worked_ms += took_ms
      if (visit === null) failed = true
      else {
        total.events += visit.events
        total.checkpoints += visit.trails
        total.behind ||= visit.behind
      }
      await rest(took_ms)
    }
    this.#status = { ...this.#status, lastRound_ms: performance.now() - began }
    if (!failed) this.#status = { ...this.#status, lastError: null }
    return total
  }

  /** @returns null if the shard failed; the others are visited all the same. Throws only if the database is away. */
  async #visit(shard: number): Promise<Visit | null> {
    const { store, log, batch = 16_384 } = this.#options
    try {
      const visit = await visitShard(store.pool('notary'), this.#options, shard, this.#memory(shard), batch)
      this.#failing.delete(shard)
      this.#report(shard, visit)
      return visit
    } catch (error) {
      if (isUnavailable(error)) throw error
      const reason = String((error as Error).message)
      if (this.#failing.get(shard) !== reason) log.error({ shard, err: error }, 'a shard could not be notarized')
      this.#failing.set(shard, reason)
      this.#status = { ...this.#status, lastError: `shard ${shard}: ${reason}` }
      return null
    }
  }

  #memory(shard: number): ShardMemory {
    const memory = this.#memories.get(shard) ?? new ShardMemory()
    this.#memories.set(shard, memory)
    return memory
  }

  #report(shard: number, visit: Visit): void {
    const { log } = this.#options
    for (const { trail, reason } of visit.broken) {
      if (this.#stopped.has(trail)) continue
      log.error({ trail, shard, reason }, 'trail stopped: what is stored of it is contradictory, it is not notarized')
      this.#stopped.set(trail, reason)
    }
    if (visit.missing > 0) log.error({ shard, missing: visit.missing }, 'sealed events are missing from the store')
    this.#status = {
      ...this.#status,
      missing: this.#status.missing + visit.missing,
      events: this.#status.events + visit.events,
      checkpoints: this.#status.checkpoints + visit.trails,
    }
  }

  async #join(shards: readonly number[]): Promise<Ownership> {
    if (this.#ownership !== null) return this.#ownership
    const session = await this.#options.store.dedicated('notary')
    this.#leave = () => session.end().catch(() => {})
    try {
      const ownership = await Ownership.join(session, shards)
      session.once('end', () => {
        if (this.#ownership === ownership) this.#ownership = null
      })
      this.#ownership = ownership
      return ownership
    } catch (error) {
      await this.#leave()
      throw error
    }
  }

  #note(error: unknown): void {
    const known = storeError(error)
    const message = String((known as Error).message)
    if (this.#status.lastError !== message) this.#options.log.warn({ err: known }, 'the notary waits')
    this.#status = { ...this.#status, lastError: message }
  }

  /** Ends early by `signal`. */
  async #rest(ms: number, signal = this.#stopping.signal): Promise<void> {
    if (ms > 0) await sleep(ms, undefined, { signal }).catch(() => {})
  }
}
