// One lane: the only writer of one shard on this node. It gathers while a commit is in flight, chains a batch onto the
// heads it knows, and stores it in one round trip, which it may share with other lanes (`joint-commits.ts`). Other nodes
// have lanes of the same shard; the shard's position is the fence between them.
//
// States of a batch: waiting → chained → stored → settled. A crash before `stored` loses nothing that was answered; a
// crash after it leaves events whose senders never heard, and who repeat their ids. The one doubtful moment, a
// statement whose answer was lost, is cleared up (`#clearUp`) before anybody is answered.
import { type Sealable, SealUnavailable, type TrailRef } from '../store/sealable.ts'
import { type ChainedBatch, type ChainedItem, chain, type Head, runs } from './chain.ts'
import type { DatabaseClock } from './clock.ts'
import { keepHeads } from './heads.ts'
import type { Placing, Seat } from './joint-commits.ts'
import { FairQueue, type QueueBounds, Ticket, type Waiting } from './queue.ts'
import { refusal, sqlState, unavailable } from './refusal.ts'
import type { ShardRow } from './rows.ts'
import type { SealDatabase } from './seal-database.ts'
import type { SealStatements } from './statements.ts'

export interface LaneLimits extends QueueBounds {
  readonly batchEvents: number
  readonly batchBytes: number
  /** How long to look for the outcome of a lost answer, milliseconds. */
  readonly clearUpMs: number
}

export interface LaneContext {
  readonly database: SealDatabase
  readonly clock: DatabaseClock
  readonly limits: LaneLimits
  /** Makes the `open` entry of a trail that has none yet. */
  readonly opening: (trail: TrailRef, keyEpoch: number) => Sealable
  /** Called after each commit. */
  readonly onSealed: (shard: number, events: number) => void
  /** Called when a batch found no room on the database's disk. */
  readonly onFull: () => void
  /** Called once if the lane stops for good. */
  readonly onStopped: (shard: number, reason: Error) => void
}

interface State {
  position: number
  fence: number
  keyEpoch: number
  sealedAtMs: number
  heads: Map<number, Head>
}

/** Refused attempts of one batch before it is given back: far more than contention among nodes explains. */
const attemptLimit = 50
/** After another node was met on this shard, batches take the row lock first for this long. */
const contendedMs = 1_000
/** After a batch was refused for what is in it or in its shard, the lane's commits are its own for this long. */
const apartMs = 1_000

export class Lane {
  readonly shard: number
  readonly #context: LaneContext
  readonly #queue: FairQueue
  #state: State | null = null
  #running = false
  #keyEpoch = 0
  #contendedUntil = 0
  #apartUntil = 0
  #stopped: Error | null = null

  constructor(shard: number, context: LaneContext) {
    this.shard = shard
    this.#context = context
    this.#queue = new FairQueue(context.limits)
  }

  get waitingEvents(): number {
    return this.#queue.size
  }

  get waitingBytes(): number {
    return this.#queue.bytes
  }

  /** Whether events wait or are being sealed. */
  get busy(): boolean {
    return this.#running
  }

  get stopped(): Error | null {
    return this.#stopped
  }

  /** The key epoch that subjects are to be resolved under, as last read. */
  get keyEpoch(): number {
    return this.#keyEpoch
  }

  /** Queues events; their outcomes arrive through their tickets. */
  submit(items: readonly Waiting[]): void {
    for (const item of items) {
      if (this.#stopped !== null) refuse(item, stoppedError(this.shard, this.#stopped))
      else if (!this.#queue.push(item)) item.ticket.settle(item.index, { kind: 'overloaded' })
    }
    if (!this.#running && this.#queue.size > 0) {
      this.#running = true
      void this.#run()
    }
  }

  /** Reads the shard once, so that `keyEpoch` is known. */
  async prepare(): Promise<void> {
    this.#state ??= toState(await this.#context.database.statements.readShard(this.shard))
    this.#keyEpoch = this.#state.keyEpoch
  }

  async #run(): Promise<void> {
    const { database, limits } = this.#context
    while (this.#queue.size > 0) {
      let batch: Waiting[] = []
      const seat = await database.commits.seat(Date.now() < this.#apartUntil, (events) => {
        batch = this.#queue.take(Math.min(events, limits.batchEvents), limits.batchBytes)
        return batch.length
      })
      try {
        await this.#sealAll(seat, batch)
      } catch (error) {
        this.#state = null
        const told =
          error instanceof SealUnavailable
            ? error
            : unavailable(refusal(error) === 'full' ? 'full' : 'unavailable', error)
        if (told.code === 'storage_full') this.#context.onFull()
        for (const item of batch) refuse(item, told)
      } finally {
        seat.leave()
      }
    }
    this.#running = false
  }

