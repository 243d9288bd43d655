// Legal holds: nothing that one covers may go. A hold is placed by one principal at once, and released by two
// (erase/acts.ts). It counts from its control entry on; the table follows the trail.
import { randomBytes } from 'node:crypto'
import { encodeControl, type Hold as HoldControl } from '@affidavit/trail'
import type { TenantKeys } from '../keys/tenant-keys.ts'
import type { Pool } from '../store/database.ts'
import { StoreUnavailable } from '../store/unavailable.ts'
import type { Tenant } from '../tenants/tenants.ts'
import type { Principal } from './acts.ts'
import type { ForgettingParts } from './forgetting.ts'
import type { Orders } from './orders.ts'
import type { Subject } from './people.ts'

export type HoldScope =
  | { readonly scope: 'trail' }
  /** Entries [from, to). */
  | { readonly scope: 'entries'; readonly from: number; readonly to: number }
  /** Every entry with a personal line of one of them. */
  | { readonly scope: 'subjects'; readonly subjects: readonly Subject[] }

export interface Hold {
  /** 32 hex digits. */
  readonly id: string
  readonly tenant: number
  readonly scope: 'trail' | 'entries' | 'subjects'
  readonly low: number | null
  readonly high: number | null
  readonly subjects: number
  /** Seq of its control entry. */
  readonly seq: number
  readonly placedAt: number
  readonly released: number | null
  readonly releasedAt: number | null
  /** Requests that wait for it. */
  readonly waiting: readonly string[]
}

export class Holds {
  readonly #retention: Pool
  readonly #announce: ForgettingParts['announce']
  readonly #orders: Orders

  constructor(parts: Pick<ForgettingParts, 'retention' | 'announce' | 'orders'>) {
    this.#retention = parts.retention
    this.#announce = parts.announce
    this.#orders = parts.orders
  }

  /** Sealed, in force and safe from a loss of the database when it returns. @throws StoreUnavailable, SealUnavailable */
  async place(tenant: Tenant<TenantKeys>, scope: HoldScope, reason: string, by: Principal): Promise<Hold> {
    const id = randomBytes(16).toString('hex')
    await this.again(tenant, tenant.trail.number, controlOf(id, scope), null, {
      reason,
      placed_by: { id: by.keyId, name: by.name },
    })
    return (await this.get(id))!
  }

  /**
   * Puts a hold in force, and its order into Objects.
   * @param sealed seq of its control entry, if that is sealed already
   * @throws StoreUnavailable, SealUnavailable
   */
  async again(
    tenant: Tenant<TenantKeys>,
    trail: number,
    control: HoldControl,
    sealed: number | null,
    facts: Record<string, unknown>,
  ): Promise<void> {
    // Whoever is about to announce a removal holds this lock from the check of holds until their entry is sealed.
    const seq = await this.#retention.transaction(async (session) => {
      await session.query('select affidavit.lock_forgetting($1)', [trail])
      const at = sealed ?? (await this.#announce(tenant, control, facts))
      await session.query('select affidavit.place_hold($1, $2)', [trail, at])
      return at
    })
    const written = this.#orders.write({ seq, control: encodeControl(control), request: null }, trail, [])
    await written.catch((error: unknown) => {
      throw new StoreUnavailable(error) // in force, but not safe: whoever asked does it again
    })
  }

  /** Undefined: there is none. */
  async get(id: string): Promise<Hold | undefined> {
    return (await this.#read('h.id = $1', id))[0]
  }

  /** The newest first, released ones included. */
  async list(tenant: number): Promise<Hold[]> {
    return this.#read('h.tenant = $1', tenant)
  }

  /** Whether holds kept payloads of a tenant, when retention was last applied, whose time had run out. */
  async keepsDue(tenant: number): Promise<boolean> {
    const { rows } = await this.#retention.query<{ held: boolean }>(
      'select held from affidavit.retention_visits where tenant = $1',
      [tenant],
    )
    return rows[0]?.held ?? false
  }

  async #read(where: string, value: unknown): Promise<Hold[]> {
    const { rows } = await this.#retention.query<{
      id: string
      tenant: number
      scope: Hold['scope']
      low: number | null
      high: number | null
      subjects: number
      seq: number
      placed_at: number
      released: number | null
      released_at: number | null
      waiting: string[]
    }>(
      `select h.id, h.tenant, h.scope, h.low, h.high, cardinality(h.subjects) as subjects, h.seq, h.placed_at, h.released, h.released_at,
         array(select a.id::text from affidavit.acts a where a.state = 'held' and h.id = any (a.holds) order by a.requested_at) as waiting
       from affidavit.holds h where ${where} order by h.placed_at desc, h.id limit 1000`,
      [value],
    )
    return rows.map(({ placed_at, released_at, ...row }) => ({
      ...row,
      id: row.id.replaceAll('-', ''),
      placedAt: placed_at,
      releasedAt: released_at,
    }))
  }
}

function controlOf(hold: string, scope: HoldScope): HoldControl {
  if (scope.scope === 'trail') return { kind: 'hold', hold, scope: 'trail' }
  if (scope.scope === 'entries') return { kind: 'hold', hold, ...scope }
  const subjects = [...new Set(scope.subjects.map(({ keyId }) => keyId))].sort()
  return { kind: 'hold', hold, scope: 'subjects', subjects }
}

/** Most subjects that one entry has room for. */
export const maxSubjects = 400
/** Most entries that one request may redact. */
export const maxRedacted = 500
