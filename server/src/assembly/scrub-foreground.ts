// A whole round of the scrub in the foreground, as the command line runs it: beside a server that runs, or without one.
import type { Config } from '../config.ts'
import { openKeys } from '../keys/open-keys.ts'
import { Personas } from '../keys/personas.ts'
import { KeyChest } from '../keys/tenant-keys.ts'
import { beginAnew } from '../scrub/progress.ts'
import { type Found, scrubRound } from '../scrub/scrub.ts'
import { openDatabase } from '../store/database.ts'
import { enterEmbedded } from '../store/embedded/live.ts'
import { silent } from '../store/log.ts'
import { Tenants } from '../tenants/tenants.ts'
import { keyPlace } from './key-place.ts'
import { archiveOf } from './safekeeping.ts'

export type { Found } from '../scrub/scrub.ts'

export interface ForegroundOptions {
  /** Events per second; Infinity: as fast as it goes. */
  readonly rate: number
  readonly onProgress: (progress: { checked: number; total: number }) => void
  readonly onFound: (found: Found) => void
  readonly signal: AbortSignal
}

export type Scrubbed = { readonly kind: 'done'; readonly checked: number } | { readonly kind: 'busy' }

/**
 * Reads everything from the beginning. What is found stops trails of servers on this database.
 * @throws EmbeddedError, KeyUnusable, StoreUnavailable with a sentence for the operator
 */
export async function scrubNow(config: Config, options: ForegroundOptions): Promise<Scrubbed> {
  const entered =
    config.databaseUrl === undefined
      ? await enterEmbedded({ folder: `${config.dataDir}/postgres`, log: silent, archive: archiveOf(config) })
      : undefined
  const database = openDatabase({ login: config.databaseUrl ?? entered!.connection, log: silent })
  try {
    const keeper = database.pool('keeper')
    const keys = await openKeys({ keeper, ...keyPlace(config) })
    const session = await database.dedicated('scrub')
    try {
      const { rows } = await session.query<{ held: boolean }>(
        `select pg_try_advisory_lock(hashtext('affidavit.scrub')) as held`,
      )
      if (rows[0]?.held !== true) return { kind: 'busy' }
      const parts = {
        pool: database.pool('scrub'),
        personas: new Personas({ keeper, provider: keys.provider }),
        tenants: new Tenants({ keeper, chest: new KeyChest(keys.provider), capacity: 1_000 }),
        log: silent,
      }
      await beginAnew(parts.pool)
      return { kind: 'done', checked: await scrubRound(parts, options) }
    } finally {
      await session.end().catch(() => {})
    }
  } finally {
    await database.end()
    await entered?.leave()
  }
}
