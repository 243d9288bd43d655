// Where a page ended, as an opaque text that works for the same tenant, filter and order only. It holds a place in the
// trail and no content. The code in it is no access control (row-level security is); it tells an honest mistake from an
// answer, for a cursor of another search would silently leave events out.
import { createHmac, hash, timingSafeEqual } from 'node:crypto'
import type { Filter } from '../filter/filter.ts'

/** A place between two events of a tenant's chain of trails. */
export interface Place {
  /** Place of the trail in the tenant's chain. */
  readonly ordinal: number
  /** Ascending: the next event to visit. Descending: the last event that was visited (the next is the one before). */
  readonly seq: number
}

export interface CursorScope {
  /** The tenant's key for search terms; what binds the cursor to the tenant. */
  readonly termKey: Uint8Array
  readonly filter: Filter
  readonly order: 'asc' | 'desc'
}

/** Bytes: version and order, ordinal, seq, code. */
const length = 1 + 4 + 8 + 16
const version = 0x10

export function encodeCursor(scope: CursorScope, place: Place): string {
  const bytes = Buffer.alloc(length)
  bytes.writeUInt8(version | (scope.order === 'asc' ? 1 : 0), 0)
  bytes.writeUInt32BE(place.ordinal, 1)
  bytes.writeBigUInt64BE(BigInt(place.seq), 5)
  codeOf(scope, bytes.subarray(0, 13)).copy(bytes, 13)
  return bytes.toString('base64url')
}

/** The place, or undefined when the cursor was not made for this tenant, filter and order. */
export function decodeCursor(scope: CursorScope, cursor: string): Place | undefined {
  const bytes = Buffer.from(cursor, 'base64url')
  if (bytes.length !== length || bytes.toString('base64url') !== cursor) return undefined
  if (!timingSafeEqual(codeOf(scope, bytes.subarray(0, 13)), bytes.subarray(13))) return undefined
  return { ordinal: bytes.readUInt32BE(1), seq: Number(bytes.readBigUInt64BE(5)) }
}

function codeOf({ termKey, filter, order }: CursorScope, place: Buffer): Buffer {
  const digest = hash('sha256', canonical(filter), 'buffer')
  const code = createHmac('sha256', termKey).update('affidavit cursor\n').update(order).update(digest).update(place)
  return code.digest().subarray(0, 16)
}

/** Equal for filters that ask the same in another order. */
function canonical(filter: Filter): string {
  const members = Object.entries(filter).map(([name, value]) => [name, Array.isArray(value) ? sorted(value) : value])
  return JSON.stringify(sorted(members))
}

const sorted = (values: readonly unknown[]): unknown[] =>
  values
    .map((value) => JSON.stringify(Array.isArray(value) ? value.map((v) => (Array.isArray(v) ? sorted(v) : v)) : value))
    .sort()
