/**
 * The structured event: one schema from which come the static type, the validation and the OpenAPI document.
 * What a schema cannot say (times, addresses, depth, reserved keys) is checked in check-event.ts.
 */

import Type from 'typebox'
import { type Category, categories } from '../catalog/category.ts'
import { type JsonObject, pointerPattern } from '../store/pointer.ts'

export const limits = {
  id: 64,
  tenant: 64,
  action: 128,
  /** Ids, types, roles, teams and short words. */
  word: 256,
  name: 256,
  email: 320,
  ip: 64,
  userAgent: 1024,
  reason: 1024,
  path: 1024,
  targets: 64,
  changes: 100,
  metadataKeys: 50,
  /** How many on_behalf_of and impersonator may stand below the actor, one below the other. */
  delegationDepth: 5,
  /** Actor and delegators together: with the targets they stay below the 100 personal lines of an entry. */
  actors: 16,
  /** UTF-8 bytes of the stored facts of one event. */
  factsBytes: 256 * 1024,
  /** How far a client's clock may be ahead, in ms. */
  clockAhead: 24 * 60 * 60 * 1000,
} as const

// An id is a segment of addresses, where clients resolve `.` and `..` away.
export const idPattern = '^(?!\\.{1,2}$)[A-Za-z0-9_.:-]{1,64}$'
export const tenantPattern = '^(?!\\.{1,2}$)[A-Za-z0-9._-]{1,64}$'
/** ASCII only: actions are names in code, and look-alike letters would slip past a filter. */
export const actionPattern = '^[A-Za-z0-9_][A-Za-z0-9_.:/-]*$'

export { type Category, categories }

export const outcomes = ['success', 'failure', 'denied'] as const
export const actorTypes = ['user', 'api_key', 'service', 'agent', 'system', 'anonymous'] as const
export const authMethods = ['session', 'api_key', 'sso', 'oauth', 'mtls'] as const

export type Outcome = (typeof outcomes)[number]
export type ActorType = (typeof actorTypes)[number]

const closed = { additionalProperties: false } as const
const word = (description?: string) =>
  Type.String({ minLength: 1, maxLength: limits.word, ...(description === undefined ? {} : { description }) })
const text = (maxLength: number, description?: string) =>
  Type.String({ maxLength, ...(description === undefined ? {} : { description }) })
const choice = <T extends string[]>(values: readonly [...T], description?: string) =>
  Type.Enum(values, description === undefined ? {} : { description })

const tenant = Type.String({ pattern: tenantPattern, maxLength: limits.tenant })

export const Actor = Type.Cyclic(
  {
    Actor: Type.Object(
      {
        type: Type.Optional(choice(actorTypes, 'Default: user, or anonymous when nothing identifies the actor')),
        id: Type.Optional(word()),
        name: Type.Optional(text(limits.name)),
        email: Type.Optional(text(limits.email)),
        role: Type.Optional(text(limits.word)),
        team: Type.Optional(text(limits.word)),
        internal: Type.Optional(Type.Boolean({ description: "The operator's own staff or service in the tenant" })),
        on_behalf_of: Type.Optional(Type.Ref('Actor')),
        impersonator: Type.Optional(Type.Ref('Actor')),
        tenant: Type.Optional(tenant),
      },
      closed,
    ),
  },
  'Actor',
)

export const Target = Type.Object(
  {
    type: word(),
    id: Type.Optional(word()),
    name: Type.Optional(text(limits.name)),
    email: Type.Optional(text(limits.email)),
    tenant: Type.Optional(tenant),
  },
  closed,
)

export const Context = Type.Object(
  {
    ip: Type.Optional(text(limits.ip, 'IPv4 or IPv6')),
    user_agent: Type.Optional(text(limits.userAgent)),
    request_id: Type.Optional(word()),
    trace_id: Type.Optional(word()),
    session_id: Type.Optional(word('Shown to the operator only')),
    location: Type.Optional(text(limits.word)),
    auth_method: Type.Optional(choice(authMethods)),
    api_key: Type.Optional(
      Type.Object(
        { id: Type.Optional(word('Shown to the operator only')), name: Type.Optional(text(limits.name)) },
        closed,
      ),
    ),
  },
  closed,
)

const anyJson = Type.Unknown()

export const Change = Type.Object(
  {
    path: Type.String({ pattern: pointerPattern, maxLength: limits.path, description: 'JSON Pointer' }),
    before: Type.Optional(anyJson),
    after: Type.Optional(anyJson),
  },
  closed,
)

export const Metadata = Type.Unsafe<Record<string, unknown>>(
  Type.Object({}, { maxProperties: limits.metadataKeys, additionalProperties: true }),
)

export const Source = Type.Object(
  {
    id: word('The producer, for example a process or host'),
    boot: Type.Optional(word('Distinguishes runs of the producer')),
    seq: Type.Optional(
      Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER, description: 'Counts its events' }),
    ),
    system: Type.Optional(word('Where an imported event comes from')),
  },
  closed,
)

export const EventInput = Type.Object(
  {
    id: Type.Optional(
      Type.String({ pattern: idPattern, maxLength: limits.id, description: 'Idempotency key; default: a UUIDv7' }),
    ),
    tenant: Type.Optional(tenant),
    action: Type.String({ pattern: actionPattern, maxLength: limits.action }),
    category: Type.Optional(choice(categories)),
    occurred_at: Type.Optional(
      Type.String({ maxLength: 64, description: 'ISO 8601; without a zone UTC; finer than milliseconds is cut' }),
    ),
    actor: Actor,
    targets: Type.Optional(Type.Array(Target, { maxItems: limits.targets })),
    outcome: Type.Optional(choice(outcomes)),
    reason: Type.Optional(text(limits.reason)),
    context: Type.Optional(Context),
    changes: Type.Optional(Type.Array(Change, { maxItems: limits.changes })),
    metadata: Type.Optional(Metadata),
    source: Type.Optional(Source),
  },
  closed,
)

export type TargetInput = Type.Static<typeof Target>
export type ContextInput = Type.Static<typeof Context>
export type ChangeInput = Type.Static<typeof Change>
export type SourceInput = Type.Static<typeof Source>
export type EventInput = Type.Static<typeof EventInput>
export type ActorInput = EventInput['actor']

export interface NormalActor {
  type: ActorType
  id: string | undefined
  name: string | undefined
  email: string | undefined
  role: string | undefined
  team: string | undefined
  internal: boolean | undefined
  on_behalf_of: NormalActor | undefined
  impersonator: NormalActor | undefined
  tenant: string | undefined
}

/** What was sent, in one form, with every default filled in except id and tenant. Absent members are undefined. */
export interface NormalEvent {
  /** The client's id; undefined when the server is to make one. */
  id: string | undefined
  /** The event's own tenant, else the key's; undefined means the operator's own trail. */
  tenant: string | undefined
  action: string
  /** Version of the catalog entry, 0 for an action that nobody registered. */
  version: number
  category: Category
  /** YYYY-MM-DDTHH:MM:SS.mmmZ */
  occurred_at: string
  /** The same in ms since 1970. */
  occurredMs: number
  actor: NormalActor
  targets: TargetInput[]
  outcome: Outcome
  reason: string | undefined
  context: ContextInput | undefined
  changes: ChangeInput[] | undefined
  metadata: JsonObject | undefined
  source: SourceInput | undefined
  /** True for what the client left to us. */
  assumed: { category: boolean; occurred_at: boolean; outcome: boolean }
  /** Happened more than `lateAfter_ms` before it arrived. */
  late: boolean
}
