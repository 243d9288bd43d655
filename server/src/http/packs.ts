// Evidence packs: everything that an auditor needs offline, streamed as one ZIP file, and continued where a download was
// cut off. What stands in them is read, never computed ahead, and needs to be trusted by nobody.
import { Readable } from 'node:stream'
import { promisify } from 'node:util'
import { deflateRaw } from 'node:zlib'
import {
  COVER_MEMBERS,
  coverPage,
  entryProofPath,
  formatConsistency,
  formatTlogProof,
  type Manifest,
  NoteError,
  type PackSource,
  parseCheckpoint,
  parseNote,
  parseSlotProof,
  parseTlogProof,
  proveConsistency,
  proveInclusion,
  provenSeqs,
  REGISTRY_MEMBERS,
  readNodeFromTiles,
  tileWidth,
  writePack,
  writePackRest,
} from '@affidavit/trail'
import Type, { type Static } from 'typebox'
import { Compile } from 'typebox/compile'
import { tenantPattern } from '../ingest/event.ts'
import type { Events } from '../query/events.ts'
import { streamEntries } from '../query/stream.ts'
import { sha256 } from '../store/sha256.ts'
import { payloadOf } from './content-line.ts'
import { bodyProblems, jsonBody } from './json-body.ts'
import type { Call, Operation, Reply } from './operation.ts'
import { anchorPaths, readAnchor } from './pack-anchors.ts'
import {
  begunManifest,
  choose,
  mostProofs,
  openPacked,
  type PackedTrail,
  planManifest,
  sealedWithin,
} from './pack-plan.ts'
import { readerOf } from './reading.ts'
import { refuse } from './refused.ts'
import type { TrailParts } from './trails.ts'

/** What binds a tenant's head to the registry checkpoint served now. */
export interface RegistryEvidence {
  readonly epoch: number
  readonly index: number
  /** The epoch's entry in the registry log. */
  readonly entry: string
  readonly slotProof: string
  /** The registry's checkpoint with cosignatures. */
  readonly checkpoint: string
  readonly inclusion: readonly Uint8Array[]
}

export interface PackParts extends TrailParts {
  readonly events: Events
  /** Undefined where there is none yet, for this tenant or at all. */
  readonly evidence: (tenant: number) => Promise<RegistryEvidence | undefined>
  readonly registryVkeys: () => Promise<readonly string[]>
}

const deflate = promisify<Uint8Array, Buffer>(deflateRaw)
const tenantParam = { tenant: Type.String({ pattern: tenantPattern }) }
const seqPattern = '^(0|[1-9][0-9]{0,15})$'
const zip = { 'application/zip': Type.String({ format: 'binary' }) }
const Begun = Type.Object(
  {
    manifest: Type.String({ maxLength: 2 ** 24, description: 'The text of manifest.json' }),
    checkpoint: Type.String({ maxLength: 2 ** 20, description: 'The text of checkpoint' }),
    skip: Type.Integer({ minimum: 3, maximum: 2 ** 40, description: 'Members that are there already' }),
  },
  { additionalProperties: false },
)
const checkBegun = Compile(Begun)

export function packOperations(parts: PackParts): Operation[] {
  const problems = ['not_found', 'not_notarized'] as const
  return [
    {
      method: 'GET',
      path: '/v1/trails/{tenant}/pack',
      operationId: 'getPack',
      tag: 'Proofs',
      summary: 'An evidence pack: everything that an auditor needs offline',
      description:
        'Of all entries, or of those chosen in one of four ways: by seq, by the time of sealing, by event ids, or by a search.',
      scope: 'events:read',
      params: tenantParam,
      query: {
        from: Type.String({ pattern: seqPattern, description: 'First entry; default: the first that is there' }),
        to: Type.String({ pattern: seqPattern, description: 'Entry after the last; default: the newest checkpoint' }),
        sealed_from: Type.String({ maxLength: 40, description: 'Entries sealed at this ISO 8601 time or later' }),
        sealed_to: Type.String({ maxLength: 40, description: 'Entries sealed before this time' }),
        event: Type.Array(Type.String(), { description: 'Event ids, repeated or with commas' }),
        query: Type.String({
          maxLength: 8000,
          description: 'A search as GET /v1/events takes it behind ?, encoded; at most 10,000 events',
        }),
        trail: Type.String({ pattern: '^[0-9a-f]{32}$', description: 'An earlier trail; default: the newest' }),
      },
      responses: { 200: { description: 'A ZIP file', content: zip } },
      problems: [...problems, 'missing_scope'],
      handle: (call) => begin(parts, call),
    },
    {
      method: 'POST',
      path: '/v1/trails/{tenant}/pack',
      operationId: 'continuePack',
      tag: 'Proofs',
      summary: 'The rest of a pack whose download was cut off',
      description:
        'The bytes of the members from `skip` on, in the order of the format, without the directory at the end: ' +
        'who has the members can write it. `affidavit pack` does.',
      scope: 'events:read',
      params: tenantParam,
      body: { 'application/json': Begun },
      bodyLimit: 2 ** 25,
      responses: {
        200: { description: 'Members', content: { 'application/octet-stream': Type.String({ format: 'binary' }) } },
      },
      problems: [...problems, ...bodyProblems],
      handle: (call) => resume(parts, call),
    },
  ]
}

