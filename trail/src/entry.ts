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
  readonly confidential?: string
  readonly operator?: string
  readonly personal: readonly PersonalLine[]
}

/**
 * The entry's text, ASCII, without checking the values: the sealer calls this for every event and made them itself.
 * Throws EntryError `too_long` above 16,384 bytes.
 */
export function encodeEntry(entry: Entry): string {
  const body = 'event' in entry.body ? `event ${entry.body.event}` : `control ${encodeControl(entry.body.control)}`
  let text = `affidavit/1\n${entry.trail}\n${entry.seq}\n${entry.previous}\n${entry.sealedAt}\n${body}\nfacts ${entry.facts}\n`
  if (entry.confidential !== undefined) text += `confidential ${entry.confidential}\n`
  if (entry.operator !== undefined) text += `operator ${entry.operator}\n`
  for (const line of entry.personal) text += `personal ${line.key} ${line.commitment}\n`
  if (text.length > ENTRY_MAX_BYTES) throw new EntryError('too_long', `entry ${entry.seq} has ${text.length} bytes`)
  return text
}

/** Strict inverse of `encodeEntry`. Throws EntryError; `error.unknown` means that a newer program may understand. */
export function decodeEntry(bytes: Uint8Array): Entry {
  if (bytes.length > ENTRY_MAX_BYTES) throw new EntryError('too_long', `entry has ${bytes.length} bytes`)
  return decodeEntryText(latin1.decode(bytes))
}

/** One character per byte, whatever the byte: bytes above 0x7F become characters that no rule below accepts. */
export const latin1 = new TextDecoder('latin1')

/** What a character may be, one bit per rule. */
const BASE64_CHARACTER = 1
/** The 43rd character of 32 bytes carries two unused bits, which must be zero. */
const BASE64_LAST = 2
const HEX_DIGIT = 4
const CONTROL_CHARACTER = 8
const RULES = new Uint8Array(65_536)
allow('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/', BASE64_CHARACTER)
allow('AEIMQUYcgkosw048', BASE64_LAST)
allow('0123456789abcdef', HEX_DIGIT)
for (let code = 0x20; code < 0x7f; code++) allow(String.fromCharCode(code), CONTROL_CHARACTER)

function allow(characters: string, rule: number): void {
  for (let i = 0; i < characters.length; i++) RULES[characters.charCodeAt(i)]! |= rule
}

const LINE_FEED = 0x0a
const EQUALS = 0x3d
const HASH_LENGTH = 44
const ID_LENGTH = 32
const TIME_LENGTH = 24
const VERSION_LINE = `${ENTRY_VERSION}\n`
const PERSONAL = 'personal '
const PERSONAL_LINE_LENGTH = PERSONAL.length + ID_LENGTH + 1 + HASH_LENGTH + 1

function isId(text: string, at: number): boolean {
  for (let i = at; i < at + ID_LENGTH; i++) if ((RULES[text.charCodeAt(i)]! & HEX_DIGIT) === 0) return false
  return true
}

/** Whether 44 characters of canonical base64 and a line feed stand here. */
function isHashLine(text: string, at: number): boolean {
  for (let i = at; i < at + 42; i++) if ((RULES[text.charCodeAt(i)]! & BASE64_CHARACTER) === 0) return false
  return (
    (RULES[text.charCodeAt(at + 42)]! & BASE64_LAST) !== 0 &&
    text.charCodeAt(at + 43) === EQUALS &&
    text.charCodeAt(at + HASH_LENGTH) === LINE_FEED
  )
}

/**
 * `decodeEntry` of text that holds one character per byte. Written as one walk over the characters: verification
 * decodes every entry, and a regular expression over it took three times as long.
 */
