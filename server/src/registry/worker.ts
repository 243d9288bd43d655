// The registry as a task of a background thread, with its own pool, its own copy of the keys and its own way to the
// objects: building a tree of all slots never delays a request. Started by thread.ts.
import { openLogKeys } from '../keys/log-key.ts'
import { openProvider } from '../keys/open-provider.ts'
import { readAnnounced } from '../keys/recovered-log-key.ts'
import { openRegistrySecret } from '../keys/registry-key.ts'
import type { OpenTask } from '../store/background.ts'
import { openDatabase } from '../store/database.ts'
import { openObjects } from '../store/open-objects.ts'
import { RegistryClock } from './registry.ts'
import { readState } from './statements.ts'
import type { FromRegistry, RegistrySettings, ToRegistry } from './thread.ts'

export const openTask: OpenTask<RegistrySettings, ToRegistry, FromRegistry> = async (settings, { log, send }) => {
  const provider = await openProvider({ ...settings.keys, mayCreateRoot: false })
  const { log: logKey } = await openLogKeys(settings.keys.folder, provider, false)
  const store = openDatabase({ login: settings.login, log })
  const { epoch } = await readState(store.pool('notary'))
  const registry = new RegistryClock({
    store,
    objects: await openObjects(settings.objects),
    log,
    secret: await openRegistrySecret(settings.keys.folder, provider, epoch === 0),
    logName: settings.logName,
    logKeys: [logKey, ...logKey.also],
    announced: await readAnnounced(settings.keys.folder),
    ...(settings.interval_ms !== undefined && { interval_ms: settings.interval_ms }),
  })

  async function answer({ id, name, ask }: ToRegistry): Promise<void> {
    try {
      const answered =
        name === 'status'
          ? registry.status
          : name === 'epoch'
            ? registry.epoch()
            : registry.proof(ask.tenant, ask.epoch)
      send({ type: 'answer', id, answer: await answered })
    } catch (error) {
      log.warn({ err: error, name }, 'the registry could not answer')
      send({ type: 'failed', id, message: String((error as Error).message) })
    }
  }

  registry.start()
  return {
    receive: (message) => void answer(message),
    async stop() {
      await registry.stop()
      await store.end()
    },
  }
}
