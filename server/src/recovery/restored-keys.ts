// After keys were put back from a copy: whether the copy is as new as the database. One that was made before a rotation
// lacks the generation that everybody's keys stand under since, and a server that started on it would open nobody and
// take nothing new of them. So the start is refused while there is a choice: a newer copy, or the database of then.
import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { KeyProvider } from '../keys/provider.ts'
import { KeyUnusable } from '../keys/unusable.ts'
import type { Queryable } from '../store/database.ts'
import { RecoveryRefused, syncFolder } from './repository.ts'

/** In a key folder: the copy that was put back, until a start has looked at what it opens. */
const restored_mark = 'restored'

export async function markRestored(keys: string, copy: string): Promise<void> {
  await writeFile(join(keys, restored_mark), `${copy}\n`, { mode: 0o600, flush: true })
  await syncFolder(keys)
}

/**
 * Nothing unless keys were put back since the last start.
 * @param keeper pool of the role
 * @throws RecoveryRefused where a generation is not in the folder that the database needs
 */
export async function checkRestoredKeys(keys: string, keeper: Queryable, provider: KeyProvider): Promise<void> {
  const mark = join(keys, restored_mark)
  const copy = (await readFile(mark, 'utf8').catch(() => undefined))?.trim()
  if (copy === undefined) return
  const { rows } = await keeper.query<{ tenant: string; keyring: string; generation: number }>(
    `select n.id as tenant, b.generation,
       replace((select t.id from affidavit.trails t where t.tenant = n.number order by t.ordinal limit 1)::text, '-', '') as keyring
     from (select distinct tenant, generation from keeper.buckets) b join affidavit.tenants n on n.number = b.tenant
     order by n.id, b.generation`,
  )
  const missing: string[] = []
  for (const { tenant, keyring, generation } of rows)
    if (await isMissing(provider, keyring, generation)) missing.push(`${keyring}.${generation} of ${tenant}`)
  if (missing.length > 0)
    throw new RecoveryRefused(
      `The copy of the keys, ${copy}, is older than the database: it lacks ${missing.length} of its generations, ` +
        `${missing[0]} the first. Put back a newer copy, or restore the database to the backup that the copy belongs to ` +
        '(affidavit restore FOLDER --to backup --replace): what is under a generation that no copy has cannot be read again.',
    )
  await rm(mark)
}

/** One that was destroyed is not missing: it is empty. */
async function isMissing(provider: KeyProvider, keyring: string, generation: number): Promise<boolean> {
  try {
    await provider.wrap(keyring, generation, 'affidavit/1 check', Buffer.alloc(32))
    return false
  } catch (error) {
    if (error instanceof KeyUnusable) return error.code === 'key_missing'
    throw error
  }
}
