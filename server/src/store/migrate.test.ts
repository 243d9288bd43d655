import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { freshDatabase, type TestDatabase } from '../../test/database.ts'
import { silent } from './log.ts'
import { MigrationRefused, migrate } from './migrate.ts'

let database: TestDatabase
let folder: string
beforeEach(async () => {
  database = await freshDatabase({ empty: true })
  folder = await mkdtemp(join(tmpdir(), 'migrations-'))
})
afterEach(async () => {
  await database.drop()
  await rm(folder, { recursive: true })
})

const put = (name: string, sql: string) => writeFile(join(folder, name), sql)
const run = () => migrate(database.login, silent, folder)
const recorded = async () =>
  (await database.superuser.query('select name from affidavit.migrations order by number')).rows.map(({ name }) => name)

test('files run once, in order of their numbers, and new ones later', async () => {
  await put('0002_second.sql', 'insert into public.steps values (2)')
  await put('0001_first.sql', 'create table public.steps (n int); insert into public.steps values (1)')
  expect(await run()).toEqual(['0001_first.sql', '0002_second.sql'])
  expect(await run()).toEqual([])
  await put('0003_third.sql', 'insert into public.steps values (3)')
  expect(await run()).toEqual(['0003_third.sql'])
  const { rows } = await database.superuser.query('select n from public.steps')
  expect(rows.map(({ n }) => n)).toEqual([1, 2, 3])
})

test('a file that fails leaves nothing behind and says where', async () => {
  await put('0001_first.sql', 'create table public.kept ()')
  await put('0002_broken.sql', 'create table public.gone ();\n\nselect nonsense;')
  await expect(run()).rejects.toThrow(/^0002_broken.sql: .*"nonsense".*\(line 3\)$/)
  expect(await recorded()).toEqual(['0001_first.sql'])
  const { rows } = await database.superuser.query("select to_regclass('public.gone') as gone")
  expect(rows).toEqual([{ gone: null }])
})

test('an edited, a missing, a late, a misnamed and a doubled file are refused', async () => {
  await put('0002_first.sql', 'select 1')
  await run()
  await put('0002_first.sql', 'select 2')
  await expect(run()).rejects.toThrow('0002_first.sql was changed after it ran')
  await rename(join(folder, '0002_first.sql'), join(folder, '0003_other.sql'))
  await expect(run()).rejects.toThrow('newer release (0002_first.sql is unknown here)')
  await put('0002_first.sql', 'select 1')
  await put('0001_late.sql', 'select 1')
  await expect(run()).rejects.toThrow('0001_late.sql is older')
  await rename(join(folder, '0001_late.sql'), join(folder, '1-late.sql'))
  await expect(run()).rejects.toBeInstanceOf(MigrationRefused)
  await rm(join(folder, '1-late.sql'))
  await put('0003_twice.sql', 'select 1')
  await expect(run()).rejects.toThrow('Two migrations')
  expect(await recorded()).toEqual(['0002_first.sql'])
})

test('of servers that start at once, one migrates and the others wait', async () => {
  await put('0001_slow.sql', 'create table public.once (); select pg_sleep(0.3)')
  const ran = await Promise.all(Array.from({ length: 5 }, run))
  expect(ran.filter((names) => names.length > 0)).toEqual([['0001_slow.sql']])
})

test('databases of one cluster migrate at once, though they share its roles', async () => {
  const others = await Promise.all(Array.from({ length: 4 }, () => freshDatabase({ empty: true })))
  const ran = await Promise.all(others.map((other) => migrate(other.login, silent)))
  for (const names of ran) expect(names.length).toBeGreaterThan(0)
  await Promise.all(others.map((other) => other.drop()))
})

test('an owner who is no superuser migrates, with the rights over roles that CREATEROLE gives', async () => {
  const { superuser, login } = database
  const name = `app_${login.database.slice(-12)}`
  const { rows } = await superuser.query<{ version: number }>(
    `select current_setting('server_version_num')::int as version`,
  )
  // Who creates a role gets this over it; here the cluster has the roles already.
  const rights = rows[0]!.version >= 160_000 ? 'with admin true, inherit false, set false' : 'with admin option'
  await superuser.query(
    `create role ${name} login createrole password 'app'; alter database ${login.database} owner to ${name}`,
  )
  const roles = await superuser.query<{ rolname: string }>(
    `select rolname from pg_roles where rolname like 'affidavit\\_%'`,
  )
  for (const { rolname } of roles.rows.filter(({ rolname }) => !rolname.startsWith('affidavit_test')))
    await superuser.query(`grant ${rolname} to ${name} ${rights}`)
  try {
    expect((await migrate({ ...login, user: name, password: 'app' }, silent)).length).toBeGreaterThan(0)
  } finally {
    await superuser.query(`reassign owned by ${name} to current_user; drop owned by ${name}; drop role ${name}`)
  }
})
