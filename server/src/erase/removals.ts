// The steps by which announced things go, each a guarded function of the database, repeated until nothing is left. One
// step holds its locks for some 50 ms; any of them may be the last one before a crash.
import type { KeyProvider } from '../keys/provider.ts'
import type { Pool } from '../store/database.ts'
import type { PruneReach } from './announcements.ts'

/** Rows or entries per step. */
const step = 5_000

/**
 * Destroys the keys of subjects that an `erase` entry names, then deletes their personas and tokens.
 *
 * @param checked entries below it were checked against holds before the entry was sealed
 * @returns the holds that forbid it after all, or the shard's new key epoch
 */
export async function eraseSubjects(
  retention: Pool,
  trail: number,
  control: number,
  subjects: readonly number[],
  checked: number,
): Promise<{ readonly holds: readonly string[]; readonly keyEpoch: number }> {
  const { rows } = await retention.query<{ holds: string[]; key_epoch: number }>(
    'select holds::text[], key_epoch from affidavit.erase_subjects($1, $2, $3, $4)',
    [trail, control, subjects, checked],
  )
  return { holds: rows[0]!.holds, keyEpoch: rows[0]!.key_epoch }
}

export async function dropPersonas(retention: Pool, subjects: readonly number[]): Promise<void> {
  await repeat(retention, 'select affidavit.drop_personas($1::bigint[], $2) as left', [subjects, step])
}

export async function redact(retention: Pool, trail: number, control: number): Promise<void> {
  await retention.query('select affidavit.redact($1, $2)', [trail, control])
}

/** @param start nothing below it is left to do; heeded by the first step only */
export async function prune(
  retention: Pool,
  trail: number,
  control: number,
  { from, until }: PruneReach,
  start: number,
): Promise<void> {
  const times = until.map((time) => (time === null ? null : new Date(time).toISOString()))
  await repeat(retention, 'select coalesce(affidavit.prune($1, $2, $3, $4, $5, $6), 0) as left', [
    trail,
    control,
    start,
    from,
    times,
    step,
  ])
}

export async function truncate(retention: Pool, trail: number, control: number, size: number): Promise<void> {
  for (let from = 0; from < size; from += step)
    await retention.query('select affidavit.truncate_entries($1, $2, $3, $4)', [trail, control, from, from + step])
}

/**
 * Everything of a tenant whose trail ends with `close deleted` at `control`: keys, payloads, people.
 *
 * @returns false if something was sealed after the entry: it has to be sealed again
 */
export async function deleteTenant(
  retention: Pool,
  provider: KeyProvider,
  tenant: { readonly number: number; readonly keyring: string },
  trail: number,
  control: number,
): Promise<boolean> {
  const { rows } = await retention.query<{ done: boolean }>('select affidavit.destroy_tenant($1, $2) as done', [
    trail,
    control,
  ])
  if (!rows[0]!.done) return false
  for (const generation of await provider.generations(tenant.keyring))
    await provider.destroyGeneration(tenant.keyring, generation)
  for (let from = 0; from <= control; from += step)
    await retention.query('select affidavit.drop_payload($1, $2, $3, $4)', [trail, control, from, from + step])
  await repeat(retention, 'select affidavit.drop_people($1, $2) as left', [tenant.number, step])
  // If its last checkpoint is in the registry already; else the rounds come back to it.
  await retention.query('select affidavit.entomb_slot($1)', [tenant.number])
  return true
}

async function repeat(pool: Pool, text: string, values: unknown[]): Promise<void> {
  for (let left = 1; left > 0; ) left = (await pool.query<{ left: number }>(text, values)).rows[0]!.left
}

/** Slots of deleted tenants become tombstones once the registry holds their last checkpoint. */
export async function entombSlots(retention: Pool): Promise<void> {
  await retention.query(
    `select affidavit.entomb_slot(a.tenant) from affidavit.acts a
     where a.kind = 'delete' and a.state = 'done' and a.done_at > now() - interval '7 days'`,
  )
}
