// A server's forgetting without its door, on the database and keys of a running server: for tests that stop it between
// any two of its steps. A step is one call to the database, to the key provider, to Objects or to the lane.

import { join } from 'node:path'
import type { Control } from '@affidavit/trail'
import { opening } from '../src/assembly/opening.ts'
import { Forgetting } from '../src/erase/forgetting.ts'
import { Holds } from '../src/erase/holds.ts'
import { Orders } from '../src/erase/orders.ts'
import { Pruning } from '../src/erase/prune.ts'
import { Rotation } from '../src/erase/rotation.ts'
import { openKeys } from '../src/keys/open-keys.ts'
import { Personas } from '../src/keys/personas.ts'
import type { KeyProvider } from '../src/keys/provider.ts'
import { openRegistrySecret } from '../src/keys/registry-key.ts'
import { KeyChest, type TenantKeys } from '../src/keys/tenant-keys.ts'
import { controlEntry } from '../src/seal/control.ts'
import { Sealer } from '../src/seal/sealer.ts'
import { type Database, type Login, openDatabase, type Pool, type Queryable, type Role } from '../src/store/database.ts'
import { openFolderObjects } from '../src/store/folder-objects.ts'
import { silent } from '../src/store/log.ts'
import type { Objects } from '../src/store/objects.ts'
import { type Tenant, Tenants } from '../src/tenants/tenants.ts'

/** Lets so many steps happen and then none: as if the process were gone. */
export class Life {
  steps = 0
  most: number
  /** Whether the last step happened although nobody was told. */
  readonly #after: boolean
  readonly #end: () => Promise<never>

  /** @param end how it ends */
  constructor(most = Number.POSITIVE_INFINITY, after = false, end: () => Promise<never> = gone) {
    this.most = most
    this.#after = after
    this.#end = end
  }

  /** Another one, for what is left. */
  revive(most: number): void {
    this.steps = 0
    this.most = most
  }

  async step<Result>(work: () => Promise<Result>): Promise<Result> {
    if (this.steps >= this.most) await this.#end()
    this.steps++
    const result = await work()
    if (this.steps >= this.most && this.#after) await this.#end()
    return result
  }
}

export class Gone extends Error {
  override name = 'Gone'
}

const gone = () => Promise.reject(new Gone())

export interface ForgetNode {
  readonly database: Database
  /** Of the role `retention`, each call a step. */
  readonly retention: Pool
  readonly keeper: Pool
  readonly tenants: Tenants<TenantKeys>
  readonly provider: KeyProvider
  readonly personas: Personas
  readonly objects: Objects
  readonly orders: Orders
  readonly forgetting: Forgetting
  readonly holds: Holds
  readonly pruning: Pruning
  readonly rotation: Rotation
  tenant(id: string): Promise<Tenant<TenantKeys>>
  announce(tenant: Tenant<TenantKeys>, control: Control, facts?: Record<string, unknown>): Promise<number>
  stop(): Promise<void>
}

export interface NodeOptions {
  readonly login: Login
  /** Of the running server. */
  readonly dataDir: string
  readonly life?: Life
  readonly now?: () => number
}

export async function forgetNode({ login, dataDir, life = new Life(), now }: NodeOptions): Promise<ForgetNode> {
  const database = openDatabase({ login, log: silent, connections: { sealer: 3 } })
  const keys = await openKeys({ keeper: database.pool('keeper'), folder: join(dataDir, 'keys') })
  const provider = mortal(keys.provider, life)
  const chest = new KeyChest(provider)
  const tenants = new Tenants<TenantKeys>({ keeper: database.pool('keeper'), chest })
  const sealer = await Sealer.open({
    pool: database.pool('sealer'),
    log: silent,
    connections: 1,
    opening: (trail, epoch) => opening(keys, trail, epoch, null),
  })
  const announce = (tenant: Tenant<TenantKeys>, control: Control, facts: Record<string, unknown> = {}) =>
    life.step(async () => {
      for (;;) {
        const epoch = sealer.keyEpoch(tenant.trail.shard)
        const [outcome] = await sealer.submit([controlEntry(tenant.trail, epoch, control, facts, Date.now())])
        if (outcome?.kind === 'sealed') return outcome.seq
        if (outcome?.kind !== 'stale') throw new Error(`not sealed: ${outcome?.kind}`)
      }
    })
  const pool = (role: Role) => mortalPool(database.pool(role), life)
  const objects = mortal(await openFolderObjects(join(dataDir, 'objects')), life)
  const secret = () => openRegistrySecret(join(dataDir, 'keys'), keys.provider, false)
  const orders = new Orders({ objects, retention: pool('retention'), secret })
  const parts = {
    orders,
    retention: pool('retention'),
    keeper: pool('keeper'),
    tenants,
    provider,
    announce,
    log: silent,
    ...(now && { now }),
  }
  return {
    database,
    retention: parts.retention,
    keeper: parts.keeper,
    tenants,
    provider,
    personas: new Personas({ keeper: database.pool('keeper'), provider: keys.provider }),
    objects,
    orders,
    forgetting: new Forgetting({ ...parts, forget: () => {}, settleMs: 0 }),
    holds: new Holds(parts),
    pruning: new Pruning(parts),
    rotation: new Rotation({ ...parts, chest, objects }),
    tenant: async (id) => (await tenants.get(id))!,
    announce,
    stop: async () => {
      await sealer.drain()
      await database.end()
    },
  }
}

function mortalPool(pool: Pool, life: Life): Pool {
  const query: Queryable['query'] = (text, values) => life.step(() => pool.query(text, values))
  return {
    role: pool.role,
    query,
    value: (statement, values) => life.step(() => pool.value(statement, values)),
    transaction: (work) =>
      pool.transaction(async (session) => {
        const result = await work({ query: (text, values) => life.step(() => session.query(text, values)) })
        // The end of a transaction is a step, too: before it, nothing of it is there.
        await life.step(async () => {})
        return result
      }),
    asTenant: (tenant, work) => pool.asTenant(tenant, work),
  }
}

/** Every method that changes something outside is a step. */
function mortal<T extends object>(real: T, life: Life): T {
  const steps = new Set(['createGeneration', 'destroyGeneration', 'put', 'wrap', 'unwrap', 'wrapUnderRoot'])
  return new Proxy(real, {
    get(target, name) {
      const value = Reflect.get(target, name)
      if (typeof value !== 'function') return value
      const bound = value.bind(target)
      return steps.has(String(name)) ? (...values: unknown[]) => life.step(() => bound(...values)) : bound
    },
  })
}
