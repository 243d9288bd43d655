// Copies a folder that is in use, file by file, each synced and hashed on the way. What was copied is noted in a journal,
// so that a copy that was cut off goes on where it stopped: a file stays if its size and time are those it had, and if it
// had not been changed for a while when it was copied (a write within the same tick of the clock would go unnoticed).
import { createHash } from 'node:crypto'
import { appendFile, mkdir, open, readdir, readFile, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { type CopiedFile, chunkFor, makePrivateFolder, syncFolder } from './repository.ts'

export interface Listing {
  /** Relative, with slashes. */
  readonly files: readonly { path: string; size: number; modified: string }[]
  readonly folders: readonly string[]
}

/** @param skip whether a path (relative) is left out, with all below it; an empty folder stays for a folder's content */
export async function listFolder(root: string, skip: (path: string, isFolder: boolean) => boolean): Promise<Listing> {
  const files: { path: string; size: number; modified: string }[] = []
  const folders: string[] = []
  const walk = async (below: string): Promise<void> => {
    const entries = await readdir(join(root, below), { withFileTypes: true }).catch(ignoreMissing)
    for (const entry of entries ?? []) {
      const path = below === '' ? entry.name : `${below}/${entry.name}`
      if (skip(path, entry.isDirectory())) continue
      if (entry.isDirectory()) {
        folders.push(path)
        await walk(path)
      } else if (entry.isFile()) {
        const at = await stat(join(root, path), { bigint: true }).catch(ignoreMissing)
        if (at) files.push({ path, size: Number(at.size), modified: String(at.mtimeNs) })
      }
    }
  }
  await walk('')
  return { files, folders }
}

interface Noted extends CopiedFile {
  /** Nanoseconds since 1970, as the source had it before it was copied. */
  readonly modified: string
  /** When copying began, milliseconds since 1970. */
  readonly at: number
}

/** Coarser than the clock of any file system that is worth a database. */
const settled_ms = 3_000

export class Copying {
  readonly #from: string
  readonly #to: string
  readonly #prefix: string
  readonly #journal: string
  readonly #noted: Map<string, Noted>
  readonly #onBytes: (bytes: number) => void

  private constructor(
    from: string,
    to: string,
    prefix: string,
    noted: Map<string, Noted>,
    onBytes: (n: number) => void,
  ) {
    this.#from = from
    this.#to = to
    this.#prefix = prefix
    this.#journal = join(to, 'copied.ndjson')
    this.#noted = noted
    this.#onBytes = onBytes
  }

  /**
   * @param to the unfinished backup; what its journal notes is taken up
   * @param prefix of the paths in the backup, `data` or `wal`
   */
  static async into(from: string, to: string, prefix: string, onBytes: (bytes: number) => void): Promise<Copying> {
    await makePrivateFolder(join(to, prefix))
    const text = await readFile(join(to, 'copied.ndjson'), 'utf8').catch(() => '')
    const noted = new Map<string, Noted>()
    for (const line of text.split('\n')) {
      const entry = parse(line)
      if (entry !== undefined) noted.set(entry.path, entry)
    }
    return new Copying(from, to, prefix, noted, onBytes)
  }

  /** Removes from the unfinished backup what the source does not have (any more). */
  async clean(listing: Listing): Promise<void> {
    const wanted = new Set(listing.files.map(({ path }) => path))
    const there = await listFolder(join(this.#to, this.#prefix), () => false)
    for (const { path } of there.files)
      if (!wanted.has(path)) await rm(join(this.#to, this.#prefix, path), { force: true })
    for (const folder of listing.folders) await mkdir(join(this.#to, this.#prefix, folder), { recursive: true })
  }

  /** @returns undefined if the file went away, as files of a running database do */
  async copy(file: { path: string; size: number; modified: string }): Promise<CopiedFile | undefined> {
    const path = `${this.#prefix}/${file.path}`
    const noted = this.#noted.get(path)
    if (noted !== undefined && (await this.#stands(noted, file))) {
      this.#onBytes(noted.size)
      return { path, size: noted.size, sha256: noted.sha256 }
    }
    const at = Date.now()
    const copied = await copyFile(join(this.#from, file.path), join(this.#to, path), this.#onBytes)
    if (copied === undefined) return undefined
    const entry: Noted = { path, ...copied, modified: file.modified, at }
    await appendFile(this.#journal, `${JSON.stringify(entry)}\n`)
    return { path, ...copied }
  }

  async #stands(noted: Noted, file: { size: number; modified: string }): Promise<boolean> {
    if (noted.modified !== file.modified || noted.size !== file.size) return false
    if (noted.at - Number(BigInt(file.modified) / 1_000_000n) < settled_ms) return false
    const at = await stat(join(this.#to, noted.path)).catch(() => undefined)
    return at?.size === noted.size
  }
}

function parse(line: string): Noted | undefined {
  try {
    return line === '' ? undefined : (JSON.parse(line) as Noted)
  } catch {
    return undefined // the last line of a journal that was cut off
  }
}

/** Copies to the end that the file has when it is reached, synced. */
export async function copyFile(
  from: string,
  to: string,
  onBytes: (bytes: number) => void,
): Promise<{ size: number; sha256: string } | undefined> {
  const source = await open(from, 'r').catch(ignoreMissing)
  if (source === undefined) return undefined
  try {
    await mkdir(dirname(to), { recursive: true, mode: 0o700 })
    const target = await open(to, 'w', 0o600)
    try {
      const hash = createHash('sha256')
      const chunk = Buffer.allocUnsafe(chunkFor((await source.stat()).size))
      let size = 0
      for (;;) {
        const { bytesRead } = await source.read(chunk, 0, chunk.length, size)
        if (bytesRead === 0) break
        hash.update(chunk.subarray(0, bytesRead))
        await target.write(chunk, 0, bytesRead, size)
        size += bytesRead
        onBytes(bytesRead)
      }
      await target.sync()
      return { size, sha256: hash.digest('hex') }
    } finally {
      await target.close()
    }
  } finally {
    await source.close()
  }
}

/** Syncs a folder and all below it, so that the names in them survive a power cut. */
export async function syncTree(root: string): Promise<void> {
  const { folders } = await listFolder(root, () => false)
  for (const folder of ['', ...folders]) await syncFolder(join(root, folder))
}

function ignoreMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code === 'ENOENT') return undefined
  throw error
}
