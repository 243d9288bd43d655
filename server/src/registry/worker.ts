// The worker thread in which the registry runs, with its own pool, its own copy of the keys and its own way to the
// objects: building a tree of all slots never delays a request. Started by thread.ts.
import { parentPort, workerData } from 'node:worker_threads'
import { openKeyFolder } from '../keys/key-folder.ts'
import { openLogKeys } from '../keys/log-key.ts'
import { openRegistrySecret } from '../keys/registry-key.ts'
import { openDatabase } from '../store/database.ts'
import type { Log } from '../store/log.ts'
import { openObjects } from '../store/open-objects.ts'
import { RegistryClock } from './registry.ts'
import { readState } from './statements.ts'
import type { FromWorker, RegistrySettings, ToWorker } from './thread.ts'

const port = parentPort
if (port === null) throw new Error('registry/worker.ts is the entry of a worker thread')
const settings = workerData as RegistrySettings
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
const { epoch } = await readState(store.pool('notary'))
const registry = new RegistryClock({
  store,
  objects: await openObjects(settings.objects),
  log,
  secret: await openRegistrySecret(settings.keyFolder, provider, epoch === 0),
  logName: settings.logName,
  logKeys: [logKey],
  ...(settings.interval_ms !== undefined && { interval_ms: settings.interval_ms }),
})

port.on('message', (message: ToWorker) => {
  if (message.type === 'stop') void stop()
  else void answer(message)
})

async function answer(message: Extract<ToWorker, { type: 'ask' }>): Promise<void> {
  const { id, name, ask } = message
  try {
    const answered = name === 'status' ? registry.status : name === 'epoch' ? registry.epoch() : proof(ask)
    send({ type: 'answer', id, answer: await answered })
  } catch (error) {
    log.warn({ err: error, name }, 'the registry could not answer')
    send({ type: 'failed', id, message: String((error as Error).message) })
  }
}

const proof = ({ tenant, epoch }: { tenant: number; epoch: number | 'latest' }) => registry.proof(tenant, epoch)

async function stop(): Promise<void> {
  await registry.stop()
  await store.end()
  port!.close()
}

registry.start()
send({ type: 'ready' })
