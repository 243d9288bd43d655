// The worker thread in which the notary runs, with its own pool and its own copy of the log key: its hashing and signing
// never delay a request. Started by thread.ts.
import { parentPort, workerData } from 'node:worker_threads'
import { openKeyFolder } from '../keys/key-folder.ts'
import { openLogKeys } from '../keys/log-key.ts'
import { openDatabase } from '../store/database.ts'
import type { Log } from '../store/log.ts'
import { Notary } from './notary.ts'
import type { FromWorker, ToWorker, WorkerSettings } from './thread.ts'

const port = parentPort
if (port === null) throw new Error('notarize/worker.ts is the entry of a worker thread')
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

const provider = await openKeyFolder({
  folder: settings.keyFolder,
  mayCreateRoot: false,
  ...(settings.rootKey !== undefined && { rootKey: settings.rootKey }),
})
const { log: logKey } = await openLogKeys(settings.keyFolder, provider, false)
const store = openDatabase({ login: settings.login, log })
const notary = new Notary({
  store,
  log,
  logKey,
  logName: settings.logName,
  ...(settings.interval_ms !== undefined && { interval_ms: settings.interval_ms }),
})

port.on('message', (message: ToWorker) => {
  if (message.type === 'wake') notary.wake()
  else if (message.type === 'status') send({ type: 'status', id: message.id, status: notary.status })
  else void stop()
})

async function stop(): Promise<void> {
  await notary.stop()
  await store.end()
  port!.close()
}

notary.start()
send({ type: 'ready' })
