// Copies of Objects beside the backups. Objects are written once and never changed, so one common copy serves all
// backups, and only what is new is copied. Restoring puts back what is missing and replaces nothing: what is there may be
// newer than the backup, and the replay of later epochs lives on it.
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { openFolderObjects } from '../store/folder-objects.ts'
import type { Objects } from '../store/objects.ts'

/** @returns how many objects were copied */
export async function copyObjects(from: Objects, to: Objects): Promise<number> {
  let copied = 0
  for await (const { key, size } of from.list('')) {
    if ((await to.stat(key))?.size === size) continue
    const content = await from.read(key)
    if (content !== undefined && (await to.put(key, content)) === 'written') copied++
  }
  return copied
}

/** The copies in a folder of backups; undefined where it holds none. */
export async function openCopies(folder: string, make: boolean): Promise<Objects | undefined> {
  const path = join(folder, 'objects')
  if (!make && !(await stat(path).catch(() => undefined))) return undefined
  return openFolderObjects(path)
}
