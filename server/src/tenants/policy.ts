// What a tenant decides about its own events. Stored as JSON beside the tenant; a change of it is sealed in the trail
// as a `policy` control entry by whoever makes it.
import type { Static } from 'typebox'
import type { PolicySchema } from './policy-schema.ts'

export type PolicyInput = Static<typeof PolicySchema>

/** With every default filled in. */
export interface Policy {
  readonly personal: readonly string[]
  readonly confidential: readonly string[]
  readonly operator: readonly string[]
  readonly retentionDays: number | null
}

/** @param input as it was given, or as it is stored */
export function completePolicy(input: PolicyInput): Policy {
  const { personal = [], confidential = [], operator = [], retention_days = null } = input
  return { personal, confidential, operator, retentionDays: retention_days }
}
