import { readFile } from 'node:fs/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { freshDatabase, type TestDatabase } from './database.ts'
import { dumpSchema, goldenFile } from './schema.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await freshDatabase()
})
afterAll(() => database.drop())

test('the migrations lead to server/schema.sql', async () => {
  expect(await dumpSchema(database.superuser)).toBe(await readFile(goldenFile, 'utf8'))
})

// Each line weakens or changes something that a reviewer must see.
test.each([
  'alter table affidavit.events no force row level security',
  'alter table affidavit.tenants add column extra int',
  'alter table affidavit.tenants alter column name set not null',
  "alter table affidavit.tenants alter column name set default 'x'",
  'alter table affidavit.tenants drop constraint tenants_id_key cascade',
  'create index on affidavit.tenants (name)',
  'drop policy tenant on affidavit.events',
  'grant select on keeper.api_keys to affidavit_reader',
  'grant select (operator) on affidavit.events to affidavit_reader',
  'grant execute on function affidavit.seal to public',
  'alter function affidavit.current_tenant() security definer',
  'grant usage on schema keeper to public',
  'create view affidavit.leak as select * from keeper.api_keys',
  'grant affidavit_keeper to affidavit_reader',
])('a drift is seen: %s', async (sql) => {
  await database.superuser.query(`begin; ${sql}`)
  try {
    expect(await dumpSchema(database.superuser)).not.toBe(await readFile(goldenFile, 'utf8'))
  } finally {
    await database.superuser.query('rollback')
  }
})
