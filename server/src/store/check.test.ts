import { afterAll, beforeAll, expect, test } from 'vitest'
import { freshDatabase, type TestDatabase } from '../../test/database.ts'
import { checkServer, refusal } from './check.ts'
import { StoreUnavailable } from './database.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await freshDatabase({ empty: true })
})
afterAll(() => database.drop())

const good = { version: '150004', fsync: 'on', synchronous_commit: 'on', full_page_writes: 'on', encoding: 'UTF8' }

test('the test database passes, as a login and as a URL', async () => {
  await checkServer(database.login)
  await checkServer(database.url)
})

test('a setting of the database itself is seen', async () => {
  await database.superuser.query(`alter database ${database.login.database} set synchronous_commit = off`)
  await expect(checkServer(database.url)).rejects.toThrow('PostgreSQL runs with synchronous_commit = off')
})

test('a stopped database is not a refused one', async () => {
  await expect(checkServer({ ...database.login, host: '/nowhere' })).rejects.toBeInstanceOf(StoreUnavailable)
})

test.each([
  [{ version: '140011' }, 'This is PostgreSQL 14; affidavit needs 15 or newer'],
  [{ version: '90624' }, 'This is PostgreSQL 9'],
  [{ fsync: 'off' }, 'fsync = off'],
  [{ full_page_writes: 'off' }, 'full_page_writes = off'],
  [{ encoding: 'SQL_ASCII' }, 'encoded in SQL_ASCII'],
])('%j is refused with a sentence that says what to do', (change, sentence) => {
  expect(refusal({ ...good, ...change })).toContain(sentence)
  expect(refusal(good)).toBeUndefined()
})

test('commits that reach this server’s disk are enough', () => {
  for (const synchronous_commit of ['local', 'remote_write', 'remote_apply'])
    expect(refusal({ ...good, synchronous_commit })).toBeUndefined()
})
