// Lanes share a few connections, and they share commits: when a connection falls free, every lane that waits takes its
// batch, and one statement stores them all. A commit costs a millisecond or more whatever is in it, so many small tenants
// are sealed about as cheaply as one large one.
//
// A statement is stored whole or not at all. Where one lane is the reason for a refusal (an id that was used before, a
// shard that another node moved), each lane goes once more, alone, and hears its own answer.
import type { RowsParameter } from '../store/binary.ts'
import type { ChainedBatch } from './chain.ts'
import type { DatabaseClock } from './clock.ts'
import { type Refusal, refusal } from './refusal.ts'
import type { ShardRow } from './rows.ts'
import type { SealStatements } from './statements.ts'

/** What a lane wants stored. It is chained when all that travel together are there, for they share one sealing time. */
export interface Placing {
  readonly shard: number
  readonly state: ShardRow
  chain(sealedAtMs: number): ChainedBatch
}

/** Takes up to so many events from a lane's queue. @returns how many it took, at least one */
export type Take = (maxEvents: number) => number

interface Boarded {
  readonly placing: Placing
  readonly resolve: (steady: boolean) => void
  readonly reject: (error: unknown) => void
}

/** A lane that waits for a commit. */
interface Request {
  readonly alone: boolean
  readonly take: Take
  readonly resolve: (seat: Seat) => void
}

/** Refusals for which one lane's rows or state are the reason, not the database as a whole. */
const ofOneLane: ReadonlySet<Refusal> = new Set(['moved', 'duplicate', 'keys', 'clock', 'row'])

/** A lane's place in a commit that is about to begin. The others wait until it boards or leaves. */
export class Seat {
  readonly #commits: JointCommits
  readonly #departure: Departure
  #open = true

  constructor(commits: JointCommits, departure: Departure) {
    this.#commits = commits
    this.#departure = departure
  }

  /**
   * Stores a lane's batch together with those of the same departure; a second call waits for a commit of its own.
   * @returns false if the database's clock jumped
   * @throws what the database answered; if the answer was lost, the batch may have been stored
   */
  async seal(placing: Placing): Promise<boolean> {
    if (!this.#open) return (await this.#another()).seal(placing)
    this.#open = false
    return new Promise((resolve, reject) => this.#departure.board({ placing, resolve, reject }))
  }

  /** Does the storing itself, with the encoder of a commit that is shared with nobody. */
  async sealAlone(store: (rows: RowsParameter) => Promise<boolean>): Promise<boolean> {
    if (!this.#open || this.#departure.shared) return (await this.#another()).sealAlone(store)
    this.#open = false
    try {
      return await store(this.#departure.rows)
    } finally {
      this.#departure.missing()
    }
  }

  /** Gives up the place, unless it was used. */
  leave(): void {
    if (!this.#open) return
    this.#open = false
    this.#departure.missing()
  }

  #another(): Promise<Seat> {
    this.leave()
    return this.#commits.seat(true, () => 1)
  }
}

/** The lanes that were given places in one commit. It begins when nobody is awaited any more. */
class Departure {
  readonly rows: RowsParameter
  readonly #leave: (boarded: readonly Boarded[]) => void
  readonly #boarded: Boarded[] = []
  #seats = 0
  #awaited = 0

  constructor(rows: RowsParameter, leave: (boarded: readonly Boarded[]) => void) {
    this.rows = rows
    this.#leave = leave
  }

  get shared(): boolean {
    return this.#seats > 1
  }

  seat(commits: JointCommits): Seat {
    this.#seats += 1
    this.#awaited += 1
    return new Seat(commits, this)
  }

  board(boarded: Boarded): void {
    this.#boarded.push(boarded)
    this.missing()
  }

  missing(): void {
    this.#awaited -= 1
    if (this.#awaited === 0) this.#leave(this.#boarded)
  }
}

export class JointCommits {
  readonly #statements: SealStatements
  readonly #clock: DatabaseClock
  readonly #batchEvents: number
  /** One encoder per commit that may be under way; they keep their buffers. */
  readonly #free: RowsParameter[]
  readonly #requests: Request[] = []

  /** @param batchEvents about as many events go into one commit */
  constructor(
    statements: SealStatements,
    clock: DatabaseClock,
    encoders: readonly RowsParameter[],
    batchEvents: number,
  ) {
    this.#statements = statements
    this.#clock = clock
    this.#free = [...encoders]
    this.#batchEvents = batchEvents
  }

  /**
   * Waits until a commit may begin.
   * @param alone shares it with nobody
   * @param take called at that moment, so that a lane gathers while it waits
   */
  seat(alone: boolean, take: Take): Promise<Seat> {
    return new Promise((resolve) => {
      this.#requests.push({ alone, take, resolve })
      if (this.#requests.length > 1) return // somebody has seen to it, or waits for a connection
      // After the callers' own turn: everything that arrives in one tick of the event loop goes into one commit.
      setImmediate(() => this.#begin())
    })
  }

  /**
   * One statement for all of these.
   * @param statements of a transaction; else the statement commits by itself
   * @returns false if the database's clock jumped
   */
  async store(
    rows: RowsParameter,
    placings: readonly Placing[],
    statements: SealStatements = this.#statements,
  ): Promise<boolean> {
    const clock = this.#clock
    if (!clock.known) clock.observe(Date.now(), await statements.readClock(), Date.now())
    const sealedAtMs = Math.max(clock.now(), ...placings.map(({ state }) => state.sealedAtMs))
    // Row locks are taken in the order of shards, so that nodes do not wait for one another in a circle.
    const batches = placings
      .toSorted((a, b) => a.shard - b.shard)
      .map((placing) => ({ shard: placing.shard, state: placing.state, batch: placing.chain(sealedAtMs) }))
    const sentMs = Date.now()
    return clock.observe(sentMs, await statements.seal(rows, batches), Date.now())
  }

  #release(rows: RowsParameter): void {
    this.#free.push(rows)
    this.#begin()
  }

  /** Gives places to those that wait, as far as there are connections and a commit has room. */
  #begin(): void {
    while (this.#free.length > 0 && this.#requests.length > 0) {
      const rows = this.#free.pop()!
      const departure = new Departure(rows, (boarded) => void this.#depart(rows, boarded))
      let room = this.#batchEvents
      for (let next = this.#requests.shift(); next !== undefined; ) {
        room -= next.take(room)
        next.resolve(departure.seat(this))
        // A lane that finds little room would only be cut in two.
        const full = next.alone || room * 2 < this.#batchEvents
        const at = full ? -1 : this.#requests.findIndex(({ alone }) => !alone)
        next = at === -1 ? undefined : this.#requests.splice(at, 1)[0]
      }
    }
  }

  async #depart(rows: RowsParameter, boarded: readonly Boarded[]): Promise<void> {
    if (boarded.length > 0) await this.#storeTogether(rows, boarded)
    this.#release(rows)
  }

  /** Answers everyone; never throws. */
  async #storeTogether(rows: RowsParameter, boarded: readonly Boarded[]): Promise<void> {
    try {
      const steady = await this.store(
        rows,
        boarded.map(({ placing }) => placing),
      )
      for (const { resolve } of boarded) resolve(steady)
    } catch (error) {
      if (boarded.length > 1 && ofOneLane.has(refusal(error))) {
        for (const one of boarded) await this.#storeTogether(rows, [one])
      } else for (const { reject } of boarded) reject(error)
    }
  }
}
