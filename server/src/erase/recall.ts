// Before a database that was put back serves: what was removed or held since, and stands in no epoch, is done again from
// its copies in Objects (erase/orders.ts), in the sequence of then. Its control entries went with the database, so they are
// sealed anew, by the same steps as the first time and under the same requests. It may be cut off anywhere: a note in the
// database, written before the registry moves on, stays until everything is done.
import { type Control, decodeControl, type Hold } from '@affidavit/trail'
import type { KeyProvider } from '../keys/provider.ts'
import type { TenantKeys } from '../keys/tenant-keys.ts'
import type { Pool } from '../store/database.ts'
import type { Log } from '../store/log.ts'
import type { Objects } from '../store/objects.ts'
import type { Tenant, Tenants } from '../tenants/tenants.ts'
import type { Wish } from './acts.ts'
import type { Forgetting, ForgettingParts } from './forgetting.ts'
import type { Holds } from './holds.ts'
import { replayJournal } from './journal.ts'
import { type Order, type Orders, readLeaves } from './orders.ts'
import type { Pruning } from './prune.ts'

export interface RecallParts {
  readonly retention: Pool
  readonly keeper: Pool
  readonly provider: KeyProvider
  readonly objects: Objects
  readonly orders: Orders
  readonly announce: ForgettingParts['announce']
  readonly tenants: Tenants<TenantKeys>
  /** Waits for nobody: no event is on its way before a server serves. */
  readonly forgetting: Forgetting
  readonly holds: Holds
  readonly pruning: Pruning
  readonly log: Log
}

interface Recalled {
  /** Orders that were gone through. */
  readonly orders: number
  /** Those that had to be carried out again. */
  readonly repeated: number
}

/** What is written where the reason stood: that went with the database. */
const reason = 'Carried out before the database was lost, and again after its restore.'
/** Tenants whose retention is applied at once. */
const page = 100
/** A tenant's end is sealed again if something was sealed after it. */
const attempts = 5

/**
 * Notes that copies from an epoch on have to be gone through before the next server serves.
 * @param epoch newest one of the database before anything of later ones came back
 */
export async function noteRecall(retention: Pool, epoch: number): Promise<void> {
  await retention.query(
    `insert into affidavit.recall_due (from_epoch) values ($1)
     on conflict (one) do update set from_epoch = least(recall_due.from_epoch, excluded.from_epoch)`,
    [epoch],
  )
}

/**
 * Does what a note says, if there is one. Not by two servers at once.
 * @throws StoreUnavailable, SealUnavailable, KeyUnusable, ForeignOrder; nothing may be served then
 */
export async function recall(parts: RecallParts): Promise<Recalled | undefined> {
  const { rows } = await parts.retention.query<{ from_epoch: number }>('select from_epoch from affidavit.recall_due')
  if (rows[0] === undefined) return undefined
  const orders = await parts.orders.after(rows[0].from_epoch)
  let repeated = 0
  for (const order of orders) if (await repeat(parts, order)) repeated++
  await applyRetention(parts)
  await parts.retention.query('delete from affidavit.recall_due')
  return { orders: orders.length, repeated }
}

interface TrailRow {
  readonly number: number
  readonly tenant: number
}

/** @returns false if there was nothing left to do */
async function repeat(parts: RecallParts, order: Order): Promise<boolean> {
  const { rows } = await parts.retention.query<TrailRow & Record<string, unknown>>(
    'select number, tenant from affidavit.trails where id = $1',
    [order.trail],
  )
  const trail = rows[0]
  // A tenant that is younger than everything that came back has nothing to forget.
  if (trail === undefined) return false
  const tenant = (await parts.tenants.byNumber([trail.tenant])).get(trail.tenant)!
  const control = decodeControl(order.control)
  const isThere = await isSealed(parts.retention, trail.number, order)
  if (control.kind === 'hold') return repeatHold(parts, tenant, trail, control, isThere ? order.seq : null)
  if (control.kind === 'keys' && control.about === 'subject')
    return !isThere && repeatRotation(parts, tenant, control.generation - 1, control)
  if (order.request === null) return false
  const wish = await wishOf(parts, trail, control, order)
  if (wish === undefined) return false
  return repeatAct(parts, order, order.request, trail, wish, isThere)
}

async function isSealed(retention: Pool, trail: number, { seq, control }: Order): Promise<boolean> {
  const { rows } = await retention.query<{ sealed: boolean }>(
    'select exists (select from affidavit.control_entries($1, $2) where seq = $2 and control = $3) as sealed',
    [trail, seq, control],
  )
  return rows[0]!.sealed
}

async function repeatHold(
  { holds, log }: RecallParts,
  tenant: Tenant<TenantKeys>,
  trail: TrailRow,
  hold: Hold,
  sealed: number | null,
): Promise<boolean> {
  if ((await holds.get(hold.hold)) !== undefined) return false
  if (sealed === null && (tenant.trail.number !== trail.number || tenant.state === 'closed')) {
    log.error({ hold: hold.hold, tenant: tenant.id }, 'a legal hold was lost with the trail that it was placed on')
    return false
  }
  await holds.again(tenant, trail.number, hold, sealed, { reason })
  return true
}

