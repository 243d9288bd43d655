// Makes one pack, in the thread that does nothing else: chooses the entries, writes the manifest, and streams what stands in
// the pack. It is read, never computed ahead, and needs to be trusted by nobody.
import {
  anchorPaths,
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
  proveConsistency,
  proveInclusion,
  provenSeqs,
  type Range,
  REGISTRY_MEMBERS,
  type ReadTile,
  type RegistryPaths,
  readNodeFromTiles,
  SUCCESSION_MEMBER,
  TILE_WIDTH,
  writePack,
  writePackRest,
} from '@affidavit/trail'
import Type, { type Static } from 'typebox'
import { Compile } from 'typebox/compile'
import type { Personas } from '../keys/personas.ts'
import { ContentRun } from '../query/content-run.ts'
import { deflate } from '../query/deflating.ts'
import { EntryRun } from '../query/entry-run.ts'
import type { Events } from '../query/events.ts'
import type { Proofs } from '../query/proof.ts'
import type { Reader } from '../query/row.ts'
import type { Database } from '../store/database.ts'
import { sha256 } from '../store/sha256.ts'
import { jsonBody } from './json-body.ts'
import { type BoundHead, readAnchor, type StampedCopy, storedPaths } from './pack-anchors.ts'
import {
  begunManifest,
  choose,
  mostProofs,
  openPacked,
  type PackedTrail,
  planManifest,
  refuseOutdated,
  sealedWithin,
} from './pack-plan.ts'
import { refuse } from './refused.ts'

/** What binds a tenant's head to the registry checkpoint served now. */
export interface RegistryEvidence extends BoundHead {
  readonly epoch: number
  /** Of that checkpoint. */
  readonly size: number
  /** How log keys followed one another, under the same checkpoint; null where the first is in force. */
  readonly succession: string | null
}

/** What a pack is asked for with, besides its reader. */
export interface Asked {
  /** Query string of a pack from its beginning; or, to go on with one, the body that says where. */
  readonly what: { readonly query: string } | { readonly body: Uint8Array }
  /** Undefined where there is none yet, for this tenant or at all. */
  readonly evidence: RegistryEvidence | undefined
  /** The timestamp to bring along. */
  readonly stamped?: StampedCopy | undefined
  readonly registryVkeys: readonly string[]
}

export interface MakingParts {
  readonly store: Database
  readonly personas: Personas
  readonly proofs: Proofs
  readonly events: Events
  /** Origin of a trail's checkpoints, and its verifier key. */
  readonly origin: (trailId: string) => string
  readonly vkey: (trailId: string) => string
}

export interface MadePack {
  readonly chunks: AsyncIterable<Uint8Array>
  readonly type: string
  readonly headers: Readonly<Record<string, string>>
}

export const Begun = Type.Object(
  {
    manifest: Type.String({ maxLength: 2 ** 24, description: 'The text of manifest.json' }),
    checkpoint: Type.String({ maxLength: 2 ** 20, description: 'The text of checkpoint' }),
    skip: Type.Integer({ minimum: 3, maximum: 2 ** 40, description: 'Members that are there already' }),
  },
  { additionalProperties: false },
)
const checkBegun = Compile(Begun)

/** @throws Refused, StoreUnavailable, KeyUnusable */
export function makePack(parts: MakingParts, reader: Reader, asked: Asked): Promise<MadePack> {
  const { what } = asked
  return 'query' in what
    ? begin(parts, reader, asked, new URLSearchParams(what.query))
    : resume(parts, reader, asked, what.body)
}

