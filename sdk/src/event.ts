/** The event as callers write it, and what the server answers. The wire names are kept as they are (snake_case). */

export type Category = 'authentication' | 'authorization' | 'mutation' | 'data_access' | 'administration' | 'billing'

export type Outcome = 'success' | 'failure' | 'denied'

/** Whoever acted. `id` should be the stable id of your own system; name and e-mail are stored as personal data. */
export interface Actor {
  type: 'user' | 'api_key' | 'service' | 'agent' | 'system' | 'anonymous'
  id?: string
  name?: string
  email?: string
  role?: string
  team?: string
  /** The operator's own staff or service acting inside the tenant. */
  internal?: boolean
  /** The person for whom this actor acted (an agent, a service). */
  on_behalf_of?: Actor
  /** The person who was logged in as this actor. */
  impersonator?: Actor
  tenant?: string
}

/** What the action was done to. */
export interface Target {
  type: string
  id?: string
  name?: string
  email?: string
  tenant?: string
}

/** One changed value; `path` is a JSON Pointer (RFC 6901). A missing side means "was not there". */
export interface Change {
  path: string
  before?: JsonValue
  after?: JsonValue
}

export type JsonValue = null | boolean | number | string | JsonValue[] | { [key: string]: JsonValue }

/** Where the request came from. */
export interface Context {
  ip?: string
  user_agent?: string
  request_id?: string
  trace_id?: string
  session_id?: string
  location?: string
  auth_method?: 'session' | 'api_key' | 'sso' | 'oauth' | 'mtls'
  api_key?: { id?: string; name?: string }
}

/** Counter of one producer: the server shows missing numbers as lost events. */
export interface Source {
  id: string
  /** Distinguishes one run of the producer from the next. */
  boot?: string
  seq?: number
  system?: string
}

/** One audit event. Only `action` and `actor` are required. */
export interface AuditEvent {
  /** Idempotency key, unique per tenant, `[A-Za-z0-9_.:-]{1,64}`. The SDK makes a UUIDv7 if it is missing. */
  id?: string
  tenant?: string
  action: string
  category?: Category
  /** ISO 8601; a `Date` is accepted. Default: arrival at the server; for `emit` the moment of the call. */
  occurred_at?: string | Date
  actor: Actor
  targets?: Target[]
  outcome?: Outcome
  reason?: string
  context?: Context
  changes?: Change[]
  metadata?: { [key: string]: JsonValue }
  source?: Source
}

/** Proof that an event was sealed: keep it, a later checkpoint must agree with it. Hashes are lower-case hex. */
export interface Receipt {
  id: string
  tenant: string
  trail: string
  seq: number
  hash: string
  previous_hash: string
  sealed_at: string
  /** Null for a repeat of an event whose payload was removed. */
  facts_salt: string | null
  receipt: string
  /** True if the server had sealed an event with this id before; the rest then describes that first event. */
  duplicate: boolean
}

/** An event as the server returns it: the event itself with its place in the trail. */
export type StoredEvent = Omit<AuditEvent, 'occurred_at'> & {
  id: string
  tenant: string
  occurred_at: string
  trail: string
  seq: number
  hash: string
  sealed_at: string
  [field: string]: unknown
}

/** A page of events in sealing order; `next` is the cursor of the following page, or null at the end. */
export interface Page {
  data: StoredEvent[]
  next: string | null
}
