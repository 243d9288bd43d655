// The row of one event in the binary format of `affidavit.sealed_row`, made as soon as the event is prepared: what waits
// to be sealed is then one buffer instead of a graph of objects, which thousands of waiting events would make the
// garbage collector walk again and again. Columns of fixed size stand first, so that a lane fills in place and hash
// without looking at the rest.
import { oid, RowEncoder } from './binary.ts'
import { Chunks } from './chunks.ts'

/** What is known of an event's row before it is sealed. Byte layouts: migrations/0001_ground.sql. */
export interface SealedColumns {
  readonly trail: number
  readonly tenant: number
  readonly shard: number
  /** 16 bytes. */
  readonly factsSalt: Uint8Array
  /** Keyed hash, 16 bytes as latin1 text; null for control entries. */
  readonly id: string | null
  /** Keyed hash, 8 bytes as latin1 text; null where no client gave the id. */
  readonly bodyDigest: string | null
  /** Milliseconds since 1970. */
  readonly occurredAt: number
  readonly actor: number | null
  readonly action: number | null
  readonly category: number
  readonly outcome: number
  readonly flags: number
  /** Base64. */
  readonly factsCommitment: string
  readonly facts: string
  /** Its first `personalLength` bytes; null where there is no line. */
  readonly personal: Uint8Array | null
  readonly personalLength: number
  readonly confidential: Buffer | null
  readonly operator: Buffer | null
  readonly control: string | null
  /** Null for control entries. */
  readonly terms: SearchTerms | null
}

/** Keyed 32-bit hashes. */
export interface SearchTerms {
  readonly terms: Int32Array
  /** How many of the elements count. */
  readonly count: number
}

/** Types of the columns of `affidavit.sealed_row`, in order. */
export const sealedRowColumns: readonly number[] = [
  oid.int8, // seq
  oid.bytea, // hash
  oid.int8, // position
  oid.uuid, // facts_salt
  oid.uuid, // id
  oid.int8, // body
  oid.timestamptz, // occurred_at
  oid.int8, // actor
  oid.int4, // trail
  oid.int4, // tenant
  oid.int4, // action
  oid.int2, // shard
  oid.int2, // category
  oid.int2, // outcome
  oid.int2, // flags
  oid.bytea, // facts_commitment
  oid.text, // facts
  oid.bytea, // personal
  oid.bytea, // confidential
  oid.bytea, // operator
  oid.text, // control
  oid.int4Array, // terms
]

/** Where the leading columns lie in a row: int32 column count, then per column int32 type, int32 size, bytes. */
const seqAt = 12
const hashAt = 28
const positionAt = 68
const factsSaltAt = 84
const bodyAt = 132

const encoder = new RowEncoder(sealedRowColumns)
const chunks = new Chunks()
const noHash = Buffer.alloc(32)
const noTerms = new Int32Array(0)

/** Bytes that lie in a larger buffer: thousands of events wait, and a Buffer each would be the larger part of them. */
export interface SealedBytes {
  readonly chunk: Buffer
  readonly at: number
  readonly rowLength: number
  /** Of the row and the content lines behind it. */
  readonly length: number
}

/** The row, with zeros for seq, hash and position, followed by the entry's content lines (ASCII). */
export function encodeSealedRow(columns: SealedColumns, entryContent: string): SealedBytes {
  encoder.start()
  encoder.int8(0)
  encoder.bytea(noHash)
  encoder.int8(0)
  encoder.uuid(columns.factsSalt)
  encoder.uuidLatin1(columns.id)
  encoder.int8Latin1(columns.bodyDigest)
  encoder.timestamptz(columns.occurredAt)
  encoder.int8(columns.actor)
  encoder.int4(columns.trail)
  encoder.int4(columns.tenant)
  encoder.int4(columns.action)
  encoder.int2(columns.shard)
  encoder.int2(columns.category)
  encoder.int2(columns.outcome)
  encoder.int2(columns.flags)
  encoder.hash(columns.factsCommitment)
  encoder.text(columns.facts)
  encoder.bytea(columns.personal, columns.personalLength)
  encoder.bytea(columns.confidential)
  encoder.bytea(columns.operator)
  encoder.text(columns.control)
  const { terms } = columns
  if (terms === null) encoder.int4Array(noTerms, 0)
  else encoder.int4Array(terms.terms, terms.count)
  return encoder.take(chunks, entryContent)
}

/**
 * Fills in an event's place.
 * @param at where the row begins in `buffer`
 * @param hash base64 of 32 bytes
 * @param position within the shard
 */
export function fillPlace(buffer: Buffer, at: number, seq: number, hash: string, position: number): void {
  write64(buffer, at + seqAt, seq)
  buffer.write(hash, at + hashAt, 'base64')
  write64(buffer, at + positionAt, position)
}

function write64(buffer: Buffer, at: number, value: number): void {
  buffer.writeUInt32BE(Math.floor(value / 0x1_0000_0000), at)
  buffer.writeUInt32BE(value % 0x1_0000_0000, at + 4)
}

/** The facts salt of a row, 32 hex digits. */
export function factsSaltOf({ chunk, at }: SealedBytes): string {
  return chunk.toString('hex', at + factsSaltAt, at + factsSaltAt + 16)
}

/** The body digest of an event's row, as PostgreSQL prints it; null where no client gave the id. */
export function bodyDigestOf({ chunk, at }: SealedBytes): string | null {
  return chunk.readInt32BE(at + bodyAt - 4) < 0 ? null : String(chunk.readBigInt64BE(at + bodyAt))
}
