// What the log tells of errors, and what it keeps to itself.
import pg from 'pg'
import { expect, test } from 'vitest'
import { toldOf } from './log.ts'
import { StoreUnavailable } from './unavailable.ts'

test('code and constraint of a refused statement, not the row that PostgreSQL quotes', () => {
  const error = new pg.DatabaseError('null value in column "name"', 100, 'error')
  Object.assign(error, { code: '23502', table: 'acts', detail: 'Failing row contains (Sarah).', where: 'Sarah' })
  expect(toldOf(error)).toMatchObject({ code: '23502', table: 'acts', message: 'null value in column "name"' })
  expect(JSON.stringify(toldOf(error))).not.toContain('Sarah')
})

test('no password of an address that is none', () => {
  let error: unknown
  try {
    new URL('postgres://user:hidden@[')
  } catch (thrown) {
    error = thrown
  }
  expect(toldOf(error)).toMatchObject({ type: 'TypeError', code: 'ERR_INVALID_URL', message: 'Invalid URL' })
  expect(JSON.stringify(toldOf(error))).not.toContain('hidden')
})

test('causes, as far as they lead, and what is no error', () => {
  const refused = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED', port: 5432 })
  expect(toldOf(new StoreUnavailable(refused))).toMatchObject({
    type: 'StoreUnavailable',
    cause: { code: 'ECONNREFUSED', port: 5432 },
  })
  const circle = new Error('round')
  circle.cause = circle
  expect(JSON.stringify(toldOf(circle)).match(/"round"/g)).toHaveLength(5)
  expect(toldOf('word')).toEqual({ message: 'word' })
})
