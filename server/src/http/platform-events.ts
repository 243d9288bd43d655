// The platform audits itself through the same door as everybody: its events are sealed like any other, under the action
// prefix `affidavit.`, which clients cannot use. Ids derive from the cause, so that a repeat records nothing twice and
// nothing that is recorded causes a record.
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

export class PlatformRecorder {
  readonly #ingest: Ingest
  readonly #log: Log
  #queue: PlatformEvent[] = []
  #running: Promise<void> | null = null

  constructor(ingest: Ingest, log: Log) {
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

  /** Waits until everything noted is sealed. */
  async flush(): Promise<void> {
    await this.#running
  }

  async #run(): Promise<void> {
    for (let pause = 100; this.#queue.length > 0; ) {
      const batch = this.#queue.splice(0, 500)
      try {
        const results = await this.#ingest.accept(batch.map(item), producer, Date.now())
        for (const [i, result] of results.entries()) {
          if (result.ok) continue
          if (result.problem.status === 503 || result.problem.status === 429) this.#queue.push(batch[i]!)
          else this.#log.error({ action: batch[i]?.action, problem: result.problem }, 'platform event refused')
        }
        pause = 100
      } catch (error) {
        this.#queue.unshift(...batch)
        this.#log.warn({ err: error }, 'platform events wait for the store')
        await new Promise((resolve) => setTimeout(resolve, pause).unref())
        pause = Math.min(pause * 2, 10_000)
      }
    }
    this.#running = null
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
