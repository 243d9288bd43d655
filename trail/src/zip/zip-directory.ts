/**
 * The directory at the end of a pack, read through a window: a pack of a hundred million events has nearly a million
 * members, and a verifier must not hold them all. One walk checks every record and remembers each 256th place.
 */
import { equalBytes } from '../bytes.ts'
import { HASH_BYTES } from '../hash.ts'
import { PackError } from '../pack-error.ts'
import {
  CENTRAL_BYTES,
  centralHeader,
  END,
  END_BYTES,
  END64,
  EXTRA_BYTES,
  endRecords,
  isMemberPath,
  LOCAL_BYTES,
  type RandomAccess,
  readExactly,
  type ZipEntry,
} from './zip.ts'

/** Members between two remembered places, and read together. */
const BLOCK = 256
/** A record has at most 46 + 200 + 48 bytes. */
const LONGEST_RECORD = CENTRAL_BYTES + 200 + EXTRA_BYTES
const WINDOW_BYTES = BLOCK * LONGEST_RECORD
/** Bundles, contents and tiles are read side by side. */
const KEPT_BLOCKS = 4

const fromAscii = new TextDecoder('latin1')

interface Block {
  /** In the file. */
  readonly at: number
  /** Where its first member begins. */
  readonly offset: number
}

export class Directory {
  /** Members, as the end record counts them. */
  readonly count: number
  private readonly file: RandomAccess
  private readonly start: number
  private readonly size: number
  private readonly blocks: Block[] = []
  private readonly kept = new Map<number, Promise<readonly ZipEntry[]>>()

  private constructor(file: RandomAccess, count: number, start: number, size: number) {
    this.file = file
    this.count = count
    this.start = start
    this.size = size
  }

  /** Reads the end of the file. Throws PackError. */
  static async open(file: RandomAccess): Promise<Directory> {
    if (!Number.isSafeInteger(file.size) || file.size < END_BYTES) throw await endless(file, false)
    const end = await readExactly(file, file.size - END_BYTES, END_BYTES)
    const view = new DataView(end.buffer, end.byteOffset, end.byteLength)
    const endsAsZip = view.getUint32(76, true) === END
    if (view.getUint32(0, true) !== END64 || !endsAsZip) throw await endless(file, endsAsZip)
    const [members, size, offset] = [getUint64(view, 24), getUint64(view, 40), getUint64(view, 48)]
    if (!equalBytes(end, endRecords(members, size, offset)) || offset + size !== file.size - END_BYTES) {
      throw new PackError('damaged', 'the end of the file is not in its only form')
    }
    if (members * (CENTRAL_BYTES + 1 + EXTRA_BYTES) > size) {
      throw new PackError('damaged', 'the directory counts its members wrongly')
    }
    return new Directory(file, members, offset, size)
  }

  /** The first member, before the walk. Throws PackError. */
  async first(): Promise<ZipEntry> {
    const bytes = await readExactly(this.file, this.start, Math.min(this.size, LONGEST_RECORD))
    const length = recordLength(bytes, 0)
    if (length === undefined) throw endsInside()
    return parseCentral(bytes.subarray(0, length), 0)
  }

  /** Walks over all members in order; must have been done before `entry`. Throws PackError, and what `visit` throws. */
  async walk(visit: (entry: ZipEntry, ordinal: number) => void): Promise<void> {
    let offset = 0
    let ordinal = 0
    const end = this.start + this.size
    for (let at = this.start; at < end; ) {
      const bytes = await readExactly(this.file, at, Math.min(WINDOW_BYTES, end - at))
      let used = 0
      for (let length = recordLength(bytes, 0); length !== undefined; length = recordLength(bytes, used)) {
        if (ordinal % BLOCK === 0) this.blocks.push({ at: at + used, offset })
        const entry = parseCentral(bytes.subarray(used, used + length), offset)
        visit(entry, ordinal++)
        offset += LOCAL_BYTES + entry.path.length + entry.packedSize
        used += length
      }
      if (used === 0) throw endsInside()
      at += used
    }
    if (offset !== this.start) throw new PackError('damaged', 'the members do not fill the file')
    if (ordinal !== this.count) throw new PackError('damaged', 'the directory counts its members wrongly')
  }

