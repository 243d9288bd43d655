// Shapes of what the API returns; the OpenAPI document names them, and the tests hold every answer to them. They are
// closed: a member that is returned without being named here is a mistake in one of the two.
import Type, { type TSchema } from 'typebox'
import { actorTypes, categories, outcomes } from '../ingest/event.ts'
import { type ProblemCode, problems } from '../ingest/problem.ts'

const closed = { additionalProperties: false } as const

export const Hex32 = Type.String({ pattern: '^[0-9a-f]{64}$', description: 'SHA-256, hex' })
export const Hex16 = Type.String({ pattern: '^[0-9a-f]{32}$' })
export const Time = Type.String({
  pattern: '^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z$',
  description: 'UTC, to the millisecond',
})
export const orNull = <T extends TSchema>(schema: T) => Type.Union([schema, Type.Null()])
export const object = <T extends Record<string, TSchema>>(properties: T, description?: string) =>
  Type.Object(properties, { ...closed, ...(description !== undefined && { description }) })

const code = Type.Enum(Object.keys(problems) as ProblemCode[], { description: 'Stable: what programs branch on' })
const pointer = Type.String({ description: 'JSON Pointer (RFC 6901) into the body, or into one event of a batch' })

export const ProblemSchema = object(
  {
    type: Type.String(),
    title: Type.String(),
    status: Type.Integer(),
    code,
    detail: Type.String(),
    pointer: Type.Optional(pointer),
    errors: Type.Optional(
      Type.Array(object({ code, detail: Type.String(), pointer: Type.Optional(pointer) }), {
        description: 'All problems of the body, where there are several',
      }),
    ),
  },
  'RFC 9457 problem details',
)

const place = {
  id: Type.String(),
  tenant: Type.String(),
  trail: Hex16,
  seq: Type.Integer({ minimum: 0, description: 'Place in the trail, from 0; the leaf index of its tree' }),
  hash: Hex32,
  previous_hash: Hex32,
  sealed_at: Time,
  facts_salt: Type.Union([Hex16, Type.Null()], {
    description: 'Null for a repeat of an event whose payload was removed',
  }),
  moved_to_metadata: Type.Optional(
    Type.Array(Type.String(), { description: 'Fields of the flat form that have no place of their own' }),
  ),
}

export const AcceptedEvent = object({
  ...place,
  receipt: Type.String({ description: 'Signed note: the promise that the entry is in the trail' }),
})

const AcceptedItem = object({
  status: Type.Enum([200, 201]),
  ...place,
  receipt: Type.Integer({ minimum: 0, description: 'Index into receipts' }),
})
const RefusedItem = object({
  index: Type.Integer({ minimum: 0, description: 'Place in the batch, from 0' }),
  status: Type.Integer(),
  error: ProblemSchema,
})

export const BatchReport = object({
  accepted: Type.Integer(),
  duplicates: Type.Integer(),
  rejected: Type.Integer(),
  results: Type.Array(Type.Union([AcceptedItem, RefusedItem]), {
    description: 'In input order; with Prefer: return=minimal only those rejected, each with its index',
  }),
  receipts: Type.Optional(Type.Array(Type.String())),
  trails: Type.Optional(
    Type.Array(
      object({
        tenant: Type.String(),
        trail: Hex16,
        first: Type.Integer(),
        last: Type.Integer(),
        events: Type.Integer(),
      }),
      { description: 'With Prefer: return=minimal; other events may lie between first and last' },
    ),
  ),
})

/** A value that may have been erased, or that this key may not see. */
const shown = <T extends TSchema>(schema: T) => Type.Optional(orNull(schema))
const text = shown(Type.String())

const actorFields = {
  type: shown(Type.Enum([...actorTypes])),
  id: text,
  name: text,
  email: text,
  role: text,
  team: text,
  internal: Type.Optional(Type.Boolean()),
  tenant: text,
}
const Delegator = Type.Object({}, { additionalProperties: true, description: 'An actor, with the same members' })
const ShownActor = object({ ...actorFields, on_behalf_of: shown(Delegator), impersonator: shown(Delegator) })
const ShownTarget = object({ type: text, id: text, name: text, email: text, tenant: text })
const ShownContext = object({
  ip: text,
  user_agent: text,
  request_id: text,
  trace_id: text,
  session_id: text,
  location: text,
  auth_method: text,
  api_key: shown(object({ id: text, name: text })),
})
const ShownChange = object({
  path: Type.String(),
  before: Type.Optional(Type.Unknown()),
  after: Type.Optional(Type.Unknown()),
})

const sealed = {
  trail: Hex16,
  seq: Type.Integer({ minimum: 0 }),
  hash: Hex32,
  previous_hash: orNull(Hex32),
  sealed_at: Time,
  late: Type.Boolean({ description: 'Happened more than 15 minutes before it arrived' }),
  facts: orNull(Type.String({ description: 'Exactly the text that was committed to' })),
  facts_salt: orNull(Hex16),
  erased: Type.Optional(Type.Array(Type.String(), { description: 'Pointers of values whose person was erased' })),
  withheld: Type.Optional(Type.Array(Type.String(), { description: 'Pointers of values that this key may not see' })),
  redacted: Type.Optional(Type.Boolean({ description: 'The payload was removed' })),
  tampered: Type.Optional(
    Type.Boolean({ description: 'Stored personal values, or columns beside the facts, are not what was sealed' }),
  ),
}

export const StoredEvent = object(
  {
    id: Type.Optional(Type.String()),
    tenant: Type.String(),
    action: orNull(Type.String({ description: 'Null where the payload was lost' })),
    sentence: Type.String({ description: 'What happened, in plain words' }),
    category: Type.Enum([...categories]),
    outcome: orNull(Type.Enum([...outcomes])),
    reason: text,
    occurred_at: Time,
    received_at: Type.Optional(Time),
    actor: shown(ShownActor),
    targets: orNull(Type.Array(ShownTarget)),
    context: orNull(ShownContext),
    changes: orNull(Type.Array(orNull(ShownChange))),
    metadata: orNull(Type.Object({}, { additionalProperties: true })),
    source: shown(
      object(
        { id: text, boot: text, seq: Type.Optional(Type.Integer()), system: text },
        'Producer, as it named itself',
      ),
    ),
    key: shown(object({ id: text, name: text }, 'API key that the event came in with')),
    version: Type.Optional(
      Type.Integer({ description: 'Version of the catalog entry; 0: nobody registered the action' }),
    ),
    ...sealed,
  },
  'The event, and where and how it is sealed. Members whose payload was removed are absent or null.',
)

export const ControlEntry = object(
  {
    tenant: Type.String(),
    control: Type.String({ description: 'Kind and arguments, as sealed (docs/spec/control.md)' }),
    details: orNull(Type.Object({}, { additionalProperties: true, description: 'What its facts say, parsed' })),
    ...sealed,
  },
  'An entry that changes what a verifier may expect; listed with control=true',
)

/** Schemas that several operations return, by their names in the document. */
export const namedSchemas: Readonly<Record<string, TSchema>> = {
  Problem: ProblemSchema,
  AcceptedEvent,
  BatchReport,
  Event: StoredEvent,
  ControlEntry,
}
