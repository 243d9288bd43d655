// POST /v1/events and POST /v1/events/batch: what arrives is parsed strictly, accepted item by item, and answered once
// it is durable.
import Type from 'typebox'
import type { Incoming, Ingest, Producer } from '../ingest/accept.ts'
import { type Accepted, empty } from '../ingest/answer.ts'
import { batchLimits, splitBatch } from '../ingest/batch-body.ts'
import { idPattern } from '../ingest/event.ts'
import { compilePolicy } from '../ingest/policy.ts'
import { parseStrict } from '../ingest/strict-json.ts'
import type { SealedRun } from '../store/sealable.ts'
import type { Principal } from '../tenants/api-keys.ts'
import type { Gate } from './gate.ts'
import { bodyProblems } from './json-body.ts'
import type { Call, Operation, Reply } from './operation.ts'
import type { RateLimit } from './rate-limit.ts'
import { Refused, refuse } from './refused.ts'
import { AcceptedEvent, BatchReport } from './schemas.ts'

export interface WriteParts {
  readonly ingest: Ingest
  readonly rate: RateLimit
  /** Lets a few batches in at a time. */
  readonly gate: Gate
  /** Signs the receipt of a run. */
  readonly receipt: (run: SealedRun) => Promise<string>
  /** Id of the tenant with a number. */
  readonly tenantId: (tenant: number) => Promise<string>
}

type Sealed = Extract<Accepted, { ok: true }>

/** Compressed or not, a batch body has at most so many bytes once inflated. */
const batchBytes = 16 * 1024 * 1024
const personalHeader = 'affidavit-personal'
const personalPatterns = 50

const eventSchemas = [{ $ref: '#/components/schemas/StructuredEvent' }, { $ref: '#/components/schemas/FlatEvent' }]
const anyEvent = Type.Unsafe({ anyOf: eventSchemas })
/** Of a batch: what is no event is refused for itself, so the batch as such may hold anything. */
const batchItem = { anyOf: [...eventSchemas, {}] }

const requestHeaders = {
  'Affidavit-Personal': Type.Optional(
    Type.String({
      description: 'Comma-separated JSON Pointers, percent-encoded: values to treat as personal in these events',
    }),
  ),
}

export function writeOperations(parts: WriteParts): Operation[] {
  return [
    {
      method: 'POST',
      path: '/v1/events',
      operationId: 'recordEvent',
      tag: 'Events',
      summary: 'Record one event',
      description:
        'Answers once the event is durable. Repeating it with the same id is safe: the answer is the same, with status 200.',
      scope: 'events:write',
      requestHeaders: {
        ...requestHeaders,
        'Idempotency-Key': Type.Optional(
          Type.String({ pattern: idPattern, description: 'Becomes the id of the event' }),
        ),
      },
      body: { 'application/json': anyEvent },
      bodyLimit: batchLimits.itemBytes,
      responses: {
        201: { description: 'Sealed', content: { 'application/json': AcceptedEvent } },
        200: {
          description: 'Sealed before, by a request with the same id and content',
          content: { 'application/json': AcceptedEvent },
        },
      },
      problems: [
        ...bodyProblems,
        'invalid_time',
        'reserved_action',
        'reserved_key',
        'event_too_large',
        'unknown_tenant',
        'wrong_tenant',
        'tenant_closed',
        'id_reused',
        'conflict',
        'rate_limited',
      ],
      handle: (call) => recordOne(parts, call),
    },
    {
      method: 'POST',
      path: '/v1/events/batch',
      operationId: 'recordEvents',
      tag: 'Events',
      summary: 'Record many events',
      description:
        'NDJSON, a JSON array, or {"events": […]}; gzip is accepted. Each event is accepted or refused for itself. ' +
        `Up to ${batchLimits.items} events in ${batchBytes / 1024 / 1024} MiB once decompressed. ` +
        'With `Prefer: return=minimal` the answer counts, and lists only what was refused; with ' +
        '`Prefer: return=minimal, receipts` it also has the receipts, one per trail and transaction.',
      scope: 'events:write',
      requestHeaders: {
        ...requestHeaders,
        Prefer: Type.Optional(Type.String({ description: 'return=minimal, receipts' })),
      },
      body: {
        'application/x-ndjson': Type.String({ description: 'One event per line' }),
        'application/json': Type.Unsafe({
          anyOf: [
            { type: 'array', items: batchItem },
            {
              type: 'object',
              properties: { events: { type: 'array', items: batchItem } },
              required: ['events'],
              additionalProperties: false,
            },
            { description: 'A single event is a batch, too; anything else is one event refused' },
          ],
        }),
      },
      bodyLimit: batchBytes,
      responses: { 200: { description: 'What became of each event', content: { 'application/json': BatchReport } } },
      problems: ['invalid_batch', 'too_many_items', 'idempotency_key_on_batch', 'rate_limited'],
      handle: (call) => recordBatch(parts, call),
    },
  ]
}