  /** The member at a place in the order. */
  async entry(ordinal: number): Promise<ZipEntry> {
    const number = Math.floor(ordinal / BLOCK)
    let block = this.kept.get(number)
    if (block === undefined) {
      block = this.read(number)
      this.kept.set(number, block)
      if (this.kept.size > KEPT_BLOCKS) this.kept.delete(this.kept.keys().next().value!)
    }
    return (await block)[ordinal % BLOCK]!
  }

  private async read(number: number): Promise<readonly ZipEntry[]> {
    const { at, offset } = this.blocks[number]!
    const end = this.blocks[number + 1]?.at ?? this.start + this.size
    const bytes = await readExactly(this.file, at, end - at)
    const entries: ZipEntry[] = []
    let from = offset
    for (let used = 0; used < bytes.length; ) {
      const length = recordLength(bytes, used)
      // The walk saw whole records here: the file is being changed.
      if (length === undefined) throw endsInside()
      const entry = parseCentral(bytes.subarray(used, used + length), from)
      entries.push(entry)
      from += LOCAL_BYTES + entry.path.length + entry.packedSize
      used += length
    }
    return entries
  }
}

/**
 * The members of a directory as far as it was written: records one after another from the first member on, of which the
 * last may be torn. @returns them, and how many bytes they fill
 */
export function writtenRecords(bytes: Uint8Array): { readonly entries: ZipEntry[]; readonly used: number } {
  const entries: ZipEntry[] = []
  let [used, offset] = [0, 0]
  for (let length = recordLength(bytes, 0); length !== undefined; length = recordLength(bytes, used)) {
    try {
      entries.push(parseCentral(bytes.subarray(used, used + length), offset))
    } catch (error) {
      if (error instanceof PackError) break
      throw error
    }
    const { path, packedSize } = entries.at(-1)!
    offset += LOCAL_BYTES + path.length + packedSize
    used += length
  }
  return { entries, used }
}

const beginning = new Uint8Array([0x50, 0x4b, 3, 4])

/** A file without a pack's end: was it cut off, or is it none? */
async function endless(file: RandomAccess, endsAsZip: boolean): Promise<PackError> {
  if (file.size === 0) return new PackError('truncated', 'the file is empty')
  const length = Math.min(file.size, beginning.length)
  const start = await readExactly(file, 0, length)
  if (!equalBytes(start, beginning.subarray(0, length)))
    return new PackError('not_a_pack', 'the file is no evidence pack: it does not begin as one')
  if (endsAsZip) return new PackError('not_a_pack', 'the file is a ZIP file, but was not written as an evidence pack')
  return new PackError('truncated', 'the file does not end as a pack ends')
}

function endsInside(): PackError {
  return new PackError('damaged', 'the directory ends inside a member')
}

/** Bytes of the record at `at`, or undefined when they are not all there. */
function recordLength(bytes: Uint8Array, at: number): number | undefined {
  if (bytes.length - at < CENTRAL_BYTES) return undefined
  const length = CENTRAL_BYTES + bytes[at + 28]! + bytes[at + 29]! * 256 + EXTRA_BYTES
  return at + length <= bytes.length ? length : undefined
}

/**
 * One record of the directory. A member must begin at `offset`, where the one before ended; every other byte must be
 * what the writer would have written. Throws PackError.
 */
export function parseCentral(bytes: Uint8Array, offset: number): ZipEntry {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const path = fromAscii.decode(bytes.subarray(CENTRAL_BYTES, bytes.length - EXTRA_BYTES))
  if (!isMemberPath(path)) throw new PackError('members', `not a member path: ${JSON.stringify(path.slice(0, 200))}`)
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

function getUint64(view: DataView, at: number): number {
  const value = view.getBigUint64(at, true)
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new PackError('damaged', 'a number in the directory is too large')
  return Number(value)
}
