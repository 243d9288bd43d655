// Of several servers that start at once on one database, one does what has to be done once; the others then find nothing to
// do. The lock ends with its connection, and so with a process that is killed.
import type { Database } from '../store/database.ts'

/** @param name of the lock */
export async function oneAtATime<T>(database: Database, name: string, work: () => Promise<T>): Promise<T> {
  const alone = await database.dedicated('owner')
  try {
    await alone.query('select pg_advisory_lock(hashtext($1))', [name])
    return await work()
  } finally {
    await alone.end().catch(() => {})
  }
}
