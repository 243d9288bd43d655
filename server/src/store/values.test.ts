import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { freshDatabase, type TestDatabase } from '../../test/database.ts'
import { timestamptz } from './values.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await freshDatabase({ empty: true })
})
afterAll(() => database.drop())

const one = async (sql: string, values: unknown[] = []) =>
  (await database.superuser.query<{ v: unknown }>(`select ${sql} as v`, values)).rows[0]!.v

test('bigint is a number, and an error beyond 2^53', async () => {
  expect(await one('9007199254740991::bigint')).toBe(Number.MAX_SAFE_INTEGER)
  expect(await one('-9007199254740991::bigint')).toBe(-Number.MAX_SAFE_INTEGER)
  await expect(one('9007199254740992::bigint')).rejects.toThrow('read it as text')
  expect(await one('1::bigint')).toBe(1) // the connection still works
})

test('bigint[] keeps all 64 bits', async () => {
  expect(await one(`array[9223372036854775807, -9223372036854775808, null]::bigint[]`)).toEqual([
    2n ** 63n - 1n,
    -(2n ** 63n),
    null,
  ])
  expect(await one(`'{}'::bigint[]`)).toEqual([])
})

test('timestamptz is milliseconds, finer digits cut off', async () => {
  expect(await one(`'2026-03-10 18:33:14.1239+00'::timestamptz`)).toBe(Date.UTC(2026, 2, 10, 18, 33, 14, 123))
  expect(await one(`'2026-03-10 18:33:14.1+00'::timestamptz`)).toBe(Date.UTC(2026, 2, 10, 18, 33, 14, 100))
  expect(await one(`'infinity'::timestamptz`)).toBe(Number.POSITIVE_INFINITY)
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: Date.UTC(1000, 0, 1), max: Date.UTC(9999, 11, 31) }), async (ms) => {
      expect(await one('$1::timestamptz', [new Date(ms).toISOString()])).toBe(ms)
    }),
    { numRuns: 200 },
  )
})

test('a time that is not in UTC is an error, not a wrong number', () => {
  expect(() => timestamptz('2026-03-10 18:33:14+05:30')).toThrow('not in UTC')
  expect(() => timestamptz('12026-03-10 18:33:14+00')).toThrow('years 1 to 9999')
})

test('date is its text, bytea a Buffer', async () => {
  expect(await one(`'2026-03-10'::date`)).toBe('2026-03-10')
  expect(await one(`'\\x00ff'::bytea`)).toEqual(Buffer.from([0, 255]))
})