async function recordOne(parts: WriteParts, call: Call): Promise<Reply> {
  const parsed = parseStrict(call.body)
  if (!parsed.ok) throw new Refused(parsed.problem)
  const item: Incoming = { ok: true, value: withIdempotencyKey(parsed.value, call.headers['idempotency-key']) }
  const producer = await producerOf(parts, call)
  const headers = parts.rate.take(sender(call.principal!), 1, call.arrivalMs)
  const [result] = (await parts.ingest.accept([item], producer, call.arrivalMs)) as [Accepted]
  if (!result.ok) throw new Refused(result.problem, retryHeaders(result.problem.status))
  const body = { ...told(result), receipt: await parts.receipt(result.run) }
  return { status: result.kind === 'sealed' ? 201 : 200, body, headers }
}

async function recordBatch(parts: WriteParts, call: Call): Promise<Reply> {
  if (call.headers['idempotency-key'] !== undefined)
    throw refuse('idempotency_key_on_batch', 'The header names one event.')
  const producer = await producerOf(parts, call)
  const { results, headers } = await parts.gate.within(weightOf(call.body), async () => {
    const batch = splitBatch(call.body)
    if (!batch.ok) throw new Refused(batch.problem)
    const headers = parts.rate.take(sender(call.principal!), batch.items.length, call.arrivalMs)
    return { headers, results: await parts.ingest.accept(batch.items, producer, call.arrivalMs) }
  })
  const reply = await batchReply(parts, call, results)
  empty(results)
  return { ...reply, headers: { ...headers, ...reply.headers } }
}

/**
 * A batch under work is several times its body; of the largest two are let in, so that one is prepared while the other is
 * stored.
 */
const weightOf = (body: Buffer) => Math.min(6 * body.length, batchBytes / 2)

async function batchReply(parts: WriteParts, call: Call, results: readonly Accepted[]): Promise<Reply> {
  // Nothing went in because nothing can go in now: that is the request's failure, not each event's.
  const first = results[0]
  if (first !== undefined && results.every((result) => !result.ok && isOutage(result.problem.code))) {
    throw new Refused((first as Extract<Accepted, { ok: false }>).problem, retryHeaders(503))
  }
  const preferred = String(call.headers.prefer ?? '')
  if (!prefers(preferred, 'return=minimal')) return { status: 200, body: await fullReport(parts, results) }
  const signed = prefers(preferred, 'receipts')
  const receipts = signed ? await Promise.all([...runsOf(results)].map((run) => parts.receipt(run))) : undefined
  return {
    status: 200,
    body: { ...minimalReport(results), ...(receipts && { receipts }) },
    headers: { 'preference-applied': signed ? 'return=minimal, receipts' : 'return=minimal' },
  }
}

const isOutage = (code: string) => code === 'unavailable' || code === 'keys_unavailable'

/** Whether a Prefer header (RFC 7240) holds a preference. */
const prefers = (header: string, preference: string) => new RegExp(`(^|[,\\s])${preference}([,;\\s]|$)`).test(header)

const runsOf = (results: readonly Accepted[]) => new Set(results.flatMap((result) => (result.ok ? [result.run] : [])))

function retryHeaders(status: number): Record<string, string> {
  return status === 503 || status === 429 ? { 'retry-after': '1' } : {}
}

