// The way to the database: one login, and a bounded pool for each role that a part of the server may act as. Every
// connection takes its role at the door (startup option `role`) and proves it before its first use, so a part cannot
// reach beyond its grants, and a connection pooler that drops startup options is noticed instead of trusted.
import pg from 'pg'
import { type Copied, CopyOut } from './copy-out.ts'
import type { Log } from './log.ts'
import { KeptConnections, type Parameters, type Statement } from './one-value.ts'
import { PatientClient, type PatientConfig } from './patient-client.ts'
import { storeError } from './unavailable.ts'
import { types } from './values.ts'

export { isUnavailable, StoreUnavailable, storeError } from './unavailable.ts'

/** Role of the database, without its prefix `affidavit_`. What each may do is in migrations/0001. */
export type Role =
  | 'owner'
  | 'ingest'
  | 'sealer'
  | 'notary'
  | 'follower'
  | 'scrub'
  | 'reader'
  | 'operator_reader'
  | 'keeper'
  | 'retention'

/** Where the database is: DATABASE_URL, or what `startEmbedded` returned. */
export type Login = string | { host: string; port: number; user: string; database: string; password?: string }

interface Limits {
  /** Most connections of the pool. */
  connections: number
  /** PostgreSQL gives up a statement after this long; this side gives up the connection a little later. */
  statement_ms: number
}

const limits: Record<Role, Limits> = {
  owner: { connections: 2, statement_ms: 600_000 },
  ingest: { connections: 6, statement_ms: 10_000 },
  sealer: { connections: 6, statement_ms: 15_000 },
  notary: { connections: 4, statement_ms: 60_000 },
  follower: { connections: 6, statement_ms: 60_000 },
  scrub: { connections: 2, statement_ms: 300_000 },
  reader: { connections: 10, statement_ms: 30_000 },
  operator_reader: { connections: 4, statement_ms: 30_000 },
  keeper: { connections: 4, statement_ms: 10_000 },
  retention: { connections: 2, statement_ms: 600_000 },
}

/** They run the same few statements with every size of batch, and planning one anew costs as much as storing an event. */
const plannedOnce: ReadonlySet<Role> = new Set<Role>(['sealer', 'ingest'])
/**
 * All that they read they find by its key. A plan that is made once, and perhaps while tables are all but empty, must not
 * read them whole later.
 */
const plannedByKeys = {
  plan_cache_mode: 'force_generic_plan',
  enable_seqscan: 'off',
  enable_hashjoin: 'off',
  enable_mergejoin: 'off',
}

/** Of a pool, for all that is more than one value. */
const connectionsNotKept = 2

const connect_ms = 5_000
const answer_grace_ms = 3_000

/** Something that takes queries: a pool, or the session of one transaction. */
export interface Queryable {
  /**
   * @param query text, or `{ name, text }` for a statement that stays prepared
   * @throws StoreUnavailable, or pg.DatabaseError with PostgreSQL's code
   */
  query<Row extends pg.QueryResultRow>(query: string | pg.QueryConfig, values?: unknown[]): Promise<pg.QueryResult<Row>>
}

/** A snapshot of one tenant. */
export interface Snapshot extends Queryable {
  /**
   * The rows of a select in the binary format of COPY, for `CopiedRows`, up to the one that makes them more than `most`
   * bytes. COPY takes no parameters: what is put into the text must be known to be numbers or dates.
   */
  copy(select: string, most: number): Promise<Copied>
}

export interface Pool extends Queryable {
  readonly role: Role
  /**
   * The only value of the only row that a statement gives, as text, or null: in a transaction of its own, over a
   * connection that is kept for such statements. For what is asked hundreds of times a second.
   */
  value(statement: Statement, values: Parameters): Promise<string | null>
  /** Runs `work` between BEGIN and COMMIT; what it throws rolls back. Default READ COMMITTED. */
  transaction<Result>(work: (session: Queryable) => Promise<Result>): Promise<Result>
  /**
   * Runs `work` in a read-only snapshot that row-level security narrows to one tenant. Only for the two reader roles:
   * the others see all tenants, and a caller that narrows them is mistaken. The session is pipelined: queries that do
   * not need each other's answers may be sent at once, and are answered in order. A named statement is planned once
   * per connection, for any values: planning over all day partitions costs more than most reads.
   */
  asTenant<Result>(tenant: number, work: (session: Snapshot) => Promise<Result>): Promise<Result>
}

