import { afterAll, beforeAll, expect, test } from 'vitest'
import { freshDatabase, type TestDatabase } from '../../test/database.ts'
import { openDatabase, StoreUnavailable } from './database.ts'
import { silent } from './log.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await freshDatabase()
})
afterAll(() => database.drop())

const backend = { name: 'backend', text: 'select pg_backend_pid()' }
const echo = { name: 'echo', text: 'select $1::text' }
const length = { name: 'length', text: 'select octet_length($1::bytea)' }
const sleep = { name: 'sleep', text: 'select pg_sleep($1::float8)' }
const divide = { name: 'divide', text: 'select 1 / $1::int' }

const kill = (pid: string | null) => database.superuser.query('select pg_terminate_backend($1)', [pid])
/** Whether the process is, and so its end of the connection. */
function isGone(pid: string | null): boolean {
  try {
    return !process.kill(Number(pid), 0)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH'
  }
}

test('a value is its text, null is null, and bytes travel as they are', async () => {
  const pool = database.store.pool('follower')
  for (const text of ['', 'é', "'; select 1 --"]) expect(await pool.value(echo, [text])).toBe(text)
  expect(await pool.value(echo, [null])).toBeNull()
  expect(await pool.value(length, [Buffer.from([0, 1, 255])])).toBe('3')
})

test('one connection carries what comes one after the other, and others what comes at once, within the pool', async () => {
  const store = openDatabase({ login: database.login, log: silent, connections: { follower: 4 } })
  const pool = store.pool('follower')
  const first = await pool.value(backend, [])
  expect(await pool.value(backend, [])).toBe(first)
  await Promise.all(Array.from({ length: 9 }, () => pool.value(sleep, ['0.02'])))
  // However many are kept, a pool has connections left for everything else.
  const { rows } = await pool.query('select 1 as one')
  expect(rows).toEqual([{ one: 1 }])
  await pool.transaction((session) => session.query('select 1'))
  await store.end()
  await expect.poll(() => isGone(first)).toBe(true)
})

test('a pool of one connection serves both', async () => {
  const store = openDatabase({ login: database.login, log: silent, connections: { follower: 1 } })
  const pool = store.pool('follower')
  for (let n = 0; n < 2; n++) {
    expect(await pool.value(echo, [String(n)])).toBe(String(n))
    expect((await pool.query('select 1 as one')).rowCount).toBe(1)
  }
  await store.end()
})

test('what PostgreSQL refuses is told with its code, and the next statement works', async () => {
  const pool = database.store.pool('follower')
  const before = await pool.value(backend, [])
  await expect(pool.value(divide, ['0'])).rejects.toMatchObject({ code: '22012' })
  // By the same connection, which is as good as before.
  expect(await pool.value(backend, [])).toBe(before)
  const asked = [
    pool.value(divide, ['0']),
    pool.value(divide, ['2']),
    pool.value(divide, ['0']),
    pool.value(divide, ['1']),
  ]
  const told = await Promise.allSettled(asked)
  expect(told.map((one) => (one.status === 'fulfilled' ? one.value : one.reason.code))).toEqual([
    '22012',
    '0',
    '22012',
    '1',
  ])
  expect(await pool.value(backend, [])).not.toBeNull()
  await expect(pool.value({ name: 'none', text: 'select nothing' }, [])).rejects.toMatchObject({ code: '42703' })
  expect(await pool.value(divide, ['1'])).toBe('1')
})

test('a connection that is lost while nobody asks is not asked again', async () => {
  const pool = database.store.pool('follower')
  const lost = await pool.value(backend, [])
  await kill(lost)
  await expect.poll(() => isGone(lost)).toBe(true)
  // This side hears of it with its next turn.
  await new Promise((resolve) => setTimeout(resolve, 50))
  expect(await pool.value(backend, [])).not.toBe(lost)
})

test('one that is lost under a statement is told as StoreUnavailable, and the next statement works', async () => {
  const pool = database.store.pool('follower')
  const busy = await pool.value(backend, [])
  const outcome = expect(pool.value(sleep, ['30'])).rejects.toThrow(StoreUnavailable)
  await kill(busy)
  await outcome
  expect(await pool.value(echo, ['again'])).toBe('again')
})

test('what is asked when the pool ends is answered first', async () => {
  const store = openDatabase({ login: database.login, log: silent })
  const asked = store.pool('follower').value(sleep, ['0.1'])
  const other = store.pool('follower').value(echo, ['x'])
  await other
  const ended = store.end()
  expect(await asked).toBe('')
  await ended
})
