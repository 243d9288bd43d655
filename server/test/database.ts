// A fresh, migrated database for a test file, cloned from the run's template.
//
//   const database = await freshDatabase()          // in beforeAll or at the top of the file
//   database.store.pool('reader').query(…)          // as the server would
//   database.superuser.query(…)                     // as an attacker with the operator's database password would
//   afterAll(() => database.drop())
import { randomBytes } from 'node:crypto'
import pg from 'pg'
import { inject } from 'vitest'
import { type Database, openDatabase } from '../src/store/database.ts'
import { silent } from '../src/store/log.ts'
import { types } from '../src/store/values.ts'
import type { TestServer } from './postgres.ts'

export interface TestDatabase {
  /** For `openDatabase`, `migrate`, `checkServer`. */
  login: TestServer
  /** The same as a DATABASE_URL, for servers that a test starts. */
  url: string
  store: Database
  /** Passes row-level security, grants and triggers. */
  superuser: pg.Client
  /** Further connections, e.g. to hold a lock from outside. */
  connect(): Promise<pg.Client>
  /**
   * To be called before a server starts: no epoch of the registry is made on this database, as if another process led it.
   * What one binds is caught by more than the same attack a moment earlier, and how soon it comes is a matter of speed.
   */
  withoutEpochs(): Promise<void>
  drop(): Promise<void>
}

/**
 * @param options `empty: true` clones no schema, for tests of the migrations themselves; `of` clones another test's database
 *   as it is, which ends all connections to it
 */
export async function freshDatabase(options: { empty?: boolean; of?: TestDatabase } = {}): Promise<TestDatabase> {
  const server = inject('postgres')
  const name = `affidavit_test_${randomBytes(6).toString('hex')}`
  const template = options.of?.login.database ?? (options.empty ? 'template0' : inject('template'))
  if (options.of)
    await asAdmin(server, `select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = '${template}'`)
  await asAdmin(server, `create database ${name} template ${template} encoding 'UTF8'`)
  const login = { ...server, database: name }
  const store = openDatabase({ login, log: silent })
  const open = new Set<pg.Client>()
  const connect = async () => {
    const client = new pg.Client({ ...login, types, options: '-c timezone=UTC -c datestyle=ISO' })
    client.on('error', () => {}) // tests kill connections
    open.add(client)
    await client.connect()
    return client
  }
  return {
    login,
    url: urlOf(login),
    store,
    superuser: await connect(),
    connect,
    withoutEpochs: async () => {
      const { lock_class } = await import('../src/registry/registry.ts')
      await (await connect()).query('select pg_advisory_lock($1, 0)', [lock_class])
    },
    drop: async () => {
      await store.end()
      await Promise.all([...open].map((client) => client.end().catch(() => {})))
      await asAdmin(server, `drop database ${name} with (force)`)
    },
  }
}

/** One connection for all test files of a worker. */
let admin: Promise<pg.Client> | undefined

async function asAdmin(server: TestServer, sql: string): Promise<void> {
  admin ??= connected(new pg.Client(server))
  await (await admin).query(sql)
}

/** It ends with the worker. */
async function connected(client: pg.Client): Promise<pg.Client> {
  client.on('error', () => (admin = undefined))
  await client.connect()
  return client
}

/** As a DATABASE_URL. */
export function urlOf({ host, port, user, password, database }: TestServer): string {
  const who = encodeURIComponent(user) + (password ? `:${encodeURIComponent(password)}` : '')
  return `postgres://${who}@localhost/${database}?host=${encodeURIComponent(host)}&port=${port}`
}
