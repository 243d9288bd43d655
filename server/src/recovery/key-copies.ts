// Copies of the key folder, each under the name of the backup it was made with. They lie apart from the backups: whoever
// holds both can read every person in them, and erases nobody by deleting one.
//
// Generations of subject-wrap keys that were destroyed stay destroyed: an older database finds the living again through
// the journals of rotations in Objects, and the erased nowhere. Only into an empty key folder do old generations come
// back, and the start after a restore destroys them again (docs/operating/recovery.md).
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, realpath, rename, rm, writeFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { KMS_ROOT } from '../keys/key-folder.ts'
import { parseRootFile } from '../keys/kms-files.ts'
import { copyFile, listFolder, syncTree } from './copying.ts'
import { RecoveryRefused, syncFolder } from './repository.ts'

/** The recovery key is to be offline, not in a copy. */
const left_out = /^recovery\.key$|\.tmp$/

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
 * Puts back key files that are missing.
 * @returns how many files were put back
 * @throws RecoveryRefused when a key that is there is another one
 */
export async function restoreKeys(from: string, id: string, keys: string): Promise<number> {
  const source = join(from, id)
  if (!existsSync(source)) throw new RecoveryRefused(`There are no keys of backup ${id} in ${from}.`)
  const { files } = await listFolder(source, () => false)
  // A copy from before the keys were moved into a key management service does not bring the root back into the clear.
  const hasKms = existsSync(join(keys, KMS_ROOT))
  let restored = 0
  for (const { path } of files) {
    if (path === 'root.key' && hasKms) continue
    const to = join(keys, path)
    const there = await readFile(to).catch(() => undefined)
    if (there !== undefined) {
      if (!path.startsWith('generations/') && !isSameKey(path, there, await readFile(join(source, path))))
        throw new RecoveryRefused(`${to} is another key than that of the backup. Restore into a key folder of its own.`)
      continue
    }
    await mkdir(dirname(to), { recursive: true, mode: 0o700 })
    await writeFile(`${to}.restored`, await readFile(join(source, path)), { mode: 0o600, flush: true })
    await rename(`${to}.restored`, to)
    await syncFolder(dirname(to))
    restored++
  }
  return restored
}

/** The root that a key management service wraps may have been wrapped by another key of it since. */
function isSameKey(path: string, one: Buffer, other: Buffer): boolean {
  if (path !== KMS_ROOT) return one.equals(other)
  return parseRootFile(one, path).check === parseRootFile(other, path).check
}

/** Takes away the copies that belong to none of the given backups. */
export async function dropOldKeys(folder: string, ids: readonly string[]): Promise<void> {
  for (const name of await readdir(folder).catch(() => []))
    if (/^\d{8}T\d{6}Z$/.test(name) && !ids.includes(name))
      await rm(join(folder, name), { recursive: true, force: true })
}
