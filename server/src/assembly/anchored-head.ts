// A start that would deny what others have seen is refused: a registry that is shorter than a witness or an anchor knows
// it, and a log that begins anew under keys that have signed one before. Signing on would be a fork that every verifier
// has to call tampering. Whoever knows better says so, in AFFIDAVIT_ACCEPT_ROLLBACK or with `restore --continue-from`.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { formatAddCheckpoint, parseTreeSize, TREE_SIZE_TYPE } from '@affidavit/trail'
import { readPolicy } from '../anchor/policy-file.ts'
import { type RegistryHead, RegistryLog } from '../anchor/registry-log.ts'
import type { Config } from '../config.ts'
import { RecoveryRefused } from '../recovery/repository.ts'
import type { Database } from '../store/database.ts'
import type { Log } from '../store/log.ts'

const ask_ms = 8_000
const reply_bytes = 64

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
 * Asks what the database itself remembers of anchors, and every witness that answers at once.
 * @param reachable entries of the registry log, those included that Objects will complete
 * @throws RecoveryRefused when one of them knows more
 */
export async function refuseBehindAnchors(
  config: Config,
  database: Database,
  reachable: number,
  log: Log,
): Promise<void> {
  const notary = database.pool('notary')
  const head = await new RegistryLog(notary).head()
  const known = [...(await remembered(database)), ...(head === undefined ? [] : await witnessed(config, head, log))]
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

/** C2SP tlog-witness: whoever cosigned more answers 409 with its size. One that is away says nothing now. */
async function witnessed({ witnessPolicy }: Config, head: RegistryHead, log: Log): Promise<Known[]> {
  if (witnessPolicy === undefined) return []
  const body = formatAddCheckpoint({ old: head.size, proof: [], checkpoint: head.note })
  const asked = (await readPolicy(witnessPolicy)).witnesses.map(async ({ name, url }): Promise<Known[]> => {
    if (url === undefined) return []
    const answer = await fetch(`${url.replace(/\/+$/, '')}/add-checkpoint`, {
      method: 'POST',
      body,
      redirect: 'manual',
      signal: AbortSignal.timeout(ask_ms),
    })
    if (answer.status !== 409 || answer.headers.get('content-type') !== TREE_SIZE_TYPE) return []
    const text = await answer.text()
    const size = text.length > reply_bytes ? undefined : parseTreeSize(text)
    return size === undefined ? [] : [{ name: `witness ${name}`, size }]
  })
  const answers = await Promise.allSettled(asked)
  return answers.flatMap((answer) => {
    if (answer.status === 'fulfilled') return answer.value
    log.warn({ err: answer.reason as Error }, 'a witness could not be asked how far it knows the registry')
    return []
  })
}
