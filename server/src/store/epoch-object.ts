// The object that is stored before an epoch is signed (docs/spec/epoch-object.md): what the epoch says, the heads that
// changed, and every entry sealed under them since the epoch before, without payloads. A database that was restored
// from an older backup is brought up to its newest epoch from these.
import { pipeline, Readable } from 'node:stream'
import { createGunzip, createGzip } from 'node:zlib'
import { CATEGORIES, decodeControl, type Entry, toBase64 } from '@affidavit/trail'
import { BrokenEpochObject, FrameReader, FrameSeal, frame, jsonFrame, OBJECT_LINE, SEAL } from './epoch-frames.ts'

export { BrokenEpochObject } from './epoch-frames.ts'

/** Epochs have at most ten digits, so keys sort as numbers do. */
export const epochKey = (epoch: number): string => `epochs/${String(epoch).padStart(10, '0')}`

export interface EpochHeader {
  readonly epoch: number
  readonly origin: string
  /** Entries of the registry log before this epoch. */
  readonly before: number
  /** Texts of the entries that it appends, its own last. */
  readonly entries: readonly string[]
  /** T frames that follow. */
  readonly trails: number
}

/** A trail whose head changed. Its body is the checkpoint text of `size` and `root`. */
export interface EpochTrail {
  readonly slot: number
  /** 32 hex digits. */
  readonly trail: string
  readonly tenant: string
  readonly operator: boolean
  readonly name: string | null
  readonly policy: object
  readonly ordinal: number
  readonly shard: number
  /** Size in the epoch before; 0 when this is its first. */
  readonly from: number
  readonly size: number
  /** Base64. */
  readonly root: string
}

/** Entries of one trail, one after the other, as the store packs them. */
export interface PackedEntries {
  /** Which of the object's trails, from 0. */
  readonly place: number
  readonly first: number
  readonly count: number
  readonly records: Buffer
}

/** Everything of an entry but the trail, and the previous hash: the chain gives that. */
export type EpochEntry = Omit<Entry, 'trail' | 'previous'> & {
  /** Subject numbers of the database that wrote it, one per personal line. */
  readonly subjects: readonly number[]
}

// ─── Writing ────────────────────────────────────────────────────────────────────────────────────────────────────────

export interface EpochContent {
  readonly header: EpochHeader
  readonly trails: readonly EpochTrail[]
  /** In any order of trails; each trail's from `from` to `size` without a gap. */
  readonly entries: AsyncIterable<PackedEntries>
  /** Key ids (16 bytes) of subjects by number, all that are asked for. */
  readonly keyIds: (subjects: readonly number[]) => Promise<ReadonlyMap<number, Buffer>>
}

/** The object's bytes. The stream fails if an entry cannot be read or any is missing. */
export function writeEpochObject(secret: Uint8Array, content: EpochContent): Readable {
  const gzip = createGzip({ level: 1 })
  // The reader of the last stream learns of every error.
  pipeline(Readable.from(joined(frames(secret, content)), { objectMode: false }), gzip, () => {})
  return gzip
}

/** Bytes that are compressed at a time: each time is a job for a thread that all files wait for, too. */
const compressed_at_once = 64 * 1024

/** The same bytes in larger pieces. */
async function* joined(pieces: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let waiting: Buffer[] = []
  let bytes = 0
  for await (const piece of pieces) {
    waiting.push(piece)
    bytes += piece.length
    if (bytes < compressed_at_once) continue
    yield Buffer.concat(waiting)
    waiting = []
    bytes = 0
  }
  if (bytes > 0) yield Buffer.concat(waiting)
}

async function* frames(secret: Uint8Array, { header, trails, entries, keyIds }: EpochContent): AsyncGenerator<Buffer> {
  const seal = new FrameSeal()
  const sealed = (bytes: Buffer) => {
    seal.add(bytes)
    return bytes
  }
  yield sealed(Buffer.from(OBJECT_LINE))
  yield sealed(jsonFrame('H', header))
  for (const trail of trails) yield sealed(jsonFrame('T', trail))
  yield frame(SEAL, seal.mac(secret))
  const told = new Set<number>()
  const next = trails.map(({ from }) => from)
  let total = 0
  for await (const packed of entries) {
    if (next[packed.place] !== packed.first) throw new Error(`entries before ${packed.first} of a trail are missing`)
    next[packed.place] = packed.first + packed.count
    total += packed.count
    const subjects = [...subjectsOf(packed)].filter((subject) => !told.has(subject))
    if (subjects.length > 0) yield subjectFrame(subjects, await keyIds(subjects))
    for (const subject of subjects) told.add(subject)
    yield entryFrame(packed)
  }
  const short = trails.findIndex(({ size }, place) => next[place] !== size)
  if (short >= 0) throw new Error(`entries from ${next[short]} of trail ${trails[short]!.trail} are missing`)
  const end = Buffer.alloc(8)
  end.writeBigUInt64BE(BigInt(total))
  yield frame('Z', end)
}

