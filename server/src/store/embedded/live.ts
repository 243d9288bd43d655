// The way into the embedded PostgreSQL of a data folder from another process than its server: for backups of a server
// that runs. Whoever can read the folder may connect; nothing here takes the folder's lock.
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Connection, type EmbeddedOptions, startEmbedded } from '../embedded.ts'
import { answers } from './answers.ts'
import { EmbeddedError } from './error.ts'

export interface Entered {
  readonly connection: Connection
  /** Whether a server was running already. */
  readonly live: boolean
  /** Stops PostgreSQL if it was started here. */
  leave(): Promise<void>
}

/** A server that is just starting takes this long at most until it can be connected to. */
const patience_ms = 30_000

/**
 * Connects to the cluster of a running server or, when there is none, starts it meanwhile.
 * @throws EmbeddedError `embedded_missing` when the folder holds no cluster
 */
export async function enterEmbedded(options: EmbeddedOptions): Promise<Entered> {
  const folder = resolve(options.folder)
  if (!existsSync(join(folder, 'data', 'PG_VERSION')))
    throw new EmbeddedError('embedded_missing', `There is no embedded database in ${folder}.`)
  try {
    const embedded = await startEmbedded(options)
    return { connection: embedded.connection, live: false, leave: () => embedded.stop() }
  } catch (error) {
    if (!(error instanceof EmbeddedError) || error.code !== 'embedded_in_use') throw error
    const connection = await connectionOf(folder, options.database ?? 'affidavit', error)
    return { connection, live: true, leave: async () => {} }
  }
}

async function connectionOf(folder: string, database: string, inUse: EmbeddedError): Promise<Connection> {
  for (const until = Date.now() + patience_ms; Date.now() < until; await sleep(250)) {
    const place = await readSocket(folder)
    if (place === undefined) continue
    const connection = { ...place, user: 'postgres', database }
    if (await answers(connection)) return connection
  }
  throw new EmbeddedError('embedded_failed', `${inUse.message} It does not answer either.`)
}

/** Lines 4 and 5 of postmaster.pid are the port and the socket's folder, as PostgreSQL itself names it. */
async function readSocket(folder: string): Promise<{ host: string; port: number } | undefined> {
  const text = await readFile(join(folder, 'data', 'postmaster.pid'), 'utf8').catch(() => '')
  const [, , , port, host] = text.split('\n')
  if (!port || !host) return undefined
  return { host: host.startsWith('/proc/self/fd/') ? join(folder, 'run') : host, port: Number(port) }
}
