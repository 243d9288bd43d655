/**
 * The ZIP64 container of a pack (docs/spec/pack.md): any ZIP program reads it, but each byte has only one allowed
 * value, so that nothing hides between members and no flipped bit goes unseen. Members follow one another without a
 * gap, headers carry constants, and the central directory holds a SHA-256 over each member's stored bytes.
 */
import { concatBytes, equalBytes } from '../bytes.ts'
import { HASH_BYTES, type Hash } from '../hash.ts'
import { PackError } from '../pack-error.ts'
import { crc32 } from './crc32.ts'

/** Random access to a file. `read` answers with exactly `length` bytes. */
export interface RandomAccess {
  readonly size: number
  read(offset: number, length: number): Promise<Uint8Array>
}

/** Raw deflate data that was made piece by piece, of a member that is better never held whole. */
export interface Deflated {
  readonly parts: readonly Uint8Array[]
  /** SHA-256 over the parts. */
  readonly digest: Uint8Array
  /** Of what was deflated. */
  readonly size: number
  readonly crc: number
}

export interface ZipMember {
  readonly path: string
  readonly data: Uint8Array | Deflated
  /** Hashes do not compress. */
  readonly stored: boolean
}

/** A member as the central directory tells it. */
export interface ZipEntry {
  readonly path: string
  readonly stored: boolean
  readonly crc: number
  readonly packedSize: number
  readonly size: number
  readonly offset: number
  /** SHA-256 of the stored bytes. */
  readonly digest: Uint8Array
}

/**
 * Inflates raw deflate data of stated `size`. It throws when the data is damaged or longer, and never holds more than
 * `size` bytes. Node's zlib.inflateRawSync is several times faster than the stream that browsers have.
 */
export type Inflate = (packed: Uint8Array, size: number) => Uint8Array | Promise<Uint8Array>

/** Inflates with the DecompressionStream of browsers and Node. */
export const inflateWeb: Inflate = (packed, size) => transform(packed, new DecompressionStream('deflate-raw'), size)

const LOCAL = 0x04034b50
export const CENTRAL = 0x02014b50
export const END64 = 0x06064b50
const LOCATOR64 = 0x07064b50
export const END = 0x06054b50
export const LOCAL_BYTES = 30
export const CENTRAL_BYTES = 46
const ZIP64_EXTRA_BYTES = 12
const DIGEST_EXTRA = 0x4641
export const EXTRA_BYTES = ZIP64_EXTRA_BYTES + 4 + HASH_BYTES
export const END_BYTES = 56 + 20 + 22
const DATE_1980_01_01 = 0x0021
/** One member must fit the 32-bit sizes of its local header. */
export const MAX_MEMBER_BYTES = 0xffff_fffe

