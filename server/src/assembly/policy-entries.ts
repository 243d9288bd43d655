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

/**
 * Whether payloads of a tenant were promised a retention: by a policy, or, since a trail opens with payloads kept for good,
 * by the first event of its own. What the platform notes (keys that were made) promises nothing.
 * @param tenant its number; promises of earlier trails of its chain count, too
 */
export async function promisedRetention(reader: Queryable, tenant: number): Promise<boolean> {
  const { rows } = await reader.query<{ promised: boolean }>(
    `select exists (select from affidavit.events e left join affidavit.actions a on a.number = e.action
       where e.trail in (select number from affidavit.trails where tenant = $1)
         and (e.control like 'policy retention %' or (e.control is null and a.action not like 'affidavit.%'))) as promised`,
    [tenant],
  )
  return rows[0]!.promised
}
