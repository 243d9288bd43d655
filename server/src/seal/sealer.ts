// The sealer of one node: a lane per shard. Whoever has events submits them here and waits for what became of each.
import type { Pool } from '../store/database.ts'
import type { Log } from '../store/log.ts'
import { type Sealable, type SealOutcome, SealUnavailable, type TrailRef } from '../store/sealable.ts'
import { DatabaseClock } from './clock.ts'
import { Lane, type LaneLimits } from './lane.ts'
import { Ticket, type Waiting } from './queue.ts'
import { SealDatabase } from './seal-database.ts'

/** Shards of a deployment; fixed, for a tenant's shard is stored when it is made. */
export const shardCount = 16

export interface SealerOptions {
  /** Pool of the role `sealer`. */
  readonly pool: Pool
  readonly log: Log
  /** Commits under way at once. */
  readonly connections: number
  /** Makes the `open` entry of a trail that has no entry. */
  readonly opening: (trail: TrailRef, keyEpoch: number) => Sealable
  readonly onSealed?: (shard: number, events: number) => void
  readonly limits?: Partial<SealerLimits>
}

export interface SealerLimits extends LaneLimits {
  /** Bytes that may wait in all lanes together before everybody gets 503. */
  readonly waitingBytes: number
}

const defaults: SealerLimits = {
  eventsPerTenant: 32_768,
  turn: 64,
  batchEvents: 2_000,
  batchBytes: 8 * 1024 * 1024,
  clearUpMs: 10_000,
  waitingBytes: 48 * 1024 * 1024,
}

/** How long a full disk is remembered while nobody tries again. */
const full_for_ms = 15_000
/** The same while some events still find room and others do not. */
const nearlyFull_for_ms = 2_000

export class Sealer {
  readonly #lanes: readonly Lane[]
  readonly #limits: SealerLimits
  #stoppedTrails: ReadonlyMap<number, string> = new Map()
  #full_ms = Number.NEGATIVE_INFINITY
  #sealed_ms = Number.NEGATIVE_INFINITY

  private constructor(options: SealerOptions, limits: SealerLimits, clock: DatabaseClock, database: SealDatabase) {
    this.#limits = limits
    const context = {
      database,
      clock,
      limits: this.#limits,
      opening: options.opening,
      onSealed: (shard: number, events: number) => {
        this.#sealed_ms = Date.now()
        options.onSealed?.(shard, events)
      },
      onFull: () => this.noteFull(),
      onStopped: (shard: number, reason: Error) =>
        options.log.error(
          { shard, err: reason },
          'lane stopped: it seals nothing until the cause is removed and the server started again',
        ),
    }
    this.#lanes = Array.from({ length: shardCount }, (_, shard) => new Lane(shard, context))
  }

  /** Reads each shard once, so that key epochs are known. */
  static async open(options: SealerOptions): Promise<Sealer> {
    const limits = { ...defaults, ...options.limits }
    const clock = new DatabaseClock()
    const database = await SealDatabase.open(options.pool, clock, options.connections, limits.batchEvents)
    const sealer = new Sealer(options, limits, clock, database)
    await Promise.all(sealer.#lanes.map((lane) => lane.prepare()))
    return sealer
  }

  /**
   * Seals events, each in the lane of its trail's shard; the order of one trail's events is kept.
   * @returns one outcome per event, in input order, once all are durable or refused
   * @throws SealUnavailable `overloaded` before anything was taken
   */
  async submit(sealables: readonly Sealable[]): Promise<SealOutcome[]> {
    if (this.waitingBytes > this.#limits.waitingBytes)
      throw new SealUnavailable('overloaded', 'too much waits to be sealed')
    const ticket = new Ticket(sealables.length)
    const byShard = new Map<number, Waiting[]>()
    for (const [index, sealable] of sealables.entries()) {
      const stopped = this.#stoppedTrails.get(sealable.trail.number)
      if (stopped !== undefined) {
        ticket.settle(index, { kind: 'unavailable', error: new SealUnavailable('trail_stopped', stopped) })
        continue
      }
      const item = { sealable, ticket, index }
      const items = byShard.get(sealable.trail.shard)
      if (items === undefined) byShard.set(sealable.trail.shard, [item])
      else items.push(item)
    }
    for (const [shard, items] of byShard) this.#lanes[shard]!.submit(items)
    return ticket.done
  }

  /** From now on these trails, by number, are sealed nothing into, and no others; each with the reason. */
  stopTrails(trails: ReadonlyMap<number, string>): void {
    this.#stoppedTrails = trails
  }

  /** The key epoch to resolve subjects of a shard under. */
  keyEpoch(shard: number): number {
    return this.#lanes[shard]!.keyEpoch
  }

  get waitingEvents(): number {
    return this.#lanes.reduce((sum, lane) => sum + lane.waitingEvents, 0)
  }

  get waitingBytes(): number {
    return this.#lanes.reduce((sum, lane) => sum + lane.waitingBytes, 0)
  }

  /** The database's disk had no room for an event, or for what it needs before it comes here. */
  noteFull(): void {
    this.#full_ms = Date.now()
  }

  /**
   * Whether the database's disk was full a moment ago. Forgotten after a while without another try: nobody sends events
   * to a server that says it takes none.
   */
  get full(): boolean {
    return Date.now() - this.#full_ms < (this.#sealed_ms > this.#full_ms ? nearlyFull_for_ms : full_for_ms)
  }

  /** Lanes that stopped, with the reason; empty when all can seal. */
  get stopped(): { shard: number; reason: Error }[] {
    return this.#lanes.flatMap((lane) => (lane.stopped === null ? [] : [{ shard: lane.shard, reason: lane.stopped }]))
  }

  /** Waits until nothing is left to seal. */
  async drain(): Promise<void> {
    while (this.#lanes.some((lane) => lane.busy)) await new Promise((resolve) => setTimeout(resolve, 5))
  }
}
