/**
 * Evidence packs: one ZIP file that an auditor takes home (docs/spec/pack.md). Unpacked it is a static C2SP log with
 * the content beside it. The writer streams; the reader reads at random and trusts nothing it has not recomputed.
 */

import { encodeContent, type Payload } from './content.ts'
import { ContentReader } from './content-reader.ts'
import type { Hash } from './hash.ts'
import {
  bundleNumbers,
  bundlePath,
  contentNumbers,
  contentPath,
  contentSeqs,
  decodeManifest,
  encodeManifest,
  type Manifest,
  memberPaths,
  packTiles,
} from './manifest.ts'
import { PackError } from './pack-error.ts'
import { type ReadTile, TILE_WIDTH, tilePath } from './tiles.ts'
import {
  type Inflate,
  inflateWeb,
  type RandomAccess,
  readDirectory,
  readMember,
  writeZip,
  type ZipEntry,
  type ZipMember,
} from './zip.ts'

/** What a pack is made of. Each part is asked for once, in the order of the file. */
export interface PackSource {
  /** The signed note over the trail at `manifest.size`. */
  readonly checkpoint: string
  readonly vkeys: readonly string[]
  /** The entry bundle `index`, as wide as it is at `manifest.size`. */
  readonly bundle: (index: number) => Promise<Uint8Array>
  /** The payloads of the given seqs, in order: one for each, though it may be empty but for its seq. */
  readonly content: (seqs: readonly number[]) => AsyncIterable<Payload> | Iterable<Payload>
  /** Hash tiles; asked only for a part of a trail. */
  readonly tile: ReadTile
  /** A member that `manifest.optional` names. */
  readonly optional?: (path: string) => Promise<Uint8Array>
}

/** What a reader accepts as `manifest.limit`: one member is held in memory. */
export const LARGEST_LIMIT = 2 ** 30
/** 256 entries whose facts are all 256 KiB fit. */
export const USUAL_LIMIT = 2 ** 27
/** Before the manifest is read nothing else bounds it. */
const MANIFEST_LIMIT = 2 ** 24

const utf8 = new TextEncoder()
const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Writes a pack as a stream of chunks. Throws PackError when the source does not fit the manifest. */
export function writePack(hash: Hash, manifest: Manifest, source: PackSource): AsyncGenerator<Uint8Array> {
  decodeManifest(encodeManifest(manifest))
  return writeZip(hash, packMembers(manifest, source))
}

async function* packMembers(manifest: Manifest, source: PackSource): AsyncGenerator<ZipMember> {
  const member = (path: string, data: Uint8Array, stored = false): ZipMember => {
    if (data.length > manifest.limit) throw new PackError('too_large', `${path} has ${data.length} bytes`)
    return { path, data, stored }
  }
  yield member('manifest.json', utf8.encode(encodeManifest(manifest)))
  yield member('checkpoint', utf8.encode(source.checkpoint))
  yield member('vkeys', utf8.encode(source.vkeys.map((vkey) => `${vkey}\n`).join('')))
  for (const index of bundleNumbers(manifest)) {
    yield member(bundlePath(index, manifest.size), await source.bundle(index))
  }
  for (const index of contentNumbers(manifest)) {
    yield member(contentPath(index), utf8.encode(await contentText(manifest, index, source)))
  }
  for (const tile of packTiles(manifest.size, manifest.bundles)) {
    yield member(tilePath(tile), await source.tile(tile.level as number, tile.index, tile.width), true)
  }
  for (const path of manifest.optional) {
    if (source.optional === undefined) throw new PackError('members', `nothing gives ${path}`)
    yield member(path, await source.optional(path))
  }
}

async function contentText(manifest: Manifest, index: number, source: PackSource): Promise<string> {
  const seqs = [...contentSeqs(manifest, index)]
  let text = ''
  let at = 0
  for await (const payload of source.content(seqs)) {
    if (payload.seq !== seqs[at++]) throw new PackError('members', `content of ${payload.seq} is not in its turn`)
    text += `${encodeContent(payload)}\n`
  }
  if (at !== seqs.length) throw new PackError('members', `${at} of ${seqs.length} contents in bundle ${index}`)
  return text
}

/** An opened pack: its members are known to be those its manifest demands; each is checked when it is read. */
export class PackReader {
  readonly manifest: Manifest
  private readonly hash: Hash
  private readonly file: RandomAccess
  private readonly entries: ReadonlyMap<string, ZipEntry>

  private readonly inflate: Inflate

  private constructor(
    hash: Hash,
    file: RandomAccess,
    inflate: Inflate,
    manifest: Manifest,
    entries: ReadonlyMap<string, ZipEntry>,
  ) {
    this.hash = hash
    this.inflate = inflate
    this.file = file
    this.manifest = manifest
    this.entries = entries
  }

  /** Reads directory and manifest. Throws PackError. */
  static async open(hash: Hash, file: RandomAccess, inflate: Inflate = inflateWeb): Promise<PackReader> {
    const entries = await readDirectory(file)
    const first = entries[0]
    if (first?.path !== 'manifest.json') throw new PackError('members', 'the first member is not manifest.json')
    const manifest = decodeManifest(
      decodeText(await readMember(hash, file, first, MANIFEST_LIMIT, inflate), 'manifest.json'),
    )
    if (manifest.limit > LARGEST_LIMIT) throw new PackError('too_large', `members of up to ${manifest.limit} bytes`)
    let at = 0
    for (const path of memberPaths(manifest)) {
      const entry = entries[at++]
      if (entry?.path !== path) throw new PackError('members', `expected ${path}, found ${entry?.path ?? 'the end'}`)
      if (entry.stored !== /^tile\/[0-9]/.test(path)) throw new PackError('members', `${path} is packed the wrong way`)
    }
    if (at !== entries.length) throw new PackError('members', `unexpected ${entries[at]!.path}`)
    return new PackReader(hash, file, inflate, manifest, new Map(entries.map((entry) => [entry.path, entry])))
  }

  async read(path: string): Promise<Uint8Array> {
    const entry = this.entries.get(path)
    if (entry === undefined) throw new PackError('members', `${path} is not in the pack`)
    return readMember(this.hash, this.file, entry, this.manifest.limit, this.inflate)
  }

  async text(path: string): Promise<string> {
    return decodeText(await this.read(path), path)
  }

  bundle(index: number): Promise<Uint8Array> {
    return this.read(bundlePath(index, this.manifest.size))
  }

  /** The content lines of bundle `index`, without newlines. */
  async contentLines(index: number): Promise<string[]> {
    const text = await this.text(contentPath(index))
    const lines = text.split('\n')
    if (lines.pop() !== '' || lines.length > TILE_WIDTH)
      throw new PackError('malformed', 'content does not end in a line')
    return lines
  }

  /** The same, to be read part by part. */
  async content(index: number): Promise<ContentReader> {
    return new ContentReader(await this.text(contentPath(index)))
  }
}

function decodeText(bytes: Uint8Array, path: string): string {
  try {
    return strictUtf8.decode(bytes)
  } catch {
    throw new PackError('malformed', `${path} is not UTF-8`)
  }
}