async function begin(parts: PackParts, call: Call): Promise<Reply> {
  const reader = await readerOf(parts.tenants, call, call.params.tenant!)
  const packed = await openPacked(parts.store, reader, call.query.get('trail'))
  const chosen = await choose(parts.store, parts.events, packed, call.query)
  const origin = parts.origin(packed.trail.id)
  const bare = await planManifest(parts.store, origin, packed, chosen.ranges)
  const registry = await registryMembers(parts, packed, bare)
  const proven = chosen.isSet ? chosen.ranges.flatMap(({ from, to }) => seqsOf(from, to)) : []
  const proofs = proven.length <= mostProofs ? proven.map(entryProofPath) : []
  const anchors = await anchorMembers(parts, registry)
  const optional = [...proofs, ...registry.keys(), ...anchors, ...Object.values(COVER_MEMBERS)]
  const manifest = { ...bare, optional }
  const cover = await coverMembers(
    parts,
    packed,
    manifest,
    { root: rootOf(packed.notarized.note)!, chosen: chosen.how },
    registry,
  )
  const source = sourceOf(parts, packed, manifest, packed.notarized.note, new Map([...registry, ...cover]))
  const { from, to } = { from: chosen.ranges[0]!.from, to: chosen.ranges.at(-1)!.to }
  const name = `${reader.tenant.id}-${from}-${to}.affidavit.zip`
  return stream(writePack(sha256, manifest, source, deflate), 'application/zip', {
    'content-disposition': `attachment; filename="${name}"`,
  })
}

async function resume(parts: PackParts, call: Call): Promise<Reply> {
  const { manifest: text, checkpoint, skip }: Static<typeof Begun> = jsonBody(call.body, checkBegun)
  const reader = await readerOf(parts.tenants, call, call.params.tenant!)
  const trailId = /"trail":"([0-9a-f]{32})"/.exec(text.slice(0, 200))?.[1] ?? null
  const packed = await openPacked(parts.store, reader, trailId)
  const manifest = begunManifest(text, parts.origin(packed.trail.id), packed)
  const registry = await registryMembers(parts, packed, manifest)
  const root = rootOf(checkpoint)
  if (root === undefined) throw refuse('invalid_request', 'The checkpoint cannot be read.')
  const cover = await coverMembers(parts, packed, manifest, { root, chosen: 'see Entries with content' }, registry)
  const made = new Map([...registry, ...cover])
  const others = await Promise.all(
    manifest.optional.map(async (path) => {
      const isMade = made.has(path) || path.startsWith('proofs/')
      return isMade || (await readAnchor(parts.store.pool('reader'), path)) !== undefined ? [] : [path]
    }),
  )
  const [missing] = others.flat()
  if (missing !== undefined)
    throw refuse(
      'invalid_request',
      `This pack cannot be continued: ${missing.slice(0, 80)} cannot be made. Begin it anew.`,
    )
  const source = sourceOf(parts, packed, manifest, checkpoint, made)
  return stream(writePackRest(sha256, manifest, source, skip, deflate), 'application/octet-stream')
}

function stream(chunks: AsyncIterable<Uint8Array>, type: string, headers: Record<string, string> = {}): Reply {
  return { status: 200, body: Readable.from(chunks, { objectMode: false, highWaterMark: 1 << 20 }), type, headers }
}

function rootOf(note: string): Uint8Array | undefined {
  try {
    return parseCheckpoint(parseNote(note).text).root
  } catch (error) {
    if (error instanceof NoteError) return undefined
    throw error
  }
}

const seqsOf = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i)

/** The registry's members, empty where there is no epoch that holds this trail. */
async function registryMembers(
  parts: PackParts,
  packed: PackedTrail,
  { origin, size }: Manifest,
): Promise<Map<string, string>> {
  const evidence = await parts.evidence(packed.reader.tenant.number)
  if (evidence === undefined) return new Map()
  const { index, entry, slotProof, checkpoint, inclusion } = evidence
  const body = parseCheckpoint(parseSlotProof(slotProof).body)
  // An earlier trail of the tenant is in the registry only through the one that continues it.
  if (body.origin !== origin || body.size > packed.notarized.size) return new Map()
  const [older, newer] = [Math.min(body.size, size), Math.max(body.size, size)]
  const node = readNodeFromTiles(sha256, newer, (level, at, width) => readTile(parts, packed, level, at, width))
  const proof = await proveConsistency(sha256, node, older, newer)
  return new Map<string, string>([
    [REGISTRY_MEMBERS.epoch, entry],
    [REGISTRY_MEMBERS.proof, formatTlogProof({ index, proof: inclusion, checkpoint })],
    [REGISTRY_MEMBERS.slot, slotProof],
    [REGISTRY_MEMBERS.consistency, formatConsistency(older, newer, proof)],
    [REGISTRY_MEMBERS.vkeys, (await parts.registryVkeys()).map((vkey) => `${vkey}\n`).join('')],
  ])
}

