// What a change of a tenant's policy says in the trail: a version of what is captured how, with the policy under the
// entry's facts, and the retention in the clear where it changed, for verifiers judge absences by it
// (docs/spec/control.md).
import type { Control } from '@affidavit/trail'
import type { Queryable } from '../store/database.ts'
import type { Policy } from '../tenants/policy.ts'

/**
 * The control entries of a change, in order.
 * @param reader a pool that sees all trails
 * @param before null for a new tenant, whose trail opens with payloads kept for good
 */
export async function policyEntries(
  reader: Queryable,
  trail: number,
  before: Policy | null,
  after: Policy,
): Promise<Control[]> {
  const { rows } = await reader.query<{ versions: number }>(
    `select count(*)::int as versions from affidavit.events where trail = $1 and control like 'policy capture %'`,
    [trail],
  )
  const entries: Control[] = [{ kind: 'policy', about: 'capture', version: rows[0]!.versions + 1 }]
  if ((before?.retentionDays ?? null) !== after.retentionDays) {
    const retention = after.retentionDays ?? 'forever'
    entries.push({ kind: 'policy', about: 'retention', category: 'all', retention, from: 'new' })
  }
  return entries
}

/** Whether a trail has ever said how long payloads are kept. */
export async function hadRetention(reader: Queryable, trail: number): Promise<boolean> {
  const { rows } = await reader.query<{ had: boolean }>(
    `select exists (select from affidavit.events where trail = $1 and control like 'policy retention %') as had`,
    [trail],
  )
  return rows[0]!.had
}
