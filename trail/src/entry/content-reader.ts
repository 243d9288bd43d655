/**
 * Reads content lines. A verifier reads every content of a trail only to hash it: what a content's string literal says
 * goes straight from the bytes of the pack to where its commitment is hashed, in one walk. As text it would be decoded,
 * searched, parsed and encoded again, which took twice as long.
 */

import { type Hash, hashText } from '../hash.ts'
import { PackError } from '../pack-error.ts'
import { type CommitmentKind, SALT_BYTES, TAGS } from './commitment.ts'
import { highestMarkerOf, MARKER_NAME, markerAt } from './marker.ts'

/** A salt and what it salts, as text. */
export interface SaltedPart {
  /** Base64. */
  readonly salt: string
  readonly content: string
}

const encoder = new TextEncoder()
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

const QUOTE = 0x22
const ZERO = 0x30
const BACKSLASH = 0x5c
const EQUALS = 0x3d
const SALT_LENGTH = 24
/** In the scratch buffer: where salts and contents begin. The tag comes in front, so that all three stand together. */
const SALT_AT = 32
const CONTENT_AT = SALT_AT + SALT_BYTES

/** Value of each base64 character; others have bit 6 set. */
const BASE64 = new Uint8Array(256).fill(64)
for (const [value, character] of [...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'].entries()) {
  BASE64[character.charCodeAt(0)] = value
}

/** What stands between values. */
const frame = (text: string) => encoder.encode(text)
const SEQ = frame('{"seq":')
const FACTS = frame(',"facts":{')
const CONFIDENTIAL = frame(',"confidential":{')
const OPERATOR = frame(',"operator":{')
const PERSONAL = frame(',"personal":[{"n":')
const NEXT_PERSONAL = frame(',{"n":')
const SALT = frame('"salt":"')
const CONTENT = frame('","content":"')
const COMMA = frame(',')
const BRACKET = frame(']')
const BRACE = frame('}')
const END = frame('}\n')

/** What a byte of a string literal is. */
const PLAIN = 0
/** Of a character beyond ASCII. */
const HIGH = 1
const DOLLAR = 2
const STOP = 3
const ESCAPE = 4
const BARE_CONTROL = 5
const KINDS = Uint8Array.from({ length: 256 }, (_, byte) => {
  if (byte === QUOTE) return STOP
  if (byte === BACKSLASH) return ESCAPE
  if (byte === 0x24) return DOLLAR
  return byte < 0x20 ? BARE_CONTROL : byte < 0x80 ? PLAIN : HIGH
})
/** By the character behind a backslash; 0 for those that are none of the short escapes. */
const ESCAPED = new Uint8Array(256)
for (const [name, value] of ['""', '\\\\', '//', 'b\b', 'f\f', 'n\n', 'r\r', 't\t'].map((pair) => [...pair])) {
  ESCAPED[name!.charCodeAt(0)] = value!.charCodeAt(0)
}

/** Of the part being read. */
const salt = new Uint8Array(SALT_BYTES)

/** Grows to the largest content seen and is reused. */
let scratch = new Uint8Array(65_536)
/** Whose content lies there. */
let holder: ContentReader | undefined

/**
 * Reads lines in order: `open`, then the parts in the order of the format, then `close`. Each part read can be asked for
 * its `commitment` until this or another reader reads the next. Every method throws PackError for what is not in its only
 * form.
 */
export class ContentReader {
  private readonly bytes: Uint8Array
  private at = 0
  private saltAt = 0
  private isSalt = false
  /** Where the content ends in the scratch buffer. */
  private contentEnd = 0
  /** The content where it had to be parsed as text. */
  private parsed: string | undefined
  /** Where dollar signs stand in the content: names of markers begin with one. */
  private readonly dollars: number[] = []
  private dollarCount = 0
  private hasBackslash = false
  private lastPersonal = -1

  /** `lines`: each ended by a line feed. That they are UTF-8 is checked. */
  constructor(lines: Uint8Array | string) {
    // Half a character cannot have come from UTF-8.
    if (typeof lines === 'string' && !lines.isWellFormed()) throw refusal()
    this.bytes = typeof lines === 'string' ? encoder.encode(lines) : lines
  }

  /** Whether all lines were read. */
  get isAtEnd(): boolean {
    return this.at === this.bytes.length
  }

  /** Begins a line. @returns its seq */
  open(): number {
    this.expect(SEQ)
    this.lastPersonal = -1
    return this.decimal()
  }

  /** Ends the line. */
  close(): void {
    this.expect(END)
  }

  /** Reads the facts if they are there; so do the next two with their parts. */
  facts(): boolean {
    return this.skip(FACTS) && this.part()
  }

  confidential(): boolean {
    return this.skip(CONFIDENTIAL) && this.part()
  }

  operator(): boolean {
    return this.skip(OPERATOR) && this.part()
  }

  /** Reads the next personal line that is there. @returns its number, ascending, or -1 after the last */
  personal(): number {
    const before = this.lastPersonal
    if (!this.skip(before < 0 ? PERSONAL : NEXT_PERSONAL)) {
      if (before >= 0) this.expect(BRACKET)
      return -1
    }
    const n = this.decimal()
    if (n <= before) throw refusal()
    this.lastPersonal = n
    this.expect(COMMA)
    this.part()
    return n
  }

  /** Reads all parts of a line that nobody asks about: they must be in their only form all the same. */
  skipParts(): void {
    this.facts()
    this.confidential()
    this.operator()
    while (this.personal() >= 0);
  }

  /** The commitment to the part just read, base64; undefined when its salt is not the base64 of 16 bytes. */
  commitment(hash: Hash, kind: CommitmentKind): string | undefined {
    if (!this.isSalt) return undefined
    this.hold()
    const tag = TAGS[kind]
    const start = SALT_AT - tag.length
    for (let i = 0; i < tag.length; i++) scratch[start + i] = tag[i]!
    return hashText(hash, scratchView(start, this.contentEnd))
  }

  /** `highestMarkerOf` the part just read. */
  highestMarker(): number {
    if (this.parsed !== undefined) return highestMarkerOf(this.parsed)
    // A name might be spelt with escapes.
    if (this.hasBackslash) return highestMarkerOf(this.text().content)
    this.hold()
    let highest = -1
    for (let i = 0; i < this.dollarCount; i++) {
      const at = this.dollars[i]!
      if (!stands(MARKER_NAME, scratch, at)) continue
      const n = at < CONTENT_AT + 2 ? undefined : markerAt(scratch, at, this.contentEnd)
      if (n === undefined) return highestMarkerOf(this.text().content)
      if (n > highest) highest = n
    }
    return highest
  }

  /** The part just read. */
  text(): SaltedPart {
    this.hold()
    const content = this.parsed ?? decoder.decode(scratch.subarray(CONTENT_AT, this.contentEnd))
    return { salt: decoder.decode(this.bytes.subarray(this.saltAt, this.saltAt + SALT_LENGTH)), content }
  }

  private hold(): void {
    if (holder !== this) throw new Error('another reader has read since')
  }

  private skip(text: Uint8Array): boolean {
    if (!stands(text, this.bytes, this.at)) return false
    this.at += text.length
    return true
  }

  private expect(text: Uint8Array): void {
    if (!this.skip(text)) throw refusal()
  }

  private decimal(): number {
    const { bytes, at: from } = this
    let value = 0
    let at = from
    for (let digit = bytes[at]! - ZERO; digit >= 0 && digit <= 9; digit = bytes[++at]! - ZERO) {
      if (at - from === 16) throw refusal()
      value = value * 10 + digit
    }
    const isPadded = bytes[from] === ZERO && at - from > 1
    if (at === from || isPadded || !Number.isSafeInteger(value)) throw refusal()
    this.at = at
    return value
  }

  /** `"salt":"…","content":"…"}`. */
  private part(): true {
    this.expect(SALT)
    this.saltAt = this.at
    this.isSalt = this.at + SALT_LENGTH <= this.bytes.length && readSalt(this.bytes, this.at, salt)
    // A wrong salt is a finding, not a broken line, as long as it is text.
    if (!this.isSalt && !isSaltText(this.bytes, this.at)) throw refusal()
    this.at += SALT_LENGTH
    this.expect(CONTENT)
    holder = this
    this.parsed = undefined
    this.hasBackslash = false
    this.dollarCount = 0
    this.literal()
    if (this.isSalt) for (let i = 0; i < SALT_BYTES; i++) scratch[SALT_AT + i] = salt[i]!
    this.expect(BRACE)
    return true
  }

  /** The rest of a string literal, behind its first quote, into the scratch buffer. */
  private literal(): void {
    const { bytes } = this
    const start = this.at
    let from = start
    let to = CONTENT_AT
    let isHigh = false
    for (;;) {
      const target = scratch
      // No byte becomes two.
      const end = Math.min(bytes.length, from + target.length - to)
      while (from < end) {
        const byte = bytes[from++]!
        const kind = KINDS[byte]!
        if (kind === PLAIN) target[to++] = byte
        else if (kind === ESCAPE) {
          const value = ESCAPED[from < bytes.length ? bytes[from]! : 0]!
          if (value === 0) {
            this.parse(start)
            return
          }
          if (value === BACKSLASH) this.hasBackslash = true
          target[to++] = value
          from++
        } else if (kind === STOP) {
          this.contentEnd = to
          this.at = from
          if (isHigh) decode(bytes.subarray(start, from))
          return
        } else if (kind === BARE_CONTROL) throw refusal()
        else {
          if (kind === DOLLAR) this.dollars[this.dollarCount++] = to
          else isHigh = true
          target[to++] = byte
        }
      }
      if (from >= bytes.length) throw refusal()
      grow(2 * target.length)
    }
  }

  /** The same for a literal with the longer escapes: rare, and left to the engine. */
  private parse(start: number): void {
    const { bytes } = this
    let at = start
    while (at < bytes.length && bytes[at] !== QUOTE) at += bytes[at] === BACKSLASH ? 2 : 1
    const value = parseString(decode(bytes.subarray(start - 1, at + 1)))
    grow(CONTENT_AT + value.length * 3)
    this.contentEnd = CONTENT_AT + encoder.encodeInto(value, scratch.subarray(CONTENT_AT)).written
    this.parsed = value
    this.at = at + 1
  }
}

/** Views of the scratch buffer by where they begin and end: a verifier asks for the same few again and again. */
let views: (Uint8Array | undefined)[][] = []
/** Contents up to this end have their views kept. */
const VIEWS_TO = 2048

function scratchView(start: number, end: number): Uint8Array {
  if (end >= VIEWS_TO) return scratch.subarray(start, end)
  views[start] ??= new Array<Uint8Array | undefined>(VIEWS_TO).fill(undefined)
  views[start][end] ??= scratch.subarray(start, end)
  return views[start][end]
}

/** Makes room for so many bytes in all; what lies there stays. */
function grow(size: number): void {
  if (size <= scratch.length) return
  const grown = new Uint8Array(size)
  grown.set(scratch)
  scratch = grown
  views = []
}

/** Whether a text stands at an offset. */
function stands(text: Uint8Array, bytes: Uint8Array, at: number): boolean {
  for (let i = 0; i < text.length; i++) if (bytes[at + i] !== text[i]) return false
  return true
}

/** Whether they are printable ASCII that needs no escape. */
function isSaltText(bytes: Uint8Array, from: number): boolean {
  if (from + SALT_LENGTH > bytes.length) return false
  for (let i = from; i < from + SALT_LENGTH; i++) {
    const byte = bytes[i]!
    if (byte < 0x20 || byte > 0x7e || byte === QUOTE || byte === BACKSLASH) return false
  }
  return true
}

/** Puts the 16 bytes whose base64 stands at `from` into `target`. @returns false for what is not the base64 of 16 bytes */
function readSalt(bytes: Uint8Array, from: number, target: Uint8Array): boolean {
  let seen = 0
  let to = 0
  for (let at = from; at < from + 20; at += 4) {
    const a = BASE64[bytes[at]!]!
    const b = BASE64[bytes[at + 1]!]!
    const c = BASE64[bytes[at + 2]!]!
    const d = BASE64[bytes[at + 3]!]!
    seen |= a | b | c | d
    target[to] = (a << 2) | (b >> 4)
    target[to + 1] = (b << 4) | (c >> 2)
    target[to + 2] = (c << 6) | d
    to += 3
  }
  const a = BASE64[bytes[from + 20]!]!
  const b = BASE64[bytes[from + 21]!]!
  target[to] = (a << 2) | (b >> 4)
  const isPadded = bytes[from + 22] === EQUALS && bytes[from + 23] === EQUALS
  return (seen | a | b) < 64 && (b & 15) === 0 && isPadded
}

function parseString(literal: string): string {
  try {
    const value: unknown = JSON.parse(literal)
    // Half a character has no UTF-8: it would be hashed as another one.
    if (typeof value === 'string' && value.isWellFormed()) return value
  } catch {
    // refused below
  }
  throw refusal()
}

/** Refuses what is no UTF-8. */
function decode(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes)
  } catch {
    throw new PackError('malformed', 'a content line is not UTF-8')
  }
}

function refusal(): PackError {
  return new PackError('malformed', 'a content line is not in its only form')
}
