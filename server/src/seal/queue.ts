// What waits for one lane: a bounded queue per tenant, served in turn, so that a tenant that floods its lane delays
// itself and not its neighbours. Every bound is a refusal that the caller sees, never a silent drop.
import type { Sealable, SealOutcome } from '../store/sealable.ts'

/** One submission's answers, filled in as its events are settled. */
export class Ticket {
  readonly outcomes: SealOutcome[]
  readonly done: Promise<SealOutcome[]>
  #open: number
  #resolve!: (outcomes: SealOutcome[]) => void

  constructor(size: number) {
    this.outcomes = new Array(size)
    this.#open = size
    this.done = new Promise((resolve) => {
      this.#resolve = resolve
    })
    if (size === 0) this.#resolve(this.outcomes)
  }

  settle(index: number, outcome: SealOutcome): void {
    this.outcomes[index] = outcome
    this.#open -= 1
    if (this.#open === 0) this.#resolve(this.outcomes)
  }
}

export interface Waiting {
  readonly sealable: Sealable
  readonly ticket: Ticket
  readonly index: number
}

export interface QueueBounds {
  /** Events that one tenant may have waiting in one lane. */
  readonly eventsPerTenant: number
  /** Events taken from a tenant before the next tenant's turn. */
  readonly turn: number
}

/** Roughly what an event occupies: its bytes and the objects around them. */
export function weight(sealable: Sealable): number {
  return sealable.bytes.length + 300
}

/** What waits of one tenant; those before `next` were taken. */
interface Own {
  items: Waiting[]
  next: number
}

export class FairQueue {
  readonly #bounds: QueueBounds
  /**
   * Given up as a whole when nothing waits any more, instead of each tenant when its last event goes: a Map that shrinks
   * leaves its old table pointing to the new one, and once one of these is in the old generation, all later ones follow.
   */
  #tenants = new Map<number, Own>()
  /** Those with something waiting, the next one first; up to `#turn` they had theirs. */
  #round: Own[] = []
  #turn = 0
  #size = 0
  #bytes = 0

  constructor(bounds: QueueBounds) {
    this.#bounds = bounds
  }

  get size(): number {
    return this.#size
  }

  get bytes(): number {
    return this.#bytes
  }

  /** @returns false if the tenant's share of the lane is full; the event was not taken. */
  push(item: Waiting): boolean {
    const tenant = item.sealable.trail.tenant
    let own = this.#tenants.get(tenant)
    if (own === undefined) {
      own = { items: [], next: 0 }
      this.#tenants.set(tenant, own)
    }
    const waiting = own.items.length - own.next
    if (waiting >= this.#bounds.eventsPerTenant) return false
    if (waiting === 0) this.#round.push(own)
    own.items.push(item)
    this.#size += 1
    this.#bytes += weight(item.sealable)
    return true
  }

  /** Takes up to `maxEvents` and about `maxBytes`, each tenant in turn; order within a tenant is kept. */
  take(maxEvents: number, maxBytes: number): Waiting[] {
    const taken: Waiting[] = []
    let bytes = 0
    while (this.#size > 0 && taken.length < maxEvents && bytes < maxBytes) {
      const own = this.#round[this.#turn]!
      const until = Math.min(own.next + this.#bounds.turn, own.items.length)
      while (own.next < until && taken.length < maxEvents && bytes < maxBytes) {
        const item = own.items[own.next]!
        own.next += 1
        taken.push(item)
        const w = weight(item.sealable)
        bytes += w
        this.#bytes -= w
        this.#size -= 1
      }
      this.#endTurn(own)
    }
    if (this.#size === 0) {
      this.#tenants = new Map()
      this.#round = []
      this.#turn = 0
    }
    return taken
  }

  /** To the back of the round, if more of the tenant waits. */
  #endTurn(own: Own): void {
    this.#turn += 1
    if (this.#turn > 1024) {
      this.#round = this.#round.slice(this.#turn)
      this.#turn = 0
    }
    if (own.next === own.items.length) {
      own.items = []
      own.next = 0
      return
    }
    if (own.next > 1024) {
      own.items.splice(0, own.next)
      own.next = 0
    }
    this.#round.push(own)
  }
}
