// What a failed statement means for a batch. Everything the database may say falls into one of these, and only
// `unknown` needs a second question: the statement's answer was lost, so it may or may not have been committed.
import { StoreUnavailable } from '../store/database.ts'
import { SealUnavailable } from '../store/sealable.ts'

export type Refusal =
  | 'moved' // AF001: another writer was first
  | 'duplicate' // AF002, or 23505 of the ids: an id was used before
  | 'keys' // AF003: keys were destroyed
  | 'clock' // AF004: sealing time out of order
  | 'row' // one of the rows cannot be stored
  | 'full' // no room
  | 'unavailable' // the database refuses work; nothing was stored
  | 'unknown' // the answer was lost

const exact: Record<string, Refusal> = {
  AF001: 'moved',
  AF002: 'duplicate',
  AF003: 'keys',
  AF004: 'clock',
  '40001': 'moved',
  '40P01': 'moved',
  '23514': 'unavailable', // no partition for the day: the rows are not to blame
  '53100': 'full',
  '58030': 'full', // I/O error while extending a file: what a full or broken disk also says
  '57P01': 'unknown', // the backend was told to go, possibly between commit and answer
  '57P02': 'unknown',
}
const classes: Record<string, Refusal> = { '22': 'row', '23': 'row', '54': 'row', '08': 'unknown' }

/** Errors of a connection that was never made: nothing was sent. */
const neverConnected =
  /ECONNREFUSED|ENOENT|EHOSTUNREACH|ENOTFOUND|EAI_AGAIN|57P03|53300|timeout exceeded when trying to connect/

/** Sorts an error of the seal statement; without an SQLSTATE the connection broke. */
export function refusal(error: unknown): Refusal {
  if (error instanceof StoreUnavailable) {
    const cause = error.cause as { code?: string; message?: string } | undefined
    if (neverConnected.test(`${cause?.code} ${cause?.message}`)) return 'unavailable'
    return refusal(cause)
  }
  const code = sqlState(error)
  if (code === null) return 'unknown'
  if (code === '23505' && (error as { table?: string }).table?.startsWith('event_ids_')) return 'duplicate'
  return exact[code] ?? classes[code.slice(0, 2)] ?? 'unavailable'
}

/** The five-character SQLSTATE of a database error, or null for any other error. */
export function sqlState(error: unknown): string | null {
  const code = (error as { code?: unknown } | null)?.code
  return typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) && code !== 'EPIPE' ? code : null
}

/** The error that a caller sees for a batch of which nothing was sealed. */
export function unavailable(kind: Refusal, cause: unknown): SealUnavailable {
  const detail = cause instanceof Error ? cause.message : String(cause)
  if (kind === 'full') return new SealUnavailable('storage_full', `the database has no room: ${detail}`, { cause })
  if (kind === 'unknown')
    return new SealUnavailable('outcome_unknown', `the database went away while sealing: ${detail}`, { cause })
  return new SealUnavailable('store_unavailable', `the database cannot seal now: ${detail}`, { cause })
}