export interface Database {
  pool(role: Role): Pool
  /**
   * A connection outside the pools, for a lane or a listener: pipelined, connected, to be ended by the caller. It emits
   * `end` when lost; its errors pass through `storeError`.
   */
  dedicated(role: Role): Promise<pg.Client>
  end(): Promise<void>
}

export interface DatabaseOptions {
  login: Login
  log: Log
  /** Instead of the defaults above. */
  connections?: Partial<Record<Role, number>>
}

/** Opens no connection yet. */
export function openDatabase(options: DatabaseOptions): Database {
  const login = loginConfig(options.login)
  const pools = new Map<Role, RolePool>()
  const pool = (role: Role) => {
    const open = pools.get(role) ?? new RolePool(role, login, options)
    pools.set(role, open)
    return open
  }
  return {
    pool,
    dedicated: async (role) => {
      const config = { ...roleConfig(role, login), connectionTimeoutMillis: connect_ms, pipeline: true }
      const client = new PatientClient(config)
      client.on('error', (error) => options.log.warn({ role, error: error.message }, 'database connection lost'))
      try {
        await client.connect()
        await proveRole(client, role)
      } catch (error) {
        await client.end().catch(() => {})
        throw storeError(error)
      }
      return client
    },
    end: async () => {
      await Promise.all([...pools.values()].map((open) => open.end()))
    },
  }
}

/** What a URL may not decide: it would beat what a pool sets for its role. `options` are kept and put before ours. */
const ours = ['application_name', 'statement_timeout', 'query_timeout', 'lock_timeout', 'client_encoding']

interface LoginConfig {
  config: pg.ClientConfig
  options: string
}

export function loginConfig(login: Login): LoginConfig {
  if (typeof login !== 'string') return { config: login, options: '' }
  const url = new URL(login)
  const options = url.searchParams.get('options') ?? ''
  for (const name of ['options', ...ours]) url.searchParams.delete(name)
  return { config: { connectionString: url.toString() }, options }
}

export function roleConfig(role: Role, login: LoginConfig): PatientConfig {
  const { statement_ms } = limits[role]
  const settings = {
    role: `affidavit_${role}`,
    timezone: 'UTC',
    datestyle: 'ISO',
    statement_timeout: statement_ms,
    idle_in_transaction_session_timeout: 60_000,
    ...(plannedOnce.has(role) && plannedByKeys),
  }
  const ourOptions = Object.entries(settings).map(([name, value]) => `-c ${name}=${value}`)
  return {
    ...login.config,
    types,
    application_name: `affidavit ${role}`,
    options: [login.options, ...ourOptions].join(' ').trim(),
    patience_ms: statement_ms + answer_grace_ms,
    keepAlive: true,
  }
}

async function proveRole(client: pg.ClientBase, role: Role): Promise<void> {
  const { rows } = await client.query<{ current_user: string }>('select current_user')
  if (rows[0]?.current_user !== `affidavit_${role}`)
    throw new Error(
      `The database gave role ${rows[0]?.current_user} to a connection that asked for affidavit_${role}. A connection ` +
        'pooler that drops startup options stands in between; name PostgreSQL itself in DATABASE_URL.',
    )
}

class RolePool implements Pool {
  readonly role: Role
  readonly #pool: pg.Pool
  readonly #kept: KeptConnections

