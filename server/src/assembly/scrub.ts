// The scrub within a server: its thread, the trails that it stops, and what the operator sees of it.
import type { Config } from '../config.ts'
import type { PlatformEvent } from '../http/platform-events.ts'
import type { ScrubStatus } from '../http/scrub.ts'
import { readProgress, stoppedTrails } from '../scrub/findings.ts'
import { startScrubTask, type Told } from '../scrub/thread.ts'
import type { Sealer } from '../seal/sealer.ts'
import type { Background } from '../store/background.ts'
import type { Database, Login } from '../store/database.ts'
import type { Log } from '../store/log.ts'
import { keyPlace } from './key-place.ts'

export interface ScrubOfServer {
  status(): Promise<ScrubStatus>
  /** Reads again which trails are stopped, at once. */
  refresh(): Promise<void>
  stop(): Promise<void>
}

/** Findings of other servers, and acknowledgements given to them, are heard of within this time. */
const refresh_ms = 5_000

/** Starts the scrub. Trails that were stopped before are stopped again before this returns. */
export async function startScrub(
  config: Config,
  login: Login,
  database: Database,
  sealer: Pick<Sealer, 'stopTrails'>,
  note: (event: PlatformEvent) => void,
  log: Log,
  background: Background,
): Promise<ScrubOfServer> {
  const pool = database.pool('scrub')
  const refresh = async () => sealer.stopTrails(await stoppedTrails(pool))
  const soon = () => void refresh().catch((error) => log.warn({ err: error }, 'stopped trails could not be read'))
  await refresh()
  const timer = setInterval(soon, refresh_ms).unref()
  const thread =
    config.scrubEvents === 0
      ? null
      : await startScrubTask(
          {
            login,
            keys: keyPlace(config),
            rate: config.scrubEvents,
          },
          log,
          (found) => {
            soon()
            note(alarm(found))
          },
          background,
        )
  return {
    refresh,
    status: async () => {
      const progress = await readProgress(pool)
      const state = thread === null ? 'off' : progress.startedAt === null ? 'idle' : 'running'
      return { state, rate: config.scrubEvents, ...progress }
    },
    stop: async () => {
      clearInterval(timer)
      await thread?.stop()
    },
  }
}

/** In the operator's own trail: what happens to a tenant's trail must not be told in that trail alone. */
function alarm({ tenant, trailId, seq, what, message, print }: Told): PlatformEvent {
  return {
    id: `scrub:${print}:${trailId.slice(0, 12)}:${seq ?? 'trail'}:${what}`,
    tenant: undefined,
    action: 'affidavit.integrity.failed',
    outcome: 'failure',
    actor: { type: 'system', id: 'scrub' },
    targets: [{ type: 'trail', id: trailId }],
    metadata: { tenant, what, message, ...(seq !== null && { seq }) },
  }
}
