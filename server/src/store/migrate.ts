// Brings a database to the schema of this release: the numbered SQL files in server/migrations, in order, each in a
// transaction of its own, once. Several servers may start at once; one migrates, the others wait. What ran is
// recorded with the file's hash, so that an edited file or a newer schema is noticed before anything is written.
import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import pg from 'pg'
import { type Login, loginConfig, storeError } from './database.ts'
import type { Log } from './log.ts'

export const migrationsFolder = join(import.meta.dirname, '..', '..', 'migrations')

/** The schema and this release do not fit; the message says which migration and what to do. */
export class MigrationRefused extends Error {
  override name = 'MigrationRefused'
}

interface Migration {
  number: number
  name: string
  sql: string
  sha256: string
}

/** Any constant does, as long as all releases use the same one. */
const advisory_lock = 4_100_001

/**
 * @returns the names of the migrations that ran now
 * @throws MigrationRefused, StoreUnavailable, or PostgreSQL's error with the migration's name in front
 */
export async function migrate(login: Login, log: Log, folder = migrationsFolder): Promise<string[]> {
  const migrations = await readMigrations(folder)
  const { config, options } = loginConfig(login)
  const client = new pg.Client({
    ...config,
    options,
    application_name: 'affidavit migrate',
    connectionTimeoutMillis: 5_000,
  })
  client.on('error', () => {})
  try {
    await client.connect()
    await client.query('select pg_advisory_lock($1)', [advisory_lock])
    return await runPending(client, migrations, log)
  } catch (error) {
    throw storeError(error)
  } finally {
    await client.end().catch(() => {}) // the advisory lock goes with the session
  }
}

async function runPending(client: pg.Client, migrations: Migration[], log: Log): Promise<string[]> {
  const { rows } = await client.query<{ ready: boolean }>(
    `select to_regclass('affidavit.migrations') is not null as ready`,
  )
  if (!rows[0]!.ready)
    await client.query(`
      create schema if not exists affidavit;
      create table affidavit.migrations (
        number int primary key, name text not null, sha256 text not null, run_at timestamptz not null default now())`)
  const done = await client.query<Migration>('select number, name, sha256 from affidavit.migrations order by number')
  const ran: string[] = []
  for (const migration of pending(migrations, done.rows)) {
    await runOne(client, migration)
    log.info({ migration: migration.name }, 'migrated')
    ran.push(migration.name)
  }
  return ran
}

/** @throws MigrationRefused */
function pending(migrations: Migration[], done: Omit<Migration, 'sql'>[]): Migration[] {
  const known = new Map(migrations.map((migration) => [migration.number, migration]))
  for (const { number, name, sha256 } of done) {
    const file = known.get(number)
    if (!file)
      throw new MigrationRefused(
        `The database was migrated by a newer release (${name} is unknown here). Start that release, or restore a backup from before.`,
      )
    if (file.sha256 !== sha256)
      throw new MigrationRefused(
        `Migration ${file.name} was changed after it ran on this database. Put the file back as it was released, and make the change in a new migration.`,
      )
    known.delete(number)
  }
  const last = done.at(-1)?.number ?? 0
  const late = [...known.values()].find(({ number }) => number < last)
  if (late)
    throw new MigrationRefused(
      `Migration ${late.name} is older than what already ran on this database. Give it a number above ${last}.`,
    )
  return [...known.values()]
}

/** Roles belong to the whole cluster: two databases that migrate at once may step on each other there, and try again. */
const crossDatabaseRace = new Set(['XX000', '23505', '42710', '40001', '40P01'])

async function runOne(client: pg.Client, migration: Migration): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      await client.query('begin')
      await client.query(migration.sql)
      await client.query('reset role')
      await client.query('insert into affidavit.migrations (number, name, sha256) values ($1, $2, $3)', [
        migration.number,
        migration.name,
        migration.sha256,
      ])
      await client.query('commit')
      return
    } catch (error) {
      await client.query('rollback').catch(() => {})
      if (attempt < 5 && crossDatabaseRace.has((error as pg.DatabaseError).code ?? '')) continue
      if (error instanceof pg.DatabaseError)
        error.message = `${migration.name}: ${error.message}${line(migration, error)}`
      throw error
    }
  }
}

function line(migration: Migration, error: pg.DatabaseError): string {
  const position = Number(error.position)
  return position > 0 ? ` (line ${migration.sql.slice(0, position).split('\n').length})` : ''
}

async function readMigrations(folder: string): Promise<Migration[]> {
  const names = (await readdir(folder)).filter((name) => name.endsWith('.sql')).sort()
  const migrations = await Promise.all(
    names.map(async (name) => {
      const number = /^(\d{4})_[a-z0-9_]+\.sql$/.exec(name)?.[1]
      if (number === undefined) throw new MigrationRefused(`${name} is not named NNNN_name.sql.`)
      const sql = await readFile(join(folder, name), 'utf8')
      return { number: Number(number), name, sql, sha256: createHash('sha256').update(sql).digest('hex') }
    }),
  )
  const twice = migrations.find(({ number }, at) => migrations[at - 1]?.number === number)
  if (twice) throw new MigrationRefused(`Two migrations have the number of ${twice.name}.`)
  return migrations
}
