import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { freshDatabase, type TestDatabase } from '../../test/database.ts'
import { openDatabase, type Role, StoreUnavailable } from './database.ts'
import { silent } from './log.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await freshDatabase()
})
afterAll(() => database.drop())

const roles: Role[] = [
  'owner',
  'ingest',
  'sealer',
  'notary',
  'follower',
  'scrub',
  'reader',
  'operator_reader',
  'keeper',
  'retention',
]

test.each(roles)('a connection of the pool %s acts as that role', async (role) => {
  const { rows } = await database.store.pool(role).query("select current_user, current_setting('application_name') app")
  expect(rows).toEqual([{ current_user: `affidavit_${role}`, app: `affidavit ${role}` }])
})

test('a URL reaches the same database, and cannot undo what a role is given', async () => {
  const url = new URL(database.url)
  url.searchParams.set('options', '-c role=affidavit_owner -c statement_timeout=0 -c work_mem=5MB')
  url.searchParams.set('application_name', 'stranger')
  const store = openDatabase({ login: url.toString(), log: silent })
  const { rows } = await store.pool('reader').query(
    `select current_user, current_database() as db, current_setting('statement_timeout') as timeout,
            current_setting('work_mem') as work_mem, current_setting('application_name') as app`,
  )
  expect(rows).toEqual([
    {
      current_user: 'affidavit_reader',
      db: database.login.database,
      timeout: '30s',
      work_mem: '5MB',
      app: 'affidavit reader',
    },
  ])
  await store.end()
})

describe('transactions', () => {
  beforeAll(async () => {
    await database.superuser.query('create table public.kept (n int); grant all on public.kept to affidavit_owner')
  })

  test('commit what finished and roll back what threw', async () => {
    const pool = database.store.pool('owner')
    await pool.transaction((session) => session.query('insert into public.kept values (1)'))
    const failed = pool.transaction(async (session) => {
      await session.query('insert into public.kept values (2)')
      throw new Error('changed my mind')
    })
    await expect(failed).rejects.toThrow('changed my mind')
    expect((await pool.query('select n from public.kept')).rows).toEqual([{ n: 1 }])
  })

  test('of a tenant are read-only, see one snapshot, and leave no tenant behind', async () => {
    const pool = database.store.pool('reader')
    const seen = await pool
      .asTenant(7, async (session) => {
        await expect(session.query('create temporary table t ()')).rejects.toThrow('read-only')
        return 'unreachable after an error, yet returned'
      })
      .catch((error) => error.message)
    expect(seen).toContain('unreachable') // a failed statement turns the commit into a rollback; nothing was written
    const inside = await pool.asTenant(7, (session) => session.query('select affidavit.current_tenant() as tenant'))
    expect(inside.rows).toEqual([{ tenant: 7 }])
    const after = await Promise.all(
      Array.from({ length: 12 }, () => pool.query('select affidavit.current_tenant() as tenant')),
    )
    expect(after.flatMap(({ rows }) => rows).every(({ tenant }) => tenant === null)).toBe(true)
  })

  test('of a tenant need a reader role and a number', async () => {
    expect(() => database.store.pool('notary').asTenant(1, async () => {})).toThrow('cannot be narrowed')
    expect(() => database.store.pool('reader').asTenant(Number.NaN, async () => {})).toThrow('no integer')
  })
})

describe('a database that cannot answer', () => {
  test('is told as StoreUnavailable when nothing listens', async () => {
    const store = openDatabase({ login: { ...database.login, host: '/nowhere' }, log: silent })
    const started = performance.now()
    await expect(store.pool('reader').query('select 1')).rejects.toBeInstanceOf(StoreUnavailable)
    await expect(store.pool('reader').transaction(async () => {})).rejects.toBeInstanceOf(StoreUnavailable)
    await expect(store.dedicated('sealer')).rejects.toBeInstanceOf(StoreUnavailable)
    expect(performance.now() - started).toBeLessThan(4_000) // one attempt to connect may take five seconds
    await store.end()
  })

  test('is told as StoreUnavailable when the connection dies in a statement, and the next one works', async () => {
    const pool = database.store.pool('follower')
    const sleeping = pool.query('select pg_sleep(30)')
    const outcome = expect(sleeping).rejects.toBeInstanceOf(StoreUnavailable)
    await expect
      .poll(async () => {
        const { rowCount } = await database.superuser.query(
          `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'affidavit follower' and query like '%sleep%' and datname = current_database()`,
        )
        return rowCount
      })
      .toBe(1)
    await outcome
    expect((await pool.query('select 1 as one')).rows).toEqual([{ one: 1 }])
  })

  test('leaves a commit whose answer was lost open', async () => {
    const pool = database.store.pool('owner')
    await database.superuser.query(`
      create table public.slow (n int);
      grant all on public.slow to affidavit_owner;
      create function public.dawdle() returns trigger language plpgsql as $$ begin perform pg_sleep(30); return null; end $$;
      create constraint trigger dawdle after insert on public.slow deferrable initially deferred
        for each row execute function public.dawdle()`)
    const work = pool.transaction((session) => session.query('insert into public.slow values (1)'))
    const outcome = work.catch((error) => error)
    await expect
      .poll(async () => {
        const { rowCount } = await database.superuser.query(
          `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'affidavit owner' and query = 'commit' and state = 'active' and datname = current_database()`,
        )
        return rowCount
      })
      .toBe(1)
    expect(await outcome).toMatchObject({ name: 'StoreUnavailable', commitUnknown: true })
  })
})
