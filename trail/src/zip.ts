/**
 * The ZIP64 container of a pack (docs/spec/pack.md): any ZIP program reads it, but each byte has only one allowed
 * value, so that nothing hides between members and no flipped bit goes unseen. Members follow one another without a
 * gap, headers carry constants, and the central directory holds a SHA-256 over each member's stored bytes.
 */
import { concatBytes, equalBytes } from './bytes.ts'
import { crc32 } from './crc32.ts'
import { HASH_BYTES, type Hash } from './hash.ts'
import { PackError } from './pack-error.ts'

/** Random access to a file. `read` answers with exactly `length` bytes. */
export interface RandomAccess {
  readonly size: number
  read(offset: number, length: number): Promise<Uint8Array>
}

export interface ZipMember {
  readonly path: string
  readonly data: Uint8Array
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
const CENTRAL = 0x02014b50
const END64 = 0x06064b50
const LOCATOR64 = 0x07064b50
const END = 0x06054b50
const LOCAL_BYTES = 30
const CENTRAL_BYTES = 46
const ZIP64_EXTRA_BYTES = 12
const DIGEST_EXTRA = 0x4641
const EXTRA_BYTES = ZIP64_EXTRA_BYTES + 4 + HASH_BYTES
const END_BYTES = 56 + 20 + 22
const DATE_1980_01_01 = 0x0021
/** One member must fit the 32-bit sizes of its local header. */
export const MAX_MEMBER_BYTES = 0xffff_fffe
/** About a million members: far beyond any pack that can be read in one go. */
const MAX_DIRECTORY_BYTES = 256 * 2 ** 20

const PATH = /^[A-Za-z0-9_-][A-Za-z0-9._-]*(?:\/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$/

const ascii = new TextEncoder()
const fromAscii = new TextDecoder('latin1')

/** The ZIP file over the members, in their order, as chunks. Each member is held in memory once. */
export async function* writeZip(hash: Hash, members: AsyncIterable<ZipMember>): AsyncGenerator<Uint8Array> {
  const directory: Uint8Array[] = []
  let offset = 0
  for await (const { path, data, stored } of members) {
    if (!PATH.test(path) || path.length > 200) throw new PackError('members', `not a member path: ${path}`)
    if (data.length > MAX_MEMBER_BYTES) throw new PackError('too_large', `${path} has ${data.length} bytes`)
    const packed = stored ? data : await transform(data, new CompressionStream('deflate-raw'), Number.POSITIVE_INFINITY)
    const entry: ZipEntry = {
      path,
      stored,
      crc: crc32(data),
      packedSize: packed.length,
      size: data.length,
      offset,
      digest: hash(packed).slice(),
    }
    const header = localHeader(entry)
    yield header
    yield packed
    directory.push(centralHeader(entry))
    offset += header.length + packed.length
  }
  const central = concatBytes(directory)
  yield central
  yield endRecords(directory.length, central.length, offset)
}

function localHeader(entry: ZipEntry): Uint8Array {
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

function centralHeader(entry: ZipEntry): Uint8Array {
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

function endRecords(members: number, directorySize: number, directoryOffset: number): Uint8Array {
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

function setUint64(view: DataView, at: number, value: number): void {
  view.setBigUint64(at, BigInt(value), true)
}

/** Reads the directory at the end of the file. Throws PackError. */
export async function readDirectory(file: RandomAccess): Promise<ZipEntry[]> {
  if (!Number.isSafeInteger(file.size) || file.size < END_BYTES)
    throw new PackError('truncated', 'the file is too short')
  const end = await readExactly(file, file.size - END_BYTES, END_BYTES)
  const view = new DataView(end.buffer, end.byteOffset, end.byteLength)
  if (view.getUint32(0, true) !== END64 || view.getUint32(76, true) !== END) {
    throw new PackError('truncated', 'the file does not end as a pack ends')
  }
  const [members, size, offset] = [getUint64(view, 24), getUint64(view, 40), getUint64(view, 48)]
  if (!equalBytes(end, endRecords(members, size, offset)) || offset + size !== file.size - END_BYTES) {
    throw new PackError('damaged', 'the end of the file is not in its only form')
  }
  if (size > MAX_DIRECTORY_BYTES) throw new PackError('too_large', `the directory has ${size} bytes`)
  const entries = parseDirectory(await readExactly(file, offset, size), offset)
  if (entries.length !== members) throw new PackError('damaged', 'the directory counts its members wrongly')
  return entries
}

function getUint64(view: DataView, at: number): number {
  const value = view.getBigUint64(at, true)
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new PackError('damaged', 'a number in the directory is too large')
  return Number(value)
}

async function readExactly(file: RandomAccess, offset: number, length: number): Promise<Uint8Array> {
  const bytes = await file.read(offset, length)
  if (bytes.length !== length) throw new PackError('truncated', `${bytes.length} of ${length} bytes at ${offset}`)
  return bytes
}

function parseDirectory(bytes: Uint8Array, directoryOffset: number): ZipEntry[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const entries: ZipEntry[] = []
  const paths = new Set<string>()
  let offset = 0
  for (let at = 0; at < bytes.length; ) {
    const left = bytes.length - at
    const length = left < CENTRAL_BYTES ? 0 : CENTRAL_BYTES + view.getUint16(at + 28, true) + EXTRA_BYTES
    if (length === 0 || length > left) throw new PackError('damaged', 'the directory ends inside a member')
    const entry = parseCentral(bytes.subarray(at, at + length), offset)
    if (paths.has(entry.path)) throw new PackError('members', `${entry.path} is there twice`)
    paths.add(entry.path)
    entries.push(entry)
    offset += LOCAL_BYTES + entry.path.length + entry.packedSize
    at += length
  }
  if (offset !== directoryOffset) throw new PackError('damaged', 'the members do not fill the file')
  return entries
}

/** A member must begin where the one before ended; every other byte must be what the writer would have written. */
function parseCentral(bytes: Uint8Array, offset: number): ZipEntry {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const path = fromAscii.decode(bytes.subarray(CENTRAL_BYTES, bytes.length - EXTRA_BYTES))
  if (!PATH.test(path) || path.length > 200)
    throw new PackError('members', `not a member path: ${JSON.stringify(path)}`)
  const entry: ZipEntry = {
    path,
    stored: view.getUint16(10, true) === 0,
    crc: view.getUint32(16, true),
    packedSize: view.getUint32(20, true),
    size: view.getUint32(24, true),
    offset,
    digest: bytes.slice(bytes.length - HASH_BYTES),
  }
  if (!equalBytes(bytes, centralHeader(entry)))
    throw new PackError('damaged', `the directory entry of ${path} is changed`)
  return entry
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
