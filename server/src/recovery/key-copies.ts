// Copies of the key folder, each under the name of the backup it was made with. They lie apart from the backups: whoever
// holds both can read every person in them, and erases nobody by deleting one.
//
// Whatever backup is restored, the newest copy of the keys is the right one. Generations of subject-wrap keys that were
// destroyed stay destroyed: an older database finds the living again through the journals of rotations in Objects, and
// the erased nowhere. Where the newest copy is older than a rotation, a generation that was destroyed since comes back with
// it, and the rows that it opens are kept; the next rotation destroys it again (docs/operating/recovery.md).
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, realpath, rename, rm, writeFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { isDestroyed } from '../keys/key-file.ts'
import { KMS_ROOT } from '../keys/key-folder.ts'
import { parseRootFile } from '../keys/kms-files.ts'
import { copyFile, listFolder, syncTree } from './copying.ts'
import { RecoveryRefused, syncFolder } from './repository.ts'
import { markRestored } from './restored-keys.ts'

/** The recovery key is to be offline, not in a copy; `restored` says something of this folder. */
const left_out = /^(recovery\.key|restored)$|\.tmp$/

/** @throws RecoveryRefused unless the two folders lie apart */
export async function checkApart(backups: string, keys: string): Promise<void> {
  const [a, b] = [`${await real(backups)}/`, `${await real(keys)}/`]
  if (!a.startsWith(b) && !b.startsWith(a)) return
  throw new RecoveryRefused(
    `${keys} lies with the backups of the database: whoever gets both can read every person. Give --keys a folder ` +
      'elsewhere, best on another machine, or --keys-beside if the place is safe enough for both.',
  )
}

/** The path as the system sees it, also where its end does not exist yet. */
async function real(path: string): Promise<string> {
  const at = resolve(path)
  if (existsSync(at)) return realpath(at)
  return at === dirname(at) ? at : join(await real(dirname(at)), at.slice(dirname(at).length).replace(/^\//, ''))
}

/** @param id of the backup that the keys belong to */
export async function copyKeys(keys: string, to: string, id: string): Promise<void> {
  await mkdir(to, { recursive: true, mode: 0o700 })
  const staging = join(to, `${id}.new`)
  await rm(staging, { recursive: true, force: true })
  await mkdir(staging, { mode: 0o700 })
  const { files } = await listFolder(keys, (path) => left_out.test(path))
  for (const { path } of files) await copyFile(join(keys, path), join(staging, path), () => {})
  await syncTree(staging)
  await rm(join(to, id), { recursive: true, force: true })
  await rename(staging, join(to, id))
  await syncFolder(to)
}

/**
 * Puts back key files that are missing, from the newest copy.
 * @param deployment whose keys are wanted: text of recovery.pub; null: not known
 * @returns the copy, and how many files were put back
 * @throws RecoveryRefused when it is another deployment's, or a key that is there is another one
 */
export async function restoreKeys(
  from: string,
  deployment: string | null,
  keys: string,
): Promise<{ copy: string; files: number }> {
  const copy = (await namesOf(from)).at(-1)
  if (copy === undefined)
    throw new RecoveryRefused(`There is no copy of keys in ${from}: they lie in folders named like 20260310T180000Z.`)
  const source = join(from, copy)
  const found = await identityOf(source)
  if (found === null) throw new RecoveryRefused(`${source} is no copy of a key folder: it has no recovery.pub.`)
  if (deployment !== null && found !== deployment)
    throw new RecoveryRefused(
      `The keys in ${source} are another deployment's than the backup: they open nothing in it. Name the right folder.`,
    )
  // A copy from before the keys were moved into a key management service does not bring the root back into the clear.
  const hasKms = existsSync(join(keys, KMS_ROOT))
  const { files } = await listFolder(source, (path) => path === 'root.key' && hasKms)
  for (const { path } of files) await refuseOther(source, keys, path)
  let restored = 0
  for (const { path } of files) {
    const to = join(keys, path)
    if (existsSync(to)) continue
    if (restored === 0) {
      await mkdir(keys, { recursive: true, mode: 0o700 })
      await markRestored(keys, copy)
    }
    await mkdir(dirname(to), { recursive: true, mode: 0o700 })
    await writeFile(`${to}.restored`, await readFile(join(source, path)), { mode: 0o600, flush: true })
    await rename(`${to}.restored`, to)
    await syncFolder(dirname(to))
    restored++
  }
  return { copy, files: restored }
}

/** Before anything is put back. */
async function refuseOther(source: string, keys: string, path: string): Promise<void> {
  const to = join(keys, path)
  const there = await readFile(to).catch(() => undefined)
  if (there === undefined || isSameKey(path, there, await readFile(join(source, path)))) return
  throw new RecoveryRefused(`${to} is another key than that of the copy. Restore into a key folder of its own.`)
}

/**
 * Empty files and zeros are keys that were destroyed or retired: they stay so. The root that a key management service
 * wraps may have been wrapped by another key of it since.
 */
function isSameKey(path: string, one: Buffer, other: Buffer): boolean {
  if (path.startsWith('generations/') || isDestroyed(one)) return true
  if (path !== KMS_ROOT) return one.equals(other)
  return parseRootFile(one, path).check === parseRootFile(other, path).check
}

/** What tells deployments apart in a key folder, and is no secret; null: it is none. */
export async function identityOf(keys: string): Promise<string | null> {
  const text = await readFile(join(keys, 'recovery.pub'), 'utf8').catch(() => undefined)
  return text?.trim() ?? null
}

/** Names of copies, the oldest first. */
const namesOf = async (folder: string) =>
  (await readdir(folder).catch(() => [])).filter((name) => /^\d{8}T\d{6}Z$/.test(name)).sort()

/** Takes away the copies that belong to none of the given backups. */
export async function dropOldKeys(folder: string, ids: readonly string[]): Promise<void> {
  for (const name of await namesOf(folder))
    if (!ids.includes(name)) await rm(join(folder, name), { recursive: true, force: true })
}
