// Everything that forgets, put together: what two principals decide, legal holds, retention, key rotation, and the rounds
// that go on with whatever a crash, a hold or an absent database left open.
import { setTimeout as sleep } from 'node:timers/promises'
import type { Control } from '@affidavit/trail'
import { Forgetting, type ForgettingParts } from '../erase/forgetting.ts'
import { Holds } from '../erase/holds.ts'
import { ForeignOrder } from '../erase/orders.ts'
import { Pruning } from '../erase/prune.ts'
import { recall } from '../erase/recall.ts'
import { entombSlots } from '../erase/removals.ts'
import { Rotation } from '../erase/rotation.ts'
import { forgetOperations } from '../http/forget.ts'
import { holdOperations } from '../http/holds.ts'
import type { Operation } from '../http/operation.ts'
import type { OwnTenants } from '../http/own-tenants.ts'
import type { PlatformRecorder } from '../http/platform-events.ts'
import { rotationOperations } from '../http/rotations.ts'
import type { Keys } from '../keys/open-keys.ts'
import type { Personas } from '../keys/personas.ts'
import type { Subjects } from '../keys/subjects.ts'
import { KeyChest, type TenantKeys } from '../keys/tenant-keys.ts'
import { RecoveryRefused } from '../recovery/repository.ts'
import type { Database, Pool } from '../store/database.ts'
import type { Log } from '../store/log.ts'
import type { Objects } from '../store/objects.ts'
import { lineageOf } from '../tenants/key-lineage.ts'
import type { Tenant, Tenants } from '../tenants/tenants.ts'
import { oneAtATime } from './one-at-a-time.ts'
import { ordersOf } from './orders.ts'

export interface ForgetGround {
  readonly database: Database
  readonly keys: Keys
  readonly objects: Objects
  readonly tenants: Tenants<TenantKeys>
  readonly own: OwnTenants
  readonly subjects: Subjects
  /** All that read people: they drop who was erased. */
  readonly personas: Personas
  readonly recorder: PlatformRecorder
  /** Seals a control entry in a tenant's newest trail; its seq. */
  readonly announce: (tenant: Tenant<TenantKeys>, control: Control, facts: Record<string, unknown>) => Promise<number>
  readonly log: Log
}

/** Between two rounds over requests and retention; rotations go once a day. */
const roundMs = 60_000
const hourMs = 3_600_000
const dayMs = 24 * hourMs
const tenantsAtOnce = 100

export interface Forget {
  readonly operations: readonly Operation[]
  /** Does again what a restored database does not know of, then begins the rounds. Nothing is served before it returns. */
  start(): Promise<void>
  /** Waits for the step under way. */
  stop(): Promise<void>
}

export function assembleForget(ground: ForgetGround): Forget {
  const { database, keys, tenants, own, subjects, personas, recorder, announce, log } = ground
  const retention = database.pool('retention')
  const keeper = database.pool('keeper')
  const { provider } = keys
  const { objects } = ground
  const orders = ordersOf(keys, objects, retention)
  const pruning = new Pruning({ retention, announce })
  const forgettingParts: ForgettingParts = {
    orders,
    retention,
    tenants,
    provider,
    announce,
    forget: (tenant, numbers, keyEpoch) => {
      personas.forget(numbers)
      subjects.forget(numbers)
      subjects.forgetShard(tenant.trail.shard, keyEpoch)
    },
    onReleased: (tenant) => {
      void pruning
        .again(tenant)
        .then(() => forgetting.runAll())
        .catch((error) => log.warn({ err: error, tenant }, 'what a released hold kept is removed later'))
    },
    log,
  }
  const forgetting = new Forgetting(forgettingParts)
  const rotation = new Rotation({
    keeper,
    retention,
    tenants,
    provider,
    chest: new KeyChest(provider),
    objects,
    orders,
    announce,
    log,
  })
  const sizes = async (tenant: Tenant<TenantKeys>) => {
    const { rows } = await database.pool('follower').query<{ sealed: number; notarized: number }>(
      `select h.size as sealed, coalesce(n.size, 0) as notarized
       from affidavit.heads h left join affidavit.notarized n on n.trail = h.trail where h.trail = $1`,
      [tenant.trail.number],
    )
    return rows[0]!
  }
  const people = { ingest: database.pool('ingest'), personas }
  const holds = new Holds({ retention, announce, orders })
  const lineage = (ids: readonly string[]) => lineageOf(keeper, ids)
  const parts = { own, forgetting, pruning, people, recorder, lineage, sizes, log, holds }
  const rounds = new Rounds(forgetting, pruning, rotation, tenants, retention, log)
  return {
    operations: [
      ...forgetOperations(parts),
      ...holdOperations(parts),
      ...rotationOperations({ own, rotation, recorder }),
    ],
    start: async () => {
      const before = new Forgetting({ ...forgettingParts, settleMs: 0 })
      const ways = { retention, keeper, provider, objects, orders, announce, tenants, holds, pruning, log }
      const recalled = { ...ways, forgetting: before }
      const done = await oneAtATime(database, 'affidavit.recall', () => recall(recalled)).catch((error) => {
        throw error instanceof ForeignOrder ? new RecoveryRefused(error.message) : error
      })
      if (done !== undefined && done.repeated > 0)
        log.warn(done, 'what was removed or held since the last epoch was done again before serving')
      rounds.start()
    },
    stop: () => rounds.stop(),
  }
}

class Rounds {
  readonly #forgetting: Forgetting
  readonly #pruning: Pruning
  readonly #rotation: Rotation
  readonly #tenants: Tenants<TenantKeys>
  readonly #retention: Pool
  readonly #log: Log
  readonly #stopping = new AbortController()
  #running: Promise<void> | null = null
  /** The first batch comes with the first round after a start, so that one that was cut off is finished soon. */
  #lastBatch_ms = Number.NEGATIVE_INFINITY
  #lastSpread_ms = Number.NEGATIVE_INFINITY

  constructor(
    forgetting: Forgetting,
    pruning: Pruning,
    rotation: Rotation,
    tenants: Tenants<TenantKeys>,
    retention: Pool,
    log: Log,
  ) {
    this.#forgetting = forgetting
    this.#pruning = pruning
    this.#rotation = rotation
    this.#tenants = tenants
    this.#retention = retention
    this.#log = log
  }

  start(): void {
    this.#running ??= this.#run()
  }

  async stop(): Promise<void> {
    this.#stopping.abort()
    await this.#running
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping
    while (!signal.aborted) {
      try {
        await this.#forgetting.runAll()
        await this.#prune()
        if (Date.now() - this.#lastSpread_ms >= hourMs) {
          await this.#rotation.spread()
          await entombSlots(this.#retention)
          this.#lastSpread_ms = Date.now()
        }
        if (Date.now() - this.#lastBatch_ms >= dayMs) {
          await this.#rotation.runAll()
          this.#lastBatch_ms = Date.now()
        }
      } catch (error) {
        this.#log.warn({ err: error }, 'a round of forgetting was cut short; the next one goes on')
      }
      await sleep(roundMs, undefined, { signal }).catch(() => {})
    }
  }

  async #prune(): Promise<void> {
    const due = await this.#tenants.byNumber(await this.#pruning.due(tenantsAtOnce))
    for (const tenant of due.values()) {
      if (this.#stopping.signal.aborted) return
      await this.#pruning.prune(tenant).catch((error) => {
        this.#log.warn({ err: error, tenant: tenant.id }, 'retention could not be applied now; it is tried again')
      })
    }
  }
}
