import { describe, expect, test } from 'vitest'
import { RateLimit } from './rate-limit.ts'
import type { Refused } from './refused.ts'

const refusal = (work: () => unknown): Refused => {
  try {
    work()
  } catch (error) {
    return error as Refused
  }
  throw new Error('it was let through')
}

describe('a sender', () => {
  test('may send as much as its allowance, and is told what is left', () => {
    const rate = new RateLimit(10)
    expect(rate.take('a', 4, 0)).toEqual({ 'ratelimit-policy': '"events";q=10;w=1', ratelimit: '"events";r=6;t=1' })
    expect(rate.take('a', 6, 0).ratelimit).toBe('"events";r=0;t=1')
    const refused = refusal(() => rate.take('a', 1, 0))
    expect(refused.problem).toMatchObject({ status: 429, code: 'rate_limited' })
    expect(refused.headers).toMatchObject({ 'retry-after': '1', ratelimit: '"events";r=0;t=1' })
  })

  test('is let in again after Retry-After', () => {
    const rate = new RateLimit(10)
    rate.take('a', 10, 0)
    const wait = Number(refusal(() => rate.take('a', 10, 500)).headers['retry-after'])
    expect(rate.take('a', 10, 500 + wait * 1000).ratelimit).toBe('"events";r=0;t=1')
  })

  test('costs another nothing', () => {
    const rate = new RateLimit(10)
    rate.take('a', 10, 0)
    expect(rate.take('b', 10, 0).ratelimit).toBe('"events";r=0;t=1')
  })

  test('with a batch larger than the allowance goes through once, and pays for it later', () => {
    const rate = new RateLimit(10)
    rate.take('a', 35, 0)
    refusal(() => rate.take('a', 1, 2_000))
    expect(rate.take('a', 1, 2_700).ratelimit).toBe('"events";r=1;t=1')
  })

  test('gains nothing from a clock that goes back', () => {
    const rate = new RateLimit(10)
    rate.take('a', 10, 10_000)
    refusal(() => rate.take('a', 1, 5_000))
  })
})
