// Retention: payloads go when their time has run out, announced by `prune` entries per category. What may go is read
// from the trail's own policy entries, as a verifier does; what a hold covers stays, and the next pruning after its
// release takes it.
import { CATEGORIES, type Category } from '@affidavit/trail'
import type { TenantKeys } from '../keys/tenant-keys.ts'
import type { Pool, Queryable } from '../store/database.ts'
import type { Tenant } from '../tenants/tenants.ts'
import { type Announced, type PruneReach, reachOf, readAnnouncements, retentionSpans } from './announcements.ts'
import type { ForgettingParts } from './forgetting.ts'
import { prune } from './removals.ts'

export interface Pruned {
  readonly category: Category
  /** Payloads of the category's events below this seq are gone. */
  readonly before: number
  /** Seq of the `prune` entry. */
  readonly control: number
}

const dayMs = 86_400_000

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
    const { pruned, held, open } = await this.#retention.transaction(async (session) => {
      await session.query('select affidavit.lock_forgetting($1)', [trail])
      return this.#announceDue(session, tenant, reason)
    })
    for (const one of open) await prune(this.#retention, trail, one.control, one.reach, one.start)
    await this.#retention.query(
      `insert into affidavit.retention_visits (tenant, day, held) values ($1, (clock_timestamp() at time zone 'UTC')::date, $2)
       on conflict (tenant) do update set day = excluded.day, held = excluded.held`,
      [tenant.number, held],
    )
    return pruned
  }

  /** Numbers of tenants with a retention that were not visited today; a hold's release has them visited again. */
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
    const announced = await readAnnouncements(session, trail)
    const done = await this.#finished(session, trail)
    const open = announced.flatMap(({ seq, sealedAt, control }): OpenPrune[] => {
      if (control.kind !== 'prune' || seq < 0 || done.has(seq)) return []
      const before = announced.filter((one) => one.seq < seq)
      return [{ control: seq, reach: reachOf(before, control.category, sealedAt), start: 0 }]
    })
    const pruned: Pruned[] = []
    let held = false
    // What is announced and not removed yet would be announced again.
    for (const category of open.length > 0 ? [] : CATEGORIES) {
      const due = await this.#due(session, trail, announced, category)
      held ||= due.held
      if (due.before === 0) continue
      const control = await this.#announce(tenant, { kind: 'prune', category, before: due.before }, reason)
      const { rows } = await session.query<{ sealed_at: number }>(
        'select sealed_at from affidavit.control_entries($1, $2) limit 1',
        [trail, control],
      )
      open.push({ control, reach: reachOf(announced, category, rows[0]!.sealed_at), start: due.start })
      pruned.push({ category, before: due.before, control })
    }
    return { pruned, held, open }
  }

  /** Up to where (0: nothing) and from where on payloads of a category are due, by whole UTC days: it moves once a day. */
  async #due(session: Queryable, trail: number, announced: readonly Announced[], category: Category) {
    const now = this.#now()
    const today = now - (now % dayMs)
    const spans = retentionSpans(announced, category, today)
    const last = lastPrune(announced, category)
    let before = 0
    let start = Number.MAX_SAFE_INTEGER
    let held = false
    for (const [n, { from, retention }] of spans.entries()) {
      if (retention === 'forever') continue
      const until = today - retention * dayMs
      const low = last === null ? from : Math.max(from, await sealedAfter(session, trail, last - retention * dayMs))
      const high = Math.min(spans[n + 1]?.from ?? Number.MAX_SAFE_INTEGER, await sealedAfter(session, trail, until))
      if (low >= high) continue
      const { rows } = await session.query<{ before: number | null; held: boolean }>(
        'select before, held from affidavit.payload_left($1, $2::smallint, $3, $4, $5)',
        [trail, CATEGORIES.indexOf(category) + 1, low, high, new Date(until).toISOString()],
      )
      held ||= rows[0]!.held
      before = Math.max(before, rows[0]!.before ?? 0)
      start = Math.min(start, low)
    }
    return { before, start, held }
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

/** A `prune` entry that is not carried out in full. */
interface OpenPrune {
  readonly control: number
  readonly reach: PruneReach
  readonly start: number
}

/**
 * When a category was pruned last, if everything that was due then is gone: no hold kept some of it, and retention is as
 * it was. Else null.
 */
function lastPrune(announced: readonly Announced[], category: Category): number | null {
  const at = announced.findLastIndex(({ control }) => control.kind === 'prune' && control.category === category)
  const changed = announced.findLastIndex(({ control }) => control.kind === 'policy' && control.about === 'retention')
  const isSimple = announced.every(
    ({ control }) =>
      control.kind !== 'hold' &&
      !(control.kind === 'policy' && control.about === 'retention' && control.from !== 'new'),
  )
  return isSimple && at > changed ? announced[at]!.sealedAt : null
}

async function sealedAfter(session: Queryable, trail: number, time: number): Promise<number> {
  const { rows } = await session.query<{ seq: number }>('select affidavit.first_sealed_after($1, $2) as seq', [
    trail,
    new Date(time).toISOString(),
  ])
  return rows[0]!.seq
}
