// Objects as files below one folder. An object is written to a temporary file, synced, and linked to its name, which
// fails if the name is taken; then the folder is synced. A crash leaves at most a temporary file, swept at a later
// start. Several servers may share a folder.
import { randomBytes } from 'node:crypto'
import type { Dirent } from 'node:fs'
import { type FileHandle, link, mkdir, open, readdir, readFile, rm, rmdir, stat, unlink } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { Readable } from 'node:stream'
import { BadKey, checkKey, type Objects, type Put, type Stat } from './objects.ts'

/** Holds unfinished objects; its name is no key segment. */
const staging = '.staging'

/** No object takes this long to write; what is older was left by a crash. */
const abandoned_ms = 24 * 3_600_000

/** Makes the folder if it is missing, and removes what crashes left unfinished a day ago or earlier. */
export async function openFolderObjects(folder: string): Promise<Objects> {
  const temporary = join(folder, staging)
  await mkdir(temporary, { recursive: true })
  for (const name of await readdir(temporary)) {
    const path = join(temporary, name)
    const at = await stat(path).catch(ignoreMissing)
    if (at && at.mtimeMs < Date.now() - abandoned_ms) await rm(path, { force: true })
  }
  return new FolderObjects(folder)
}

class FolderObjects implements Objects {
  readonly #folder: string

  constructor(folder: string) {
    this.#folder = resolve(folder)
  }

  async put(key: string, content: Uint8Array | Readable): Promise<Put> {
    const path = this.#path(key)
    const temporary = join(this.#folder, staging, randomBytes(12).toString('hex'))
    try {
      await write(temporary, content)
      await this.#link(temporary, path)
      return 'written'
    } catch (error) {
      if (!['EEXIST', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error
      if (await this.stat(key)) return 'exists'
      throw new BadKey(`${key} cannot be both an object and the beginning of another key`)
    } finally {
      // The name of the other writer's object must be durable too before we say that it exists.
      await rm(temporary, { force: true })
      await syncFolder(dirname(path)).catch(ignoreMissing)
    }
  }

  async get(key: string): Promise<Buffer | undefined> {
    return readFile(this.#path(key)).catch(ignoreMissing)
  }

  async read(key: string, from = 0, to = Number.POSITIVE_INFINITY): Promise<Readable | undefined> {
    const path = this.#path(key)
    if (!(await this.stat(key))) return undefined // a folder could be opened, too
    const file = await open(path).catch(ignoreMissing)
    if (!file) return undefined
    if (from >= to) {
      await file.close()
      return Readable.from([])
    }
    return file.createReadStream({ start: from, end: to - 1 })
  }

  async stat(key: string): Promise<Stat | undefined> {
    const at = await stat(this.#path(key)).catch(ignoreMissing)
    return at?.isFile() ? { key, size: at.size, modified_at: Math.floor(at.mtimeMs) } : undefined
  }

  async *list(prefix: string, after = ''): AsyncGenerator<Stat> {
    yield* this.#walk('', prefix, after)
  }

  async delete(key: string): Promise<boolean> {
    const path = this.#path(key)
    if (!(await this.stat(key))) return false
    try {
      await unlink(path)
    } catch (error) {
      ignoreMissing(error as NodeJS.ErrnoException)
      return false // another delete came first
    }
    await this.#dropEmptyFolders(dirname(path))
    return true
  }

  #path(key: string): string {
    checkKey(key)
    return join(this.#folder, key)
  }

  /** Tries again where a delete took the empty folder away in between. */
  async #link(temporary: string, path: string): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      await this.#makeFolders(dirname(path))
      try {
        return await link(temporary, path)
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || attempt === 10) throw error
      }
    }
  }

  /** An empty folder would bar an object of its name. The first one left is synced. */
  async #dropEmptyFolders(from: string): Promise<void> {
    for (let at = from; ; at = dirname(at)) {
      if (at === this.#folder) return syncFolder(at)
      try {
        await rmdir(at)
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') continue
        return syncFolder(at).catch(ignoreMissing)
      }
    }
  }

  /** Each new folder is durable before something in it is. */
  async #makeFolders(path: string): Promise<void> {
    const first = await mkdir(path, { recursive: true })
    if (first === undefined) return
    for (let at = path; at.length >= first.length; at = dirname(at)) await syncFolder(dirname(at))
  }

  /** Depth first in key order; whole folders outside of `prefix` or before `after` are not entered. */
  async *#walk(folder: string, prefix: string, after: string): AsyncGenerator<Stat> {
    const entries = (await readdir(join(this.#folder, folder), { withFileTypes: true }).catch(ignoreMissing)) ?? []
    for (const { name, isFolder } of inKeyOrder(entries)) {
      const key = folder + name
      if (!(key.startsWith(prefix) || (isFolder && prefix.startsWith(key)))) continue
      if (isFolder) {
        if (key > after || after.startsWith(key)) yield* this.#walk(key, prefix, after)
      } else if (key > after) {
        const found = await this.stat(key)
        if (found) yield found // else deleted since
      }
    }
  }
}

/** A folder sorts as its name with the slash, since `a-b` comes before `a/b`. */
function inKeyOrder(entries: Dirent[]): { name: string; isFolder: boolean }[] {
  return entries
    .filter(({ name }) => !name.startsWith('.'))
    .map((entry) => ({ name: entry.isDirectory() ? `${entry.name}/` : entry.name, isFolder: entry.isDirectory() }))
    .sort((a, b) => (a.name < b.name ? -1 : 1))
}

async function write(path: string, content: Uint8Array | Readable): Promise<void> {
  const file = await open(path, 'wx', 0o600)
  try {
    await writeAll(file, content)
    await file.sync()
  } finally {
    await file.close()
  }
}

async function writeAll(file: FileHandle, content: Uint8Array | Readable): Promise<void> {
  if (content instanceof Uint8Array) return file.writeFile(content)
  for await (const chunk of content) await file.writeFile(chunk as Buffer)
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path)
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}

/** ENOTDIR: `a` is an object, so there is none called `a/b`. EISDIR: `a` is only the beginning of other keys. */
function ignoreMissing(error: NodeJS.ErrnoException): undefined {
  if (!['ENOENT', 'ENOTDIR', 'EISDIR'].includes(error.code ?? '')) throw error
}
