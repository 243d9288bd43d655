// The scrub as a task of a background thread, with pools and keys of its own: its hashing never delays a request. Of
// several servers on one database one scrubs; the others wait for its lock.
import { setTimeout as sleep } from 'node:timers/promises'
import { openProvider } from '../keys/open-provider.ts'
import { Personas } from '../keys/personas.ts'
import { KeyChest } from '../keys/tenant-keys.ts'
import type { OpenTask } from '../store/background.ts'
import { openDatabase } from '../store/database.ts'
import { Tenants } from '../tenants/tenants.ts'
import { scrubRound } from './scrub.ts'
import type { FromScrub, ScrubSettings } from './thread.ts'

/** After a whole round, and after a failure. */
const rest_ms = 60_000

export const openTask: OpenTask<ScrubSettings, never, FromScrub> = async (settings, { log, send }) => {
  const stopping = new AbortController()
  const provider = await openProvider({ ...settings.keys, mayCreateRoot: false })
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
        restFactor: 4,
        signal: stopping.signal,
        onFound: ({ tenant, trailId, seq, what, message, print }) =>
          send({ type: 'found', found: { tenant, trailId, seq, what, message, print } }),
      })
    } finally {
      await session.end().catch(() => {})
    }
  }

  async function rounds(): Promise<void> {
    let failing = ''
    while (!stopping.signal.aborted) {
      try {
        await round()
        failing = ''
      } catch (error) {
        const { message } = error as Error
        if (message !== failing) log.warn({ error: message }, 'the scrub waits')
        failing = message
      }
      await sleep(rest_ms, undefined, { signal: stopping.signal }).catch(() => {})
    }
  }

  const done = rounds()
  return {
    receive: () => {},
    async stop() {
      stopping.abort()
      await done
      await store.end()
    },
  }
}
