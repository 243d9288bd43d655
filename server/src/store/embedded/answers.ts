// Whether a PostgreSQL can be connected to: asked of one that starts, and of another process's.
import pg from 'pg'

const patience_ms = 2_000

/** False: not yet, or not any more. Who asks knows which. */
export async function answers(connection: pg.ClientConfig): Promise<boolean> {
  const client = new pg.Client({ ...connection, connectionTimeoutMillis: patience_ms, query_timeout: patience_ms })
  client.on('error', () => {})
  try {
    await client.connect()
    await client.query('select 1')
    return true
  } catch {
    return false
  } finally {
    await client.end().catch(() => {})
  }
}
