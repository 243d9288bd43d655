/**
 * Evidence packs: one ZIP file that an auditor takes home (docs/spec/pack.md). Unpacked it is a static C2SP log with
 * the content beside it. The writer streams, and can go on where it was cut off.
 */
import { encodeContent, type Payload } from '../entry/content.ts'
import type { Hash } from '../hash.ts'
import { PackError } from '../pack-error.ts'
import { type ReadTile, tilePath } from '../tree/tiles.ts'
import { type Deflate, type Deflated, sizeOf, writeMembers, writeZip, type ZipMember } from '../zip/zip.ts'
import {
  bundleNumbers,
  bundlePath,
  contentNumbers,
  contentPath,
  contentSeqs,
  decodeManifest,
  encodeManifest,
  type Manifest,
  packTiles,
} from './manifest.ts'

/** What a pack is made of. Each part is asked for once, in the order of the file, a few at the same time. */
export interface PackSource {
  /** The signed note over the trail at `manifest.size`. */
  readonly checkpoint: string
  readonly vkeys: readonly string[]
  /** The entry bundle `index`, as wide as it is at `manifest.size`. */
  readonly bundle: (index: number) => Promise<Uint8Array>
  /**
   * The payloads of the given seqs, in order: one for each, though it may be empty but for its seq. Or, by a promise, the
   * bytes of their lines, which must be those that `encodeContent` would have made, each ended by a line feed; deflated
   * already, where they are many.
   */
  readonly content: (
    seqs: readonly number[],
  ) => AsyncIterable<Payload> | Iterable<Payload> | Promise<Uint8Array | Deflated>
  /** Hash tiles; asked only for a part of a trail. */
  readonly tile: ReadTile
  /** A member that `manifest.optional` names. */
  readonly optional?: (path: string) => Promise<Uint8Array>
}

/** Writers see to it that 256 entries' contents fit, however large. */
export const USUAL_LIMIT = 2 ** 27
/** Before the manifest is read nothing else bounds it. */
export const MANIFEST_LIMIT = 2 ** 24

const utf8 = new TextEncoder()

/** Writes a pack as a stream of chunks. Throws PackError when the source does not fit the manifest. */
export function writePack(
  hash: Hash,
  manifest: Manifest,
  source: PackSource,
  deflate?: Deflate,
): AsyncGenerator<Uint8Array> {
  decodeManifest(encodeManifest(manifest))
  return writeZip(hash, packMembers(manifest, source, 0), deflate)
}

/**
 * The bytes of a pack from member `skip` on (at least 3: what stands in front makes it this pack and no other), without
 * the directory: for a reader who has the members before. Throws PackError.
 */
export function writePackRest(
  hash: Hash,
  manifest: Manifest,
  source: PackSource,
  skip: number,
  deflate?: Deflate,
): AsyncGenerator<Uint8Array> {
  decodeManifest(encodeManifest(manifest))
  return writeMembers(hash, packMembers(manifest, source, skip), deflate)
}

async function* packMembers(manifest: Manifest, source: PackSource, skip: number): AsyncGenerator<ZipMember> {
  let left = skip
  let most = AHEAD
  let isAtContents = false
  const ahead: { readonly planned: PlannedMember; readonly data: Promise<Uint8Array | Deflated> }[] = []
  for (const planned of plannedMembers(manifest, source)) {
    if (left-- > 0) continue
    // How large a content is, the one before it tells; of the first nothing is known.
    if (!isAtContents && planned.path.startsWith('content/')) {
      isAtContents = true
      most = 0
    }
    while (ahead.length > most) yield await next()
    const data = Promise.resolve(planned.make())
    // A failure is thrown where its turn comes, not as an unhandled rejection before.
    data.catch(() => undefined)
    ahead.push({ planned, data })
  }
  while (ahead.length > 0) yield await next()

  async function next(): Promise<ZipMember> {
    const member = await checked(ahead.shift()!)
    most = sizeOf(member.data) > LARGE_BYTES ? 0 : AHEAD
    return member
  }

  async function checked({ planned: { path, stored }, data }: (typeof ahead)[0]): Promise<ZipMember> {
    const made = await data
    if (sizeOf(made) > manifest.limit) throw new PackError('too_large', `${path} has ${sizeOf(made)} bytes`)
    return { path, data: made, stored }
  }
}

/** Members that are made while the one before them is packed: where they come from, each is a wait. */
const AHEAD = 2
/** Behind one as large as this none is made ahead. */
const LARGE_BYTES = 4 * 2 ** 20

interface PlannedMember {
  readonly path: string
  readonly stored: boolean
  readonly make: () => Uint8Array | Promise<Uint8Array | Deflated>
}

function* plannedMembers(manifest: Manifest, source: PackSource): Generator<PlannedMember> {
  const { size, bundles } = manifest
  const member = (path: string, make: PlannedMember['make'], stored = false) => ({ path, make, stored })
  yield member('manifest.json', () => utf8.encode(encodeManifest(manifest)))
  yield member('checkpoint', () => utf8.encode(source.checkpoint))
  yield member('vkeys', () => utf8.encode(source.vkeys.map((vkey) => `${vkey}\n`).join('')))
  for (const index of bundleNumbers(manifest)) yield member(bundlePath(index, size), () => source.bundle(index))
  for (const index of contentNumbers(manifest)) {
    yield member(contentPath(index), () => contentLines([...contentSeqs(manifest, index)], index, source))
  }
  for (const tile of packTiles(size, bundles)) {
    const { level, index, width } = tile
    yield member(tilePath(tile), () => source.tile(level as number, index, width), true)
  }
  for (const path of manifest.optional) {
    if (source.optional === undefined) throw new PackError('members', `nothing gives ${path}`)
    yield member(path, () => source.optional!(path))
  }
}

async function contentLines(
  seqs: readonly number[],
  index: number,
  source: PackSource,
): Promise<Uint8Array | Deflated> {
  const payloads = source.content(seqs)
  if (payloads instanceof Promise) return payloads
  let text = ''
  let at = 0
  for await (const payload of payloads) {
    if (payload.seq !== seqs[at++]) throw new PackError('members', `content of ${payload.seq} is not in its turn`)
    text += `${encodeContent(payload)}\n`
  }
  if (at !== seqs.length) throw new PackError('members', `${at} of ${seqs.length} contents in bundle ${index}`)
  return utf8.encode(text)
}
