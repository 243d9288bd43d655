// The worker thread in which the scrub runs, with pools and keys of its own: its hashing never delays a request. Of
// several servers on one database one scrubs; the others wait for its lock.
import { setTimeout as sleep } from 'node:timers/promises'
import { parentPort, workerData } from 'node:worker_threads'
import { openKeyFolder } from '../keys/key-folder.ts'
import { Personas } from '../keys/personas.ts'
import { KeyChest } from '../keys/tenant-keys.ts'
import { openDatabase } from '../store/database.ts'
import type { Log } from '../store/log.ts'
import { Tenants } from '../tenants/tenants.ts'
import { scrubRound } from './scrub.ts'
import type { FromScrub, ScrubSettings } from './thread.ts'

const port = parentPort
if (port === null) throw new Error('scrub/worker.ts is the entry of a worker thread')
const settings = workerData as ScrubSettings
const send = (message: FromScrub) => port.postMessage(message)
const stopping = new AbortController()
port.on('message', () => stopping.abort())

const logger = (level: keyof Log) => (fields: object, message: string) =>
  send({ type: 'log', level, fields: JSON.parse(JSON.stringify(fields)) as object, message })
const log: Log = { info: logger('info'), warn: logger('warn'), error: logger('error') }

/** After a whole round, and after a failure. */
const rest_ms = 60_000

async function pause(ms: number): Promise<void> {
  await sleep(ms, undefined, { signal: stopping.signal }).catch(() => {})
}

const provider = await openKeyFolder({
  folder: settings.keyFolder,
  mayCreateRoot: false,
  ...(settings.rootKey !== undefined && { rootKey: settings.rootKey }),
})
const store = openDatabase({ login: settings.login, log, connections: { keeper: 2 } })
const keeper = store.pool('keeper')
const parts = {
  pool: store.pool('scrub'),
  personas: new Personas({ keeper, provider }),
  tenants: new Tenants({ keeper, chest: new KeyChest(provider), capacity: 1_000 }),
  log,
}

/** Holds the lock for a round at a time, so that a server that stops hands over soon. */
async function round(): Promise<void> {
  const session = await store.dedicated('scrub')
  try {
    const { rows } = await session.query<{ held: boolean }>(
      `select pg_try_advisory_lock(hashtext('affidavit.scrub')) as held`,
    )
    if (rows[0]?.held !== true) return
    await scrubRound(parts, {
      rate: settings.rate,
      signal: stopping.signal,
      onFound: ({ tenant, trailId, seq, what, message, print }) =>
        send({ type: 'found', found: { tenant, trailId, seq, what, message, print } }),
    })
  } finally {
    await session.end().catch(() => {})
  }
}

let failing = ''
while (!stopping.signal.aborted) {
  try {
    await round()
    failing = ''
  } catch (error) {
    const message = (error as Error).message
    if (message !== failing) log.warn({ error: message }, 'the scrub waits')
    failing = message
  }
  await pause(rest_ms)
}
await store.end()
port.close()
