/** Reads evidence packs (docs/spec/pack.md) at random, and trusts nothing it has not recomputed. */
import { ContentReader } from '../entry/content-reader.ts'
import type { Hash } from '../hash.ts'
import { PackError } from '../pack-error.ts'
import { TILE_WIDTH } from '../tree/tiles.ts'
import { windowed } from '../zip/windows.ts'
import { type Inflate, inflateWeb, type RandomAccess, readMember } from '../zip/zip.ts'
import { Directory } from '../zip/zip-directory.ts'
import { decodeManifest, type Manifest, MemberOrder, memberPaths } from './manifest.ts'
import { MANIFEST_LIMIT, USUAL_LIMIT } from './pack.ts'

const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
/** Hash tiles are the members that are stored. */
const HASH_TILE = /^tile\/[0-9]/
/** Members but bundles and contents are small: the largest are successions. What a bomb inflates to is never looked at. */
const SMALL_LIMIT = 2 ** 22

/** An opened pack: its members are known to be those its manifest demands; each is checked when it is read. */
export class PackReader {
  readonly manifest: Manifest
  readonly order: MemberOrder
  private readonly hash: Hash
  private readonly file: RandomAccess
  private readonly inflate: Inflate
  private readonly directory: Directory

  private constructor(hash: Hash, file: RandomAccess, inflate: Inflate, manifest: Manifest, directory: Directory) {
    this.hash = hash
    this.inflate = inflate
    this.file = file
    this.manifest = manifest
    this.order = new MemberOrder(manifest)
    this.directory = directory
  }

  /** Reads directory and manifest. Throws PackError. */
  static async open(hash: Hash, source: RandomAccess, inflate: Inflate = inflateWeb): Promise<PackReader> {
    const file = windowed(source)
    const directory = await Directory.open(file)
    const first = await directory.first()
    if (first.path !== 'manifest.json') throw new PackError('members', 'the first member is not manifest.json')
    const manifest = decodeManifest(
      decodeText(await readMember(hash, file, first, MANIFEST_LIMIT, inflate), 'manifest.json'),
    )
    // One member is held in memory.
    if (manifest.limit > USUAL_LIMIT) throw new PackError('too_large', `members of up to ${manifest.limit} bytes`)
    await checkMembers(directory, manifest)
    return new PackReader(hash, file, inflate, manifest, directory)
  }

  /** Whether a member is there that may be left out. A hostile pack can name a million of them. */
  has(path: string): boolean {
    return this.order.other(path) !== undefined
  }

  /** Any member but bundles and contents, of at most 4 MiB. Throws PackError. */
  async read(path: string): Promise<Uint8Array> {
    return this.member(this.order.other(path), path, SMALL_LIMIT)
  }

  async text(path: string): Promise<string> {
    return decodeText(await this.read(path), path)
  }

  bundle(index: number): Promise<Uint8Array> {
    return this.member(this.order.bundle(index), `bundle ${index}`)
  }

  /** The content lines of bundle `index`, without newlines. */
  async contentLines(index: number): Promise<string[]> {
    const lines = decodeText(await this.contentBytes(index), `the content of bundle ${index}`).split('\n')
    if (lines.pop() !== '' || lines.length > TILE_WIDTH)
      throw new PackError('malformed', 'content does not end in a line')
    return lines
  }

  /** The same, to be read part by part. */
  async content(index: number): Promise<ContentReader> {
    return new ContentReader(await this.contentBytes(index))
  }

  private contentBytes(index: number): Promise<Uint8Array> {
    return this.member(this.order.content(index), `the content of bundle ${index}`)
  }

  private async member(place: number | undefined, name: string, most = USUAL_LIMIT): Promise<Uint8Array> {
    if (place === undefined) throw new PackError('members', `${name} is not in the pack`)
    const limit = Math.min(this.manifest.limit, most)
    return readMember(this.hash, this.file, await this.directory.entry(place), limit, this.inflate)
  }
}

async function checkMembers(directory: Directory, manifest: Manifest): Promise<void> {
  const paths = memberPaths(manifest)
  await directory.walk(({ path, stored }) => {
    const expected = paths.next().value ?? 'the end'
    if (path !== expected) throw new PackError('members', `expected ${expected}, found ${path}`)
    if (stored !== HASH_TILE.test(path)) throw new PackError('members', `${path} is packed the wrong way`)
  })
  const missing = paths.next().value
  if (missing !== undefined) throw new PackError('members', `expected ${missing}, found the end`)
}

function decodeText(bytes: Uint8Array, path: string): string {
  try {
    return strictUtf8.decode(bytes)
  } catch {
    throw new PackError('malformed', `${path} is not UTF-8`)
  }
}