  /** Seals a batch, sorting out whatever the database objects to; settles every event or throws for all unsettled. */
  async #sealAll(seat: Seat, batch: readonly Waiting[]): Promise<void> {
    let rest = batch
    for (let attempt = 0; rest.length > 0; attempt++) {
      if (attempt === attemptLimit)
        throw new SealUnavailable('store_unavailable', `shard ${this.shard} was refused ${attemptLimit} times`)
      const { now, later, stale } = await this.#sort(rest)
      for (const item of stale) item.ticket.settle(item.index, { kind: 'stale', keyEpoch: this.#state!.keyEpoch })
      if (now.length === 0) return
      try {
        await this.#store(seat, now)
      } catch (error) {
        rest = await this.#react(seat, error, now, later)
        continue
      }
      // The first of several equal ids is stored now; the others are its repeats, however many there are.
      rest = later.length === 0 ? later : await this.#settleRepeats(later)
    }
  }

  /** Loads what is not known and sets apart what must not go into this attempt. */
  async #sort(rest: readonly Waiting[]): Promise<{ now: Waiting[]; later: Waiting[]; stale: Waiting[] }> {
    await this.prepare()
    // Resolved under an epoch that this lane has not heard of yet: keys were destroyed since it read the shard.
    if (rest.some(({ sealable }) => sealable.keyEpoch > this.#keyEpoch)) {
      this.#state = null
      await this.prepare()
    }
    const state = this.#state!
    const now: Waiting[] = []
    const later: Waiting[] = []
    const stale: Waiting[] = []
    const ids = new Set<string>()
    for (const item of rest) {
      const { id } = item.sealable
      if (item.sealable.keyEpoch !== state.keyEpoch) stale.push(item)
      else if (id === null) now.push(item)
      else {
        // The second of two equal ids in one batch waits until the first is stored, and is then found like any repeat.
        // No two tenants share an id, for it is a hash under the tenant's key.
        if (ids.has(id)) later.push(item)
        else {
          ids.add(id)
          now.push(item)
        }
      }
    }
    return { now, later, stale }
  }

  async #store(seat: Seat, items: readonly Waiting[]): Promise<void> {
    const { database, clock } = this.#context
    let placed: { state: State; batch: ChainedBatch } | null = null
    const placing = async (statements: SealStatements, state: State): Promise<Placing> => {
      await this.#readHeads(statements, items, state)
      const all = this.#withOpenings(items, state)
      const chained = (sealedAtMs: number) => {
        placed = { state, batch: chain(all, state.heads, sealedAtMs) }
        return placed.batch
      }
      return { shard: this.shard, state, chain: chained }
    }
    let steady: boolean
    const sentMs = Date.now()
    try {
      if (Date.now() < this.#contendedUntil) {
        steady = await seat.sealAlone((rows) =>
          database.transaction(async (statements) => {
            const state = toState(await statements.lockShard(this.shard))
            if (state.keyEpoch !== this.#state!.keyEpoch) throw new KeysDestroyed()
            this.#state = state
            return database.commits.store(rows, [await placing(statements, state)], statements)
          }),
        )
      } else steady = await seat.seal(await placing(database.statements, this.#state!))
    } catch (error) {
      if (placed === null || refusal(error) !== 'unknown') throw error
      const { state, batch } = placed as { state: State; batch: ChainedBatch }
      steady = clock.observe(sentMs, await this.#clearUp(error, state, batch), Date.now())
    }
    const { batch } = placed! as { batch: ChainedBatch }
    this.#advance(batch)
    this.#settle(batch)
    if (!steady) this.#stop(new Error('the database clock jumped by more than 5 seconds'))
  }

  /** Reads the heads that are not known. */
  async #readHeads(statements: SealStatements, items: readonly Waiting[], state: State): Promise<void> {
    const missing = new Set<number>()
    for (const { sealable } of items) if (!state.heads.has(sealable.trail.number)) missing.add(sealable.trail.number)
    if (missing.size === 0) return
    for (const { trail, head } of await statements.readHeads([...missing])) state.heads.set(trail, head)
    for (const trail of missing) if (!state.heads.has(trail)) throw new Error(`trail ${trail} has no head`)
  }

  /** The first entry of a trail is `open`, whoever comes first and however its making was interrupted. */
  #withOpenings(items: readonly Waiting[], state: State): readonly Waiting[] {
    const openings: Waiting[] = []
    const seen = new Set<number>()
    for (const { sealable } of items) {
      const { trail, opens } = sealable
      if (seen.has(trail.number)) continue
      seen.add(trail.number)
      if (opens || state.heads.get(trail.number)!.size > 0) continue
      openings.push({ sealable: this.#context.opening(trail, state.keyEpoch), ticket: new Ticket(1), index: 0 })
    }
    return openings.length === 0 ? items : [...openings, ...items]
  }

  #advance(batch: ChainedBatch): void {
    if (this.#state !== null) {
      this.#state.position += batch.items.length
      this.#state.sealedAtMs = batch.sealedAtMs
      keepHeads(this.#state.heads, batch.extensions)
    }
    this.#context.onSealed(this.shard, batch.items.length)
  }

  #settle(batch: ChainedBatch): void {
    const byTrail = runs(batch)
    for (const { item, seq, hash, previous } of batch.items) {
      item.ticket.settle(item.index, {
        kind: 'sealed',
        seq,
        hash,
        previous,
        run: byTrail.get(item.sealable.trail.number)!,
      })
    }
  }

  /** @returns what is left of the batch, to be tried again. */
  async #react(seat: Seat, error: unknown, now: Waiting[], later: Waiting[]): Promise<Waiting[]> {
    const kind = refusal(error)
    const rest = [...now, ...later]
    if (error instanceof SealUnavailable) throw error
    this.#apartUntil = Date.now() + apartMs
    if (kind === 'moved' || kind === 'keys') {
      if (kind === 'moved') this.#contendedUntil = Date.now() + contendedMs
      this.#state = null
      return rest
    }
    if (kind === 'clock') {
      await this.#resetClock()
      return rest
    }
    this.#state = null
    if (kind === 'duplicate') return this.#settleRepeats(rest)
    if (kind === 'row') return this.#isolate(seat, error, now, later)
    // A lost answer was already looked into: what arrives here broke before the batch was sent.
    throw unavailable(kind === 'unknown' ? 'unavailable' : kind, error)
  }

  /** One row of the batch cannot be stored: halve until it stands alone, so that the others go in. */
  async #isolate(seat: Seat, error: unknown, now: Waiting[], later: Waiting[]): Promise<Waiting[]> {
    if (now.length === 1) {
      const { ticket, index } = now[0]!
      ticket.settle(index, {
        kind: 'unsealable',
        reason: `the database refused the event (SQLSTATE ${sqlState(error)})`,
      })
      return later
    }
    const half = now.length >> 1
    await this.#sealAll(seat, now.slice(0, half))
    await this.#sealAll(seat, now.slice(half))
    return later
  }

  /** Answers the events of a batch whose id was used before; returns the others. */
  async #settleRepeats(items: readonly Waiting[]): Promise<Waiting[]> {
    const known = await this.#context.database.statements.findRepeats(items)
    const rest: Waiting[] = []
    for (const [i, item] of items.entries()) {
      const found = known[i]
      if (found === undefined) rest.push(item)
      else if (found === 'other') item.ticket.settle(item.index, { kind: 'id_reused' })
      else item.ticket.settle(item.index, { kind: 'duplicate', trail: item.sealable.trail, ...found })
    }
    return rest
  }

