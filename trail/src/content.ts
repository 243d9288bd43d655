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

/** Strict inverse of `encodeContent`: duplicate keys, other orders and spellings are refused. Throws PackError. */
export function decodeContent(line: string): Payload {
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch {
    throw new PackError('malformed', 'a content line is not JSON')
  }
  if (!isPayload(value) || encodeContent(value) !== line) {
    throw new PackError('malformed', 'a content line is not in its only form')
  }
  return value
}

function isPayload(value: unknown): value is Payload {
  if (!isRecord(value) || typeof value.seq !== 'number' || !Number.isSafeInteger(value.seq)) return false
  const { facts, confidential, operator, personal } = value
  if (![facts, confidential, operator].every((item) => item === undefined || isPart(item))) return false
  if (personal === undefined) return true
  let last = -1
  return (
    Array.isArray(personal) &&
    personal.length > 0 &&
    personal.every((item: unknown) => {
      if (!isPart(item)) return false
      const n = (item as { n?: unknown }).n
      if (typeof n !== 'number' || !Number.isInteger(n) || n <= last) return false
      last = n
      return true
    })
  )
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}

function isPart(value: unknown): value is SaltedPart {
  return isRecord(value) && typeof value.salt === 'string' && typeof value.content === 'string'
}

/** The bytes of a salt, or undefined when it is not the base64 of 16 bytes. */
export function saltBytes(salt: string): Uint8Array | undefined {
  const bytes = fromBase64(salt)
  return bytes?.length === SALT_BYTES ? bytes : undefined
}
