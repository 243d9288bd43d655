// What the log tells of errors, and what it keeps to itself.
import pg from 'pg'
import { expect, test } from 'vitest'
import { StoreUnavailable } from '../store/unavailable.ts'
import { toldOf } from './log.ts'

const told = (error: unknown) => toldOf(error, 4)

test('code and constraint of a refused statement, not the row that PostgreSQL quotes', () => {
  const error = new pg.DatabaseError('null value in column "name"', 100, 'error')
  Object.assign(error, { code: '23502', table: 'acts', detail: 'Failing row contains (Sarah).', where: 'Sarah' })
  expect(told(error)).toMatchObject({ code: '23502', table: 'acts', message: 'null value in column "name"' })
  expect(JSON.stringify(told(error))).not.toContain('Sarah')
})

test('no password of an address that is none', () => {
  let error: unknown
  try {
    new URL('postgres://user:hidden@[')
  } catch (thrown) {
    error = thrown
  }
  expect(told(error)).toMatchObject({ type: 'TypeError', code: 'ERR_INVALID_URL', message: 'Invalid URL' })
  expect(JSON.stringify(told(error))).not.toContain('hidden')
})

test('causes, as far as they lead, and what is no error', () => {
  const refused = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED', port: 5432 })
  expect(told(new StoreUnavailable(refused))).toMatchObject({
    type: 'StoreUnavailable',
    cause: { code: 'ECONNREFUSED', port: 5432 },
  })
  const circle = new Error('round')
  circle.cause = circle
  expect(JSON.stringify(told(circle)).match(/"round"/g)).toHaveLength(5)
  expect(told('word')).toEqual({ message: 'word' })
})