export function decodeEntryText(text: string): Entry {
  if (text.length > ENTRY_MAX_BYTES) throw new EntryError('too_long', `entry has ${text.length} bytes`)
  if (!text.startsWith(VERSION_LINE)) throw explain(text)
  let at = VERSION_LINE.length
  if (!isId(text, at) || text.charCodeAt(at + ID_LENGTH) !== LINE_FEED) throw explain(text)
  const trail = text.slice(at, at + ID_LENGTH)
  at += ID_LENGTH + 1

  const seqEnd = text.indexOf('\n', at)
  const seq = decodeSeq(text, at, seqEnd)
  at = seqEnd + 1
  if (!isHashLine(text, at)) throw explain(text)
  const previous = text.slice(at, at + HASH_LENGTH)
  if (seq === 0 && previous !== NO_PREVIOUS) throw new EntryError('malformed', 'entry 0 has a previous hash')
  at += HASH_LENGTH + 1
  const sealedAt = text.slice(at, at + TIME_LENGTH)
  if (!isKnownTime(sealedAt) || text.charCodeAt(at + TIME_LENGTH) !== LINE_FEED) throw explain(text)
  at += TIME_LENGTH + 1

  const bodyEnd = text.indexOf('\n', at)
  if (bodyEnd < 0) throw explain(text)
  const body = decodeBody(text, at, bodyEnd)
  at = bodyEnd + 1
  if (!text.startsWith('facts ', at) || !isHashLine(text, at + 6)) throw explain(text)
  const entry: Mutable<Entry> = {
    trail,
    seq,
    previous,
    sealedAt,
    body,
    facts: text.slice(at + 6, at + 6 + HASH_LENGTH),
    personal: NO_PERSONAL,
  }
  at += 6 + HASH_LENGTH + 1
  if (text.startsWith('confidential ', at)) {
    if (!isHashLine(text, at + 13)) throw explain(text)
    entry.confidential = text.slice(at + 13, at + 13 + HASH_LENGTH)
    at += 13 + HASH_LENGTH + 1
  }
  if (text.startsWith('operator ', at)) {
    if (!isHashLine(text, at + 9)) throw explain(text)
    entry.operator = text.slice(at + 9, at + 9 + HASH_LENGTH)
    at += 9 + HASH_LENGTH + 1
  }
  if (at < text.length) entry.personal = decodePersonal(text, at)
  return entry
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] }

const NO_PERSONAL: readonly PersonalLine[] = Object.freeze([])

/** A decimal without leading zeros, at most 2^53 − 1. */
function decodeSeq(text: string, at: number, end: number): number {
  if (end <= at || end - at > 16) throw explain(text)
  let seq = 0
  for (let i = at; i < end; i++) {
    const digit = text.charCodeAt(i) - 0x30
    if (digit < 0 || digit > 9 || (digit === 0 && i === at && end - at > 1)) throw explain(text)
    seq = seq * 10 + digit
  }
  if (!Number.isSafeInteger(seq)) throw new EntryError('malformed', 'seq is above 2^53 − 1')
  return seq
}

const EVENT_BODIES: ReadonlyMap<string, Entry['body']> = new Map(
  CATEGORIES.map((category) => [`event ${category}`, Object.freeze({ event: category })]),
)

function decodeBody(text: string, at: number, end: number): Entry['body'] {
  const line = text.slice(at, end)
  const event = EVENT_BODIES.get(line)
  if (event !== undefined) return event
  if (!line.startsWith('control ')) throw explain(text)
  for (let i = at; i < end; i++) if ((RULES[text.charCodeAt(i)]! & CONTROL_CHARACTER) === 0) throw explain(text)
  return { control: decodeControl(line.slice('control '.length)) }
}

function decodePersonal(text: string, start: number): readonly PersonalLine[] {
  const count = (text.length - start) / PERSONAL_LINE_LENGTH
  if (!Number.isInteger(count) || count > PERSONAL_MAX_LINES) throw explain(text)
  const lines: PersonalLine[] = []
  for (let at = start; at < text.length; at += PERSONAL_LINE_LENGTH) {
    if (!text.startsWith(PERSONAL, at) || !isId(text, at + 9) || text.charCodeAt(at + 41) !== 0x20) throw explain(text)
    if (!isHashLine(text, at + 42)) throw explain(text)
    lines.push({ key: text.slice(at + 9, at + 41), commitment: text.slice(at + 42, at + 86) })
  }
  return lines
}

/** Entries sealed in one transaction share their time: the last one judged is remembered. */
let lastTime = ''

function isKnownTime(text: string): boolean {
  if (text === lastTime) return true
  if (!isTime(text)) return false
  lastTime = text
  return true
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