function subjectFrame(subjects: readonly number[], keyIds: ReadonlyMap<number, Buffer>): Buffer {
  const content = Buffer.alloc(subjects.length * SUBJECT_BYTES)
  subjects.forEach((subject, n) => {
    content.writeBigInt64BE(BigInt(subject), n * SUBJECT_BYTES)
    content.set(keyIds.get(subject) ?? Buffer.alloc(16), n * SUBJECT_BYTES + 8)
  })
  return frame('S', content)
}

function entryFrame({ place, first, count, records }: PackedEntries): Buffer {
  const head = Buffer.alloc(ENTRIES_HEAD)
  head.writeUInt32BE(place)
  head.writeBigUInt64BE(BigInt(first), 4)
  head.writeUInt32BE(count, 12)
  return frame('N', Buffer.concat([head, records]))
}

// ─── Records ────────────────────────────────────────────────────────────────────────────────────────────────────────

const SUBJECT_BYTES = 24
const ENTRIES_HEAD = 16
const RECORD_HEAD = 16
const HASH = 32
/** Subject (8), persona (8), commitment (32), as in the column. */
const LINE = 48
const has_confidential = 1
const has_operator = 2
/** PostgreSQL counts time from 2000-01-01. */
const postgres_epoch_ms = Date.UTC(2000, 0, 1)

/**
 * One entry of affidavit.events (as `e`) as a record: sealed_at in microseconds since 2000-01-01 (8 bytes), category
 * (2; 0 is a control entry), length of the control line (2), number of personal lines (2), flags (2: 1 confidential,
 * 2 operator), facts commitment (32), the other commitments (32 each), control line, personal lines (48 each).
 */
export const record_sql = `timestamptz_send(e.sealed_at) || int2send(e.category)
  || int2send(coalesce(octet_length(e.control), 0)::smallint) || int2send((coalesce(octet_length(e.personal), 0) / 48)::smallint)
  || int2send(((e.confidential is not null)::int + (e.operator is not null)::int * 2)::smallint) || e.facts_commitment
  || coalesce(substring(e.confidential for 32), '') || coalesce(substring(e.operator for 32), '')
  || coalesce(convert_to(e.control, 'UTF8'), '') || coalesce(e.personal, '')`

interface Shape {
  readonly at: number
  readonly control: number
  readonly lines: number
  readonly flags: number
  /** Where its personal lines begin, and where the next record does. */
  readonly personal: number
  readonly end: number
}

function* shapes({ records, count }: Pick<PackedEntries, 'records' | 'count'>): Generator<Shape> {
  let at = 0
  for (let n = 0; n < count; n++) {
    if (at + RECORD_HEAD > records.length) throw new BrokenEpochObject('entries are cut short')
    const control = records.readUInt16BE(at + 10)
    const lines = records.readUInt16BE(at + 12)
    const flags = records.readUInt16BE(at + 14)
    const commitments = 1 + (flags & has_confidential) + (flags & has_operator) / has_operator
    const personal = at + RECORD_HEAD + commitments * HASH + control
    const end = personal + lines * LINE
    if (end > records.length) throw new BrokenEpochObject('entries are cut short')
    yield { at, control, lines, flags, personal, end }
    at = end
  }
  if (at !== records.length) throw new BrokenEpochObject('bytes stand behind the last entry')
}

function subjectsOf(packed: PackedEntries): Set<number> {
  const subjects = new Set<number>()
  for (const { personal, end } of shapes(packed)) {
    for (let at = personal; at < end; at += LINE) subjects.add(Number(packed.records.readBigInt64BE(at)))
  }
  return subjects
}

function decodeRecord(records: Buffer, shape: Shape, seq: number, keyIds: ReadonlyMap<number, string>): EpochEntry {
  const { at, control, lines, flags, personal } = shape
  let place = at + RECORD_HEAD
  const hash = () => {
    place += HASH
    return toBase64(records.subarray(place - HASH, place))
  }
  const facts = hash()
  const confidential = (flags & has_confidential) === 0 ? undefined : hash()
  const operator = (flags & has_operator) === 0 ? undefined : hash()
  const subjects = Array.from({ length: lines }, (_, n) => Number(records.readBigInt64BE(personal + n * LINE)))
  return {
    seq,
    sealedAt: new Date(Number(records.readBigInt64BE(at) / 1000n) + postgres_epoch_ms).toISOString(),
    body: bodyOf(records.readInt16BE(at + 8), records.toString('utf8', place, place + control)),
    facts,
    ...(confidential !== undefined && { confidential }),
    ...(operator !== undefined && { operator }),
    personal: subjects.map((subject, n) => ({
      key: keyIds.get(subject) ?? missingKeyId(subject),
      commitment: toBase64(records.subarray(personal + n * LINE + 16, personal + (n + 1) * LINE)),
    })),
    subjects,
  }
}

function missingKeyId(subject: number): never {
  throw new BrokenEpochObject(`subject ${subject} has no key id`)
}

