// The policy of one event: what its action, its tenant and its sender set apart, compiled once for each combination.
import type { CatalogEntry } from '../catalog/catalog.ts'
import { compilePolicy, type Policy, type PolicySource } from './policy.ts'

/** Where neither tenant nor sender sets anything apart, which is nearly always. */
const ofEntry = new WeakMap<CatalogEntry, Policy>()
const compiled = new WeakMap<PolicySource, WeakMap<CatalogEntry, Map<string, Policy | null>>>()

/**
 * All pointers have been checked where they entered (catalog, tenant policy, request header), each list for itself.
 * Together they may contradict each other: then events must wait until one of them is changed.
 *
 * @param sender pointer patterns that the sender declares personal
 * @returns undefined where a personal pointer holds a value that the tenant keeps confidential
 */
export function policyFor(entry: CatalogEntry, tenant: PolicySource, sender: readonly string[]): Policy | undefined {
  if (sender.length > 0 || hasPointers(tenant)) return combined(entry, tenant, sender)
  let policy = ofEntry.get(entry)
  if (policy === undefined) {
    policy = combined(entry, {}, sender)!
    ofEntry.set(entry, policy)
  }
  return policy
}

const hasPointers = ({ personal, confidential }: PolicySource) =>
  (personal !== undefined && personal.length > 0) || (confidential !== undefined && confidential.length > 0)

function combined(entry: CatalogEntry, tenant: PolicySource, sender: readonly string[]): Policy | undefined {
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
    const [problem] = result.ok ? [] : result.problems
    if (problem !== undefined && problem.code !== 'conflict')
      throw new Error(`an unchecked pointer reached the write path: ${problem.detail}`)
    policy = result.ok ? result.policy : null
    if (bySender.size > 100) bySender.clear() // senders choose their pointers freely
    bySender.set(key, policy)
  }
  return policy ?? undefined
}
