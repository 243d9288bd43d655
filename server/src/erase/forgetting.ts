// Carries out what two principals decided. Each act goes the same way, and may be cut off and gone on with anywhere, by
// any server:
//
//   1 aim       the trail's size is noted: its control entry will be found from there on
//   2 announce  under the trail's lock: holds are checked, the control entry is sealed, its seq is noted
//   3 order     a copy of the entry is put into Objects, for a database that is put back to before it
//   4 perform   the guarded functions of the database do what the entry says, in small steps, until nothing is left
//
// A crash after the sealing and before the note: the entry is found by its text and not sealed twice. A hold that comes
// between 2 and 4 is too late, for the entry is in the trail; what it says is done.
import { type Control, encodeControl } from '@affidavit/trail'
import type { KeyProvider } from '../keys/provider.ts'
import type { TenantKeys } from '../keys/tenant-keys.ts'
import type { Pool, Queryable } from '../store/database.ts'
import type { Log } from '../store/log.ts'
import type { Tenant, Tenants } from '../tenants/tenants.ts'
import { type Act, Acts } from './acts.ts'
import { readAnnouncements, stateEntries, toRestate } from './announcements.ts'
import type { Orders } from './orders.ts'
import { deleteTenant, dropPersonas, eraseSubjects, redact, truncate } from './removals.ts'

export interface ForgettingParts {
  /** Of the role `retention`. */
  readonly retention: Pool
  readonly tenants: Tenants<TenantKeys>
  readonly provider: KeyProvider
  readonly orders: Orders
  /** Seals a control entry in the tenant's newest trail and returns its seq. What a person wrote goes into `facts`. */
  readonly announce: (tenant: Tenant<TenantKeys>, control: Control, facts: Record<string, unknown>) => Promise<number>
  /** Drops erased people from this process's memory. */
  readonly forget: (tenant: Tenant<TenantKeys>, subjects: readonly number[], keyEpoch: number) => void
  /** Called when a hold was released, and with every erasure: somebody may have to do something about it. */
  readonly onReleased?: (tenant: number) => void
  readonly log: Log
  /** How long a closed tenant's last events may be on their way, milliseconds. */
  readonly settleMs?: number
  readonly now?: () => number
}

/** A server knows of a closed tenant after 10 s, and a batch under way is sealed or refused after 15 more. */
const settleMs = 30_000
const noticeMs = 30 * 86_400_000
/** A notice is reckoned from its entry's time of sealing, which is not known before. */
const noticeMarginMs = 60_000

/** What names no place in a trail is announced in the one that continues it. */
const outlastsTrails = new Set(['erase', 'retention', 'delete'])

type Outcome = 'done' | 'held' | 'later'

export class Forgetting {
  readonly acts: Acts
  readonly #parts: ForgettingParts
  readonly #settleMs: number
  readonly #now: () => number
  /** Acts of this process go one after the other: each is short. */
  #last: Promise<unknown> = Promise.resolve()

  constructor(parts: ForgettingParts) {
    this.#parts = parts
    this.#settleMs = parts.settleMs ?? settleMs
    this.#now = parts.now ?? Date.now
    this.acts = new Acts(parts.retention)
  }

  /**
   * Goes on with an act that was approved. `later`: it is not its turn yet, or another server is at it.
   * @throws StoreUnavailable, SealUnavailable, KeyUnusable; it is then gone on with later
   */
  run(id: string): Promise<Outcome> {
    const mine = this.#last.then(() => this.#run(id))
    this.#last = mine.catch(() => {})
    return mine
  }

