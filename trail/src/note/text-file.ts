/**
 * Reading the small text files of this format: UTF-8 lines, each ended by LF, decimals and base64 in their only
 * spelling, exactly one way to write each file.
 */
import { fromBase64, toBase64 } from '../bytes.ts'
import { FormatError } from '../format-error.ts'
import { HASH_BYTES } from '../hash.ts'
import { parseCheckpoint } from './checkpoint.ts'
import { NoteError, parseNote } from './note.ts'

const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** RFC 6962 trees of up to 2^63 leaves need no more. */
export const MAX_PROOF_HASHES = 63

const DECIMAL = /^(?:0|[1-9][0-9]{0,15})$/

export class TextFile {
  private readonly lines: readonly string[]
  private readonly what: string
  private at = 0

  /** Throws FormatError when this is not UTF-8, too large, or does not end in LF. */
  constructor(bytes: Uint8Array | string, what: string, limit: number) {
    this.what = what
    if (bytes.length > limit) throw new FormatError('too_large', `${what} is larger than ${limit} bytes`)
    let text: string
    try {
      text = typeof bytes === 'string' ? bytes : strictUtf8.decode(bytes)
    } catch {
      throw new FormatError('malformed', `${what} is not UTF-8`)
    }
    if (!text.endsWith('\n')) throw this.malformed('does not end in a newline')
    this.lines = text.slice(0, -1).split('\n')
  }

  malformed(why: string): FormatError {
    return new FormatError('malformed', `${this.what} ${why}`)
  }

  get ended(): boolean {
    return this.at >= this.lines.length
  }

  /** The next line without moving on; undefined at the end. */
  peek(): string | undefined {
    return this.lines[this.at]
  }

  next(): string {
    const line = this.lines[this.at]
    if (line === undefined) throw this.malformed('ends early')
    this.at++
    return line
  }

  /** The format's first line, `affidavit/1 <kind>`. */
  header(kind: string): void {
    this.version(`affidavit/1 ${kind}`, new RegExp(`^affidavit/[1-9][0-9]* ${kind}$`))
  }

  /** The first line; one that is not this but of the `family` is a newer format. */
  version(header: string, family: RegExp): void {
    const line = this.next()
    if (line === header) return
    if (family.test(line))
      throw new FormatError('unknown_version', `${this.what} has a version that this program does not know`)
    throw this.malformed('does not begin as one')
  }

  /** What stands behind `<name> ` on the next line. */
  field(name: string): string {
    const line = this.next()
    if (!line.startsWith(`${name} `)) throw this.malformed(`has no ${name} line where one belongs`)
    return line.slice(name.length + 1)
  }

  decimal(name: string, limit: number = Number.MAX_SAFE_INTEGER): number {
    const text = this.field(name)
    const value = Number(text)
    if (!DECIMAL.test(text) || value > limit) throw this.malformed(`has no good number on its ${name} line`)
    return value
  }

  hash(name: string): Uint8Array {
    return this.asHash(this.field(name))
  }

  /** Lines of base64 hashes, up to a line that is empty or the end. */
  hashes(limit: number = MAX_PROOF_HASHES): Uint8Array[] {
    const hashes: Uint8Array[] = []
    while (!this.ended && this.peek() !== '') {
      if (hashes.length === limit) throw this.malformed(`has more than ${limit} hashes`)
      hashes.push(this.asHash(this.next()))
    }
    return hashes
  }

  /** As many hashes as the number on the line `<name> <n>` says. */
  countedHashes(name: string): Uint8Array[] {
    return Array.from({ length: this.decimal(name, MAX_PROOF_HASHES) }, () => this.asHash(this.next()))
  }

  /** As many lines, verbatim, as the number on the line `<name> <n>` says. */
  document(name: string): string {
    const count = this.decimal(name, this.lines.length - this.at)
    let text = ''
    for (let i = 0; i < count; i++) text += `${this.next()}\n`
    return text
  }

  blank(): void {
    if (this.next() !== '') throw this.malformed('has no empty line where one belongs')
  }

  /** Everything that is left, verbatim. */
  rest(): string {
    const text = this.lines.slice(this.at).join('\n')
    this.at = this.lines.length
    return `${text}\n`
  }

  /** Everything that is left, verbatim, which must be a signed checkpoint. */
  restAsCheckpoint(): string {
    if (this.ended) throw this.malformed('ends early')
    const note = this.rest()
    noteErrors(this.what, () => parseCheckpoint(parseNote(note).text))
    return note
  }

  end(): void {
    if (!this.ended) throw this.malformed('goes on where it should end')
  }

  private asHash(text: string): Uint8Array {
    const bytes = text.length === 44 ? fromBase64(text) : undefined
    if (bytes?.length !== HASH_BYTES) throw this.malformed('has no hash where one belongs')
    return bytes
  }
}

/** `text` if it is a signed note. Throws FormatError. */
export function asNote(text: string, what: string): string {
  noteErrors(what, () => parseNote(text))
  return text
}

/** Does `read`; its NoteError becomes a FormatError about the file that the note stands in. */
function noteErrors(what: string, read: () => unknown): void {
  try {
    read()
  } catch (error) {
    if (error instanceof NoteError) throw new FormatError('malformed', `${what}: ${error.message}`)
    throw error
  }
}

/** Hashes as lines of base64. */
export function hashLines(hashes: readonly Uint8Array[]): string {
  return hashes.map((hash) => `${toBase64(hash)}\n`).join('')
}

/** A document as `document` reads it. */
export function framed(name: string, text: string): string {
  return `${name} ${text.split('\n').length - 1}\n${text}`
}
