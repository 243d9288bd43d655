// GET /v1/events, /v1/events/{id} and its proof.

import { formatTlogProof, toHex } from '@affidavit/trail'
import Type from 'typebox'
import type { Catalog } from '../catalog/catalog.ts'
import { defaultLimit, FilterParameters, maxLimit, parseFilter } from '../filter/parameters.ts'
import { idPattern, tenantPattern } from '../ingest/event.ts'
import type { Events } from '../query/events.ts'
import type { Proofs } from '../query/proof.ts'
import type { Reader, ShownEvent } from '../query/row.ts'
import { type Readable, render } from '../render/sentence.ts'
import { OPERATOR_TENANT } from '../tenants/tenants.ts'
import { payloadOf } from './content-line.ts'
import type { Call, Operation, Reply } from './operation.ts'
import type { OwnTenants } from './own-tenants.ts'
import { decoded } from './parameters.ts'
import { readerOf } from './reading.ts'
import { type Refused, refuse } from './refused.ts'
import { ControlEntry, Hex16, Hex32, object, orNull, StoredEvent } from './schemas.ts'
import { TenantTurns } from './tenant-turns.ts'

export interface ReadParts {
  readonly catalog: Catalog
  readonly tenants: OwnTenants
  readonly events: Events
  readonly proofs: Proofs
  /** Name of the operator in sentences about its own people. */
  readonly operatorName: string
}

const part = object({ salt: Type.String({ description: 'Base64' }), content: Type.String() })
const Proof = object({
  id: Type.String(),
  tenant: Type.String(),
  trail: Hex16,
  seq: Type.Integer({ minimum: 0 }),
  entry: Type.String({ description: 'The sealed bytes, as text' }),
  leaf_hash: Hex32,
  tree_size: Type.Integer({ minimum: 1 }),
  inclusion: Type.Array(Hex32, { description: 'RFC 6962 audit path, from the leaf up' }),
  checkpoint: Type.String({ description: 'Signed note (C2SP tlog-checkpoint)' }),
  content: object(
    {
      seq: Type.Integer(),
      facts: Type.Optional(part),
      confidential: Type.Optional(part),
      operator: Type.Optional(part),
      personal: Type.Optional(
        Type.Array(object({ n: Type.Integer(), salt: Type.String({ description: 'Base64' }), content: Type.String() })),
      ),
    },
    'Payload and salts that open the commitments, as in packs',
  ),
})

const oneEvent = {
  params: { id: Type.String({ pattern: idPattern }) },
  query: { tenant: Type.String({ pattern: tenantPattern }) },
}

export function readOperations(parts: ReadParts): Operation[] {
  const turns = new TenantTurns()
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
      query: {
        ...FilterParameters.properties,
        limit: Type.Integer({ minimum: 1, maximum: maxLimit, default: defaultLimit, description: 'Events per page' }),
        control: Type.Boolean({ default: false, description: 'Whether control entries are listed, too' }),
      },
      metadataQuery: true,
      responses: {
        200: {
          description: 'A page',
          content: {
            'application/json': object({
              data: Type.Array(Type.Union([StoredEvent, ControlEntry])),
              next: orNull(Type.String()),
            }),
          },
        },
      },
      problems: ['invalid_cursor', 'not_found', 'rate_limited'],
      handle: (call) => list(parts, turns, call),
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
        if (event === undefined) throw notFound(reader, call)
        return { status: 200, body: presented(parts, event) }
      },
    },
    {
      method: 'GET',
      path: '/v1/events/{id}/proof',
      operationId: 'getEventProof',
      tag: 'Proofs',
      summary: 'Proof that one event is in its trail',
      description:
        'A new event gets its proof with the next checkpoint, about a second after it was sealed; until then 409 `not_notarized` with Retry-After. `format=tlog` gives the file of C2SP tlog-proof, which any program that knows the format verifies together with the entry.',
      scope: 'events:read',
      ...oneEvent,
      query: {
        ...oneEvent.query,
        format: Type.Enum(['json', 'tlog'], { default: 'json', description: 'All there is, or a `.tlog-proof` file' }),
      },
      responses: {
        200: { description: 'The proof', content: { 'application/json': Proof, 'text/plain': Type.String() } },
      },
      problems: ['not_found', 'not_notarized'],
      handle: (call) => prove(parts, call),
    },
  ]
}

