/**
 * The entry: the bytes that are hashed (docs/spec/entry.md). One encoder and one decoder; bytes that the encoder would
 * not have written are refused, so that an entry has exactly one spelling. Pure ASCII, so text and bytes are one.
 */
import { CATEGORIES, type Category } from './category.ts'
import { type Control, decodeControl, encodeControl, isTime } from './control.ts'
import { EntryError } from './entry-error.ts'
import { HASH_CHARACTERS, type HashText, isHashText, sameBytes, viewOf } from './hash-text.ts'

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

const LINE_FEED = 0x0a
const SPACE = 0x20
const ID_LENGTH = 32
const TIME_LENGTH = 24
const VERSION_LINE = `${ENTRY_VERSION}\n`
const VERSION = template(VERSION_LINE)
/** Version and trail: the same in entry after entry. */
const HEAD_LENGTH = VERSION_LINE.length + ID_LENGTH + 1
const FIRST_PREVIOUS = template(NO_PREVIOUS)
const FACTS = template('facts ')
const CONFIDENTIAL = template('confidential ')
const OPERATOR = template('operator ')
const PERSONAL = template('personal ')
const PERSONAL_LINE_LENGTH = PERSONAL.byteLength + ID_LENGTH + 1 + HASH_CHARACTERS + 1
const NO_PERSONAL: readonly PersonalLine[] = Object.freeze([])

const IS_HEX_DIGIT = Uint8Array.from({ length: 256 }, (_, byte) => Number(/[0-9a-f]/.test(String.fromCharCode(byte))))

/** The bytes of some ASCII text. */
function template(text: string): DataView {
  return viewOf(Uint8Array.from(text, (character) => character.charCodeAt(0)))
}

interface EventBody {
  /** With its line feed. */
  readonly line: DataView
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
    bodies[byte] = { line: template(`${line}\n`), body: Object.freeze({ event: category }) }
  }
  return bodies
}

/** Where the commitment of the `n`th of the personal lines that begin at `at` stands. */
export function personalCommitmentAt(at: number, n: number): number {
  return at + (n + 1) * PERSONAL_LINE_LENGTH - HASH_CHARACTERS - 1
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] }

/**
 * Decodes the entries that stand in some bytes: one alone, or those of a whole bundle. One walk over the bytes for each,
 * which makes neither text nor objects, because verification does it for every entry.
 */
export class EntryReader {
  /** What `scan` found. */
  trail = ''
  seq = 0
  /** Whether its previous hash is the one that was expected. */
  isNext = false
  sealedAt = ''
  body: Entry['body'] = EVENT_BODIES.find((event) => event !== undefined)!.body
  /** Where the commitments stand; 0 for one that is not there. */
  factsAt = 0
  confidentialAt = 0
  operatorAt = 0
  /** Where the personal lines begin, and how many there are. */
  personalAt = 0
  personalLines = 0
  private readonly bytes: Uint8Array
  private readonly view: DataView
  /** Where the last entry whose head was read has it and its time: mostly it is the same as in the next one. */
  private headAt = -1
  private timeAt = -1
  private previousAt = 0
  private start = 0
  private at = 0
  private end = 0

  constructor(bytes: Uint8Array) {
    this.bytes = bytes
    this.view = viewOf(bytes)
  }

  /** The entry that is exactly the bytes [start, end). Throws EntryError. */
  read(start: number, end: number): Entry {
    this.scan(start, end)
    const { trail, seq, sealedAt, body } = this
    const text = this.text(start, end)
    const hashAt = (at: number) => text.slice(at - start, at - start + HASH_CHARACTERS)
    const [previous, facts] = [hashAt(this.previousAt), hashAt(this.factsAt)]
    const entry: Mutable<Entry> = { trail, seq, previous, sealedAt, body, facts, personal: NO_PERSONAL }
    if (this.confidentialAt > 0) entry.confidential = hashAt(this.confidentialAt)
    if (this.operatorAt > 0) entry.operator = hashAt(this.operatorAt)
    if (this.personalLines > 0) {
      entry.personal = Array.from({ length: this.personalLines }, (_, n) => {
        const commitment = personalCommitmentAt(this.personalAt, n)
        const keyEnd = commitment - 1 - start
        return { key: text.slice(keyEnd - ID_LENGTH, keyEnd), commitment: hashAt(commitment) }
      })
    }
    return entry
  }

  /**
   * `read` that leaves what it found in this reader, until the next time. `expected` is the leaf hash that the entry
   * should name as its previous one. Throws EntryError for just what `read` does.
   */
  scan(start: number, end: number, expected?: HashText): void {
    if (end - start > ENTRY_MAX_BYTES) throw new EntryError('too_long', `entry has ${end - start} bytes`)
    this.start = start
    this.at = start
    this.end = end
    this.readTrail()
    this.seq = this.readSeq()
    this.readPrevious(expected)
    this.readTime()
    this.readBody()
    if (!this.skip(FACTS)) throw this.refusal()
    this.factsAt = this.readHash()
    this.confidentialAt = this.skip(CONFIDENTIAL) ? this.readHash() : 0
    this.operatorAt = this.skip(OPERATOR) ? this.readHash() : 0
    this.personalAt = this.at
    this.personalLines = this.at < end ? this.readPersonal() : 0
  }

