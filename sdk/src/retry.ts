/** When to try again, and how long to wait: exponential back-off with full jitter, Retry-After taken literally. */

import type { AffidavitError } from './error.ts'

const FIRST_DELAY_MS = 50
const LONGEST_DELAY_MS = 30_000

/** True if repeating the same request may succeed. Repeats are safe: every event carries its id. */
export function isRetryable(error: AffidavitError): boolean {
  const { status } = error
  if (status === 0) return error.code === 'network' || error.code === 'timeout'
  return status === 408 || status === 425 || status === 429 || (status >= 500 && status !== 501 && status !== 505)
}

/**
 * Milliseconds to wait before attempt number `attempt` (1 = the first repeat).
 * A wait that the server asked for is never shortened, only spread by up to a tenth, so that many clients that
 * were refused together do not return together.
 */
export function retryDelayMs(attempt: number, retryAfterMs?: number): number {
  if (retryAfterMs !== undefined) return retryAfterMs + Math.random() * Math.min(1000, retryAfterMs / 10 + 50)
  return Math.random() * Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** attempt)
}

/** Retry-After (RFC 9110 §10.2.3), seconds or HTTP date, in milliseconds from now; undefined if absent or unreadable. */
export function parseRetryAfter(value: string | null, nowMs: number = Date.now()): number | undefined {
  if (value === null) return undefined
  if (/^\s*\d{1,9}\s*$/.test(value)) return Number(value) * 1000
  const at = Date.parse(value)
  return Number.isNaN(at) ? undefined : Math.max(0, at - nowMs)
}

/** Waits; ends early, without an error, when `signal` aborts. The timer does not keep the process alive if `unref`. */
export function sleep(ms: number, signal?: AbortSignal, unref = false): Promise<void> {
  if (signal?.aborted) return Promise.resolve()
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, ms)
    if (unref) timer.unref()
    signal?.addEventListener('abort', done, { once: true })
  })
}