  constructor(role: Role, login: LoginConfig, options: DatabaseOptions) {
    this.role = role
    const max = options.connections?.[role] ?? limits[role].connections
    this.#kept = new KeptConnections(() => this.#connect(), max - connectionsNotKept)
    this.#pool = new pg.Pool({
      ...roleConfig(role, login),
      Client: PatientClient as never,
      max,
      pipeline: role === 'reader' || role === 'operator_reader',
      connectionTimeoutMillis: connect_ms,
      idleTimeoutMillis: 30_000,
      onConnect: (client) => proveRole(client, role),
    } as pg.PoolConfig)
    const lost = (error: Error) => options.log.warn({ role, error: error.message }, 'database connection lost')
    // The pool listens to idle connections only; one that dies in use would end this process without a listener.
    this.#pool.on('connect', (client) => client.on('error', lost))
    this.#pool.on('error', () => {})
  }

  async query<Row extends pg.QueryResultRow>(query: string | pg.QueryConfig, values?: unknown[]) {
    try {
      return await this.#pool.query<Row>(query as string, values)
    } catch (error) {
      throw storeError(error)
    }
  }

  async value(statement: Statement, values: Parameters): Promise<string | null> {
    try {
      return await this.#kept.value(statement, values)
    } catch (error) {
      throw storeError(error)
    }
  }

  transaction<Result>(work: (session: Queryable) => Promise<Result>): Promise<Result> {
    return this.#within('begin', work)
  }

  asTenant<Result>(tenant: number, work: (session: Snapshot) => Promise<Result>): Promise<Result> {
    if (this.role !== 'reader' && this.role !== 'operator_reader')
      throw new Error(`role ${this.role} sees all tenants and cannot be narrowed to one`)
    if (!Number.isSafeInteger(tenant)) throw new Error(`tenant number ${tenant} is no integer`)
    return this.#read(
      `begin isolation level repeatable read read only; select set_config('affidavit.tenant', '${tenant}', true),
       set_config('plan_cache_mode', 'force_generic_plan', true)`,
      work,
    )
  }

  end(): Promise<void> {
    this.#kept.end()
    return this.#pool.end()
  }

  /** BEGIN travels with the first queries of `work`, and the answer does not wait for the end of a snapshot. */
  async #read<Result>(begin: string, work: (session: Snapshot) => Promise<Result>): Promise<Result> {
    const client = await this.#connect()
    const begun = client.query(begin)
    begun.catch(() => {})
    try {
      const result = await work({ ...session(client), copy: (select, most) => copyOut(client, select, most) })
      await begun
      client.query('commit').then(
        () => client.release(),
        () => client.release(true),
      )
      return result
    } catch (error) {
      await rollBack(client)
      throw storeError(error)
    }
  }

  async #connect(): Promise<pg.PoolClient> {
    try {
      return await this.#pool.connect()
    } catch (error) {
      throw storeError(error)
    }
  }

  async #within<Result>(begin: string, work: (session: Queryable) => Promise<Result>): Promise<Result> {
    const client = await this.#connect()
    let committing = false
    try {
      await client.query(begin)
      const result = await work(session(client))
      committing = true
      await client.query('commit')
      client.release()
      return result
    } catch (error) {
      await rollBack(client)
      throw storeError(error, committing)
    }
  }
}

function copyOut(client: pg.ClientBase, select: string, most: number): Promise<Copied> {
  return new Promise((resolve, reject) => {
    const copy = new CopyOut(select, most, (error) => {
      if (error === null) resolve(copy)
      else reject(storeError(error))
    })
    client.query(copy)
  })
}

/** Gives the connection back, or away when it does not answer any more. */
async function rollBack(client: pg.PoolClient): Promise<void> {
  const broken = await client.query('rollback').then(
    () => false,
    () => true,
  )
  client.release(broken)
}

const session = (client: pg.ClientBase): Queryable => ({
  query: async <Row extends pg.QueryResultRow>(query: string | pg.QueryConfig, values?: unknown[]) => {
    try {
      return await client.query<Row>(query as string, values)
    } catch (error) {
      throw storeError(error)
    }
  },
})
