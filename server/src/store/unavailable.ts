// Tells "the database cannot answer now" from "the database refused": the first is a 503 with Retry-After, the second
// is a bug or a conflict that the caller understands.

/** The database is stopped, starting, unreachable, or did not answer in time. Trying again later is right. */
export class StoreUnavailable extends Error {
  override name = 'StoreUnavailable'
  /** The connection was lost while a COMMIT was under way: whether it happened has to be asked. */
  readonly commitUnknown: boolean

  constructor(cause: unknown, commitUnknown = false) {
    super(`the database is unavailable: ${(cause as Error)?.message ?? cause}`, { cause })
    this.commitUnknown = commitUnknown
  }

  /** The disk is full (SQLSTATE 53100): reading still works. */
  get isFull(): boolean {
    return (this.cause as { code?: unknown } | undefined)?.code === '53100'
  }
}

const systemCodes = new Set([
  ...[
    'ECONNREFUSED',
    'ECONNRESET',
    'ENOENT',
    'EPIPE',
    'ETIMEDOUT',
    'EHOSTUNREACH',
    'ENETUNREACH',
    'ENOTFOUND',
    'EAI_AGAIN',
  ],
])

/** Errors that `pg` and its pool make up themselves; they carry no code. */
const clientMessage =
  /^(Connection terminated|timeout exceeded when trying to connect|Query read timeout|timeout expired|Client (has encountered a connection error|was closed)|Cannot use a pool after calling end)/

/**
 * SQLSTATE 08 connection, 53300 too many connections, 57P01–57P03 shutdown, crash and starting up, 58030 I/O error,
 * 53100 disk full, 25006 a read-only standby took over (PostgreSQL documentation, appendix A).
 */
const unavailableState = /^(08...|53[13]00|57P0[1-5]|58030|25006)$/

export function isUnavailable(error: unknown): boolean {
  if (error instanceof StoreUnavailable) return true
  const { code, message } = (error ?? {}) as { code?: unknown; message?: unknown }
  if (typeof code === 'string') return systemCodes.has(code) || unavailableState.test(code)
  return typeof message === 'string' && clientMessage.test(message)
}

/** The error as callers of the store see it. */
export const storeError = (error: unknown, commitUnknown = false): unknown =>
  isUnavailable(error) && !(error instanceof StoreUnavailable) ? new StoreUnavailable(error, commitUnknown) : error
