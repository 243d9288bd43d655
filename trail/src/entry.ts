/**
 * The entry: the bytes that are hashed (docs/spec/entry.md). One encoder and one decoder; bytes that the encoder would
 * not have written are refused, so that an entry has exactly one spelling. Pure ASCII, so text and bytes are one.
 */
import { CATEGORIES, type Category } from './category.ts'
import { type Control, decodeControl, encodeControl, isTime } from './control.ts'
import { EntryError } from './entry-error.ts'

export const ENTRY_VERSION = 'affidavit/1'
export const ENTRY_MAX_BYTES = 16_384
export const PERSONAL_MAX_LINES = 100

/** What stands for the previous leaf hash in the entry with seq 0: 32 zero bytes, base64. */
export const NO_PREVIOUS = 'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA='

export interface PersonalLine {
  /** Subject key id, 32 lower-case hex digits. */
  readonly key: string
  /** Base64. */
  readonly commitment: string
}

export interface Entry {
  /** 32 lower-case hex digits. */
  readonly trail: string
  /** 0-based, equals the leaf index. */
  readonly seq: number
  /** Leaf hash of seq − 1, base64; NO_PREVIOUS for seq 0. */
  readonly previous: string
  /** `YYYY-MM-DDTHH:MM:SS.mmmZ`. */
  readonly sealedAt: string
  readonly body: { readonly event: Category } | { readonly control: Control }
  /** Base64 commitments. */
  readonly facts: string
  readonly confidential?: string | undefined
  readonly operator?: string | undefined
  readonly personal: readonly PersonalLine[]
}

/**
 * The entry's text, ASCII, without checking the values: the sealer calls this for every event and made them itself.
 * Throws EntryError `too_long` above 16,384 bytes.
 */
export function encodeEntry(entry: Entry): string {
  const text = entryPlace(entry.trail, entry.seq, entry.previous, entry.sealedAt) + entryContent(entry)
  if (text.length > ENTRY_MAX_BYTES) throw new EntryError('too_long', `entry ${entry.seq} has ${text.length} bytes`)
  return text
}

/** The first lines of an entry: its place in the trail. A sealer knows them last. */
export function entryPlace(trail: string, seq: number, previous: string, sealedAt: string): string {
  return `affidavit/1\n${trail}\n${seq}\n${previous}\n${sealedAt}\n`
}

/** The other lines: what the entry is and commits to. `encodeEntry` is place and content, nothing between. */
export function entryContent(entry: Pick<Entry, 'body' | 'facts' | 'confidential' | 'operator' | 'personal'>): string {
  const body = 'event' in entry.body ? `event ${entry.body.event}` : `control ${encodeControl(entry.body.control)}`
  let text = `${body}\nfacts ${entry.facts}\n`
  if (entry.confidential !== undefined) text += `confidential ${entry.confidential}\n`
  if (entry.operator !== undefined) text += `operator ${entry.operator}\n`
  for (const line of entry.personal) text += `personal ${line.key} ${line.commitment}\n`
  return text
}

/** Strict inverse of `encodeEntry`. Throws EntryError; `error.unknown` means that a newer program may understand. */
export function decodeEntry(bytes: Uint8Array): Entry {
  return new EntryReader(bytes).read(0, bytes.length)
}

/** What a byte may be, one bit per rule. */
const BASE64_CHARACTER = 1
/** The 43rd character of 32 bytes carries two unused bits, which must be zero. */
const BASE64_LAST = 2
const HEX_DIGIT = 4
const CONTROL_CHARACTER = 8
const RULES = new Uint8Array(256)
allow('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/', BASE64_CHARACTER)
allow('AEIMQUYcgkosw048', BASE64_LAST)
allow('0123456789abcdef', HEX_DIGIT)
for (let code = 0x20; code < 0x7f; code++) allow(String.fromCharCode(code), CONTROL_CHARACTER)

function allow(characters: string, rule: number): void {
  for (let i = 0; i < characters.length; i++) RULES[characters.charCodeAt(i)]! |= rule
}

