/** Content lines: what a pack and the API give of an entry's payload, so that its commitments can be recomputed. */
import { fromBase64 } from './bytes.ts'
import { SALT_BYTES } from './commitment.ts'
import { PackError } from './pack-error.ts'

export interface SaltedPart {
  /** Base64 of 16 bytes. */
  readonly salt: string
  readonly content: string
}

/** The payload of one entry; a part that is gone or withheld is left out. */
export interface Payload {
  readonly seq: number
  readonly facts?: SaltedPart
  readonly confidential?: SaltedPart
  readonly operator?: SaltedPart
  /** Ascending by `n`, the number of the personal line. */
  readonly personal?: readonly (SaltedPart & { readonly n: number })[]
}

/** One line of `content/<N>.ndjson`, without its newline. */
export function encodeContent(payload: Payload): string {
  return JSON.stringify({
    seq: payload.seq,
    facts: part(payload.facts),
    confidential: part(payload.confidential),
    operator: part(payload.operator),
    personal: payload.personal?.map(({ n, salt, content }) => ({ n, salt, content })),
  })
}

function part(value: SaltedPart | undefined): SaltedPart | undefined {
  return value === undefined ? undefined : { salt: value.salt, content: value.content }
}

/**
 * Reads what `encodeContent` wrote. Names, their order and everything between values must be exactly that; only how a
 * string is escaped is left to JSON, which reads it one way. So no two readers can see two contents in one line.
 * Throws PackError.
 */
export function decodeContent(line: string): Payload {
  const scan = new Scanner(line)
  scan.expect('{"seq":')
  const seq = scan.decimal()
  const facts = scan.skip(',"facts":') ? scan.part('{') : undefined
  const confidential = scan.skip(',"confidential":') ? scan.part('{') : undefined
  const operator = scan.skip(',"operator":') ? scan.part('{') : undefined
  const personal = scan.skip(',"personal":[') ? scanPersonal(scan) : undefined
  scan.expect('}')
  scan.end()
  return {
    seq,
    ...(facts && { facts }),
    ...(confidential && { confidential }),
    ...(operator && { operator }),
    ...(personal && { personal }),
  }
}

function scanPersonal(scan: Scanner): (SaltedPart & { n: number })[] {
  const lines: (SaltedPart & { n: number })[] = []
  do {
    scan.expect('{"n":')
    const n = scan.decimal()
    if (n <= (lines.at(-1)?.n ?? -1)) throw scan.refusal()
    lines.push({ n, ...scan.part(',') })
  } while (scan.skip(','))
  scan.expect(']')
  return lines
}

const SALT_LENGTH = 24
const DECIMAL = /(?:0|[1-9][0-9]{0,15})/y

/** Walks a content line: parsing it as any JSON and writing it again to compare took twice as long. */
class Scanner {
  private readonly line: string
  private at = 0

  constructor(line: string) {
    this.line = line
  }

  skip(text: string): boolean {
    if (!this.line.startsWith(text, this.at)) return false
    this.at += text.length
    return true
  }

  expect(text: string): void {
    if (!this.skip(text)) throw this.refusal()
  }

  end(): void {
    if (this.at !== this.line.length) throw this.refusal()
  }

  decimal(): number {
    DECIMAL.lastIndex = this.at
    const digits = DECIMAL.exec(this.line)?.[0]
    const value = Number(digits)
    if (digits === undefined || !Number.isSafeInteger(value)) throw this.refusal()
    this.at += digits.length
    return value
  }

  /** `"salt":"…","content":"…"}` after `opening`. */
  part(opening: '{' | ','): SaltedPart {
    this.expect(opening)
    this.expect('"salt":"')
    const salt = this.line.slice(this.at, this.at + SALT_LENGTH)
    if (salt.includes('"') || salt.includes('\\')) throw this.refusal()
    this.at += SALT_LENGTH
    this.expect('","content":')
    const content = this.string()
    this.expect('}')
    return { salt, content }
  }

  private string(): string {
    if (this.line[this.at] !== '"') throw this.refusal()
    let end = this.at
    do {
      end = this.line.indexOf('"', end + 1)
      if (end < 0) throw this.refusal()
    } while (this.isEscaped(end))
    const literal = this.line.slice(this.at, end + 1)
    this.at = end + 1
    try {
      return JSON.parse(literal)
    } catch {
      throw this.refusal()
    }
  }

  /** Whether an odd number of backslashes stands in front. */
  private isEscaped(at: number): boolean {
    let backslashes = 0
    while (this.line.charCodeAt(at - 1 - backslashes) === 0x5c) backslashes++
    return backslashes % 2 === 1
  }

  refusal(): PackError {
    return new PackError('malformed', 'a content line is not in its only form')
  }
}

/** The bytes of a salt, or undefined when it is not the base64 of 16 bytes. */
export function saltBytes(salt: string): Uint8Array | undefined {
  const bytes = fromBase64(salt)
  return bytes?.length === SALT_BYTES ? bytes : undefined
}
