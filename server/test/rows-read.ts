// A database that counts the rows its statements read: what a figure in milliseconds would only suggest on a quiet
// machine, that a query's cost does not grow with what it has nothing to do with, this tells on any.
import type { Database, Pool, Queryable } from '../src/store/database.ts'
import type { Parameters, Statement } from '../src/store/one-value.ts'

export interface RowsRead {
  readonly store: Database
  /** Rows of the deployment's tables that were read, by scans and by indexes, since this was asked last. */
  taken(): number
}

export function countingRows(store: Database): RowsRead {
  let read = 0
  const measured = async <Result>(session: Queryable, work: () => Promise<Result>): Promise<Result> => {
    const before = await rowsRead(session)
    const result = await work()
    read += (await rowsRead(session)) - before
    return result
  }
  const counting = (pool: Pool): Pool => ({
    role: pool.role,
    query: (query, values) => pool.transaction((session) => measured(session, () => session.query(query, values))),
    value: (statement, values) =>
      pool.transaction((session) => measured(session, () => oneValue(session, statement, values))),
    transaction: (work) => pool.transaction((session) => measured(session, () => work(session))),
    asTenant: (tenant, work) => pool.asTenant(tenant, work),
  })
  return {
    store: { ...store, pool: (role) => counting(store.pool(role)) },
    taken: () => {
      const taken = read
      read = 0
      return taken
    },
  }
}

/** As a pool's `value`, but in a session whose rows are counted. */
async function oneValue(session: Queryable, { name, text }: Statement, values: Parameters): Promise<string | null> {
  const counted = { name: `${name} counted`, text: `select of.value::text as value from (${text}) as of (value)` }
  const { rows } = await session.query<{ value: string | null }>(counted, [...values])
  return rows[0]!.value
}

/** Of this backend, not yet handed on to the statistics of all: only the difference means anything. */
async function rowsRead(session: Queryable): Promise<number> {
  const { rows } = await session.query<{ read: number }>(
    `select coalesce(sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)), 0)::bigint as read
      from pg_stat_xact_user_tables`,
  )
  return rows[0]!.read
}
