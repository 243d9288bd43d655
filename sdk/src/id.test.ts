import { expect, test } from 'vitest'
import { uuidv7 } from './id.ts'

test('ids sort in the order they were made, within one millisecond and when the clock steps back', () => {
  const now = Date.now() + 1000
  const ids = [
    ...Array.from({ length: 10_000 }, () => uuidv7(now)),
    ...Array.from({ length: 100 }, () => uuidv7(now - 5000)),
    uuidv7(now + 60_000),
  ]
  expect(new Set(ids).size).toBe(ids.length)
  expect([...ids].sort()).toEqual(ids)
})

test('an id carries its time, version and variant', () => {
  const at = Date.UTC(2100, 0, 1)
  const id = uuidv7(at)
  expect(Number.parseInt(id.replaceAll('-', '').slice(0, 12), 16)).toBe(at)
  expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
})
