// Shapes of what the API returns; the OpenAPI document names them.
import Type from 'typebox'

export const Hex32 = Type.String({ pattern: '^[0-9a-f]{64}$', description: 'SHA-256, hex' })
export const Time = Type.String({ description: 'YYYY-MM-DDTHH:MM:SS.mmmZ' })

export const ProblemSchema = Type.Object(
  {
    type: Type.String(),
    title: Type.String(),
    status: Type.Integer(),
    code: Type.String({ description: 'Stable; what programs branch on' }),
    detail: Type.String(),
    pointer: Type.Optional(Type.String({ description: 'JSON Pointer into the body' })),
    errors: Type.Optional(
      Type.Array(Type.Object({ code: Type.String(), detail: Type.String(), pointer: Type.Optional(Type.String()) })),
    ),
  },
  { description: 'RFC 9457 problem details' },
)

const place = {
  id: Type.String(),
  tenant: Type.String(),
  trail: Type.String({ pattern: '^[0-9a-f]{32}$' }),
  seq: Type.Integer({ minimum: 0, description: 'Place in the trail, from 0; the leaf index of its tree' }),
  hash: Hex32,
  previous_hash: Hex32,
  sealed_at: Time,
  facts_salt: Type.String({ pattern: '^[0-9a-f]{32}$' }),
  moved_to_metadata: Type.Optional(
    Type.Array(Type.String(), { description: 'Fields of the flat form that have no place of their own' }),
  ),
}

export const AcceptedEvent = Type.Object({
  ...place,
  receipt: Type.String({ description: 'Signed note: the promise that the entry is in the trail' }),
})

const AcceptedItem = Type.Object({
  status: Type.Integer(),
  ...place,
  receipt: Type.Integer({ description: 'Index into receipts' }),
})
const RefusedItem = Type.Object({
  index: Type.Optional(Type.Integer()),
  status: Type.Integer(),
  error: ProblemSchema,
})

export const BatchReport = Type.Object({
  accepted: Type.Integer(),
  duplicates: Type.Integer(),
  rejected: Type.Integer(),
  results: Type.Array(Type.Union([AcceptedItem, RefusedItem]), {
    description: 'In input order; with Prefer: return=minimal only those rejected, each with its index',
  }),
  receipts: Type.Optional(Type.Array(Type.String())),
  trails: Type.Optional(
    Type.Array(
      Type.Object({
        tenant: Type.String(),
        trail: Type.String(),
        first: Type.Integer(),
        last: Type.Integer(),
        events: Type.Integer(),
      }),
      { description: 'With Prefer: return=minimal; other events may lie between first and last' },
    ),
  ),
})
