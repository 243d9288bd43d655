import { expect, test } from 'vitest'
import { parseRetryAfter, retryDelayMs } from './retry.ts'

test('Retry-After is read as seconds or as a date', () => {
  const now = Date.UTC(2026, 0, 1)
  expect(parseRetryAfter('120', now)).toBe(120_000)
  expect(parseRetryAfter('Thu, 01 Jan 2026 00:00:05 GMT', now)).toBe(5000)
  expect(parseRetryAfter('Wed, 31 Dec 2025 00:00:00 GMT', now)).toBe(0)
  for (const odd of [null, '', 'soon', '99999999999999']) expect(parseRetryAfter(odd, now)).toBeUndefined()
})

test('delays grow to a bound, and a wait that the server asked for is never shortened', () => {
  for (let attempt = 1; attempt < 50; attempt++) {
    expect(retryDelayMs(attempt)).toBeLessThanOrEqual(Math.min(30_000, 50 * 2 ** attempt))
    expect(retryDelayMs(attempt, 3000)).toBeGreaterThanOrEqual(3000)
    expect(retryDelayMs(attempt, 3000)).toBeLessThanOrEqual(3350)
  }
})
