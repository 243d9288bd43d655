/**
 * Reads content lines. A verifier reads every content of a trail only to hash it: what a content's string literal says
 * goes straight to where its commitment is hashed. Searching and unescaping are left to the engine's own functions: a
 * loop over the bytes took more than twice as long.
 */
import { type CommitmentKind, SALT_BYTES, TAGS } from './commitment.ts'
import { type Hash, hashText } from './hash.ts'
import { PackError } from './pack-error.ts'

/** A salt and what it salts, as text. */
export interface SaltedPart {
  /** Base64. */
  readonly salt: string
  readonly content: string
}

const encoder = new TextEncoder()

const QUOTE = 0x22
const ZERO = 0x30
const BACKSLASH = 0x5c
const SALT_LENGTH = 24
const SALT_TEXT = /[ !#-[\]-~]{24}/y
/** In the scratch buffer: where salts and contents begin. The tag comes in front, so that all three stand together. */
const SALT_AT = 32
const CONTENT_AT = SALT_AT + SALT_BYTES

/** Value of each base64 character; others have bit 6 set. */
const BASE64 = new Uint8Array(256).fill(64)
for (const [value, character] of [...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'].entries()) {
  BASE64[character.charCodeAt(0)] = value
}

/** Grows to the largest content seen and is reused. */
let scratch = new Uint8Array(65_536)
/** The scratch buffer from where contents begin. */
let room = scratch.subarray(CONTENT_AT)

/**
 * Reads lines in order: `open`, then the parts in the order of the format, then `close`. Each part read can be asked for
 * its `commitment` until the next. Every method throws PackError for what is not in its only form.
 */
export class ContentReader {
  private readonly lines: string
  private at = 0
  private saltAt = 0
  private isSalt = false
  private value = ''
  private lastPersonal = -1

  /** `lines`: each ended by a line feed. */
  constructor(lines: string) {
    this.lines = lines
  }

  /** The content of the part just read. */
  get content(): string {
    return this.value
  }

  /** Whether all lines were read. */
  get isAtEnd(): boolean {
    return this.at === this.lines.length
  }

  /** Begins a line. @returns its seq */
  open(): number {
    this.expect('{"seq":')
    this.lastPersonal = -1
    return this.decimal()
  }

  /** Ends the line. */
  close(): void {
    this.expect('}\n')
  }

  /** Reads the facts if they are there; so do the next two with their parts. */
  facts(): boolean {
    return this.skip(',"facts":{') && this.part()
  }

  confidential(): boolean {
    return this.skip(',"confidential":{') && this.part()
  }

  operator(): boolean {
    return this.skip(',"operator":{') && this.part()
  }

  /** Reads the next personal line that is there. @returns its number, ascending, or -1 after the last */
  personal(): number {
    const before = this.lastPersonal
    if (!this.skip(before < 0 ? ',"personal":[{"n":' : ',{"n":')) {
      if (before >= 0) this.expect(']')
      return -1
    }
    const n = this.decimal()
    if (n <= before) throw refusal()
    this.lastPersonal = n
    this.expect(',')
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
    const most = CONTENT_AT + this.value.length * 3
    if (most > scratch.length) {
      scratch = new Uint8Array(most * 2)
      room = scratch.subarray(CONTENT_AT)
    }
    readSalt(this.lines, this.saltAt, scratch)
    const tag = TAGS[kind]
    const start = SALT_AT - tag.length
    for (let i = 0; i < tag.length; i++) scratch[start + i] = tag[i]!
    const { written } = encoder.encodeInto(this.value, room)
    return hashText(hash, scratch.subarray(start, CONTENT_AT + written))
  }

  /** The part just read. */
  text(): SaltedPart {
    return { salt: this.lines.slice(this.saltAt, this.saltAt + SALT_LENGTH), content: this.value }
  }

  private skip(text: string): boolean {
    if (!this.lines.startsWith(text, this.at)) return false
    this.at += text.length
    return true
  }

  private expect(text: string): void {
    if (!this.skip(text)) throw refusal()
  }

  private decimal(): number {
    const { lines, at: from } = this
    let value = 0
    let at = from
    for (let digit = lines.charCodeAt(at) - ZERO; digit >= 0 && digit <= 9; digit = lines.charCodeAt(++at) - ZERO) {
      if (at - from === 16) throw refusal()
      value = value * 10 + digit
    }
    const isPadded = lines.charCodeAt(from) === ZERO && at - from > 1
    if (at === from || isPadded || !Number.isSafeInteger(value)) throw refusal()
    this.at = at
    return value
  }

  /** `"salt":"…","content":"…"}`. */
  private part(): true {
    this.expect('"salt":"')
    this.saltAt = this.at
    this.isSalt = isSalt(this.lines, this.at)
    // A wrong salt is a finding, not a broken line, as long as it is text.
    SALT_TEXT.lastIndex = this.at
    if (!this.isSalt && !SALT_TEXT.test(this.lines)) throw refusal()
    this.at += SALT_LENGTH
    this.expect('","content":')
    const end = this.endOfContent()
    this.value = parseString(this.lines.slice(this.at, end))
    this.at = end
    this.expect('}')
    return true
  }

  /**
   * Behind the first quote that is not escaped and has a brace after it. Should another that is not escaped come before,
   * then what is up to here is no string, and parsing refuses it. There are far fewer braces than quotes.
   */
  private endOfContent(): number {
    const { lines } = this
    let brace = this.at + 1
    do {
      brace = lines.indexOf('}', brace + 1)
      if (brace < 0) throw refusal()
    } while (lines.charCodeAt(brace - 1) !== QUOTE || this.isEscaped(brace - 1))
    return brace
  }

  /** Whether an odd number of backslashes stands in front. */
  private isEscaped(at: number): boolean {
    let backslashes = 0
    while (this.lines.charCodeAt(at - 1 - backslashes) === BACKSLASH) backslashes++
    return backslashes % 2 === 1
  }
}

/** Whether the 24 characters at `from` are the base64 of 16 bytes. */
function isSalt(text: string, from: number): boolean {
  let seen = 0
  for (let i = 0; i < SALT_LENGTH - 2; i++) seen |= sextet(text.charCodeAt(from + i))
  return seen < 64 && (sextet(text.charCodeAt(from + 21)) & 15) === 0 && text.startsWith('==', from + 22)
}

/** Puts the 16 bytes whose base64 stands at `from` to where salts begin in `target`. */
function readSalt(text: string, from: number, target: Uint8Array): void {
  let at = from
  for (let to = SALT_AT; to < CONTENT_AT; to += 3, at += 4) {
    const group = (sextet(text.charCodeAt(at)) << 6) | sextet(text.charCodeAt(at + 1))
    target[to] = group >> 4
    if (to + 1 === CONTENT_AT) return
    const rest = (sextet(text.charCodeAt(at + 2)) << 6) | sextet(text.charCodeAt(at + 3))
    target[to + 1] = (group << 4) | (rest >> 8)
    target[to + 2] = rest
  }
}

/** 0–63, or 64 for what is no character of base64. */
function sextet(code: number): number {
  return code < 256 ? BASE64[code]! : 64
}

function parseString(literal: string): string {
  try {
    const value: unknown = JSON.parse(literal)
    if (typeof value === 'string') return value
  } catch {
    // refused below
  }
  throw refusal()
}

function refusal(): PackError {
  return new PackError('malformed', 'a content line is not in its only form')
}
