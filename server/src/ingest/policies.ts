// The policy of one event: what its action, its tenant and its sender set apart, compiled once for each combination.
import type { CatalogEntry } from '../catalog/catalog.ts'
import { compilePolicy, type Policy, type PolicySource } from './policy.ts'

const compiled = new WeakMap<PolicySource, WeakMap<CatalogEntry, Map<string, Policy>>>()

/**
 * All pointers have been checked where they entered (catalog, tenant policy, request header).
 * @param sender pointer patterns that the sender declares personal
 */
export function policyFor(entry: CatalogEntry, tenant: PolicySource, sender: readonly string[]): Policy {
  let byEntry = compiled.get(tenant)
  if (byEntry === undefined) {
    byEntry = new WeakMap()
    compiled.set(tenant, byEntry)
  }
  let bySender = byEntry.get(entry)
  if (bySender === undefined) {
    bySender = new Map()
    byEntry.set(entry, bySender)
  }
  const key = sender.join('\n')
  let policy = bySender.get(key)
  if (policy === undefined) {
    const result = compilePolicy(entry, tenant, { personal: sender })
    if (!result.ok) throw new Error(`an unchecked pointer reached the write path: ${result.problems[0]?.detail}`)
    policy = result.policy
    if (bySender.size > 100) bySender.clear() // senders choose their pointers freely
    bySender.set(key, policy)
  }
  return policy
}
