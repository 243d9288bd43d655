// Retention: payloads go when their time has run out, announced by `prune` entries per category. What may go is read
// from the trail's own policy entries, as a verifier does; what a hold covers stays, and the next pruning after its
// release takes it.
import { CATEGORIES, type Category } from '@affidavit/trail'
import type { TenantKeys } from '../keys/tenant-keys.ts'
import type { Pool, Queryable } from '../store/database.ts'
import type { Tenant } from '../tenants/tenants.ts'
import { type Announced, dueBefore, readAnnouncements, retentionSpans } from './announcements.ts'
import type { ForgettingParts } from './forgetting.ts'
import { prune } from './removals.ts'

export interface Pruned {
  readonly category: Category
  /** Payloads of the category's events below this seq are gone. */
  readonly before: number
  /** Seq of the `prune` entry. */
  readonly control: number
}

export class Pruning {
  readonly #retention: Pool
  readonly #announce: ForgettingParts['announce']
  readonly #now: () => number

  constructor(parts: Pick<ForgettingParts, 'retention' | 'announce' | 'now'>) {
    this.#retention = parts.retention
    this.#announce = parts.announce
    this.#now = parts.now ?? Date.now
  }

  /**
   * Removes what is due, and finishes what an earlier run announced. Safe to repeat after any failure.
   * @returns what was announced now
   * @throws StoreUnavailable, SealUnavailable
   */
  async prune(tenant: Tenant<TenantKeys>, reason: Record<string, unknown> = { by: 'retention' }): Promise<Pruned[]> {
    const trail = tenant.trail.number
    const { pruned, held, announced } = await this.#retention.transaction(async (session) => {
      await session.query('select affidavit.lock_forgetting($1)', [trail])
      return this.#announceDue(session, tenant, reason)
    })
    for (const control of announced) await prune(this.#retention, trail, control)
    await this.#retention.query(
      `insert into affidavit.retention_visits (tenant, day, held) values ($1, (clock_timestamp() at time zone 'UTC')::date, $2)
       on conflict (tenant) do update set day = excluded.day, held = excluded.held`,
      [tenant.number, held],
    )
    return pruned
  }

  /** Numbers of tenants with a retention that were not visited today, or where a hold kept something. */
  async due(limit: number): Promise<number[]> {
    const { rows } = await this.#retention.query<{ number: number }>(
      `select t.number from affidavit.tenants t left join affidavit.retention_visits v on v.tenant = t.number
       where t.state = 'open' and coalesce(v.day < (clock_timestamp() at time zone 'UTC')::date, true)
         and ((t.policy ->> 'retention_days') is not null
           or exists (select from affidavit.acts a where a.tenant = t.number and a.kind = 'retention' and a.state = 'done'))
       order by t.number limit $1`,
      [limit],
    )
    return rows.map(({ number }) => number)
  }

  /** A hold was released: what it kept may be due. */
  async again(tenant: number): Promise<void> {
    await this.#retention.query('update affidavit.retention_visits set day = day - 1 where tenant = $1', [tenant])
  }

  async #announceDue(session: Queryable, tenant: Tenant<TenantKeys>, reason: Record<string, unknown>) {
    const trail = tenant.trail.number
    const announcements = await readAnnouncements(session, trail)
    const done = await this.#finished(session, trail)
    const announced = announcements.flatMap(({ seq, control }) =>
      control.kind === 'prune' && seq >= 0 && !done.has(seq) ? [seq] : [],
    )
    const pruned: Pruned[] = []
    let held = false
    for (const [n, category] of CATEGORIES.entries()) {
      const before = await this.#due(session, trail, announcements, category)
      const last = lastPrune(announcements, category)
      const { rows } = await session.query<{ free: boolean; held: boolean }>(
        'select free, held from affidavit.payload_left($1, $2::smallint, $3, $4)',
        [trail, n + 1, announcements.some(({ control }) => control.kind === 'hold') ? 0 : last, before],
      )
      held ||= rows[0]!.held
      // What an unfinished removal is about to take is not announced again.
      if (!rows[0]!.free || (before <= last && announced.length > 0)) continue
      const control = await this.#announce(tenant, { kind: 'prune', category, before }, reason)
      announced.push(control)
      pruned.push({ category, before, control })
    }
    return { pruned, held, announced }
  }

  async #due(session: Queryable, trail: number, announcements: readonly Announced[], category: Category) {
    const { rows } = await session.query<{ size: number }>('select size from affidavit.heads where trail = $1', [trail])
    const now = this.#now()
    return dueBefore(retentionSpans(announcements, category, now), rows[0]!.size, now, async (time) => {
      const found = await session.query<{ seq: number }>('select affidavit.first_sealed_after($1, $2) as seq', [
        trail,
        new Date(time).toISOString(),
      ])
      return found.rows[0]!.seq
    })
  }

  /** Seqs of `prune` entries that were carried out in full. */
  async #finished(session: Queryable, trail: number): Promise<Set<number>> {
    const { rows } = await session.query<{ control: number }>(
      'select control from affidavit.prunes where trail = $1 and next >= before',
      [trail],
    )
    return new Set(rows.map(({ control }) => control))
  }
}

function lastPrune(announcements: readonly Announced[], category: Category): number {
  return announcements.reduce(
    (last, { control }) =>
      control.kind === 'prune' && control.category === category ? Math.max(last, control.before) : last,
    0,
  )
}