/** Says where was looked: an operator key that names no tenant looks in the operator's own trail, which few people mean. */
function notFound({ tenant }: Reader, call: Call): Refused {
  const isOwn = tenant.id === OPERATOR_TENANT && call.query.get('tenant') === null
  const hint = isOwn ? ' Events of another tenant are found with ?tenant=….' : ''
  return refuse('not_found', `The trail of ${tenant.id} has no such event.${hint}`)
}

async function list(parts: ReadParts, turns: TenantTurns, call: Call): Promise<Reply> {
  const reader = await readerOf(parts.tenants, call, call.query.get('tenant'))
  const parsed = parseFilter(decoded(call.query), reader.operator)
  if (!parsed.ok) {
    const [first] = parsed.problems
    throw refuse(first!.code, `${first!.parameter}: ${first!.detail}`)
  }
  const listing = await turns.within(reader.tenant.number, () => parts.events.list(reader, parsed.filter, parsed.page))
  if (listing.kind === 'invalid_cursor')
    throw refuse('invalid_cursor', 'The cursor belongs to another tenant, filter or order, or is damaged.')
  return { status: 200, body: { data: listing.data.map((event) => presented(parts, event)), next: listing.next } }
}

/** What people look for first comes first: what happened, then who, whom and how, then the proof of it. */
function presented({ catalog, operatorName }: ReadParts, event: ShownEvent): object {
  if (event.control !== undefined) return presentedControl(event)
  const { id, tenant, action, category, outcome, reason, occurred_at, received_at, actor, ...rest } = event
  const told =
    typeof action === 'string'
      ? render(event as unknown as Readable, catalog.resolve(action).sentence, { operator: operatorName }).text
      : 'The payload of this event was lost; that it was sealed, and when, is proven.'
  const head = { id, tenant, action, sentence: told, category, outcome, reason, occurred_at, received_at, actor }
  return { ...head, targets: [], context: {}, changes: [], metadata: {}, ...rest }
}

/** A control entry has no members of an event; what its facts say stands apart. */
function presentedControl({ tenant, control, trail, seq, hash, previous_hash, sealed_at, late, ...rest }: ShownEvent) {
  const { facts, facts_salt } = rest
  const details = facts === null ? null : (JSON.parse(facts) as object)
  return { tenant, control, details, trail, seq, hash, previous_hash, sealed_at, late, facts, facts_salt }
}

async function prove(parts: ReadParts, call: Call): Promise<Reply> {
  const reader = await readerOf(parts.tenants, call, call.query.get('tenant'))
  const outcome = await parts.proofs.ofEvent(reader, call.params.id!)
  if (outcome.kind === 'not_found') throw notFound(reader, call)
  if (outcome.kind === 'not_notarized_yet') {
    throw refuse('not_notarized', 'The event is sealed and waits for the next checkpoint.', undefined, {
      'retry-after': '1',
    })
  }
  const { trail, entry, hashes, size, checkpoint } = outcome
  if (call.query.get('format') === 'tlog') return tlogProof(entry.seq, hashes, checkpoint)
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
    content: payloadOf(entry),
  }
  return { status: 200, body }
}

/** A proof as a file of C2SP tlog-proof. */
export function tlogProof(index: number, proof: readonly Uint8Array[], checkpoint: string): Reply {
  return {
    status: 200,
    body: formatTlogProof({ index, proof, checkpoint }),
    type: 'text/plain; charset=utf-8',
    headers: { 'content-disposition': `attachment; filename="${index}.tlog-proof"` },
  }
}
