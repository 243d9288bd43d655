/** Content lines: what a pack and the API give of an entry's payload, so that its commitments can be recomputed. */
import { fromBase64 } from '../bytes.ts'
import { PackError } from '../pack-error.ts'
import { SALT_BYTES } from './commitment.ts'
import { ContentReader, type SaltedPart } from './content-reader.ts'

export type { SaltedPart } from './content-reader.ts'

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
  const reader = new ContentReader(`${line}\n`)
  const seq = reader.open()
  const facts = reader.facts() ? reader.text() : undefined
  const confidential = reader.confidential() ? reader.text() : undefined
  const operator = reader.operator() ? reader.text() : undefined
  const personal: (SaltedPart & { n: number })[] = []
  for (let n = reader.personal(); n >= 0; n = reader.personal()) personal.push({ n, ...reader.text() })
  reader.close()
  if (!reader.isAtEnd) throw new PackError('malformed', 'a content line holds two')
  return {
    seq,
    ...(facts && { facts }),
    ...(confidential && { confidential }),
    ...(operator && { operator }),
    ...(personal.length > 0 && { personal }),
  }
}

/** The bytes of a salt, or undefined when it is not the base64 of 16 bytes. */
export function saltBytes(salt: string): Uint8Array | undefined {
  const bytes = fromBase64(salt)
  return bytes?.length === SALT_BYTES ? bytes : undefined
}
