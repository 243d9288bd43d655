// `affidavit keys rewrap`: brings a deployment's key folder under the first key of AFFIDAVIT_KMS_KEY, from root.key or from
// a key that is to be retired, and has that one deleted if it is asked to.
import type { Config } from '../config.ts'
import { Kms } from '../keys/kms.ts'
import { countUnder, type Rewrapped, type RewrapStep, rewrapFolder } from '../keys/kms-rewrap.ts'
import { KeyUnusable } from '../keys/unusable.ts'
import { openDatabase } from '../store/database.ts'
import { enterEmbedded } from '../store/embedded/live.ts'
import { silent } from '../store/log.ts'
import { archiveOf } from './safekeeping.ts'

export interface RewrapAsked {
  /** Days after which the keys that nothing stands under any more are gone for good; undefined: they stay. */
  readonly deleteAfterDays?: number | undefined
  readonly onStep?: ((step: RewrapStep) => void) | undefined
}

export interface RewrapDone extends Rewrapped {
  /** ARN of the key that wraps everything now. */
  readonly key: string
  /** ARNs of the others that AFFIDAVIT_KMS_KEY names; nothing stands under them. */
  readonly retired: readonly { readonly key: string; readonly deletion: Date | null }[]
}

/** @throws KeyUnusable, EmbeddedError, StoreUnavailable with a sentence for the operator */
export async function rewrap(config: Config, asked: RewrapAsked): Promise<RewrapDone> {
  if (config.kms === undefined)
    throw new KeyUnusable('key_mismatch', 'Name the key that is to wrap the key folder in AFFIDAVIT_KMS_KEY.')
  const kms = await Kms.connect(config.kms)
  const done = await rewrapFolder({
    folder: config.keysDir,
    kms,
    deployment: () => deploymentOf(config),
    ...(config.rootKey !== undefined && { rootKey: config.rootKey }),
    ...(asked.onStep && { onStep: asked.onStep }),
  })
  const retired: { key: string; deletion: Date | null }[] = []
  for (const key of kms.retiring) {
    const left = await countUnder(config.keysDir, key)
    // A server that still takes it for the first one made a key under it just now.
    if (left > 0)
      throw new KeyUnusable('key_mismatch', `${left} files are under ${key} again: start every server process anew.`)
    const days = asked.deleteAfterDays
    retired.push({ key, deletion: days === undefined ? null : await kms.scheduleDeletion(key, days) })
  }
  return { ...done, key: kms.wrapping, retired }
}

/** What the database knows of its keys. It is asked only for a folder that opens by itself, and no server may run then. */
async function deploymentOf(config: Config): Promise<{ logName: string; rootCheck: string }> {
  const entered =
    config.databaseUrl === undefined
      ? await enterEmbedded({ folder: `${config.dataDir}/postgres`, log: silent, archive: archiveOf(config) })
      : undefined
  try {
    if (entered?.live)
      throw new KeyUnusable('key_mismatch', 'The server runs. Stop it before its keys are moved; nothing was changed.')
    const database = openDatabase({ login: config.databaseUrl ?? entered!.connection, log: silent })
    try {
      const { rows } = await database
        .pool('keeper')
        .query<{ value: { log_name: string; root_check: string } }>(
          `select value from affidavit.settings where name = 'deployment'`,
        )
      if (rows[0] === undefined)
        throw new KeyUnusable('key_mismatch', 'This database was never started with keys: start a server instead.')
      return { logName: rows[0].value.log_name, rootCheck: rows[0].value.root_check }
    } finally {
      await database.end()
    }
  } finally {
    await entered?.leave()
  }
}
