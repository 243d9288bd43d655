/**
 * A strict reader of DER (ITU-T X.690): definite lengths in their shortest form, tags of one byte, nothing behind the
 * end. Timestamps and certificates are the only binary documents that this format takes from elsewhere.
 */

/** The bytes are no DER, or not of the type that belongs there. */
export class DerError extends Error {
  override readonly name = 'DerError'
}

export const DER = {
  boolean: 0x01,
  integer: 0x02,
  bits: 0x03,
  octets: 0x04,
  null: 0x05,
  oid: 0x06,
  utcTime: 0x17,
  time: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const

/** Tag `[n]` of a context: primitive, or around other elements. */
export const context = (n: number, isConstructed: boolean): number => (isConstructed ? 0xa0 : 0x80) + n

export interface DerElement {
  readonly tag: number
  /** Header and content. */
  readonly whole: Uint8Array
  readonly content: Uint8Array
}

/** Elements one after another. Everything throws DerError. */
export class DerReader {
  private readonly bytes: Uint8Array
  private at = 0

  constructor(bytes: Uint8Array) {
    this.bytes = bytes
  }

  get ended(): boolean {
    return this.at >= this.bytes.length
  }

  any(): DerElement {
    const start = this.at
    const tag = this.byte()
    if ((tag & 0x1f) === 0x1f) throw new DerError('a tag is of more than one byte')
    const length = this.length()
    const end = this.at + length
    if (end > this.bytes.length) throw new DerError('an element is longer than what holds it')
    const content = this.bytes.subarray(this.at, end)
    this.at = end
    return { tag, whole: this.bytes.subarray(start, end), content }
  }

  next(tag: number): DerElement {
    const element = this.optional(tag)
    if (element === undefined) throw new DerError(`an element is missing, tag ${tag.toString(16)}`)
    return element
  }

  optional(tag: number): DerElement | undefined {
    return this.bytes[this.at] === tag ? this.any() : undefined
  }

  /** The inside of the next element. */
  into(tag: number): DerReader {
    return new DerReader(this.next(tag).content)
  }

  end(): void {
    if (!this.ended) throw new DerError('something stands behind the end')
  }

  private byte(): number {
    const byte = this.bytes[this.at++]
    if (byte === undefined) throw new DerError('an element ends early')
    return byte
  }

  private length(): number {
    const first = this.byte()
    if (first < 0x80) return first
    const count = first & 0x7f
    if (count === 0 || count > 4) throw new DerError('a length is indefinite or too long')
    let length = 0
    for (let i = 0; i < count; i++) length = length * 256 + this.byte()
    if (length < (count === 1 ? 0x80 : 256 ** (count - 1))) throw new DerError('a length is not in its shortest form')
    return length
  }
}

/** The one element that `bytes` are. */
export function onlyElement(bytes: Uint8Array, tag: number): DerElement {
  const reader = new DerReader(bytes)
  const element = reader.next(tag)
  reader.end()
  return element
}

/** The elements inside a sequence or set. */
export function elementsOf(content: Uint8Array): DerElement[] {
  const reader = new DerReader(content)
  const elements: DerElement[] = []
  while (!reader.ended) elements.push(reader.any())
  return elements
}

/** An object identifier in dotted form. */
export function oidOf({ content }: DerElement): string {
  if (content.length === 0 || content.length > 64 || content.at(-1)! >= 0x80) throw new DerError('not an identifier')
  const arcs: bigint[] = []
  let arc = 0n
  let begins = true
  for (const byte of content) {
    if (begins && byte === 0x80) throw new DerError('an identifier is not in its shortest form')
    arc = arc * 128n + BigInt(byte & 0x7f)
    begins = byte < 0x80
    if (!begins) continue
    if (arcs.length === 0) {
      const root = arc < 80n ? arc / 40n : 2n
      arcs.push(root, arc - root * 40n)
    } else arcs.push(arc)
    arc = 0n
  }
  return arcs.join('.')
}

/** The content of an INTEGER, which must be in its shortest form. */
export function integerOf({ content }: DerElement): Uint8Array {
  const [first, second] = content
  const isPadded = second !== undefined && ((first === 0 && second < 0x80) || (first === 0xff && second >= 0x80))
  if (first === undefined || isPadded) throw new DerError('a number is not in its shortest form')
  return content
}

/** An INTEGER from 0 to 2^31. */
export function numberOf(element: DerElement): number {
  const content = integerOf(element)
  if (content.length > 4 || content[0]! >= 0x80) throw new DerError('a number is out of range')
  return content.reduce((sum, byte) => sum * 256 + byte, 0)
}

/** A BOOLEAN, in the two spellings that DER has (X.690 §11.1). Throws DerError. */
export function booleanOf({ content }: DerElement): boolean {
  const [value] = content
  if (content.length !== 1 || (value !== 0 && value !== 0xff)) throw new DerError('neither true nor false')
  return value === 0xff
}

/** A BIT STRING of whole bytes. */
export function bytesOfBits({ content }: DerElement): Uint8Array {
  if (content[0] !== 0) throw new DerError('a bit string is not of whole bytes')
  return content.subarray(1)
}

/** Whether bit `n` of a BIT STRING of flags is set. */
export function hasBit({ content }: DerElement, n: number): boolean {
  return ((content[1 + (n >> 3)] ?? 0) & (0x80 >> (n & 7))) !== 0
}

const UTC_TIME = /^(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/
const TIME = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(?:\.(\d{0,8}[1-9]))?Z$/

/** UTCTime (1950 to 2049, RFC 5280 §4.1.2.5) or GeneralizedTime with or without a fraction; ms since 1970, cut. */
export function timeOf({ tag, content }: DerElement): number {
  const text = String.fromCharCode(...content.subarray(0, 32))
  const match = (tag === DER.utcTime ? UTC_TIME : tag === DER.time ? TIME : undefined)?.exec(text)
  if (!match || content.length > 32) throw new DerError('not a time')
  const [year, month, day, hour, minute, second] = match.slice(1, 7).map(Number) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ]
  const whole = tag === DER.utcTime ? (year < 50 ? 2000 : 1900) + year : year
  const time = new Date(0)
  time.setUTCFullYear(whole, month - 1, day)
  time.setUTCHours(hour, minute, second, Number((match[7] ?? '').padEnd(3, '0').slice(0, 3)))
  const isReal =
    time.getUTCMonth() === month - 1 && time.getUTCDate() === day && hour < 24 && minute < 60 && second < 60
  if (!isReal) throw new DerError('not a time')
  return time.getTime()
}
