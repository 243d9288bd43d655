// A start that would deny what others have seen is refused: a registry that is shorter than a witness or an anchor knows
// it, and a log that begins anew under keys that have signed one before. Signing on would be a fork that every verifier
// has to call tampering. Whoever knows better says so, in AFFIDAVIT_ACCEPT_ROLLBACK or with `restore --continue-from`.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  formatAddCheckpoint,
  NoteError,
  parseCheckpoint,
  parseNote,
  parseTreeSize,
  parseVkey,
  registryOrigin,
  TREE_SIZE_TYPE,
  verifyEd25519,
  verifyNote,
} from '@affidavit/trail'
import { NoAnswer, Outbound } from '../anchor/outbound.ts'
import { readPolicy } from '../anchor/policy-file.ts'
import { type RegistryHead, RegistryLog } from '../anchor/registry-log.ts'
import { type AnchorSettings, readAnchors } from '../anchor/settings.ts'
import type { Config } from '../config.ts'
import type { Keys } from '../keys/open-keys.ts'
import { RecoveryRefused } from '../recovery/repository.ts'
import type { Database } from '../store/database.ts'
import type { Log } from '../store/log.ts'
import { sha256 } from '../store/sha256.ts'

/** How long a start waits for the word of a witness or of a bucket. */
const ask_ms = 8_000
const ask_again_ms = 500
const reply_bytes = 64 * 1024

/**
 * For a database that is new.
 * @param objects whether Objects hold epochs
 * @throws RecoveryRefused when Objects are new, too, and the keys are not
 */
export function refuseForgottenLog(config: Config, objects: boolean): void {
  if (objects || !existsSync(join(config.keysDir, 'registry.key'))) return
  throw new RecoveryRefused(
    `The key folder ${config.keysDir} has signed a log, and neither the database nor Objects (${config.objects}) know it. ` +
      'Restore a backup, or name the place of Objects; if both are lost: affidavit restore --continue-from. For a new ' +
      'deployment choose another key folder (AFFIDAVIT_KEYS_DIR).',
  )
}

/**
 * Asks what the database itself remembers of anchors, every witness that answers at once, and every bucket of copies that
 * may be read.
 * @param reachable entries of the registry log, those included that Objects will complete
 * @throws RecoveryRefused when one of them knows more
 */
export async function refuseBehindAnchors(
  config: Config,
  database: Database,
  keys: Keys,
  reachable: number,
  log: Log,
): Promise<void> {
  const notary = database.pool('notary')
  const head = await new RegistryLog(notary).head()
  const [witnesses, copies] = await Promise.all([
    head === undefined ? [] : witnessed(config, head, log),
    copied(config, keys, head?.origin ?? registryOrigin(keys.logName), log),
  ])
  const known = [...(await remembered(database)), ...witnesses, ...copies]
  const ahead = known.filter(({ size }) => size > reachable).sort((a, b) => b.size - a.size)[0]
  if (ahead === undefined) return
  const what = `${ahead.name} knows the registry with ${ahead.size} entries, and this database has ${reachable}`
  if (config.acceptRollback === ahead.size) {
    log.error(
      ahead,
      `${what}. It goes on all the same, as AFFIDAVIT_ACCEPT_ROLLBACK says: others will call it tampering.`,
    )
    return
  }
  throw new RecoveryRefused(
    `${what}: it was put back to an older state, and Objects lack the epochs since. Restore them (docs/operating/recovery.md); ` +
      'if they are lost, continue the trails with: affidavit restore --continue-from. To go on nevertheless, which every ' +
      `verifier that saw more will call tampering, set AFFIDAVIT_ACCEPT_ROLLBACK=${ahead.size}.`,
  )
}

interface Known {
  readonly name: string
  readonly size: number
}

async function remembered(database: Database): Promise<Known[]> {
  const { rows } = await database.pool('follower').query<{ name: string; size: number }>(
    `select a.name, max(a.size) as size from affidavit.anchors a cross join affidavit.registry r
      where a.size is not null and a.origin = r.origin group by a.name`,
  )
  return rows
}

