// What a tenant decides about its own events. Stored as JSON beside the tenant; a change of it is sealed in the trail
// as a `policy` control entry by whoever makes it.
import { type Static, Type } from 'typebox'
import { Compile } from 'typebox/compile'

/** JSON Pointer (RFC 6901), not the whole document. */
const Pointer = Type.String({ pattern: '^(/([^~/]|~0|~1)*)+$', maxLength: 256 })

const pointers = (description: string) => Type.Array(Pointer, { maxItems: 100, uniqueItems: true, description })

export const PolicySchema = Type.Object(
  {
    personal: Type.Optional(pointers('Further values to treat as personal, e.g. /metadata/phone')),
    confidential: Type.Optional(pointers('Values to encrypt under the tenant’s data key; unsearchable, e.g. /changes')),
    operator: Type.Optional(pointers('Values that only the operator sees')),
    retention_days: Type.Optional(
      Type.Union([Type.Integer({ minimum: 1, maximum: 36_500 }), Type.Null()], {
        description: 'Payloads go after so many days; null keeps them',
      }),
    ),
  },
  { additionalProperties: false },
)

export type PolicyInput = Static<typeof PolicySchema>

/** With every default filled in. */
export interface Policy {
  readonly personal: readonly string[]
  readonly confidential: readonly string[]
  readonly operator: readonly string[]
  readonly retentionDays: number | null
}

export interface PolicyProblem {
  /** Into the policy. */
  pointer: string
  message: string
}

const compiled = Compile(PolicySchema)

export function checkPolicy(
  value: unknown,
): { ok: true; input: PolicyInput } | { ok: false; problems: PolicyProblem[] } {
  if (compiled.Check(value)) return { ok: true, input: value }
  const problems = compiled.Errors(value).map(({ instancePath, message }) => ({ pointer: instancePath, message }))
  return { ok: false, problems }
}

/** @throws Error for a stored policy that no release of this server wrote */
export function readPolicy(stored: unknown): Policy {
  const checked = checkPolicy(stored)
  if (!checked.ok) throw new Error(`stored policy is invalid at ${JSON.stringify(checked.problems[0]?.pointer)}`)
  const { personal = [], confidential = [], operator = [], retention_days = null } = checked.input
  return { personal, confidential, operator, retentionDays: retention_days }
}
