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

const HASH = '[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]='
const ENTRY = new RegExp(
  '^affidavit/1\\n' +
    '([0-9a-f]{32})\\n' +
    '(0|[1-9][0-9]{0,15})\\n' +
    `(${HASH})\\n` +
    '([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z)\\n' +
    `(?:event (${CATEGORIES.join('|')})|control ([!-~ ]+))\\n` +
    `facts (${HASH})\\n` +
    `(?:confidential (${HASH})\\n)?` +
    `(?:operator (${HASH})\\n)?` +
    `((?:personal [0-9a-f]{32} ${HASH}\\n)*)$`,
)
const VERSION_LINE = `${ENTRY_VERSION}\n`
const PERSONAL_LINE_LENGTH = 'personal '.length + 32 + 1 + 44 + 1

/** `decodeEntry` of text that holds one character per byte. */
export function decodeEntryText(text: string): Entry {
  if (text.length > ENTRY_MAX_BYTES) throw new EntryError('too_long', `entry has ${text.length} bytes`)
  const match = ENTRY.exec(text)
  if (match === null) throw explain(text)
  const seq = Number(match[2])
  if (!Number.isSafeInteger(seq)) throw new EntryError('malformed', 'seq is above 2^53 − 1')
  const sealedAt = match[4]!
  if (!isKnownTime(sealedAt)) throw new EntryError('malformed', 'sealed_at is not a time')
  const previous = match[3]!
  if (seq === 0 && previous !== NO_PREVIOUS) throw new EntryError('malformed', 'entry 0 has a previous hash')
  const event = match[5] as Category | undefined
  const personal = decodePersonal(match[10]!)
  const entry: Mutable<Entry> = {
    trail: match[1]!,
    seq,
    previous,
    sealedAt,
    body: event === undefined ? { control: decodeControl(match[6]!) } : { event },
    facts: match[7]!,
    personal,
  }
  if (match[8] !== undefined) entry.confidential = match[8]
  if (match[9] !== undefined) entry.operator = match[9]
  return entry
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] }

const NO_PERSONAL: readonly PersonalLine[] = Object.freeze([])

function decodePersonal(text: string): readonly PersonalLine[] {
  if (text === '') return NO_PERSONAL
  const count = text.length / PERSONAL_LINE_LENGTH
  if (count > PERSONAL_MAX_LINES) throw new EntryError('malformed', `${count} personal lines`)
  const lines: PersonalLine[] = []
  for (let at = 0; at < text.length; at += PERSONAL_LINE_LENGTH) {
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