/** Timestamps matter only beside the registry that they stamp. */
async function anchorMembers({ store }: PackParts, registry: ReadonlyMap<string, string>): Promise<string[]> {
  const proof = registry.get(REGISTRY_MEMBERS.proof)
  if (proof === undefined) return []
  return anchorPaths(store.pool('reader'), parseCheckpoint(parseNote(parseTlogProof(proof).checkpoint).text).size)
}

async function coverMembers(
  parts: PackParts,
  packed: PackedTrail,
  manifest: Manifest,
  told: { readonly root: Uint8Array; readonly chosen: string },
  registry: ReadonlyMap<string, string>,
): Promise<Map<string, string>> {
  const slot = registry.get(REGISTRY_MEMBERS.slot)
  const time = /^time (.+)$/m.exec(registry.get(REGISTRY_MEMBERS.epoch) ?? '')?.[1] ?? ''
  const held = slot === undefined ? undefined : parseSlotProof(slot)
  const sealed = await sealedWithin(parts.store, packed, manifest.ranges)
  const { html, text } = coverPage({
    tenant: packed.reader.tenant.id,
    manifest,
    vkeys: [parts.vkey(packed.trail.id)],
    ...told,
    ...(sealed !== undefined && { sealed }),
    ...(held !== undefined && { registry: { epoch: held.epoch, time, size: parseCheckpoint(held.body).size } }),
    made: new Date().toISOString(),
  })
  return new Map<string, string>([
    [COVER_MEMBERS.html, html],
    [COVER_MEMBERS.text, text],
  ])
}

function sourceOf(
  parts: PackParts,
  packed: PackedTrail,
  manifest: Manifest,
  checkpoint: string,
  made: ReadonlyMap<string, string>,
): PackSource {
  const proven = new Map(provenSeqs(manifest).map((seq) => [entryProofPath(seq), seq]))
  const { size } = manifest
  return {
    checkpoint,
    vkeys: [parts.vkey(packed.trail.id)],
    bundle: (index) => readTile(parts, packed, 'entries', index, tileWidth('entries', index, size)),
    tile: (level, index, width) => readTile(parts, packed, level, index, width),
    content: (seqs) => payloads(parts, packed, seqs),
    optional: async (path) => {
      const seq = proven.get(path)
      if (seq !== undefined) return Buffer.from(await entryProof(parts, packed, seq, size, checkpoint))
      const text = made.get(path)
      if (text !== undefined) return Buffer.from(text)
      const anchor = await readAnchor(parts.store.pool('reader'), path)
      if (anchor === undefined) throw new Error(`${path} cannot be made any more`)
      return anchor
    },
  }
}

async function readTile(
  { proofs }: PackParts,
  { reader, trail }: PackedTrail,
  level: number | 'entries',
  index: number,
  width: number,
): Promise<Uint8Array> {
  const bytes = await proofs.tile(reader, { level, index, width }, trail.id)
  if (bytes === undefined) throw new Error(`tile ${level}/${index} of trail ${trail.id} is missing`)
  return bytes
}

async function entryProof(
  parts: PackParts,
  packed: PackedTrail,
  seq: number,
  size: number,
  checkpoint: string,
): Promise<string> {
  const node = readNodeFromTiles(sha256, size, (level, index, width) => readTile(parts, packed, level, index, width))
  return formatTlogProof({ index: seq, proof: await proveInclusion(sha256, node, seq, size), checkpoint })
}

/** One payload per seq: an entry whose row is gone still has its line, which says that nothing is there. */
async function* payloads({ store, personas }: PackParts, { reader, trail }: PackedTrail, seqs: readonly number[]) {
  const wanted = new Set(seqs)
  let next = 0
  for (const { from, to } of runsOf(seqs)) {
    for await (const entry of streamEntries({ store, personas, reader, trail, from, to })) {
      for (; seqs[next]! < entry.seq; next++) yield { seq: seqs[next]! }
      if (!wanted.has(entry.seq)) continue
      yield payloadOf(entry)
      next++
    }
  }
  for (; next < seqs.length; next++) yield { seq: seqs[next]! }
}

/** Seqs close to one another are read together. */
function runsOf(seqs: readonly number[]): { from: number; to: number }[] {
  const runs: { from: number; to: number }[] = []
  for (const seq of seqs) {
    const last = runs.at(-1)
    if (last !== undefined && seq - last.to < 16) last.to = seq + 1
    else runs.push({ from: seq, to: seq + 1 })
  }
  return runs
}
