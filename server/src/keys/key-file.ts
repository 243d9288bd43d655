// Small secret files that several processes make at the same moment: whoever is first decides, all read the same bytes,
// and a crash leaves either the whole file or none.
import { randomBytes } from 'node:crypto'
import { link, mkdir, open, readFile, unlink } from 'node:fs/promises'
import { dirname } from 'node:path'

/** Makes a folder that only this user can enter, durably. */
export async function makeFolder(folder: string): Promise<void> {
  const made = await mkdir(folder, { recursive: true, mode: 0o700 })
  if (made === undefined) return
  for (let parent = dirname(folder); parent.length >= dirname(made).length; parent = dirname(parent)) {
    await syncFolder(parent)
    if (parent === dirname(parent)) return
  }
}

/**
 * Writes a file (mode 0600) unless it exists: a temporary file is synced and then linked to its name, which fails when
 * the name is taken. The folder exists.
 *
 * @returns whether this call made it
 */
export async function writeOnce(file: string, content: Uint8Array | string): Promise<boolean> {
  const temporary = `${file}.${process.pid}.${randomBytes(6).toString('hex')}.tmp`
  const handle = await open(temporary, 'wx', 0o600)
  try {
    await handle.writeFile(content)
    await handle.sync()
  } finally {
    await handle.close()
  }
  try {
    await link(temporary, file)
  } catch (error) {
    if (codeOf(error) !== 'EEXIST') throw error
    return false
  } finally {
    await unlink(temporary)
    await syncFolder(dirname(file))
  }
  return true
}

/** The file's bytes, or undefined when there is none. */
export async function readIfThere(file: string): Promise<Buffer | undefined> {
  try {
    return await readFile(file)
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined
    throw error
  }
}

/**
 * Overwrites a file's bytes with zeros in place, then empties it: either says that something was destroyed here, so whoever
 * is cut off between the two leaves nothing that looks like a damaged key (`isDestroyed`). Storage that writes elsewhere
 * (SSD, copy-on-write, backups) may keep the old bytes: destruction is attested, never proven.
 */
export async function destroyFile(file: string): Promise<void> {
  const handle = await open(file, 'r+')
  try {
    const { size } = await handle.stat()
    if (size > 0) await handle.write(Buffer.alloc(size), 0, size, 0)
    await handle.sync()
    await handle.truncate(0)
    await handle.sync()
  } finally {
    await handle.close()
  }
  await syncFolder(dirname(file))
}

/** Whether these are the bytes of a file that was destroyed; no key, wrapped or not, is zeros. */
export const isDestroyed = (bytes: Uint8Array): boolean => bytes.every((byte) => byte === 0)

/** Makes the names in a folder durable. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException).code
}