  /** Goes on with everything that was approved. Problems are logged, and met again next time. */
  async runAll(): Promise<void> {
    for (const id of await this.acts.open()) {
      try {
        await this.run(id)
      } catch (error) {
        this.#parts.log.warn(
          { err: error, act: id },
          'a request to forget could not be carried out now; it is tried again',
        )
      }
    }
  }

  async #run(id: string): Promise<Outcome> {
    const act = await this.acts.get(id)
    if (act === undefined || act.state === 'waiting' || act.state === 'rejected') return 'later'
    if (act.state === 'done') return 'done'
    const tenant = (await this.#parts.tenants.byNumber([act.tenant])).get(act.tenant)
    if (tenant === undefined) throw new Error(`request ${id} is of a tenant that is not there`)
    if (act.state === 'announced') return this.#perform(tenant, act)
    // Nothing may follow the last entry of a deleted tenant's trail, and nothing is left to forget. And what names places
    // in a trail that was lost since, and continued by another, can be announced in neither.
    const isOther = tenant.trail.number !== act.trail
    const isGone = tenant.state === 'closed' && act.wish.kind !== 'delete'
    if (isGone || (isOther && !outlastsTrails.has(act.wish.kind))) {
      await this.acts.drop(id)
      return 'done'
    }
    if (isOther) await this.acts.move(id, tenant.trail.number)
    if (act.wish.kind === 'delete' && !(await this.#isSettled(act, tenant))) return 'later'
    await this.acts.aim(id)
    const announced = await this.#announce(tenant, id)
    return announced === undefined ? 'held' : this.#perform(tenant, announced)
  }

  /** Step 2. Undefined: held, or another server was faster and is not done. */
  #announce(tenant: Tenant<TenantKeys>, id: string): Promise<Act | undefined> {
    const { retention } = this.#parts
    return retention.transaction(async (session) => {
      await session.query('select affidavit.lock_forgetting($1)', [tenant.trail.number])
      const act = await this.acts.get(id, session, true)
      if (act === undefined || act.state === 'done' || act.state === 'announced') return act
      if (act.low === null) return undefined
      const holds = await this.#holds(session, act)
      if (holds.length > 0) {
        await this.acts.held(id, holds, session)
        return undefined
      }
      const control = await this.#sealed(session, act, tenant)
      await this.acts.announced(id, control, session)
      return { ...act, state: 'announced', control, holds: [] }
    })
  }

  async #holds(session: Queryable, { trail, wish, low }: Act): Promise<string[]> {
    const ask = async (text: string, values: unknown[]) => {
      const { rows } = await session.query<{ holds: string[] }>(text, values)
      return rows[0]!.holds
    }
    switch (wish.kind) {
      case 'erase':
        return ask('select affidavit.holds_on_subjects($1, $2::bigint[], 0, $3, null)::text[] as holds', [
          trail,
          wish.subjects.map(({ number }) => number),
          low,
        ])
      case 'redact':
        return ask('select affidavit.holds_on_entries($1, $2::bigint[], null)::text[] as holds', [trail, wish.seqs])
      case 'truncate':
      case 'delete':
        return ask('select affidavit.holds_on_entries($1, null, null)::text[] as holds', [trail])
      case 'release':
      case 'retention':
        return []
    }
  }

  /** Seals the act's control entry, unless that was done before a crash. */
  async #sealed(session: Queryable, act: Act, tenant: Tenant<TenantKeys>): Promise<number> {
    const { rows } = await session.query<{ seq: number; control: string }>(
      'select seq, control from affidavit.control_entries($1, $2)',
      [act.trail, act.low],
    )
    const wanted = this.#control(act)
    const texts = new Set([encodeControl(wanted)])
    const isNotice = act.wish.kind === 'retention' && act.wish.from === 'notice'
    const found = rows.find(({ control }) => (isNotice ? isNoticeOf(act, control) : texts.has(control)))
    if (found !== undefined) return found.seq
    const facts = factsOf(act)
    if (act.wish.kind === 'truncate')
      for (const state of stateEntries(toRestate(await readAnnouncements(session, act.trail), act.wish.size)))
        await this.#parts.announce(tenant, state, facts)
    return this.#parts.announce(tenant, wanted, facts)
  }

  #control({ wish }: Act): Control {
    switch (wish.kind) {
      case 'erase':
        return { kind: 'erase', subjects: wish.subjects.map(({ keyId }) => keyId) }
      case 'redact':
        return { kind: 'redact', seqs: wish.seqs }
      case 'release':
        return { kind: 'release', hold: wish.hold }
      case 'truncate':
        return { kind: 'truncate', size: wish.size }
      case 'delete':
        return { kind: 'close', reason: 'deleted' }
      case 'retention': {
        const from = wish.from === 'new' ? 'new' : new Date(this.#now() + noticeMs + noticeMarginMs).toISOString()
        return { kind: 'policy', about: 'retention', category: wish.category, retention: wish.days ?? 'forever', from }
      }
    }
  }

  /** Steps 3 and 4. */
  async #perform(tenant: Tenant<TenantKeys>, act: Act): Promise<Outcome> {
    await this.#order(act, act.control!)
    const outcome = await this.#effect(tenant, act, act.control!)
    if (outcome === 'done') await this.acts.done(act.id)
    return outcome
  }

  async #order({ id, trail, wish, requested, decided }: Act, seq: number): Promise<void> {
    const { retention, orders } = this.#parts
    const { rows } = await retention.query<{ control: string }>(
      'select control from affidavit.control_entries($1, $2) limit 1',
      [trail, seq],
    )
    const named = wish.kind === 'redact' ? wish.seqs : wish.kind === 'truncate' ? [wish.size - 1] : []
    const request = { id, requested: requested.keyId, decided: decided!.keyId }
    await orders.write({ seq, control: rows[0]!.control, request }, trail, named)
  }

  async #effect(tenant: Tenant<TenantKeys>, { id, trail, wish, low }: Act, control: number): Promise<Outcome> {
    const { retention, tenants, provider, forget, onReleased } = this.#parts
    switch (wish.kind) {
      case 'erase': {
        const subjects = wish.subjects.map(({ number }) => number)
        const { holds, keyEpoch } = await eraseSubjects(retention, trail, control, subjects, low ?? 0)
        if (holds.length > 0) {
          await this.acts.held(id, holds)
          return 'held'
        }
        forget(tenant, subjects, keyEpoch)
        await dropPersonas(retention, subjects)
        return 'done'
      }
      case 'redact':
        await redact(retention, trail, control)
        return 'done'
      case 'release':
        await retention.query('select affidavit.release_hold($1, $2)', [trail, control])
        onReleased?.(tenant.number)
        return 'done'
      case 'retention':
        if (wish.category === 'all')
          await tenants.update(tenant.id, { policy: { ...policyOf(tenant), retention_days: wish.days } })
        return 'done'
      case 'truncate':
        await truncate(retention, trail, control, wish.size)
        return 'done'
      case 'delete':
        if (await deleteTenant(retention, provider, tenant, trail, control)) {
          await tenants.byNumber([tenant.number])
          return 'done'
        }
        await this.acts.again(id)
        return 'later'
    }
  }

  /** From its closing on, a tenant's events are refused; its end is sealed once those under way have arrived. */
  async #isSettled(act: Act, tenant: Tenant<TenantKeys>): Promise<boolean> {
    const { retention, tenants } = this.#parts
    const { rows: held } = await retention.query<{ holds: string[] }>(
      'select affidavit.holds_on_entries($1, null, null)::text[] as holds',
      [tenant.trail.number],
    )
    if (held[0]!.holds.length > 0) return true // it is not closed before it can be deleted
    await retention.query('select affidavit.close_tenant($1)', [act.tenant])
    if (tenant.state !== 'closed') await tenants.byNumber([act.tenant])
    const { rows } = await retention.query<{ settled: boolean }>(
      `select changed_at < clock_timestamp() - make_interval(secs => $2 / 1000.0) as settled from affidavit.tenants where number = $1`,
      [act.tenant, this.#settleMs],
    )
    return rows[0]!.settled
  }
}

/** What stands under the control entry's facts: who asked, who approved, and why. */
export function factsOf({ id, reason, requested, decided }: Act): Record<string, unknown> {
  const by = ({ keyId, name }: { keyId: string; name: string }) => ({ id: keyId, name })
  return { request: id, reason, requested_by: by(requested), ...(decided && { approved_by: by(decided) }) }
}

/** The time of a notice is not known beforehand: an entry of the same category and length is it. */
function isNoticeOf({ wish }: Act, control: string): boolean {
  if (wish.kind !== 'retention') return false
  const [, about, category, retention, from] = control.split(' ')
  return (
    control.startsWith('policy ') &&
    about === 'retention' &&
    category === wish.category &&
    retention === String(wish.days ?? 'forever') &&
    from !== 'new'
  )
}

const policyOf = ({ policy }: Tenant<TenantKeys>) => ({
  personal: [...policy.personal],
  confidential: [...policy.confidential],
  operator: [...policy.operator],
})