  /** Whether the commitment that `scan` found at `at` is this one. */
  isCommitment(at: number, commitment: HashText): boolean {
    return commitment.standsIn(this.view, at)
  }

  /** Goes behind what stands here, if it is that. */
  private skip(text: DataView): boolean {
    if (!this.stands(text, 0, text.byteLength)) return false
    this.at += text.byteLength
    return true
  }

  private stands(other: DataView, from: number, length: number): boolean {
    return this.at + length <= this.end && sameBytes(this.view, this.at, other, from, length)
  }

  /** Takes `length` bytes and the line feed after them. @returns where they begin */
  private take(length: number): number {
    const from = this.at
    this.at += length + 1
    if (this.at > this.end || this.bytes[from + length] !== LINE_FEED) throw this.refusal()
    return from
  }

  private text(from: number, to: number): string {
    return textOf(this.bytes.subarray(from, to))
  }

  private readTrail(): void {
    const from = this.at
    if (this.headAt >= 0 && this.stands(this.view, this.headAt, HEAD_LENGTH)) this.at += HEAD_LENGTH
    else {
      if (!this.skip(VERSION)) throw this.refusal()
      this.checkId()
      const id = this.take(ID_LENGTH)
      this.trail = this.text(id, id + ID_LENGTH)
    }
    this.headAt = from
  }

  /** 32 hex digits stand here. */
  private checkId(): void {
    const { bytes, at } = this
    let isHex = 1
    for (let i = at; i < at + ID_LENGTH; i++) isHex &= IS_HEX_DIGIT[bytes[i]!]!
    if (isHex === 0) throw this.refusal()
  }

  /** Takes 44 characters of canonical base64 and a line feed. @returns where they begin */
  private readHash(): number {
    const { at } = this
    if (at + HASH_CHARACTERS >= this.end || !isHashText(this.view, at)) throw this.refusal()
    return this.take(HASH_CHARACTERS)
  }

  private readPrevious(expected: HashText | undefined): void {
    const { at } = this
    this.isNext = expected !== undefined && at + HASH_CHARACTERS < this.end && expected.standsIn(this.view, at)
    // What is expected is in its only form.
    this.previousAt = this.isNext ? this.take(HASH_CHARACTERS) : this.readHash()
    if (this.seq === 0 && !sameBytes(this.view, at, FIRST_PREVIOUS, 0, HASH_CHARACTERS))
      throw new EntryError('malformed', 'entry 0 has a previous hash')
  }

  /** A decimal without leading zeros, at most 2^53 − 1. */
  private readSeq(): number {
    const { bytes, at: from } = this
    let seq = 0
    let i = from
    for (; bytes[i] !== LINE_FEED; i++) {
      const digit = (bytes[i] ?? 0) - 0x30
      if (digit < 0 || digit > 9 || i - from === 16) throw this.refusal()
      seq = seq * 10 + digit
    }
    if (i === from || (bytes[from] === 0x30 && i - from > 1)) throw this.refusal()
    if (!Number.isSafeInteger(seq)) throw new EntryError('malformed', 'seq is above 2^53 − 1')
    this.take(i - from)
    return seq
  }

  private readTime(): void {
    const from = this.at
    if (this.timeAt >= 0 && this.stands(this.view, this.timeAt, TIME_LENGTH + 1)) this.at += TIME_LENGTH + 1
    else {
      this.take(TIME_LENGTH)
      const time = this.text(from, from + TIME_LENGTH)
      if (!isTime(time)) throw this.refusal()
      this.sealedAt = time
    }
    this.timeAt = from
  }

  private readBody(): void {
    const event = EVENT_BODIES[this.bytes[this.at + TELLING_AT] ?? 0]
    if (event !== undefined && this.skip(event.line)) {
      this.body = event.body
      return
    }
    const from = this.at
    let to = from
    while (to < this.end && isPrintable(this.bytes[to]!)) to++
    this.take(to - from)
    const line = this.text(from, to)
    if (!line.startsWith('control ')) throw this.refusal()
    this.body = { control: decodeControl(line.slice('control '.length)) }
  }

  /** Takes the personal lines, to the end. @returns how many */
  private readPersonal(): number {
    const count = (this.end - this.at) / PERSONAL_LINE_LENGTH
    if (!Number.isInteger(count) || count > PERSONAL_MAX_LINES) throw this.refusal()
    while (this.at < this.end) {
      if (!this.skip(PERSONAL)) throw this.refusal()
      this.checkId()
      this.at += ID_LENGTH
      if (this.bytes[this.at++] !== SPACE) throw this.refusal()
      this.readHash()
    }
    return count
  }

  private refusal(): EntryError {
    return explain(this.text(this.start, this.end))
  }
}

function isPrintable(byte: number): boolean {
  return byte >= 0x20 && byte < 0x7f
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
