// The platform audits itself through the same door as everybody: its events are sealed like any other, under the action
// prefix `affidavit.`, which clients cannot use. Ids derive from the cause, so that a repeat records nothing twice and
// nothing that is recorded causes a record.
import { setTimeout as sleep } from 'node:timers/promises'
import type { Incoming, Ingest } from '../ingest/accept.ts'
import type { Log } from '../store/log.ts'
import type { Principal } from '../tenants/api-keys.ts'
import { Refused } from './refused.ts'

export interface PlatformEvent {
  /** Derived from the cause; letters, digits and `_.:-`. */
  readonly id: string
  /** Tenant id; undefined: the operator's own trail. */
  readonly tenant: string | undefined
  readonly action: `affidavit.${string}`
  readonly actor: object
  readonly targets?: readonly object[]
  readonly metadata?: object
  readonly reason?: string
  readonly outcome?: 'success' | 'failure' | 'denied'
}

/** Queued while the store is away; beyond it the oldest is dropped, loudly. */
const queued = 10_000
/** Between attempts, while something cannot be sealed. */
const pause_ms = { first: 100, most: 10_000 }
/** How long a server that stops goes on trying: a trail that was stopped may wait for somebody for days. */
const patience_ms = 3_000

export class PlatformRecorder {
  readonly #ingest: Pick<Ingest, 'accept'>
  readonly #log: Log
  readonly #closing = new AbortController()
  #giveUpAt = Number.POSITIVE_INFINITY
  #queue: PlatformEvent[] = []
  #running: Promise<void> | null = null

  constructor(ingest: Pick<Ingest, 'accept'>, log: Log) {
    this.#ingest = ingest
    this.#log = log
  }

  /**
   * Seals the event before it returns: for what must not happen unrecorded.
   * @throws Refused when nothing can be sealed at the moment
   */
  async record(event: PlatformEvent): Promise<void> {
    const [result] = await this.#ingest.accept([item(event)], producer, Date.now())
    if (result === undefined || result.ok) return
    const { problem } = result
    if (problem.status === 503 || problem.status === 429) throw new Refused(problem, { 'retry-after': '1' })
    throw new Error(`platform event ${event.action} was refused: ${problem.detail} ${problem.pointer ?? ''}`)
  }

  /** Seals the event soon. */
  note(event: PlatformEvent): void {
    if (this.#queue.length >= queued) {
      const dropped = this.#queue.shift()
      this.#log.error(
        { action: dropped?.action, id: dropped?.id },
        'platform event dropped: the store was away too long',
      )
    }
    this.#queue.push(event)
    this.#running ??= this.#run()
  }

  /** For a server that stops: waits until everything noted is sealed. What cannot be for some seconds is given up, loudly. */
  async flush(): Promise<void> {
    this.#giveUpAt = Date.now() + patience_ms
    this.#closing.abort()
    await this.#running
  }

  async #run(): Promise<void> {
    for (let pause = pause_ms.first; this.#queue.length > 0; ) {
      const batch = this.#queue.splice(0, 500)
      const waiting = await this.#seal(batch)
      if (waiting.length === 0) {
        pause = pause_ms.first
        continue
      }
      // Behind the others: one trail that takes nothing does not hold up all.
      this.#queue.push(...waiting)
      if (Date.now() >= this.#giveUpAt) {
        const actions = this.#queue.splice(0).map(({ action }) => action)
        this.#log.error(
          { events: actions.length, actions: [...new Set(actions)] },
          'platform events given up: they could not be sealed before the server stopped',
        )
        break
      }
      if (waiting.length < batch.length) pause = pause_ms.first
      await this.#rest(pause)
      pause = Math.min(pause * 2, pause_ms.most)
    }
    this.#running = null
  }

  /** @returns what cannot be sealed at the moment */
  async #seal(batch: readonly PlatformEvent[]): Promise<readonly PlatformEvent[]> {
    const waiting: PlatformEvent[] = []
    try {
      const results = await this.#ingest.accept(batch.map(item), producer, Date.now())
      for (const [i, result] of results.entries()) {
        if (result.ok) continue
        if (result.problem.status === 503 || result.problem.status === 429) waiting.push(batch[i]!)
        else this.#log.error({ action: batch[i]?.action, problem: result.problem }, 'platform event refused')
      }
      return waiting
    } catch (error) {
      this.#log.warn({ err: error }, 'platform events wait for the store')
      return batch
    }
  }

  async #rest(pause: number): Promise<void> {
    const { signal } = this.#closing
    if (signal.aborted) return sleep(Math.min(pause, 500))
    await sleep(pause, undefined, { ref: false, signal }).catch(() => undefined)
  }
}

const producer = { key: undefined, tenant: undefined, mayCreateTenants: false, personal: [] }

function item(event: PlatformEvent): Incoming {
  return { ok: true, value: event }
}

/**
 * The principal of a request as the actor of a platform event.
 * @param tenant whose trail it goes to; there the operator's own keys are shown as internal
 */
export function actorOf(principal: Principal, tenant: string | undefined): object {
  const isInternal = principal.internal || (principal.tenant === null && tenant !== undefined)
  return { type: 'api_key', id: principal.keyId, name: principal.name, ...(isInternal && { internal: true }) }
}

/** The record of a tenant's making in the operator's trail, however it was made; once per tenant. */
export function tenantCreated(
  tenant: { id: string; name: string | null; trail: { id: string } },
  actor: object,
): PlatformEvent {
  return {
    id: `tenant.created:${tenant.trail.id}`,
    tenant: undefined,
    action: 'affidavit.tenant.created',
    actor,
    targets: [{ type: 'tenant', id: tenant.id, ...(tenant.name !== null && { name: tenant.name }) }],
  }
}
