// Encodes whole batches as one statement parameter in PostgreSQL's binary format. `pg` sends a Buffer as a binary
// parameter, so `$1::affidavit.sealed_row[]` can carry a thousand rows of two dozen columns, a nested array included,
// without a text literal being written here and parsed there.
//
// Formats: array_recv and record_recv in PostgreSQL's arrayfuncs.c and rowtypes.c.
//
//   array      int32 dimensions (0 or 1) · int32 has-null flag · int32 element type · int32 length · int32 lower bound,
//              then per element int32 size (−1: null) and its bytes
//   composite  int32 columns, then per column int32 type · int32 size (−1: null) · bytes
//
// An encoder owns one buffer and reuses it: what `finish` returns is valid until the next `reset`. A value that its type
// cannot hold throws RangeError, for every caller has validated before.

import type { Chunks } from './chunks.ts'
import type { RowType } from './row-type.ts'

/** Type numbers, fixed in PostgreSQL's pg_type.dat. */
export const oid = {
  bytea: 17,
  int8: 20,
  int2: 21,
  int4: 23,
  text: 25,
  int4Array: 1007,
  timestamptz: 1184,
  uuid: 2950,
} as const

const epoch_2000_ms = 946_684_800_000
const two32 = 4_294_967_296

/** A growable buffer of big-endian values. */
class Growing {
  protected buffer: Buffer
  protected view: DataView
  protected at = 0

  constructor(capacity: number) {
    this.buffer = Buffer.allocUnsafeSlow(capacity)
    this.view = new DataView(this.buffer.buffer)
  }

  /** Makes room for `size` more bytes; every write below relies on it having been called. */
  protected room(size: number): void {
    if (this.at + size <= this.buffer.length) return
    const grown = Buffer.allocUnsafeSlow(Math.max(this.buffer.length * 2, this.at + size))
    this.buffer.copy(grown, 0, 0, this.at)
    this.buffer = grown
    this.view = new DataView(grown.buffer)
  }

  protected put32(value: number): void {
    this.view.setInt32(this.at, value)
    this.at += 4
  }

  /** Any integer up to 2^53 either way, as two's complement. */
  protected put64(value: number): void {
    const high = Math.floor(value / two32)
    this.view.setInt32(this.at, high)
    this.view.setUint32(this.at + 4, value - high * two32)
    this.at += 8
  }

  /** milliseconds × 1000 exceeds 2^53 from the year 2255 on, so it is multiplied in two halves. */
  protected putMicroseconds(since_2000_ms: number): void {
    const high = Math.floor(since_2000_ms / two32)
    const low = (since_2000_ms - high * two32) * 1000
    const carry = Math.floor(low / two32)
    this.view.setInt32(this.at, high * 1000 + carry)
    this.view.setUint32(this.at + 4, low - carry * two32)
    this.at += 8
  }

  protected putBytes(bytes: Uint8Array): void {
    this.buffer.set(bytes, this.at)
    this.at += bytes.length
  }
}

/** Values as they stand in arrays and composites: a size, then the bytes; null is the size −1. */
abstract class Values extends Growing {
  /** Called before each value with its type and an upper bound of its encoded size. */
  protected abstract begin(type: number, size: number): void
  protected nulls = 0

  protected null(type: number): void {
    this.begin(type, 4)
    this.put32(-1)
    this.nulls++
  }

  int2(value: number | null) {
    if (value === null) return this.null(oid.int2)
    if ((value << 16) >> 16 !== value) throw new RangeError(`${value} is no int2`)
    this.begin(oid.int2, 6)
    this.put32(2)
    this.view.setInt16(this.at, value)
    this.at += 2
  }

  int4(value: number | null) {
    if (value === null) return this.null(oid.int4)
    if ((value | 0) !== value) throw new RangeError(`${value} is no int4`)
    this.begin(oid.int4, 8)
    this.put32(4)
    this.put32(value)
  }

  int8(value: number | null) {
    if (value === null) return this.null(oid.int8)
    if (!Number.isSafeInteger(value)) throw new RangeError(`${value} is no safe integer`)
    this.begin(oid.int8, 12)
    this.put32(8)
    this.put64(value)
  }

