import { expect, test } from 'vitest'
import { fillRandom } from './fill-random.ts'

test('no bytes are handed out twice, whatever lengths are mixed', () => {
  const seen = new Set<string>()
  for (let n = 0; n < 2_000; n++) {
    const bytes = Buffer.alloc(n % 3 === 0 ? 12 : 16)
    fillRandom(bytes)
    expect(bytes.equals(Buffer.alloc(bytes.length))).toBe(false)
    seen.add(bytes.toString('hex', 0, 12))
  }
  expect(seen.size).toBe(2_000)
})

test('only what was asked for is overwritten, up to a whole pool', () => {
  const bytes = Buffer.alloc(48)
  fillRandom(bytes.subarray(16, 32))
  expect([bytes.toString('hex', 0, 16), bytes.toString('hex', 32)]).toEqual(['0'.repeat(32), '0'.repeat(32)])
  const whole = Buffer.alloc(4096)
  fillRandom(whole)
  expect(new Set(whole).size).toBeGreaterThan(200)
  expect(() => fillRandom(Buffer.alloc(4097))).toThrow(RangeError)
})
