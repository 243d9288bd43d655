// The notary as a task of a background thread, with its own pool and its own copy of the log key: its hashing and
// signing never delay a request. Started by thread.ts.
import { openLogKeys } from '../keys/log-key.ts'
import { openProvider } from '../keys/open-provider.ts'
import type { OpenTask } from '../store/background.ts'
import { openDatabase } from '../store/database.ts'
import { Notary } from './notary.ts'
import type { FromNotary, NotarySettings, ToNotary } from './thread.ts'

export const openTask: OpenTask<NotarySettings, ToNotary, FromNotary> = async (settings, { log, send }) => {
  const provider = await openProvider({ ...settings.keys, mayCreateRoot: false })
  const { log: logKey } = await openLogKeys(settings.keys.folder, provider, false)
  const store = openDatabase({ login: settings.login, log })
  const { logName, interval_ms } = settings
  const notary = new Notary({ store, log, logKey, logName, ...(interval_ms !== undefined && { interval_ms }) })
  notary.start()
  return {
    receive(message) {
      if (message.type === 'wake') notary.wake()
      else send({ type: 'status', id: message.id, status: notary.status })
    },
    async stop() {
      await notary.stop()
      await store.end()
    },
  }
}
