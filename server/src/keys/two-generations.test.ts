import { expect, test } from 'vitest'
import { TwoGenerations } from './two-generations.ts'

test('never holds more than its entries or bytes, whatever is put in', () => {
  const weights = new Map<string, number>()
  const cache = new TwoGenerations<number>({ entries: 40, bytes: 1_000 }, (_, value) => value)
  for (let n = 0; n < 500; n++) {
    const [key, weight] = [`k${n}`, (n * 37) % 90]
    weights.set(key, weight)
    cache.set(key, weight)
    cache.get(`k${n - 5}`)
    if (n % 7 === 0) cache.delete(`k${n - 3}`)
    let bytes = 0
    cache.deleteWhere((value) => {
      bytes += value
      return false
    })
    expect(cache.size).toBeLessThanOrEqual(40)
    expect(bytes).toBeLessThanOrEqual(1_000)
  }
})

test('keeps what is used, drops what is not, and replaces a value in place', () => {
  const cache = new TwoGenerations<number>({ entries: 10, bytes: 1e6 }, () => 1)
  cache.set('used', 1)
  cache.set('unused', 1)
  for (let n = 0; n < 50; n++) {
    cache.set(`k${n}`, n)
    expect(cache.get('used')).toBe(1)
  }
  expect(cache.get('unused')).toBeUndefined()
  cache.set('used', 2)
  expect(cache.get('used')).toBe(2)
  cache.delete('used')
  expect(cache.get('used')).toBeUndefined()
})

test('a value heavier than a generation is not kept, and drives nothing out', () => {
  const cache = new TwoGenerations<number>({ entries: 10, bytes: 100 }, (_, value) => value)
  cache.set('small', 1)
  cache.set('huge', 51)
  expect([cache.get('huge'), cache.get('small')]).toEqual([undefined, 1])
})
