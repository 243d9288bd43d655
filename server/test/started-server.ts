// A whole server for a test: everything main.ts opens, on a port of its own, over a database of the test run.
//
//   const database = await freshDatabase()
//   const server = await startedServer(database.url)      // in beforeAll
//   afterAll(async () => { await server.stop(); await database.drop() })
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { readConfig } from '../src/config.ts'
import { startServer } from '../src/main.ts'

export interface StartedServer {
  /** Without a trailing slash. */
  readonly url: string
  /** The operator key that the first start wrote. */
  readonly key: string
  readonly dataDir: string
  /** GET as JSON with the operator key. */
  get<T>(path: string): Promise<T>
  /** Removes the data folder, too. */
  stop(): Promise<void>
}

/**
 * @param databaseUrl undefined: the server starts its own PostgreSQL
 * @param settings environment variables besides port and folder
 */
export async function startedServer(
  databaseUrl?: string,
  settings: Readonly<Record<string, string>> = {},
): Promise<StartedServer> {
  const dataDir = await mkdtemp(join(tmpdir(), 'affidavit-server-'))
  const read = readConfig({
    PORT: '0',
    AFFIDAVIT_DATA_DIR: dataDir,
    AFFIDAVIT_LOG_LEVEL: 'error',
    AFFIDAVIT_NOTARY_INTERVAL_MS: '300',
    ...(databaseUrl !== undefined && { DATABASE_URL: databaseUrl }),
    ...settings,
  })
  if (!read.ok) throw new Error(read.problems.join(' '))
  const server = await startServer(read.config)
  const key = (await readFile(join(dataDir, 'operator.key'), 'utf8')).trim()
  return {
    url: server.url,
    key,
    dataDir,
    get: async <T>(path: string) => {
      const reply = await fetch(server.url + path, { headers: { authorization: `Bearer ${key}` } })
      if (!reply.ok) throw new Error(`GET ${path}: ${reply.status} ${await reply.text()}`)
      return (await reply.json()) as T
    },
    stop: async () => {
      await server.stop()
      await rm(dataDir, { recursive: true, force: true })
    },
  }
}
