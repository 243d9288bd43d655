/**
 * Cuts an input into the JSON texts of its records, in constant memory: lines of NDJSON, or the elements of the one
 * array of a document (`[…]`, or CloudTrail's and Azure's `{"Records": […]}`), several such documents in a row included.
 * Only bytes are looked at: structural characters are ASCII and never part of a longer UTF-8 sequence.
 */

import { isUtf8 } from 'node:buffer'
import { type ByteSource, firstBytes, plainBytes, prepend } from './bytes.ts'
import type { RawRecord } from './item.ts'

export interface ReadOptions {
  /** Called with the number of input bytes, still zipped, as they are read. */
  onRead?: ((bytes: number) => void) | undefined
  /** Longest record in bytes; a longer one is reported and passed over. Default 1 MiB, the server refuses 320 KiB. */
  maxRecordBytes?: number
}

const ENOUGH_TO_TELL = 4096
const DOCUMENT = /^\s*(?:\[|\{\s*"[Rr]ecords"\s*:\s*\[)/
const LF = 0x0a

/** Reads records from plain or gzipped bytes. Damage to the stream itself ends it with one last failed record. */
export async function* readRecords(input: ByteSource, options: ReadOptions = {}): AsyncGenerator<RawRecord> {
  const { head, rest } = await firstBytes(withoutMark(plainBytes(input, options.onRead)), ENOUGH_TO_TELL)
  const chunks = prepend(head, rest)
  const cutter = DOCUMENT.test(head.toString('latin1', 0, ENOUGH_TO_TELL))
    ? new ElementCutter(options.maxRecordBytes ?? 1 << 20)
    : new LineCutter(options.maxRecordBytes ?? 1 << 20)
  try {
    for await (const chunk of chunks) yield* cutter.push(chunk)
  } catch (error) {
    yield { place: cutter.place(), ok: false, reason: `the input cannot be read further: ${reasonOf(error)}` }
    return
  }
  yield* cutter.end()
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/** Drops a byte order mark (RFC 8259 §8.1 lets readers ignore it). */
async function* withoutMark(chunks: AsyncGenerator<Buffer>): AsyncGenerator<Buffer> {
  const { head, rest } = await firstBytes(chunks, 3)
  const marked = head[0] === 0xef && head[1] === 0xbb && head[2] === 0xbf
  yield* prepend(marked ? head.subarray(3) : head, rest)
}

/** The bytes of one record, collected over chunks; forgets them when they become too many. */
class Gathered {
  readonly #max: number
  #parts: Buffer[] = []
  #bytes = 0

  constructor(max: number) {
    this.#max = max
  }

  add(part: Buffer): void {
    this.#bytes += part.length
    if (this.#bytes > this.#max) this.#parts = []
    else this.#parts.push(part)
  }

  take(place: RawRecord['place']): RawRecord {
    const bytes = this.#bytes
    const whole = this.#parts.length === 1 ? this.#parts[0]! : Buffer.concat(this.#parts)
    this.#parts = []
    this.#bytes = 0
    if (bytes > this.#max) return { place, ok: false, reason: `longer than ${this.#max} bytes` }
    if (!isUtf8(whole)) return { place, ok: false, reason: 'not valid UTF-8' }
    return { place, ok: true, text: whole.toString('utf8').trim() }
  }
}

/** One record a line; blank lines are passed over but counted. */
class LineCutter {
  readonly #line: Gathered
  #number = 1

  constructor(maxBytes: number) {
    this.#line = new Gathered(maxBytes)
  }

  place(): RawRecord['place'] {
    return { unit: 'line', number: this.#number }
  }

  *push(chunk: Buffer): Generator<RawRecord> {
    let start = 0
    for (let end = chunk.indexOf(LF); end !== -1; end = chunk.indexOf(LF, start)) {
      this.#line.add(chunk.subarray(start, end))
      yield* this.end()
      this.#number++
      start = end + 1
    }
    if (start < chunk.length) this.#line.add(chunk.subarray(start))
  }

  *end(): Generator<RawRecord> {
    const record = this.#line.take(this.place())
    if (!record.ok || record.text !== '') yield record
  }
}

/**
 * The objects inside the array. What stands around them (brackets, commas, other members of the document) carries no
 * event and is passed over; a `{` directly inside an array that is not itself inside a record begins a record.
 */
class ElementCutter {
  readonly #element: Gathered
  #number = 0
  /** Brackets open around the records: '[' and '{'. */
  #outer: string[] = []
  /** Brackets open inside the present record. */
  #depth = 0
  #inString = false
  #escaped = false

  constructor(maxBytes: number) {
    this.#element = new Gathered(maxBytes)
  }

  place(): RawRecord['place'] {
    return { unit: 'record', number: this.#depth > 0 ? this.#number : this.#number + 1 }
  }

  *push(chunk: Buffer): Generator<RawRecord> {
    let start = 0
    for (let i = 0; i < chunk.length; i++) {
      const byte = chunk[i]!
      if (this.#inString) {
        if (this.#escaped) this.#escaped = false
        else if (byte === 0x5c) this.#escaped = true
        else if (byte === 0x22) this.#inString = false
      } else if (byte === 0x22) this.#inString = true
      else if (byte === 0x7b || byte === 0x5b) {
        if (this.#depth === 0 && byte === 0x7b && this.#outer.at(-1) === '[') {
          start = i
          this.#number++
          this.#depth = 1
        } else if (this.#depth > 0) this.#depth++
        else this.#outer.push(byte === 0x7b ? '{' : '[')
      } else if (byte === 0x7d || byte === 0x5d) {
        if (this.#depth === 0) this.#outer.pop()
        else if (--this.#depth === 0) {
          this.#element.add(chunk.subarray(start, i + 1))
          yield this.#element.take({ unit: 'record', number: this.#number })
        }
      }
    }
    if (this.#depth > 0) this.#element.add(chunk.subarray(start))
  }

  *end(): Generator<RawRecord> {
    if (this.#depth > 0 || this.#outer.length > 0 || this.#inString) {
      yield { place: this.place(), ok: false, reason: 'the document is cut off' }
    }
  }
}