const LINE_FEED = 0x0a
const SPACE = 0x20
const EQUALS = 0x3d
const HASH_LENGTH = 44
const ID_LENGTH = 32
const TIME_LENGTH = 24
const VERSION_LINE = `${ENTRY_VERSION}\n`
const PERSONAL = 'personal '
const PERSONAL_LINE_LENGTH = PERSONAL.length + ID_LENGTH + 1 + HASH_LENGTH + 1
const NO_PERSONAL: readonly PersonalLine[] = Object.freeze([])

interface EventBody {
  readonly line: string
  readonly body: Entry['body']
}
/** Where the names of categories differ: by the byte that stands there. */
const TELLING_AT = 'event '.length + 4
const EVENT_BODIES: readonly (EventBody | undefined)[] = bodiesByByte()

function bodiesByByte(): (EventBody | undefined)[] {
  const bodies = new Array<EventBody | undefined>(256).fill(undefined)
  for (const category of CATEGORIES) {
    const line = `event ${category}`
    const byte = line.charCodeAt(TELLING_AT)
    if (bodies[byte] !== undefined) throw new Error(`${category} needs another place to be told by`)
    bodies[byte] = { line, body: Object.freeze({ event: category }) }
  }
  return bodies
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] }

/**
 * Decodes the entries that stand in some bytes: one alone, or those of a whole bundle. One walk over the bytes for each,
 * because verification decodes every entry: a regular expression took three times as long, and so did a text per entry.
 */
export class EntryReader {
  private readonly bytes: Uint8Array
  /** As long as the bytes: what stands at an offset here stands there too. */
  private readonly text: string
  /** The trail of the entry before, with the lines it stands in, and when that was sealed: mostly as in the next one. */
  private lastTrail = ''
  private lastHead = ''
  private lastTime = ''
  private start = 0
  private at = 0
  private end = 0

  constructor(bytes: Uint8Array) {
    this.bytes = bytes
    this.text = textOf(bytes)
  }

  /**
   * The entry that is exactly the bytes [start, end). `expected`, a leaf hash in base64, is what its previous hash
   * should be: found there, it need not be read. Throws EntryError.
   */
  read(start: number, end: number, expected?: string): Entry {
    if (end - start > ENTRY_MAX_BYTES) throw new EntryError('too_long', `entry has ${end - start} bytes`)
    this.start = start
    this.at = start
    this.end = end
    const trail = this.trail()
    const seq = this.seq()
    const previous = expected !== undefined && this.skipLine(expected) ? expected : this.hash()
    if (seq === 0 && previous !== NO_PREVIOUS) throw new EntryError('malformed', 'entry 0 has a previous hash')
    const sealedAt = this.time()
    const body = this.body()
    this.expect('facts ')
    const entry: Mutable<Entry> = { trail, seq, previous, sealedAt, body, facts: this.hash(), personal: NO_PERSONAL }
    if (this.at === end) return entry
    if (this.skip('confidential ')) entry.confidential = this.hash()
    if (this.skip('operator ')) entry.operator = this.hash()
    if (this.at < end) entry.personal = this.personal()
    return entry
  }

  private skip(text: string): boolean {
    if (
      this.bytes[this.at] !== text.charCodeAt(0) ||
      this.at + text.length > this.end ||
      !this.text.startsWith(text, this.at)
    )
      return false
    this.at += text.length
    return true
  }

  private expect(text: string): void {
    if (!this.skip(text)) throw this.refusal()
  }

  /** Takes `length` bytes and the line feed or space after them. */
  private take(length: number, after: number): string {
    const from = this.at
    this.at += length + 1
    if (this.at > this.end || this.bytes[from + length] !== after) throw this.refusal()
    return this.text.slice(from, from + length)
  }

  /** Takes `text`, which is known to be in its only form, and a line feed, if they stand here. */
  private skipLine(text: string): boolean {
    const end = this.at + text.length
    if (end >= this.end || this.bytes[end] !== LINE_FEED || !this.text.startsWith(text, this.at)) return false
    this.at = end + 1
    return true
  }

  private trail(): string {
    if (this.lastTrail !== '' && this.skip(this.lastHead)) return this.lastTrail
    this.expect(VERSION_LINE)
    this.lastTrail = this.id(LINE_FEED)
    this.lastHead = `${VERSION_LINE}${this.lastTrail}\n`
    return this.lastTrail
  }

