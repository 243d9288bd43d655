// A trail as verifiers take it: what to pin, the checkpoint, C2SP tiles and entry bundles, payloads, consistency proofs.
// Nothing here needs to be trusted by whoever reads it.
import { parseTilePath, proveConsistency, readNodeFromTiles, toHex } from '@affidavit/trail'
import Type from 'typebox'
import { tenantPattern } from '../ingest/event.ts'
import type { Personas } from '../keys/personas.ts'
import { ContentRun } from '../query/content-run.ts'
import type { Proofs } from '../query/proof.ts'
import type { Database } from '../store/database.ts'
import { sha256 } from '../store/sha256.ts'
import { ContentStreams } from './content-streams.ts'
import { notNotarized, type OpenedTrail, openTrail, seqPattern, trailParam, withheldFrom } from './opened-trail.ts'
import type { Call, Operation, Reply } from './operation.ts'
import type { OwnTenants } from './own-tenants.ts'
import { tlogProof } from './read-events.ts'
import { readerOf } from './reading.ts'
import { refuse } from './refused.ts'
import { Hex16, Hex32, object } from './schemas.ts'

export interface TrailParts {
  readonly store: Database
  readonly personas: Personas
  readonly tenants: OwnTenants
  readonly proofs: Proofs
  /** Origin of a trail's checkpoints, and its verifier key. */
  readonly origin: (trailId: string) => string
  readonly vkey: (trailId: string) => string
}

const tenantParam = { tenant: Type.String({ pattern: tenantPattern }) }
const seqParam = (description: string) => Type.String({ pattern: seqPattern, description })

const TrailShape = object({
  tenant: Type.String(),
  trail: Hex16,
  origin: Type.String(),
  vkey: Type.String({ description: 'Verifier key: pin it, from a source you trust' }),
  size: Type.Integer({ minimum: 0, description: 'Entries under the newest checkpoint' }),
  minimum: Type.Integer({ minimum: 0, description: 'Entries below it were truncated: their bundles answer 404' }),
  withheld: Type.Array(Type.Enum(['confidential', 'operator']), {
    description: 'Parts of payloads that this key does not get',
  }),
  trails: Type.Array(Hex16, { description: "The tenant's chain of trails, oldest first" }),
})

const text = { 'text/plain': Type.String() }
const binary = (type: string) => ({ [type]: Type.String({ format: 'binary' }) })

export function trailOperations(parts: TrailParts): Operation[] {
  const streams = new ContentStreams()
  const own = { tag: 'Proofs', params: tenantParam, problems: ['not_found', 'not_notarized'] } as const
  return [
    {
      ...own,
      method: 'GET',
      path: '/v1/trails/{tenant}',
      operationId: 'getTrail',
      summary: 'A trail: its origin, its key, its size',
      scope: 'verify',
      responses: { 200: { description: 'The trail', content: { 'application/json': TrailShape } } },
      handle: (call) => describe(parts, call),
    },
    {
      ...own,
      method: 'GET',
      path: '/v1/trails/{tenant}/checkpoint',
      operationId: 'getCheckpoint',
      summary: 'The newest checkpoint (C2SP tlog-checkpoint)',
      scope: 'verify',
      query: { trail: trailParam },
      responses: { 200: { description: 'A signed note', content: text } },
      handle: async (call) => {
        const reader = await readerOf(parts.tenants, call, call.params.tenant!)
        const note = await parts.proofs.checkpoint(reader, call.query.get('trail') ?? undefined)
        if (note === undefined) throw notNotarized()
        return { status: 200, body: note, type: 'text/plain; charset=utf-8' }
      },
    },
    {
      ...own,
      method: 'GET',
      path: '/v1/trails/{tenant}/tile/{path+}',
      operationId: 'getTile',
      summary: 'A hash tile or entry bundle (C2SP tlog-tiles)',
      scope: 'verify',
      params: { ...tenantParam, path: Type.String({ maxLength: 200 }) },
      query: { trail: trailParam },
      responses: { 200: { description: 'The tile', content: binary('application/octet-stream') } },
      handle: (call) => tile(parts, call),
    },
    {
      ...own,
      method: 'GET',
      path: '/v1/trails/{tenant}/proofs/{seq}',
      operationId: 'getEntryProof',
      summary: 'Proof that one entry is in its trail, as a file (C2SP tlog-proof)',
      scope: 'verify',
      params: { ...tenantParam, seq: seqParam('The entry') },
      query: { trail: trailParam },
      responses: { 200: { description: 'A `.tlog-proof` file', content: text } },
      handle: (call) => entryProof(parts, call),
    },
    {
      ...own,
      method: 'GET',
      path: '/v1/trails/{tenant}/consistency',
      operationId: 'getConsistencyProof',
      summary: 'Proof that the trail grew from one size to another',
      scope: 'verify',
      query: {
        from: seqParam('Older size, from 1'),
        to: seqParam('Newer size; default: the newest checkpoint'),
        trail: trailParam,
      },
      responses: {
        200: {
          description: 'The proof (RFC 6962)',
          content: {
            'application/json': object({
              from: Type.Integer(),
              to: Type.Integer(),
              proof: Type.Array(Hex32),
              checkpoint: Type.String(),
            }),
          },
        },
      },
      problems: ['not_found', 'not_notarized'],
      handle: (call) => consistency(parts, call),
    },
    {
      ...own,
      method: 'GET',
      path: '/v1/trails/{tenant}/content',
      operationId: 'getContent',
      summary: 'Payloads and salts of a range of entries, as lines of NDJSON',
      scope: 'events:read',
      query: {
        from: seqParam('First entry'),
        to: seqParam('Entry after the last one; default: the size of the newest checkpoint'),
        trail: trailParam,
      },
      responses: {
        200: { description: 'Content lines as in packs', content: { 'application/x-ndjson': Type.String() } },
      },
      problems: ['not_found', 'not_notarized', 'rate_limited'],
      handle: (call) => content(parts, streams, call),
    },
  ]
}

