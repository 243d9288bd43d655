/**
 * Every refusal of the service, in one table: the stable code that programs branch on, the HTTP status, a title and
 * one sentence of advice. docs/reference/problems.md is generated from it, so a code that is not here does not exist.
 */

interface Refusal {
  /** HTTP status of a request refused with this code; inside a batch it stands in the item's result. */
  status: number
  title: string
  /** One sentence that tells the reader what to do. */
  advice: string
}

export const problems = {
  invalid_json: {
    status: 400,
    title: 'Not valid JSON',
    advice: 'Send one complete JSON value in UTF-8 without a trailing comma or comment.',
  },
  invalid_utf8: { status: 400, title: 'Not valid UTF-8', advice: 'Encode the body as UTF-8.' },
  duplicate_key: {
    status: 400,
    title: 'Duplicate key',
    advice: 'Name each member of an object once; which of two values was meant cannot be known later.',
  },
  lone_surrogate: {
    status: 400,
    title: 'Lone surrogate',
    advice: 'Send escapes of code points beyond U+FFFF as pairs: half a pair is not a character.',
  },
  number_not_exact: {
    status: 400,
    title: 'Number cannot be kept exactly',
    advice: 'Send numbers that a double does not hold exactly as written (large ids, long decimals) as strings.',
  },
  too_deep: { status: 400, title: 'Nested too deeply', advice: 'Nest arrays and objects at most 64 levels deep.' },
  unknown_field: {
    status: 422,
    title: 'Unknown field',
    advice: 'Put fields of your own under metadata, or correct the name.',
  },
  missing_field: { status: 422, title: 'Missing field', advice: 'Add the field that the pointer names.' },
  wrong_type: { status: 422, title: 'Wrong type', advice: 'Send the JSON type that the field is documented with.' },
  invalid_value: { status: 422, title: 'Value not allowed', advice: 'Send one of the values the detail names.' },
  invalid_time: {
    status: 422,
    title: 'Not a usable time',
    advice: 'Send ISO 8601 such as 2026-03-10T18:33:14.123Z, from 1970 to at most one day ahead of the server.',
  },
  too_long: { status: 422, title: 'Too long', advice: 'Shorten the value to the limit that the detail names.' },
  too_short: { status: 422, title: 'Too short', advice: 'Leave the field out instead of sending it empty.' },
  too_many: { status: 422, title: 'Too many', advice: 'Keep to the number of members that the detail names.' },
  reserved_action: {
    status: 422,
    title: 'Reserved action',
    advice: 'Choose another prefix: actions under affidavit. are written by the platform itself.',
  },
  reserved_key: {
    status: 422,
    title: 'Reserved key',
    advice: 'Rename the key: $personal, $confidential and $operator mark values that were set apart.',
  },
  schema_mismatch: {
    status: 422,
    title: 'Event does not match its registered schema',
    advice: 'Correct the event, or register a new schema version for the action.',
  },
  event_too_large: {
    status: 413,
    title: 'Event too large',
    advice: 'Keep the stored part of one event within 256 KiB; store documents elsewhere and record their hash.',
  },
  too_many_items: { status: 413, title: 'Too many events in one batch', advice: 'Split the batch.' },
  body_too_large: { status: 413, title: 'Body too large', advice: 'Split the batch into smaller requests.' },
  invalid_batch: {
    status: 400,
    title: 'Not a batch',
    advice: 'Send NDJSON, a JSON array of events, or {"events": [ … ]}.',
  },
  invalid_gzip: { status: 400, title: 'Not valid gzip', advice: 'Send the whole gzip stream, or no content encoding.' },
  unsupported_encoding: {
    status: 415,
    title: 'Content encoding not supported',
    advice: 'Send the body as it is or with Content-Encoding: gzip.',
  },
  unsupported_media_type: {
    status: 415,
    title: 'Media type not supported',
    advice: 'Send application/json, or application/x-ndjson for a batch.',
  },
  request_timeout: { status: 408, title: 'Request not complete in time', advice: 'Repeat the request.' },
  headers_too_large: {
    status: 431,
    title: 'Header fields too large',
    advice: 'Send less in the address and the header fields.',
  },
  invalid_request: { status: 400, title: 'Request not understood', advice: 'Compare the request with /openapi.json.' },
  invalid_parameter: {
    status: 400,
    title: 'Query parameter not understood',
    advice: 'Correct the parameter that the detail names.',
  },
  invalid_cursor: {
    status: 400,
    title: 'Cursor not valid here',
    advice: 'Use the cursor only with the tenant and filter that it was returned for.',
  },
  idempotency_key_on_batch: {
    status: 400,
    title: 'Idempotency-Key is for a single event',
    advice: 'Give each event of a batch its own id.',
  },
  unauthorized: {
    status: 401,
    title: 'No valid API key',
    advice: 'Send Authorization: Bearer with a key that is neither revoked nor expired.',
  },
  missing_scope: {
    status: 403,
    title: 'The key lacks a scope',
    advice: 'Use a key that has the scope that the detail names.',
  },
  wrong_tenant: {
    status: 403,
    title: 'The key belongs to another tenant',
    advice: 'Use a key of this tenant, or an operator key.',
  },
  not_found: { status: 404, title: 'Not found', advice: 'Check the address and the tenant of the key.' },
  unknown_tenant: {
    status: 404,
    title: 'Unknown tenant',
    advice: 'Create the tenant first, or use a key with the scope tenants:create.',
  },
  method_not_allowed: { status: 405, title: 'Method not allowed', advice: 'Compare the request with /openapi.json.' },
  id_reused: {
    status: 409,
    title: 'The id was used for another event',
    advice: 'Give each event its own id; a repeat must have the same content.',
  },
  not_notarized: {
    status: 409,
    title: 'Not under a checkpoint yet',
    advice: 'Ask again after Retry-After: checkpoints are made about once a second.',
  },
  pack_outdated: {
    status: 409,
    title: 'The pack was begun before something was removed',
    advice: 'Begin the pack anew: it will hold the entry that says what was removed.',
  },
  epoch_expired: {
    status: 410,
    title: 'Epoch expired',
    advice: 'Ask for the newest epoch or an audit epoch (the last one of a UTC day): others are kept for seven days.',
  },
  needs_approval: {
    status: 409,
    title: 'Needs a second principal',
    advice: 'Ask for it with POST /v1/retentions, and have another key approve it.',
  },
  same_principal: {
    status: 403,
    title: 'Needs another principal',
    advice: 'Let a key other than the one that asked approve the request.',
  },
  tenant_closed: { status: 409, title: 'The tenant is closed', advice: 'Stop sending events for this tenant.' },
  conflict: { status: 409, title: 'Conflicts with the present state', advice: 'Read the present state and try again.' },
  rate_limited: { status: 429, title: 'Too many requests', advice: 'Wait as long as Retry-After says.' },
  unavailable: {
    status: 503,
    title: 'Events cannot be sealed at the moment',
    advice: 'Keep the event and repeat the request with the same id after Retry-After.',
  },
  keys_unavailable: {
    status: 503,
    title: 'Keys cannot be opened at the moment',
    advice:
      'Keep the event and repeat the request with the same id after Retry-After: the service that keeps the keys does not open them now.',
  },
  trail_stopped: {
    status: 503,
    title: 'The trail was stopped',
    advice: 'Keep the event: the trail goes on, once the operator has looked into what was changed in its database.',
  },
  internal_error: {
    status: 500,
    title: 'Internal error',
    advice: 'Repeat the request with the same id, and report the request id to the operator.',
  },
} as const satisfies Record<string, Refusal>

export type ProblemCode = keyof typeof problems

/** RFC 9457 problem details with the two members of ours: a stable `code` and a JSON Pointer (RFC 6901). */
export interface Problem {
  type: string
  title: string
  status: number
  code: ProblemCode
  detail: string
  /** Where in the body; names the absent member when one is missing, '' is the whole body. */
  pointer?: string
  /** All of them, this one first, when one request or event has several. */
  errors?: readonly Pick<Problem, 'code' | 'detail' | 'pointer'>[]
}

/**
 * @param detail one sentence; never repeats a value of the body, which may be personal and would end up in logs
 * @param pointer JSON Pointer into the body (or into the item, for one item of a batch)
 */
export function problem(code: ProblemCode, detail: string, pointer?: string): Problem {
  const { status, title } = problems[code]
  const base = { type: `urn:affidavit:problem:${code}`, title, status, code, detail }
  return pointer === undefined ? base : { ...base, pointer }
}