  /** @param ms integer milliseconds since 1970, years −4712 to 287396 as in JavaScript's own Date */
  timestamptz(ms: number | null) {
    if (ms === null) return this.null(oid.timestamptz)
    if (!(Number.isInteger(ms) && Math.abs(ms) <= 8.64e15)) throw new RangeError(`${ms} is no time in milliseconds`)
    this.begin(oid.timestamptz, 12)
    this.put32(8)
    this.putMicroseconds(ms - epoch_2000_ms)
  }

  uuid(value: Uint8Array | null) {
    if (value === null) return this.null(oid.uuid)
    if (value.length !== 16) throw new RangeError(`${value.length} bytes are no uuid`)
    this.begin(oid.uuid, 20)
    this.put32(16)
    this.putBytes(value)
  }

  /** A uuid as 16 latin1 characters, as a MAC is at hand. */
  uuidLatin1(value: string | null) {
    if (value === null) return this.null(oid.uuid)
    if (value.length !== 16) throw new RangeError(`${value.length} characters are no uuid`)
    this.begin(oid.uuid, 20)
    this.put32(16)
    const { buffer } = this
    for (let n = 0; n < 16; n++) buffer[this.at + n] = value.charCodeAt(n)
    this.at += 16
  }

  /** A 64-bit value as 8 latin1 characters, most significant first. */
  int8Latin1(value: string | null) {
    if (value === null) return this.null(oid.int8)
    if (value.length !== 8) throw new RangeError(`${value.length} characters are no int8`)
    this.begin(oid.int8, 12)
    this.put32(8)
    const { buffer } = this
    for (let n = 0; n < 8; n++) buffer[this.at + n] = value.charCodeAt(n)
    this.at += 8
  }

  /** 32 bytes that are at hand as base64. */
  hash(base64: string): void {
    this.begin(oid.bytea, 36)
    this.put32(32)
    this.buffer.write(base64, this.at, 'base64')
    this.at += 32
  }

  /** @param length how many of the bytes: a view for each of a thousand short values costs more than they do */
  bytea(value: Uint8Array | null, length: number = value?.length ?? 0) {
    if (value === null) return this.null(oid.bytea)
    this.begin(oid.bytea, length + 4)
    this.put32(length)
    if (length === value.length) return this.putBytes(value)
    const { buffer } = this
    for (let n = 0; n < length; n++) buffer[this.at + n] = value[n]!
    this.at += length
  }

  /** A string, or its UTF-8 bytes where they are at hand. PostgreSQL refuses NUL. */
  text(value: string | Uint8Array | null) {
    if (value === null) return this.null(oid.text)
    if (typeof value !== 'string') {
      this.begin(oid.text, value.length + 4)
      this.put32(value.length)
      this.putBytes(value)
      return
    }
    this.begin(oid.text, value.length * 3 + 4)
    const size = this.buffer.write(value, this.at + 4, 'utf8')
    this.put32(size)
    this.at += size
  }

  /** A nested int[] of the first `count` elements. */
  int4Array(values: Int32Array, count: number): void {
    const size = count === 0 ? 12 : 20 + 8 * count
    this.begin(oid.int4Array, size + 4)
    this.put32(size)
    this.put32(count === 0 ? 0 : 1)
    this.put32(0)
    this.put32(oid.int4)
    if (count === 0) return
    this.put32(count)
    this.put32(1)
    const { view } = this
    let at = this.at
    for (let n = 0; n < count; n++) {
      view.setInt32(at, 4)
      view.setInt32(at + 4, values[n]!)
      at += 8
    }
    this.at = at
  }
}

const array_header_bytes = 20

/** Fills in an array's header once its length and nulls are known. */
function arrayHeader(view: DataView, type: number, count: number, nulls: boolean): void {
  view.setInt32(0, count === 0 ? 0 : 1)
  view.setInt32(4, nulls ? 1 : 0)
  view.setInt32(8, type)
  view.setInt32(12, count)
  view.setInt32(16, 1)
}

/** One parameter of type `element[]`: call the method of that one type per element, then `finish`. */
export class ArrayParameter extends Values {
  readonly #element: number
  #count = 0

