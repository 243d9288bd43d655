// A database that a test may copy: nobody but the servers on it keeps a connection, since CREATE DATABASE … TEMPLATE wants
// the original to itself. Its clock, as far as servers see it, can be set: days pass in no time.
import { randomBytes } from 'node:crypto'
import pg from 'pg'
import { inject } from 'vitest'
import { type Database, openDatabase } from '../../src/store/database.ts'
import { silent } from '../../src/store/log.ts'
import { types } from '../../src/store/values.ts'
import { urlOf } from '../database.ts'
import type { TestServer } from '../postgres.ts'

export class OwnDatabase {
  readonly login: TestServer
  readonly url: string

  private constructor(login: TestServer) {
    this.login = login
    this.url = urlOf(login)
  }

  /** Like the run's template, with the clock at an interval from now. */
  static async make(clock: string): Promise<OwnDatabase> {
    const database = await OwnDatabase.#create(inject('template'))
    await database.as(async (superuser) => {
      await superuser.query(`
        create schema fake;
        grant usage on schema fake to public;
        create table fake.clock (jump interval);
        create function fake.clock_timestamp() returns timestamptz language sql security definer
          as 'select pg_catalog.clock_timestamp() + jump from fake.clock';
        alter function affidavit.advance set search_path = fake, pg_catalog, affidavit, pg_temp;
        alter function affidavit.seal set search_path = fake, pg_catalog, affidavit, pg_temp;`)
      await superuser.query('insert into fake.clock values ($1::interval)', [clock])
      // Partitions of the days that are about to pass.
      await superuser.query(`select affidavit.create_partitions((clock_timestamp() at time zone 'UTC')::date - 4, 5)`)
    })
    return database
  }

  /** No server may be connected. */
  copy(): Promise<OwnDatabase> {
    return OwnDatabase.#create(this.login.database)
  }

  static async #create(template: string): Promise<OwnDatabase> {
    const name = `affidavit_test_${randomBytes(6).toString('hex')}`
    await asAdmin(`create database ${name} template ${template}`)
    // What a database is set to is not copied with it.
    await asAdmin(`alter database ${name} set search_path = fake, pg_catalog, public`)
    return new OwnDatabase({ ...inject('postgres'), database: name })
  }

  /** A superuser's session: passes row-level security, grants and, where asked, triggers. */
  async as<Result>(work: (superuser: pg.Client) => Promise<Result>): Promise<Result> {
    const client = new pg.Client({ ...this.login, types, options: '-c timezone=UTC -c datestyle=ISO' })
    await client.connect()
    try {
      return await work(client)
    } finally {
      await client.end()
    }
  }

  /** The pools that a server has. */
  async asServer<Result>(work: (store: Database) => Promise<Result>): Promise<Result> {
    const store = openDatabase({ login: this.login, log: silent })
    try {
      return await work(store)
    } finally {
      await store.end()
    }
  }

  drop(): Promise<void> {
    return asAdmin(`drop database ${this.login.database} with (force)`)
  }
}

async function asAdmin(sql: string): Promise<void> {
  const admin = new pg.Client(inject('postgres'))
  await admin.connect()
  try {
    await admin.query(sql)
  } finally {
    await admin.end()
  }
}