const PATH = /^[A-Za-z0-9_-][A-Za-z0-9._-]*(?:\/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$/

const ascii = new TextEncoder()

/** Compresses to raw deflate data. */
export interface Deflate {
  (data: Uint8Array): Promise<Uint8Array>
  /** CRC-32 as ZIP has it, where the platform computes it faster. */
  readonly crc32?: (data: Uint8Array) => number
}

/** Compresses with the CompressionStream of browsers and Node. */
export const deflateWeb: Deflate = (data) =>
  transform(data, new CompressionStream('deflate-raw'), Number.POSITIVE_INFINITY)

/** A member as it stands in the file. */
export interface PackedMember {
  readonly entry: ZipEntry
  readonly packed: readonly Uint8Array[]
}

/** Bytes of a member before it is deflated. */
export const sizeOf = (data: Uint8Array | Deflated): number => ('parts' in data ? data.size : data.length)

/**
 * Packs one member; it is held in memory twice, unless it was deflated before. Throws PackError for a path or size that
 * the format does not have.
 */
async function packMember(hash: Hash, { path, data, stored }: ZipMember, deflate: Deflate): Promise<PackedMember> {
  if (!isMemberPath(path)) throw new PackError('members', `not a member path: ${path}`)
  const size = sizeOf(data)
  if (size > MAX_MEMBER_BYTES) throw new PackError('too_large', `${path} has ${size} bytes`)
  if ('parts' in data) {
    const { crc, digest, parts } = data
    const packedSize = parts.reduce((sum, part) => sum + part.length, 0)
    return { packed: parts, entry: { path, stored: false, crc, packedSize, size, offset: 0, digest } }
  }
  const packed = stored ? data : await deflate(data)
  const digest = hash(packed).slice()
  const crc = (deflate.crc32 ?? crc32)(data)
  return { packed: [packed], entry: { path, stored, crc, packedSize: packed.length, size, offset: 0, digest } }
}

/** The bytes of the members one after another, without the directory: what a reader needs who goes on with a file. */
export async function* writeMembers(
  hash: Hash,
  members: AsyncIterable<ZipMember>,
  deflate: Deflate = deflateWeb,
): AsyncGenerator<Uint8Array> {
  for await (const member of members) {
    const { entry, packed } = await packMember(hash, member, deflate)
    yield localHeader(entry)
    yield* packed
  }
}

/** The ZIP file over the members, in their order, as chunks. */
export async function* writeZip(
  hash: Hash,
  members: AsyncIterable<ZipMember>,
  deflate: Deflate = deflateWeb,
): AsyncGenerator<Uint8Array> {
  const directory = new DirectoryWriter()
  for await (const member of members) {
    const { entry, packed } = await packMember(hash, member, deflate)
    yield localHeader(entry)
    yield* packed
    directory.add(entry)
  }
  yield* directory.finish()
}

/** Records are gathered in pieces: as an array each they would take several times their size. */
const PIECE_BYTES = 65_536

/** Gathers the directory while members are written. */
export class DirectoryWriter {
  private readonly pieces: Uint8Array[] = []
  private filled = PIECE_BYTES
  private size = 0
  private offset = 0
  private count = 0

  /** Members so far. */
  get members(): number {
    return this.count
  }

  /** Where the next member begins. */
  get end(): number {
    return this.offset
  }

  /** @returns the member's record, with the place where it begins */
  add(entry: ZipEntry): Uint8Array {
    const record = centralHeader({ ...entry, offset: this.offset })
    if (this.filled + record.length > PIECE_BYTES) {
      this.trim()
      this.pieces.push(new Uint8Array(PIECE_BYTES))
      this.filled = 0
    }
    this.pieces.at(-1)!.set(record, this.filled)
    this.filled += record.length
    this.size += record.length
    this.offset += LOCAL_BYTES + entry.path.length + entry.packedSize
    this.count++
    return record
  }

  /** The directory and the end of the file. */
  *finish(): Generator<Uint8Array> {
    this.trim()
    yield* this.pieces
    yield endRecords(this.count, this.size, this.offset)
  }

  private trim(): void {
    const last = this.pieces.pop()
    if (last !== undefined) this.pieces.push(last.subarray(0, this.filled))
  }
}

export function localHeader(entry: ZipEntry): Uint8Array {
  const name = ascii.encode(entry.path)
  const header = new Uint8Array(LOCAL_BYTES + name.length)
  const view = new DataView(header.buffer)
  view.setUint32(0, LOCAL, true)
  view.setUint16(4, 20, true)
  view.setUint16(8, entry.stored ? 0 : 8, true)
  view.setUint16(12, DATE_1980_01_01, true)
  view.setUint32(14, entry.crc, true)
  view.setUint32(18, entry.packedSize, true)
  view.setUint32(22, entry.size, true)
  view.setUint16(26, name.length, true)
  header.set(name, LOCAL_BYTES)
  return header
}

export function centralHeader(entry: ZipEntry): Uint8Array {
  const name = ascii.encode(entry.path)
  const header = new Uint8Array(CENTRAL_BYTES + name.length + EXTRA_BYTES)
  const view = new DataView(header.buffer)
  view.setUint32(0, CENTRAL, true)
  view.setUint16(4, 45, true)
  view.setUint16(6, 45, true)
  view.setUint16(10, entry.stored ? 0 : 8, true)
  view.setUint16(14, DATE_1980_01_01, true)
  view.setUint32(16, entry.crc, true)
  view.setUint32(20, entry.packedSize, true)
  view.setUint32(24, entry.size, true)
  view.setUint16(28, name.length, true)
  view.setUint16(30, EXTRA_BYTES, true)
  view.setUint32(42, 0xffffffff, true)
  header.set(name, CENTRAL_BYTES)
  const extra = CENTRAL_BYTES + name.length
  view.setUint16(extra, 1, true)
  view.setUint16(extra + 2, 8, true)
  setUint64(view, extra + 4, entry.offset)
  view.setUint16(extra + ZIP64_EXTRA_BYTES, DIGEST_EXTRA, true)
  view.setUint16(extra + ZIP64_EXTRA_BYTES + 2, HASH_BYTES, true)
  header.set(entry.digest, extra + ZIP64_EXTRA_BYTES + 4)
  return header
}

export function endRecords(members: number, directorySize: number, directoryOffset: number): Uint8Array {
  const end = new Uint8Array(END_BYTES)
  const view = new DataView(end.buffer)
  view.setUint32(0, END64, true)
  setUint64(view, 4, 44)
  view.setUint16(12, 45, true)
  view.setUint16(14, 45, true)
  setUint64(view, 24, members)
  setUint64(view, 32, members)
  setUint64(view, 40, directorySize)
  setUint64(view, 48, directoryOffset)
  view.setUint32(56, LOCATOR64, true)
  setUint64(view, 64, directoryOffset + directorySize)
  view.setUint32(72, 1, true)
  view.setUint32(76, END, true)
  view.setUint16(84, 0xffff, true)
  view.setUint16(86, 0xffff, true)
  view.setUint32(88, 0xffffffff, true)
  view.setUint32(92, 0xffffffff, true)
  return end
}

export function isMemberPath(path: string): boolean {
  return path.length <= 200 && PATH.test(path)
}

function setUint64(view: DataView, at: number, value: number): void {
  view.setBigUint64(at, BigInt(value), true)
}

/** Throws PackError `truncated` when the file ends before. */
export async function readExactly(file: RandomAccess, offset: number, length: number): Promise<Uint8Array> {
  const bytes = await file.read(offset, length)
  if (bytes.length !== length) throw new PackError('truncated', `${bytes.length} of ${length} bytes at ${offset}`)
  return bytes
}

/** The bytes of one member, inflated to exactly its stated size. Throws PackError. */
export async function readMember(
  hash: Hash,
  file: RandomAccess,
  entry: ZipEntry,
  limit: number,
  inflate: Inflate = inflateWeb,
): Promise<Uint8Array> {
  if (entry.size > limit) throw new PackError('too_large', `${entry.path} states ${entry.size} bytes, allowed ${limit}`)
  // Deflate never needs more than a few bytes per 16 KiB above the data: a larger one only wastes memory.
  if (entry.packedSize > entry.size + 1024 + entry.size / 1000)
    throw new PackError('too_large', `${entry.path} is padded`)
  const header = localHeader(entry)
  const bytes = await readExactly(file, entry.offset, header.length + entry.packedSize)
  if (!equalBytes(bytes.subarray(0, header.length), header)) {
    throw new PackError('damaged', `the header of ${entry.path} is changed`)
  }
  const packed = bytes.subarray(header.length)
  if (!equalBytes(hash(packed), entry.digest)) throw new PackError('damaged', `${entry.path} is changed`)
  const data = entry.stored ? packed : await inflateMember(packed, entry, inflate)
  // The digest over the stored bytes says more than the CRC-32, which is there for other ZIP programs.
  if (data.length !== entry.size) throw new PackError('damaged', `${entry.path} is changed`)
  return data
}

async function inflateMember(packed: Uint8Array, entry: ZipEntry, inflate: Inflate): Promise<Uint8Array> {
  try {
    return await inflate(packed, entry.size)
  } catch (error) {
    if (error instanceof PackError) throw error
    throw new PackError('damaged', `${entry.path} does not inflate`)
  }
}

async function transform(
  data: Uint8Array,
  stream: CompressionStream | DecompressionStream,
  limit: number,
): Promise<Uint8Array> {
  const writer = stream.writable.getWriter()
  // What goes wrong while writing shows when reading; here it would only be an unhandled rejection.
  writer.write(data as Uint8Array<ArrayBuffer>).catch(() => undefined)
  writer.close().catch(() => undefined)
  const parts: Uint8Array[] = []
  let length = 0
  const reader = stream.readable.getReader()
  for (let next = await reader.read(); !next.done; next = await reader.read()) {
    const part: Uint8Array = next.value
    length += part.length
    if (length > limit) {
      await reader.cancel()
      throw new PackError('too_large', 'a member inflates beyond its stated size')
    }
    parts.push(part)
  }
  return parts.length === 1 ? parts[0]! : concatBytes(parts)
}