function sender(principal: Principal): string {
  return principal.tenant === null ? principal.keyId : `tenant ${principal.tenant}`
}

async function producerOf(parts: WriteParts, call: Call): Promise<Producer> {
  const { keyId, name, tenant, scopes, internal } = call.principal!
  return {
    key: { id: keyId, name },
    tenant: tenant === null ? undefined : await parts.tenantId(tenant),
    mayCreateTenants: scopes.has('tenants:create'),
    internal,
    personal: personalPointers(call.headers[personalHeader]),
  }
}

function personalPointers(header: string | string[] | undefined): readonly string[] {
  if (header === undefined || header === '') return []
  const bad = () =>
    refuse(
      'invalid_request',
      `${personalHeader} must hold at most ${personalPatterns} JSON Pointers, percent-encoded, separated by commas.`,
    )
  const patterns = String(header)
    .split(',')
    .map((text) => {
      try {
        return decodeURIComponent(text.trim())
      } catch {
        throw bad()
      }
    })
  if (patterns.length > personalPatterns || !compilePolicy({ personal: patterns }).ok) throw bad()
  return patterns
}

/** The header's key becomes the event's id, in whichever form the event is; a different id in the body is a mistake. */
function withIdempotencyKey(value: unknown, key: string | string[] | undefined): unknown {
  if (key === undefined) return value
  if (typeof key !== 'string' || !new RegExp(idPattern).test(key))
    throw refuse('invalid_request', `Idempotency-Key must match ${idPattern}.`)
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  const name = Object.hasOwn(value, 'actor') ? 'id' : 'event_id'
  const own = (value as Record<string, unknown>)[name]
  if (own !== undefined && own !== null && own !== key)
    throw refuse('invalid_value', 'The id differs from the Idempotency-Key.', `/${name}`)
  return { ...value, [name]: key }
}

const hex = (base64: string): string => Buffer.from(base64, 'base64').toString('hex')

function told(result: Sealed) {
  return {
    id: result.id,
    tenant: result.tenant,
    trail: result.trail,
    seq: result.seq,
    hash: hex(result.hash),
    previous_hash: hex(result.previous),
    sealed_at: result.sealedAt,
    facts_salt: result.factsSalt === '' ? null : result.factsSalt,
    ...(result.moved.length > 0 && { moved_to_metadata: result.moved }),
  }
}

interface Counts {
  accepted: number
  duplicates: number
  rejected: number
}

function count(results: readonly Accepted[]): Counts {
  const counts = { accepted: 0, duplicates: 0, rejected: 0 }
  for (const result of results) {
    if (!result.ok) counts.rejected += 1
    else if (result.kind === 'sealed') counts.accepted += 1
    else counts.duplicates += 1
  }
  return counts
}

async function fullReport(parts: WriteParts, results: readonly Accepted[]): Promise<object> {
  const receipts: string[] = []
  const places = new Map<SealedRun, number>()
  const items: object[] = []
  for (const [index, result] of results.entries()) {
    if (!result.ok) {
      items.push({ index, status: result.problem.status, error: result.problem })
      continue
    }
    let receipt = places.get(result.run)
    if (receipt === undefined) {
      receipt = receipts.push(await parts.receipt(result.run)) - 1
      places.set(result.run, receipt)
    }
    items.push({ status: result.kind === 'sealed' ? 201 : 200, ...told(result), receipt })
  }
  return { ...count(results), results: items, receipts }
}

function minimalReport(results: readonly Accepted[]): object {
  const trails = new Map<string, { tenant: string; trail: string; first: number; last: number; events: number }>()
  const rejected: object[] = []
  for (const [index, result] of results.entries()) {
    if (!result.ok) {
      rejected.push({ index, status: result.problem.status, error: result.problem })
      continue
    }
    const { tenant, trail, seq } = result
    const range = trails.get(trail)
    if (range === undefined) trails.set(trail, { tenant, trail, first: seq, last: seq, events: 1 })
    else {
      range.first = Math.min(range.first, seq)
      range.last = Math.max(range.last, seq)
      range.events += 1
    }
  }
  return { ...count(results), results: rejected, trails: [...trails.values()] }
}