  private id(after: number): string {
    const { bytes, at } = this
    for (let i = at; i < at + ID_LENGTH; i++) if ((RULES[bytes[i]!]! & HEX_DIGIT) === 0) throw this.refusal()
    return this.take(ID_LENGTH, after)
  }

  /** 44 characters of canonical base64 and a line feed. */
  private hash(): string {
    const { bytes, at } = this
    for (let i = at; i < at + 42; i++) if ((RULES[bytes[i]!]! & BASE64_CHARACTER) === 0) throw this.refusal()
    if ((RULES[bytes[at + 42]!]! & BASE64_LAST) === 0 || bytes[at + 43] !== EQUALS) throw this.refusal()
    return this.take(HASH_LENGTH, LINE_FEED)
  }

  /** A decimal without leading zeros, at most 2^53 − 1. */
  private seq(): number {
    const from = this.at
    let seq = 0
    let i = from
    for (; this.bytes[i] !== LINE_FEED; i++) {
      const digit = (this.bytes[i] ?? 0) - 0x30
      if (digit < 0 || digit > 9 || i - from === 16) throw this.refusal()
      seq = seq * 10 + digit
    }
    if (i === from || (this.bytes[from] === 0x30 && i - from > 1)) throw this.refusal()
    if (!Number.isSafeInteger(seq)) throw new EntryError('malformed', 'seq is above 2^53 − 1')
    this.take(i - from, LINE_FEED)
    return seq
  }

  private time(): string {
    if (this.lastTime !== '' && this.skipLine(this.lastTime)) return this.lastTime
    const time = this.take(TIME_LENGTH, LINE_FEED)
    if (!isTime(time)) throw this.refusal()
    this.lastTime = time
    return time
  }

  private body(): Entry['body'] {
    const event = EVENT_BODIES[this.bytes[this.at + TELLING_AT] ?? 0]
    if (event !== undefined && this.skipLine(event.line)) return event.body
    const from = this.at
    let i = from
    while (i < this.end && (RULES[this.bytes[i]!]! & CONTROL_CHARACTER) !== 0) i++
    const line = this.take(i - from, LINE_FEED)
    if (!line.startsWith('control ')) throw this.refusal()
    return { control: decodeControl(line.slice('control '.length)) }
  }

  private personal(): readonly PersonalLine[] {
    const count = (this.end - this.at) / PERSONAL_LINE_LENGTH
    if (!Number.isInteger(count) || count > PERSONAL_MAX_LINES) throw this.refusal()
    const lines: PersonalLine[] = []
    while (this.at < this.end) {
      this.expect(PERSONAL)
      const key = this.id(SPACE)
      lines.push({ key, commitment: this.hash() })
    }
    return lines
  }

  private refusal(): EntryError {
    return explain(this.text.slice(this.start, this.end))
  }
}

const utf8 = new TextDecoder()
const latin1 = new TextDecoder('latin1')

/** One character per byte. Entries are ASCII, for which decoding UTF-8 is much faster; other bytes are refused anyway. */
function textOf(bytes: Uint8Array): string {
  const text = utf8.decode(bytes)
  return text.length === bytes.length ? text : latin1.decode(bytes)
}

/** Tells unknown versions and kinds from broken bytes. */
function explain(text: string): EntryError {
  if (!text.startsWith(VERSION_LINE)) {
    const version = /^affidavit\/([1-9][0-9]{0,8})\n/.exec(text)
    if (version !== null) return new EntryError('unknown_version', `entry version ${version[1]} is not known`)
    return new EntryError('malformed', 'not an Affidavit entry')
  }
  const body = /^(?:[!-~]+\n){5}([a-z]+) ([a-z_]+)[ \n]/.exec(text)
  if (body !== null && body[1] === 'event' && !CATEGORIES.some((category) => category === body[2])) {
    return new EntryError('unknown_kind', `event category ${body[2]!.slice(0, 40)} is not known`)
  }
  return new EntryError('malformed', 'entry bytes are not canonical')
}
