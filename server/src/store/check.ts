// "Acknowledged means durable" is only as true as the database's own settings, so the server looks before it serves.
import pg from 'pg'
import { type Login, loginConfig, storeError } from './database.ts'

/** A database that affidavit refuses to run on; the message says which setting, and what to do. */
export class StoreRefused extends Error {
  override name = 'StoreRefused'
}

interface Facts {
  version: string
  fsync: string
  synchronous_commit: string
  full_page_writes: string
  encoding: string
}

/** @throws StoreRefused, StoreUnavailable */
export async function checkServer(login: Login): Promise<void> {
  const client = new pg.Client({ ...loginConfig(login).config, connectionTimeoutMillis: 5_000, query_timeout: 10_000 })
  client.on('error', () => {})
  try {
    await client.connect()
    const { rows } = await client.query<Facts>(
      `select current_setting('server_version_num') as version, current_setting('fsync') as fsync,
              current_setting('synchronous_commit') as synchronous_commit,
              current_setting('full_page_writes') as full_page_writes, current_setting('server_encoding') as encoding`,
    )
    const reason = refusal(rows[0]!)
    if (reason !== undefined) throw new StoreRefused(reason)
  } catch (error) {
    throw storeError(error)
  } finally {
    await client.end().catch(() => {})
  }
}

/** @internal exported for its test */
export function refusal(facts: Facts): string | undefined {
  const major = Math.floor(Number(facts.version) / 10_000)
  if (major < 15)
    return `This is PostgreSQL ${major}; affidavit needs 15 or newer. Upgrade it, or leave DATABASE_URL unset to use the PostgreSQL that comes with affidavit.`
  if (facts.encoding !== 'UTF8')
    return `The database is encoded in ${facts.encoding}; affidavit needs UTF8. Create it with "create database … encoding 'UTF8' template template0".`
  const off = (['fsync', 'synchronous_commit', 'full_page_writes'] as const).find((name) => facts[name] === 'off')
  if (off === undefined) return undefined
  return `PostgreSQL runs with ${off} = off: events that were acknowledged could be lost. Set ${off} = on in its configuration and reload it.`
}