async function begin(parts: MakingParts, reader: Reader, asked: Asked, query: URLSearchParams): Promise<MadePack> {
  const packed = await openPacked(parts.store, reader, query.get('trail'))
  const chosen = await choose(parts.store, parts.events, packed, query)
  const origin = parts.origin(packed.trail.id)
  const bare = await planManifest(parts.store, origin, packed, chosen.ranges)
  const registry = await registryMembers(parts, asked, packed, bare)
  const proven = chosen.isSet ? chosen.ranges.flatMap(({ from, to }) => seqsOf(from, to)) : []
  const proofs = proven.length <= mostProofs ? proven.map(entryProofPath) : []
  const anchors = await anchorMembers(parts, asked, packed, bare, registry)
  const optional = [...proofs, ...registry.keys(), ...anchors.paths, ...Object.values(COVER_MEMBERS)]
  const manifest = { ...bare, optional }
  const told = { root: rootOf(packed.notarized.note)!, chosen: chosen.how }
  const cover = await coverMembers(parts, packed, manifest, told, registry)
  const source = sourceOf(
    parts,
    packed,
    manifest,
    packed.notarized.note,
    new Map([...registry, ...anchors.made, ...cover]),
  )
  const { from, to } = { from: chosen.ranges[0]!.from, to: chosen.ranges.at(-1)!.to }
  return {
    chunks: writePack(sha256, manifest, source, deflate),
    type: 'application/zip',
    headers: { 'content-disposition': `attachment; filename="${reader.tenant.id}-${from}-${to}.affidavit.zip"` },
  }
}

async function resume(parts: MakingParts, reader: Reader, asked: Asked, body: Uint8Array): Promise<MadePack> {
  const begun = jsonBody(Buffer.from(body.buffer, body.byteOffset, body.length), checkBegun)
  const { manifest: text, checkpoint, skip }: Static<typeof Begun> = begun
  const trailId = /"trail":"([0-9a-f]{32})"/.exec(text.slice(0, 200))?.[1] ?? null
  const packed = await openPacked(parts.store, reader, trailId)
  const manifest = begunManifest(text, parts.origin(packed.trail.id), packed)
  await refuseOutdated(parts.store, packed, manifest.size)
  const registry = await registryMembers(parts, asked, packed, manifest)
  const root = rootOf(checkpoint)
  if (root === undefined) throw refuse('invalid_request', 'The checkpoint cannot be read.')
  const cover = await coverMembers(parts, packed, manifest, { root, chosen: 'see Entries with content' }, registry)
  const anchors = await anchorMembers(parts, asked, packed, manifest, registry)
  const made = new Map([...registry, ...anchors.made, ...cover])
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
  return {
    chunks: writePackRest(sha256, manifest, source, skip, deflate),
    type: 'application/octet-stream',
    headers: {},
  }
}

function rootOf(note: string): Uint8Array | undefined {
  try {
    return parseCheckpoint(parseNote(note).text).root
  } catch (error) {
    if (error instanceof NoteError) return undefined
    throw error
  }
}

/** More members than this are never made ahead of the one that is sent. */
const MOST_AHEAD = 8
/** Tiles kept for proofs, 8 KiB each: those of entries come in order, and share all but the lowest tile with the next. */
const MOST_TILES = 64

const seqsOf = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i)

/** The registry's members, empty where there is no epoch that holds this trail. */
async function registryMembers(
  parts: MakingParts,
  { evidence, registryVkeys }: Asked,
  packed: PackedTrail,
  manifest: Manifest,
): Promise<Map<string, string>> {
  if (evidence === undefined) return new Map()
  const members = await boundMembers(parts, packed, manifest, evidence, REGISTRY_MEMBERS)
  if (members.size === 0) return members
  members.set(REGISTRY_MEMBERS.vkeys, registryVkeys.map((vkey) => `${vkey}\n`).join(''))
  return evidence.succession === null ? members : members.set(SUCCESSION_MEMBER, evidence.succession)
}

/** What binds this trail to a checkpoint of the registry; empty where that does not hold it. */
async function boundMembers(
  parts: MakingParts,
  packed: PackedTrail,
  { origin, size }: Manifest,
  { index, entry, slotProof, checkpoint, inclusion }: BoundHead,
  paths: RegistryPaths,
): Promise<Map<string, string>> {
  const body = parseCheckpoint(parseSlotProof(slotProof).body)
  // An earlier trail of the tenant is in the registry only through the one that continues it.
  if (body.origin !== origin || body.size > packed.notarized.size) return new Map()
  const [older, newer] = [Math.min(body.size, size), Math.max(body.size, size)]
  const node = readNodeFromTiles(sha256, newer, keptTiles(parts, packed))
  const proof = await proveConsistency(sha256, node, older, newer)
  return new Map<string, string>([
    [paths.epoch, entry],
    [paths.proof, formatTlogProof({ index, proof: inclusion, checkpoint })],
    [paths.slot, slotProof],
    [paths.consistency, formatConsistency(older, newer, proof)],
  ])
}