/** The trail that a call names. */
async function opened({ tenants, store }: TrailParts, call: Call): Promise<OpenedTrail> {
  return openTrail(store, await readerOf(tenants, call, call.params.tenant!), call.query.get('trail'))
}

async function describe(parts: TrailParts, call: Call): Promise<Reply> {
  const { reader, trails, trail, notarized, minimum } = await opened(parts, call)
  return {
    status: 200,
    body: {
      tenant: reader.tenant.id,
      trail: trail.id,
      origin: parts.origin(trail.id),
      vkey: parts.vkey(trail.id),
      size: notarized?.size ?? 0,
      minimum,
      withheld: withheldFrom(reader),
      trails: trails.map(({ id }) => id),
    },
  }
}

async function tile(parts: TrailParts, call: Call): Promise<Reply> {
  const id = parseTilePath(`tile/${call.params.path}`)
  if (id === undefined) throw refuse('not_found', 'This is no tile path of C2SP tlog-tiles.')
  const reader = await readerOf(parts.tenants, call, call.params.tenant!)
  const bytes = await parts.proofs.tile(reader, id, call.query.get('trail') ?? undefined)
  if (bytes === undefined) throw refuse('not_found', 'The trail has no such tile.')
  // A tile never changes once it is there; only its owner may keep it.
  return {
    status: 200,
    body: Buffer.from(bytes),
    type: 'application/octet-stream',
    headers: { 'cache-control': 'private, max-age=31536000, immutable' },
  }
}

async function entryProof(parts: TrailParts, call: Call): Promise<Reply> {
  const reader = await readerOf(parts.tenants, call, call.params.tenant!)
  const seq = Number(call.params.seq)
  const outcome = await parts.proofs.ofSeq(reader, seq, call.query.get('trail') ?? undefined)
  if (outcome.kind === 'not_found') throw refuse('not_found', 'The tenant has no such trail.')
  if (outcome.kind === 'not_notarized_yet')
    throw refuse('not_notarized', 'The newest checkpoint does not reach this entry.', undefined, { 'retry-after': '1' })
  return tlogProof(seq, outcome.hashes, outcome.checkpoint)
}

/** The range a call names, within the entries under the newest checkpoint. */
function rangeOf(call: Call, size: number, fromDefault: number): { from: number; to: number } {
  const from = Number(call.query.get('from') ?? fromDefault)
  const to = Number(call.query.get('to') ?? size)
  if (from >= to || to > size)
    throw refuse(
      'invalid_parameter',
      `from and to must lie within the ${size} entries under the newest checkpoint, from before to.`,
    )
  return { from, to }
}

async function consistency(parts: TrailParts, call: Call): Promise<Reply> {
  const { reader, trail, notarized } = await opened(parts, call)
  if (notarized === undefined) throw notNotarized()
  const from = Number(call.query.get('from') ?? 1)
  const to = Number(call.query.get('to') ?? notarized.size)
  if (from < 1 || from > to || to > notarized.size)
    throw refuse('invalid_parameter', `from and to are sizes from 1 to ${notarized.size}.`)
  const readTile = async (level: number, index: number, width: number) =>
    (await parts.proofs.tile(reader, { level, index, width }, trail.id))!
  const proof = await proveConsistency(sha256, readNodeFromTiles(sha256, notarized.size, readTile), from, to)
  return { status: 200, body: { from, to, proof: proof.map(toHex), checkpoint: notarized.note } }
}

async function content(parts: TrailParts, streams: ContentStreams, call: Call): Promise<Reply> {
  const { reader, trail, notarized } = await opened(parts, call)
  if (notarized === undefined) throw notNotarized()
  const { from, to } = rangeOf(call, notarized.size, 0)
  const pieces = new ContentRun({ store: parts.store, reader, trail }, parts.personas).pieces(from, to)
  return { status: 200, body: streams.open(reader.tenant.number, pieces), type: 'application/x-ndjson' }
}