function bodyOf(category: number, control: string): Entry['body'] {
  if (control !== '') return { control: decodeControl(control) }
  const event = CATEGORIES[category - 1]
  if (event === undefined) throw new BrokenEpochObject(`there is no category ${category}`)
  return { event }
}

// ─── Reading ────────────────────────────────────────────────────────────────────────────────────────────────────────

export interface EpochHead {
  readonly header: EpochHeader
  readonly trails: readonly EpochTrail[]
  /** Whether header and trails were written under this registry secret. */
  readonly genuine: boolean
}

/** What comes before the entries; the rest of the object is not read. @throws BrokenEpochObject */
export async function readEpochHead(object: Readable, secret: Uint8Array): Promise<EpochHead> {
  const reader = new FrameReader(inflated(object))
  try {
    return await readHead(reader, secret)
  } finally {
    await reader.close()
    object.destroy()
  }
}

async function readHead(reader: FrameReader, secret: Uint8Array): Promise<EpochHead> {
  const first = await reader.next()
  if (first?.type !== 'H') throw new BrokenEpochObject('the object has no header')
  const header = parse<EpochHeader>(first.content)
  const trails: EpochTrail[] = []
  for (;;) {
    const { type, content } = (await reader.next()) ?? cutShort()
    if (type === 'T') trails.push(parse<EpochTrail>(content))
    else if (type === SEAL && trails.length === header.trails)
      return { header, trails, genuine: reader.isAuthentic(content, secret) }
    else throw new BrokenEpochObject(`a frame ${JSON.stringify(type)} among ${header.trails} trails`)
  }
}

export interface EpochRun {
  readonly trail: EpochTrail
  /** One after the other. */
  readonly entries: readonly EpochEntry[]
}

export interface EpochReading extends EpochHead {
  /** Each trail's entries from `from` to `size` in order, trails interleaved. @throws BrokenEpochObject */
  runs(): AsyncGenerator<EpochRun>
}

/** The whole object as a stream: head first, then entries as they come. @throws BrokenEpochObject */
export async function readEpochObject(object: Readable, secret: Uint8Array): Promise<EpochReading> {
  const reader = new FrameReader(inflated(object))
  const head = await readHead(reader, secret)
  return { ...head, runs: () => readRuns(reader, head.trails) }
}

async function* readRuns(reader: FrameReader, trails: readonly EpochTrail[]): AsyncGenerator<EpochRun> {
  const keyIds = new Map<number, string>()
  const next = trails.map(({ from }) => from)
  let total = 0
  for (;;) {
    const { type, content } = (await reader.next()) ?? cutShort()
    if (type === 'Z') break
    if (type === 'S') addKeyIds(keyIds, content)
    else if (type === 'N') {
      const place = content.readUInt32BE(0)
      const first = Number(content.readBigUInt64BE(4))
      const count = content.readUInt32BE(12)
      const trail = trails[place]
      if (trail === undefined || next[place] !== first) throw new BrokenEpochObject(`entries out of order at ${first}`)
      next[place] = first + count
      total += count
      const records = content.subarray(ENTRIES_HEAD)
      const entries: EpochEntry[] = []
      for (const shape of shapes({ records, count }))
        entries.push(decodeRecord(records, shape, first + entries.length, keyIds))
      yield { trail, entries }
    } else throw new BrokenEpochObject(`a frame ${JSON.stringify(type)} among the entries`)
  }
  if (trails.some(({ size }, place) => next[place] !== size) || total !== trails.reduce(sumNew, 0))
    throw new BrokenEpochObject('entries are missing')
  // Only the file's end tells that it is whole.
  if ((await reader.next()) !== undefined) throw new BrokenEpochObject('something stands behind the end')
}

const sumNew = (sum: number, { from, size }: EpochTrail) => sum + size - from

function addKeyIds(keyIds: Map<number, string>, content: Buffer): void {
  for (let at = 0; at < content.length; at += SUBJECT_BYTES) {
    keyIds.set(Number(content.readBigInt64BE(at)), content.toString('hex', at + 8, at + SUBJECT_BYTES))
  }
}

function inflated(object: Readable): AsyncIterable<Uint8Array> {
  const gunzip = createGunzip()
  pipeline(object, gunzip, () => {})
  return {
    [Symbol.asyncIterator]: () => {
      const chunks = gunzip[Symbol.asyncIterator]()
      return {
        next: async () => {
          try {
            return await chunks.next()
          } catch (error) {
            const { code } = error as NodeJS.ErrnoException
            throw code?.startsWith('Z_') ? new BrokenEpochObject('the object is no whole gzip file') : error
          }
        },
        return: async () => {
          gunzip.destroy()
          return { done: true, value: undefined }
        },
      }
    },
  }
}

function parse<T>(content: Buffer): T {
  try {
    return JSON.parse(content.toString('utf8')) as T
  } catch {
    throw new BrokenEpochObject('a frame holds no JSON')
  }
}

function cutShort(): never {
  throw new BrokenEpochObject('the object ends early')
}