/** Timestamps matter only beside the registry that they stamp. */
async function anchorMembers(
  parts: MakingParts,
  { stamped }: Asked,
  packed: PackedTrail,
  manifest: Manifest,
  registry: ReadonlyMap<string, string>,
): Promise<{ readonly paths: readonly string[]; readonly made: ReadonlyMap<string, string> }> {
  if (registry.size === 0 || stamped === undefined) return { paths: [], made: new Map() }
  const { id, bound } = stamped
  const made = bound && (await boundMembers(parts, packed, manifest, bound, anchorPaths(id)))
  return { paths: [...storedPaths(id), ...(made?.keys() ?? [])], made: made ?? new Map() }
}

async function coverMembers(
  parts: MakingParts,
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
  parts: MakingParts,
  packed: PackedTrail,
  manifest: Manifest,
  checkpoint: string,
  made: ReadonlyMap<string, string>,
): PackSource {
  const proven = new Map(provenSeqs(manifest).map((seq) => [entryProofPath(seq), seq]))
  const { size } = manifest
  const run = { store: parts.store, reader: packed.reader, trail: packed.trail }
  const node = readNodeFromTiles(sha256, size, keptTiles(parts, packed))
  const entries = new EntryRun(run)
  const contents = new ContentRun(run, parts.personas)
  const lastPath = manifest.optional.at(-1)
  const reading: Promise<unknown>[] = []
  return {
    checkpoint,
    vkeys: [parts.vkey(packed.trail.id)],
    bundle: (index) => {
      const from = index * TILE_WIDTH
      return entries.take(from, Math.min(size, endOf(manifest.bundles, index) * TILE_WIDTH))
    },
    tile: (level, index, width) => readTile(parts, packed, level, index, width),
    content: (seqs) => {
      const [from, last] = [seqs[0]!, seqs.at(-1)!]
      const isWhole = last - from + 1 === seqs.length
      const read = isWhole ? contents.take(from, endOf(manifest.ranges, from)) : contents.some(seqs)
      reading.push(Promise.resolve(read))
      if (reading.length > MOST_AHEAD) reading.shift()
      return read
    },
    optional: async (path) => {
      if (path === lastPath) {
        await Promise.all(reading)
        await refuseOutdated(parts.store, packed, size)
      }
      const seq = proven.get(path)
      if (seq !== undefined) {
        const proof = await proveInclusion(sha256, node, seq, size)
        return Buffer.from(formatTlogProof({ index: seq, proof, checkpoint }))
      }
      const text = made.get(path)
      if (text !== undefined) return Buffer.from(text)
      const anchor = await readAnchor(parts.store.pool('reader'), path)
      if (anchor === undefined) throw new Error(`${path} cannot be made any more`)
      return anchor
    },
  }
}

async function readTile(
  { proofs }: MakingParts,
  { reader, trail }: PackedTrail,
  level: number | 'entries',
  index: number,
  width: number,
): Promise<Uint8Array> {
  const bytes = await proofs.tile(reader, { level, index, width }, trail.id)
  if (bytes === undefined) throw new Error(`tile ${level}/${index} of trail ${trail.id} is missing`)
  return bytes
}

/** Reads the tiles of a tree of one size, which proofs ask for node by node; what was not wanted for longest goes first. */
function keptTiles(parts: MakingParts, packed: PackedTrail): ReadTile {
  const kept = new Map<string, Promise<Uint8Array>>()
  return (level, index, width) => {
    const name = `${level}/${index}`
    const bytes = kept.get(name) ?? readTile(parts, packed, level, index, width)
    kept.delete(name)
    kept.set(name, bytes)
    if (kept.size > MOST_TILES) kept.delete(kept.keys().next().value!)
    return bytes
  }
}

/** Where the range ends in which a number lies. */
function endOf(ranges: readonly Range[], at: number): number {
  return ranges.find(({ from, to }) => from <= at && at < to)!.to
}
