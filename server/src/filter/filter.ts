// The one filter: what a search may ask for, as plain frozen data between the door (parameters.ts) and the two compilers
// (closure.ts, postgres.ts).

export const outcomes = ['success', 'failure', 'denied'] as const
export const authMethods = ['session', 'api_key', 'sso', 'oauth', 'mtls'] as const

/** Of each list any value will do; of different members all must hold; an empty list asks nothing. */
export interface Filter {
  /** Id or e-mail address of the actor. */
  readonly actor: readonly string[]
  /** Whole actions, or a beginning followed by `*`. */
  readonly action: readonly string[]
  readonly category: readonly string[]
  /** Id or e-mail address of any target. */
  readonly target: readonly string[]
  /** Team of the actor. */
  readonly team: readonly string[]
  readonly outcome: readonly string[]
  /** In canonical spelling. */
  readonly ip: readonly string[]
  readonly auth_method: readonly string[]
  readonly request_id: readonly string[]
  readonly trace_id: readonly string[]
  readonly session_id: readonly string[]
  /** Top-level metadata: key, and the values of which one is asked for. */
  readonly metadata: readonly (readonly [key: string, values: readonly string[]])[]
  /** Words that must all stand in the event. */
  readonly words: readonly string[]
  /** occurred_at at or after, and before, in ms since 1970. */
  readonly from: number | null
  readonly to: number | null
  /** Whether control entries are listed, too. They have no fields, so only the times and this apply to them. */
  readonly control: boolean
}

export interface Page {
  readonly order: 'asc' | 'desc'
  readonly limit: number
  /** An opaque cursor, checked where it is used. */
  readonly after: string | null
}

/** The filter that asks nothing. */
export const everything: Filter = Object.freeze({
  actor: [],
  action: [],
  category: [],
  target: [],
  team: [],
  outcome: [],
  ip: [],
  auth_method: [],
  request_id: [],
  trace_id: [],
  session_id: [],
  metadata: [],
  words: [],
  from: null,
  to: null,
  control: false,
})