/**
 * The rows of the database stand under a generation that is gone; those that open are in the journal.
 * @param retired generation as the provider counts it
 */
async function repeatRotation(
  { keeper, objects, provider, announce }: RecallParts,
  tenant: Tenant<TenantKeys>,
  retired: number,
  control: Control,
): Promise<boolean> {
  await replayJournal({ keeper, objects, provider, tenant })
  const { rows } = await keeper.query<{ live: boolean }>('select $2 in (select keeper.live_generations($1)) as live', [
    tenant.number,
    retired,
  ])
  // A bucket of it is younger than the journal, or the copy of the keys is older: the next rotation takes it.
  if (rows[0]!.live) return true
  if (tenant.state !== 'closed') await announce(tenant, control, { reason })
  await provider.destroyGeneration(tenant.keyring, retired)
  return true
}

/** What is still to be done of an order; undefined: nothing. */
async function wishOf(
  { retention, holds, log }: RecallParts,
  trail: TrailRow,
  control: Control,
  order: Order,
): Promise<Wish | undefined> {
  switch (control.kind) {
    case 'erase': {
      const { rows } = await retention.query<{ number: number; key_id: string }>(
        `select number, key_id from affidavit.subjects where tenant = $1 and key_id = any ($2::uuid[]) and erased_at is null
         order by key_id`,
        [trail.tenant, control.subjects],
      )
      const subjects = rows.map(({ number, key_id }) => ({ number, keyId: key_id.replaceAll('-', '') }))
      return subjects.length > 0 ? { kind: 'erase', subjects } : undefined
    }
    case 'redact': {
      const seqs = await sameEntries(retention, trail.number, order)
      return seqs.length > 0 ? { kind: 'redact', seqs } : undefined
    }
    case 'release':
      return (await holds.get(control.hold))?.released === null ? { kind: 'release', hold: control.hold } : undefined
    case 'truncate':
      if ((await sameEntries(retention, trail.number, order)).length > 0)
        return { kind: 'truncate', size: control.size }
      log.error(
        { trail: order.trail, size: control.size },
        'a truncation cannot be repeated: the trail lost entries below its size. Ask for it again.',
      )
      return undefined
    case 'close':
      return control.reason === 'deleted' ? { kind: 'delete' } : undefined
    case 'policy':
      if (control.about !== 'retention') return undefined
      return {
        kind: 'retention',
        category: control.category,
        days: control.retention === 'forever' ? null : control.retention,
        from: control.from === 'new' ? 'new' : 'notice',
      }
    default:
      return undefined
  }
}

/** Numbers of an order's entries that are still the same entries. */
async function sameEntries(retention: Pool, trail: number, { leaves }: Order): Promise<number[]> {
  const found = await readLeaves(
    retention,
    trail,
    leaves.map(([seq]) => seq),
  )
  return leaves.filter(([seq, hash]) => found.get(seq) === hash).map(([seq]) => seq)
}

/** Brings the request back, as it was when it had been approved, and carries it out. */
async function repeatAct(
  { retention, forgetting }: RecallParts,
  { at, seq }: Order,
  request: NonNullable<Order['request']>,
  trail: TrailRow,
  { kind, ...what }: Wish,
  isThere: boolean,
): Promise<boolean> {
  const { rows } = await retention.query<{ state: string }>(
    `insert into affidavit.acts as a (id, kind, tenant, trail, state, what, reason, requested_by, requested_name, requested_at,
       decided_by, decided_name, decided_at, low, control)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $8, $10, $9, $9, $10, $11, $11)
     on conflict (id) do update set
       state = case when a.state in ('waiting', 'approved') then excluded.state else a.state end,
       decided_by = coalesce(a.decided_by, excluded.decided_by), decided_name = coalesce(a.decided_name, excluded.decided_name),
       decided_at = coalesce(a.decided_at, excluded.decided_at),
       low = case when a.state in ('waiting', 'approved') then coalesce(excluded.low, a.low) else a.low end,
       control = case when a.state in ('waiting', 'approved') then excluded.control else a.control end
     returning state`,
    [
      request.id,
      kind,
      trail.tenant,
      trail.number,
      isThere ? 'announced' : 'approved',
      JSON.stringify(what),
      reason,
      request.requested,
      request.decided,
      at,
      isThere ? seq : null,
    ],
  )
  if (rows[0]!.state === 'done' || rows[0]!.state === 'rejected') return false
  for (let n = 0; n < attempts; n++) if ((await forgetting.run(request.id)) !== 'later') return true
  throw new Error(`request ${request.id} could not be carried out again`)
}

/** Payloads whose time had run out came back with the backup. What fails here is done in the first round instead. */
async function applyRetention({ pruning, tenants, log }: RecallParts): Promise<void> {
  try {
    for (;;) {
      const due = await pruning.due(page)
      for (const tenant of (await tenants.byNumber(due)).values()) await pruning.prune(tenant)
      if (due.length < page) return
    }
  } catch (error) {
    log.warn({ err: error }, 'retention could not be applied before serving; it is tried again')
  }
}
