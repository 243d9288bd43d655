// What may be said of a policy; the door's schemas take their part of it.
import { Type } from 'typebox'

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