  constructor(element: number, capacity = 1024) {
    super(Math.max(capacity, array_header_bytes))
    this.#element = element
    this.at = array_header_bytes
  }

  get count(): number {
    return this.#count
  }

  reset(): this {
    this.at = array_header_bytes
    this.#count = 0
    this.nulls = 0
    return this
  }

  finish(): Buffer {
    arrayHeader(this.view, this.#element, this.#count, this.nulls > 0)
    return this.buffer.subarray(0, this.#count === 0 ? 12 : this.at)
  }

  protected override begin(type: number, size: number): void {
    if (type !== this.#element) throw new TypeError(`type ${type} in an array of type ${this.#element}`)
    this.room(size)
    this.#count++
  }
}

/**
 * One parameter of type `composite[]`: per row `row()`, then one call per column in the type's order, then `finish`.
 * The composite's own type number differs between databases; ask for it with `rowType`.
 */
export class RowsParameter extends Values {
  readonly #type: number
  readonly #columns: readonly number[]
  #count = 0
  #column: number
  #start = 0

  constructor(type: RowType, capacity = 1 << 20) {
    super(Math.max(capacity, array_header_bytes))
    this.#type = type.oid
    this.#columns = type.columns
    this.#column = type.columns.length
    this.at = array_header_bytes
  }

  get count(): number {
    return this.#count
  }

  reset(): this {
    this.at = array_header_bytes
    this.#count = 0
    this.#column = this.#columns.length
    return this
  }

  row(): void {
    this.#endRow()
    this.room(8)
    this.#start = this.at
    this.at += 4
    this.put32(this.#columns.length)
    this.#column = 0
    this.#count++
  }

  /**
   * A row that a RowEncoder made, copied as it is.
   * @returns where its bytes begin in what `finish` returns: the caller may fill in columns of fixed size
   */
  encoded({ chunk, at, rowLength }: { chunk: Buffer; at: number; rowLength: number }): number {
    this.#endRow()
    this.room(rowLength + 4)
    this.#start = this.at
    this.at += 4
    chunk.copy(this.buffer, this.at, at, at + rowLength)
    this.at += rowLength
    this.#count++
    return this.#start + 4
  }

  finish(): Buffer {
    this.#endRow()
    arrayHeader(this.view, this.#type, this.#count, false)
    return this.buffer.subarray(0, this.#count === 0 ? 12 : this.at)
  }

  protected override begin(type: number, size: number): void {
    const expected = this.#columns[this.#column++]
    if (type !== expected) throw new TypeError(`column ${this.#column} has type ${expected}, not ${type}`)
    this.room(size + 4)
    this.put32(type)
  }

  #endRow(): void {
    if (this.#column !== this.#columns.length)
      throw new TypeError(`a row of ${this.#column} columns instead of ${this.#columns.length}`)
    if (this.#count > 0) this.view.setInt32(this.#start, this.at - this.#start - 4)
  }
}

/** One row of a composite, kept until its batch is put together: `start()`, one call per column, then `take`. */
export class RowEncoder extends Values {
  readonly #columns: readonly number[]
  #column = 0

  constructor(columns: readonly number[], capacity = 16_384) {
    super(capacity)
    this.#columns = columns
  }

  start(): this {
    this.at = 0
    this.put32(this.#columns.length)
    this.#column = 0
    return this
  }

  /** A copy of the row's bytes, followed by ASCII text of the caller's. */
  take(chunks: Chunks, text: string): { chunk: Buffer; at: number; rowLength: number; length: number } {
    if (this.#column !== this.#columns.length)
      throw new TypeError(`a row of ${this.#column} columns instead of ${this.#columns.length}`)
    const rowLength = this.at
    const length = rowLength + text.length
    const { chunk, at } = chunks.take(length)
    this.buffer.copy(chunk, at, 0, rowLength)
    chunk.write(text, at + rowLength, 'latin1')
    return { chunk, at, rowLength, length }
  }

  protected override begin(type: number, size: number): void {
    const expected = this.#columns[this.#column++]
    if (type !== expected) throw new TypeError(`column ${this.#column} has type ${expected}, not ${type}`)
    this.room(size + 4)
    this.put32(type)
  }
}
