// The anchors as a task of a background thread, with a pool of their own: other people's servers, their certificates
// and their slowness stay away from requests. Started by thread.ts.
import type { OpenTask } from '../store/background.ts'
import { openDatabase } from '../store/database.ts'
import { Anchors } from './anchors.ts'
import { Outbound } from './outbound.ts'
import { openPlaces } from './places.ts'
import { readPolicy } from './policy-file.ts'
import { readAnchors } from './settings.ts'
import type { ToAnchors, WorkerSettings } from './thread.ts'

export const openTask: OpenTask<WorkerSettings, ToAnchors, never> = async (settings, { log }) => {
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
  anchors.start()
  return {
    receive: () => anchors.wake(),
    async stop() {
      await anchors.stop()
      await store.end()
    },
  }
}
