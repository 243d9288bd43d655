// Text put together as bytes, for what is written a million times: entries and content lines of packs. A string for each
// would be made, joined, and turned into bytes again.
import { isUtf8 } from 'node:buffer'

const digits = Buffer.from('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/', 'latin1')
/** By byte of UTF-8: whether it stands for itself in a JSON string. */
const isPlain = Uint8Array.from({ length: 256 }, (_, byte) => (byte < 0x20 || byte === 0x22 || byte === 0x5c ? 0 : 1))
/** What the others become, as `JSON.stringify` has it. */
const escapes = Array.from({ length: 0x5d }, (_, byte) =>
  Buffer.from(JSON.stringify(String.fromCharCode(byte)).slice(1, -1)),
)
const longestEscape = 6
const quote = 0x22
const zero = 0x30
const equals = 0x3d

const firstCapacity = 65_536
const handedOver = 4 * 1024 * 1024

export class ByteWriter {
  #bytes: Buffer
  #length = 0

  constructor() {
    this.#bytes = Buffer.allocUnsafeSlow(firstCapacity)
  }

  get length(): number {
    return this.#length
  }

  /** What was written, which the writer forgets. */
  take(): Uint8Array {
    if (this.#length > handedOver) return this.#handOver()
    const taken = new Uint8Array(this.#length)
    taken.set(this.#bytes.subarray(0, this.#length))
    this.#length = 0
    return taken
  }

  /** Large ones are not copied, and their room is not kept. */
  #handOver(): Uint8Array {
    const taken = this.#bytes.subarray(0, this.#length)
    this.#bytes = Buffer.allocUnsafeSlow(firstCapacity)
    this.#length = 0
    return taken
  }

  /** Makes room for `count` more bytes: what is written next must fit it. */
  room(count: number): void {
    const needed = this.#length + count
    if (needed <= this.#bytes.length) return
    const grown = Buffer.allocUnsafeSlow(Math.max(needed, 2 * this.#bytes.length))
    this.#bytes.copy(grown, 0, 0, this.#length)
    this.#bytes = grown
  }

  put(bytes: Uint8Array): void {
    this.#bytes.set(bytes, this.#length)
    this.#length += bytes.length
  }

  /** Bytes [from, to) of another buffer. */
  copy(source: Buffer, from: number, to: number): void {
    this.#length += source.copy(this.#bytes, this.#length, from, to)
  }

  byte(value: number): void {
    this.#bytes[this.#length++] = value
  }

  /** Leaves two bytes for `patch16`. */
  patchable16(): void {
    this.#length += 2
  }

  /** Overwrites two bytes that were written before, big-endian. */
  patch16(at: number, value: number): void {
    this.#bytes.writeUInt16BE(value, at)
  }

  /** Forgets everything. */
  clear(): void {
    this.#length = 0
  }

  ascii(text: string): void {
    this.#length += this.#bytes.write(text, this.#length, 'latin1')
  }

  /**
   * UTF-8 as a JSON string, as `JSON.stringify` writes it. Makes room for itself. Bytes that are no UTF-8 become what a
   * reader of text would have made of them.
   */
  json(source: Buffer, from: number, to: number): void {
    this.room(longestEscape * (to - from) + 2)
    const bytes = this.#bytes
    const start = this.#length
    let seen = 0
    let at = start
    bytes[at++] = quote
    for (let i = from; i < to; i++) {
      const byte = source[i]!
      seen |= byte
      if (isPlain[byte] === 1) bytes[at++] = byte
      else {
        const spelled = escapes[byte]!
        for (let n = 0; n < spelled.length; n++) bytes[at++] = spelled[n]!
      }
    }
    bytes[at++] = quote
    this.#length = at
    if (seen < 0x80 || isUtf8(source.subarray(from, to))) return
    this.#length = start
    const text = Buffer.from(source.toString('utf8', from, to))
    this.json(text, 0, text.length)
  }

  /** A whole number from 0 to 2^53 − 1. */
  decimal(value: number): void {
    let size = 1
    for (let bound = 10; value >= bound; bound *= 10) size++
    let rest = value
    for (let at = this.#length + size - 1; at >= this.#length; at--) {
      const tens = Math.floor(rest / 10)
      this.#bytes[at] = zero + (rest - 10 * tens)
      rest = tens
    }
    this.#length += size
  }

  /** Padded base64 of `count` bytes of `source`. */
  base64(source: Uint8Array, from: number, count: number): void {
    const bytes = this.#bytes
    let to = this.#length
    const whole = from + count - (count % 3)
    let at = from
    for (; at < whole; at += 3) {
      const group = (source[at]! << 16) | (source[at + 1]! << 8) | source[at + 2]!
      bytes[to] = digits[group >> 18]!
      bytes[to + 1] = digits[(group >> 12) & 63]!
      bytes[to + 2] = digits[(group >> 6) & 63]!
      bytes[to + 3] = digits[group & 63]!
      to += 4
    }
    const left = from + count - at
    if (left > 0) {
      const group = (source[at]! << 16) | (left === 2 ? source[at + 1]! << 8 : 0)
      bytes[to] = digits[group >> 18]!
      bytes[to + 1] = digits[(group >> 12) & 63]!
      bytes[to + 2] = left === 2 ? digits[(group >> 6) & 63]! : equals
      bytes[to + 3] = equals
      to += 4
    }
    this.#length = to
  }
}
