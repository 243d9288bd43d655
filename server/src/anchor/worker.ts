// The worker thread in which the anchors run, with a pool of its own: other people's servers, their certificates and
// their slowness stay away from requests. Started by thread.ts.
import { parentPort, workerData } from 'node:worker_threads'
import { openDatabase } from '../store/database.ts'
import type { Log } from '../store/log.ts'
import { Anchors } from './anchors.ts'
import { Outbound } from './outbound.ts'
import { openPlaces } from './places.ts'
import { readPolicy } from './policy-file.ts'
import { BadAnchors, readAnchors } from './settings.ts'
import type { FromWorker, ToWorker, WorkerSettings } from './thread.ts'

const port = parentPort
if (port === null) throw new Error('anchor/worker.ts is the entry of a worker thread')
const settings = workerData as WorkerSettings
const send = (message: FromWorker) => port.postMessage(message)

const logger = (level: keyof Log) => (fields: object, message: string) =>
  send({ type: 'log', level, fields: plain(fields), message })
const log: Log = { info: logger('info'), warn: logger('warn'), error: logger('error') }

/** Errors keep message and stack on their way to the main thread, and lose what cannot be cloned. */
function plain(fields: object): object {
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [
      name,
      value instanceof Error ? { type: value.name, message: value.message, stack: value.stack } : value,
    ]),
  )
}

async function open(): Promise<void> {
  const policy = settings.policy === undefined ? null : await readPolicy(settings.policy)
  const configured = settings.anchors === undefined ? [] : await readAnchors(settings.anchors)
  const outbound = new Outbound()
  const places = await openPlaces(configured, outbound)
  const store = openDatabase({ login: settings.login, log })
  const anchors = new Anchors({
    pool: store.pool('notary'),
    session: () => store.dedicated('notary'),
    log,
    policy,
    places,
    outbound,
    ...(settings.interval_ms !== undefined && { interval_ms: settings.interval_ms }),
    ...(settings.retry_ms !== undefined && { retry_ms: settings.retry_ms }),
  })
  port!.on('message', (message: ToWorker) => {
    if (message === 'wake') anchors.wake()
    else
      void anchors
        .stop()
        .then(() => store.end())
        .finally(() => process.exit(0))
  })
  anchors.start()
  send({ type: 'ready' })
}

try {
  await open()
} catch (error) {
  if (!(error instanceof BadAnchors)) throw error
  send({ type: 'refused', message: error.message })
}