  /**
   * The answer to a seal statement was lost. Raising the shard's fence waits for it if it still runs, and disowns it if
   * it was not begun; afterwards the shard tells whether this very batch is in it.
   * @returns the database's clock, if the batch was stored
   * @throws the original error, if it was not and never will be; SealUnavailable, if nobody could be asked
   */
  async #clearUp(error: unknown, state: State, batch: ChainedBatch): Promise<number> {
    const { database, limits } = this.#context
    const { statements } = database
    const deadline = Date.now() + limits.clearUpMs
    this.#state = null
    for (let pause = 50; ; pause = Math.min(pause * 2, 1_000)) {
      try {
        const row = await statements.fence(this.shard)
        const first = batch.items[0] as ChainedItem
        const stored =
          row.position >= state.position + batch.items.length &&
          (await statements.hashAt(this.shard, state.position, batch.sealedAt)) === first.hash
        if (stored) return await statements.readClock()
        throw new SealUnavailable('store_unavailable', 'the database went away before it sealed the batch', {
          cause: error,
        })
      } catch (again) {
        if (again instanceof SealUnavailable) throw again
        if (Date.now() > deadline) throw unavailable('unknown', error)
        await new Promise((resolve) => setTimeout(resolve, pause))
      }
    }
  }

  async #resetClock(): Promise<void> {
    const { clock, database } = this.#context
    const { statements } = database
    const sent = Date.now()
    const steady = clock.observe(sent, await statements.readClock(), Date.now())
    this.#state = toState(await statements.readShard(this.shard))
    if (!steady) this.#stop(new Error('the database clock jumped by more than 5 seconds'))
    // The shard's last seal lies ahead of the database's clock, which was set back: wait for it, or stop.
    const aheadMs = this.#state.sealedAtMs - clock.now()
    if (aheadMs > 5_000)
      this.#stop(new Error(`the database clock is ${aheadMs} ms behind the last seal of shard ${this.shard}`))
    if (this.#stopped !== null) throw new SealUnavailable('lane_stopped', this.#stopped.message)
    if (aheadMs > 0) await new Promise((resolve) => setTimeout(resolve, aheadMs))
  }

  #stop(reason: Error): void {
    this.#stopped = reason
    this.#context.onStopped(this.shard, reason)
  }
}

function toState(row: ShardRow): State {
  return { ...row, heads: new Map() }
}

/** Refuses what is not settled yet: of a batch that failed on its way, some events may be. */
function refuse(item: Waiting, error: SealUnavailable): void {
  if (item.ticket.outcomes[item.index] === undefined) item.ticket.settle(item.index, { kind: 'unavailable', error })
}

const stoppedError = (shard: number, reason: Error) =>
  new SealUnavailable('lane_stopped', `lane ${shard} is stopped: ${reason.message}`)

/** Raised like the database's own refusal when the lock shows that keys were destroyed meanwhile. */
class KeysDestroyed extends Error {
  readonly code = 'AF003'
}