/** Without its word the start goes on: one that is away for a day must not stop the log for a day. The log says so. */
async function witnessed({ witnessPolicy }: Config, head: RegistryHead, log: Log): Promise<Known[]> {
  if (witnessPolicy === undefined) return []
  const body = formatAddCheckpoint({ old: head.size, proof: [], checkpoint: head.note })
  const outbound = new Outbound()
  const asked = (await readPolicy(witnessPolicy)).witnesses.map(async ({ name, url }): Promise<Known[]> => {
    if (url === undefined || !/^https?:/.test(url)) return [] // others ask it; the anchors' log says so
    try {
      const size = await sizeKnownTo(`${url.replace(/\/+$/, '')}/add-checkpoint`, body, outbound)
      return size === undefined ? [] : [{ name: `witness ${name}`, size }]
    } catch (error) {
      log.warn({ witness: name, err: error as Error }, 'a witness does not say how far it knows the registry')
      return []
    }
  })
  const known = await Promise.all(asked)
  outbound.close()
  return known.flat()
}

/**
 * C2SP tlog-witness: whoever cosigned more answers 409 with its size. Asked again while it cannot be reached: a machine
 * that was put back as a whole, and has just come up, may have no network yet.
 * @returns undefined if it cosigned nothing beyond
 * @throws Error with what it answered instead, NoAnswer
 */
async function sizeKnownTo(url: string, body: string, outbound: Outbound): Promise<number | undefined> {
  for (const until = performance.now() + ask_ms; ; await sleep(ask_again_ms)) {
    const timeout_ms = Math.max(1, Math.ceil(until - performance.now()))
    try {
      const answer = await outbound.post({ url, body, timeout_ms, limit: reply_bytes })
      if (answer.status === 200) return undefined
      const size =
        answer.status === 409 && answer.type === TREE_SIZE_TYPE && parseTreeSize(answer.body.toString('latin1'))
      if (typeof size !== 'number') throw new Error(`it answers ${answer.status}, and no size`)
      return size
    } catch (error) {
      if (!(error instanceof NoAnswer) || until - performance.now() < ask_again_ms) throw error
    }
  }
}

/** The newest copies in buckets. Only what our own key signed says something of our log. */
async function copied({ anchors }: Config, keys: Keys, origin: string, log: Log): Promise<Known[]> {
  if (anchors === undefined) return []
  const asked = (await readAnchors(anchors)).map(async (settings): Promise<Known[]> => {
    if (settings.kind !== 'bucket') return []
    const sizes: Known[] = []
    for (const note of await newestIn(settings, origin)) {
      const size = await ownSize(keys, origin, note)
      if (size !== undefined) sizes.push({ name: `anchor ${settings.name}`, size })
    }
    return sizes
  })
  const answers = await Promise.allSettled(asked)
  return answers.flatMap((answer) => {
    if (answer.status === 'fulfilled') return answer.value
    // Often it may be written and not read: then it says nothing here, as intended.
    log.warn({ err: answer.reason as Error }, 'a bucket could not be asked how far it knows the registry')
    return []
  })
}

async function newestIn(settings: Extract<AnchorSettings, { kind: 'bucket' }>, origin: string): Promise<string[]> {
  const { BucketPlace } = await import('../anchor/bucket.ts') // the SDK is large: only who needs it loads it
  const place = new BucketPlace(settings)
  try {
    return await place.newest(origin, AbortSignal.timeout(ask_ms))
  } finally {
    place.close()
  }
}

/** Size in a checkpoint of this log that one of its keys signed; else undefined. */
async function ownSize({ logKey }: Keys, origin: string, note: string): Promise<number | undefined> {
  const ours = [logKey, ...logKey.also].map((key) => parseVkey(sha256, key.vkey(origin)))
  try {
    const checkpoint = parseCheckpoint(parseNote(note).text)
    const { verified } = await verifyNote(verifyEd25519, note, ours)
    return checkpoint.origin === origin && verified.length > 0 ? checkpoint.size : undefined
  } catch (error) {
    if (error instanceof NoteError) return undefined
    throw error
  }
}
