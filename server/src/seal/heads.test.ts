// A lane's memory is bounded whatever the number of its trails, and keeps what was used last.
import { expect, test } from 'vitest'
import type { Head } from './chain.ts'
import { keepHeads } from './heads.ts'

const extension = (number: number, size: number) => ({
  trail: { number, id: '', tenant: number, shard: 0 },
  before: size - 1,
  after: { size, hash: '' },
})

test('of many trails the last ones stay, with their newest heads', () => {
  const heads = new Map<number, Head>()
  for (let from = 0; from < 100_000; from += 1_000) {
    const batch = Array.from({ length: 1_000 }, (_, n) => extension(from + n, 1))
    keepHeads(heads, [...batch, extension(0, 1 + from / 1_000)])
    expect(batch.every(({ trail }) => heads.has(trail.number))).toBe(true)
    expect(heads.size).toBeLessThanOrEqual(4_096)
  }
  expect(heads.get(0)?.size).toBe(100)
  expect(heads.has(99_999)).toBe(true)
  expect(heads.has(50_000)).toBe(false)
})
