// GET /v1/events, /v1/events/{id} and its proof.

import { toHex } from '@affidavit/trail'
import Type from 'typebox'
import type { Catalog } from '../catalog/catalog.ts'
import { FilterParameters, parseFilter } from '../filter/filter.ts'
import { idPattern, tenantPattern } from '../ingest/event.ts'
import type { Events } from '../query/events.ts'
import type { Proofs } from '../query/proof.ts'
import type { ShownEvent } from '../query/row.ts'
import { type Readable, render } from '../render/sentence.ts'
import { contentLine } from './content-line.ts'
import type { Call, Operation, Reply } from './operation.ts'
import type { OwnTenants } from './own-tenants.ts'
import { readerOf } from './reading.ts'
import { refuse } from './refused.ts'
import { Hex32, Time } from './schemas.ts'

export interface ReadParts {
  readonly catalog: Catalog
  readonly tenants: OwnTenants
  readonly events: Events
  readonly proofs: Proofs
  /** Name of the operator in sentences about its own people. */
  readonly operatorName: string
}

const StoredEvent = Type.Object(
  {
    tenant: Type.String(),
    trail: Type.String(),
    seq: Type.Integer({ minimum: 0 }),
    hash: Hex32,
    previous_hash: Type.Union([Hex32, Type.Null()]),
    sealed_at: Time,
    facts: Type.Union([Type.String({ description: 'Exactly the text that was committed to' }), Type.Null()]),
    facts_salt: Type.Union([Type.String(), Type.Null()]),
    sentence: Type.Optional(Type.String()),
  },
  { additionalProperties: true, description: 'The event, and where and how it is sealed' },
)

const Proof = Type.Object({
  id: Type.String(),
  tenant: Type.String(),
  trail: Type.String(),
  seq: Type.Integer({ minimum: 0 }),
  entry: Type.String({ description: 'The sealed bytes, as text' }),
  leaf_hash: Hex32,
  tree_size: Type.Integer({ minimum: 1 }),
  inclusion: Type.Array(Hex32, { description: 'RFC 6962 audit path, from the leaf up' }),
  checkpoint: Type.String({ description: 'Signed note (C2SP tlog-checkpoint)' }),
  content: Type.Object({}, { additionalProperties: true, description: 'Payload and salts that open the commitments' }),
})

const oneEvent = {
  params: { id: Type.String({ pattern: idPattern }) },
  query: { tenant: Type.String({ pattern: tenantPattern }) },
}

export function readOperations(parts: ReadParts): Operation[] {
  return [
    {
      method: 'GET',
      path: '/v1/events',
      operationId: 'listEvents',
      tag: 'Events',
      summary: 'Search events',
      description:
        'In sealing order, newest first unless order=asc. A page may be short, even empty, and still have a `next`: only null ends. ' +
        'To follow a trail, ask with order=asc and keep the last `next` that was not null as `after`: nothing is missed or repeated. ' +
        'Any `metadata.<key>=value` compares a metadata field.',
      scope: 'events:read',
      query: { ...FilterParameters.properties, 'metadata.<key>': Type.String({ maxLength: 1024 }) },
      responses: {
        200: {
          description: 'A page',
          content: {
            'application/json': Type.Object({
              data: Type.Array(StoredEvent),
              next: Type.Union([Type.String(), Type.Null()]),
            }),
          },
        },
      },
      problems: ['invalid_parameter', 'invalid_cursor', 'missing_scope', 'not_found'],
      handle: (call) => list(parts, call),
    },
    {
      method: 'GET',
      path: '/v1/events/{id}',
      operationId: 'getEvent',
      tag: 'Events',
      summary: 'One event',
      scope: 'events:read',
      ...oneEvent,
      responses: { 200: { description: 'The event', content: { 'application/json': StoredEvent } } },
      problems: ['not_found'],
      handle: async (call) => {
        const reader = await readerOf(parts.tenants, call, call.query.get('tenant'))
        const event = await parts.events.byId(reader, call.params.id!)
        if (event === undefined) throw notFound()
        return { status: 200, body: withSentence(parts, event) }
      },
    },
    {
      method: 'GET',
      path: '/v1/events/{id}/proof',
      operationId: 'getEventProof',
      tag: 'Proofs',
      summary: 'Proof that one event is in its trail',
      description:
        'A new event gets its proof with the next checkpoint, about a second after it was sealed; until then 409 `not_notarized` with Retry-After.',
      scope: 'events:read',
      ...oneEvent,
      responses: { 200: { description: 'The proof', content: { 'application/json': Proof } } },
      problems: ['not_found', 'not_notarized'],
      handle: (call) => prove(parts, call),
    },
  ]
}

const notFound = () => refuse('not_found', 'There is no such event in this trail.')

/** A parameter that is given once is a string, one that is repeated an array, as the filter expects them. */
function decoded(query: URLSearchParams): Record<string, string | string[]> {
  const found: Record<string, string | string[]> = Object.create(null)
  for (const name of new Set(query.keys())) {
    const values = query.getAll(name)
    found[name] = values.length === 1 ? values[0]! : values
  }
  return found
}

async function list(parts: ReadParts, call: Call): Promise<Reply> {
  const reader = await readerOf(parts.tenants, call, call.query.get('tenant'))
  const parsed = parseFilter(decoded(call.query), reader.operator)
  if (!parsed.ok) {
    const [first] = parsed.problems
    throw refuse(first!.code, `${first!.parameter}: ${first!.detail}`)
  }
  const listing = await parts.events.list(reader, parsed.filter, parsed.page)
  if (listing.kind === 'invalid_cursor')
    throw refuse('invalid_cursor', 'The cursor belongs to another tenant, filter or order, or is damaged.')
  return { status: 200, body: { data: listing.data.map((event) => withSentence(parts, event)), next: listing.next } }
}

function withSentence({ catalog, operatorName }: ReadParts, event: ShownEvent): object {
  if (typeof event.action !== 'string') return event
  const { id, tenant, action, ...rest } = event
  const { sentence } = catalog.resolve(event.action)
  const told = render(event as unknown as Readable, sentence, { operator: operatorName }).text
  // What people look for first comes first.
  return { id, tenant, action, sentence: told, ...rest }
}

async function prove(parts: ReadParts, call: Call): Promise<Reply> {
  const reader = await readerOf(parts.tenants, call, call.query.get('tenant'))
  const outcome = await parts.proofs.ofEvent(reader, call.params.id!)
  if (outcome.kind === 'not_found') throw notFound()
  if (outcome.kind === 'not_notarized_yet') {
    throw refuse('not_notarized', 'The event is sealed and waits for the next checkpoint.', undefined, {
      'retry-after': '1',
    })
  }
  const { trail, entry, hashes, size, checkpoint } = outcome
  const body = {
    id: call.params.id,
    tenant: reader.tenant.id,
    trail: trail.id,
    seq: entry.seq,
    entry: entry.text,
    leaf_hash: toHex(entry.hash),
    tree_size: size,
    inclusion: hashes.map(toHex),
    checkpoint,
    content: JSON.parse(contentLine(entry)),
  }
  return { status: 200, body }
}
