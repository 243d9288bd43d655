/**
 * A pack that is being downloaded: `<file>.part` with the members so far, and `<file>.journal` with what was asked for
 * and, for every member that is safely on disk, its record of the directory. Whatever happens between two steps, the
 * next run goes on behind the last such member; the journal becomes the directory at the end.
 */
import { type FileHandle, open, readFile, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import {
  type ArrivedMember,
  DirectoryWriter,
  decodeManifest,
  memberPaths,
  PackError,
  readMember,
  USUAL_LIMIT,
  writtenRecords,
  type ZipEntry,
} from '@affidavit/trail'
import { Failure } from '../failure.ts'
import { nodeInflate } from '../verify/file/node-inflate.ts'
import { nodeSha256 } from '../verify/node-hash.ts'

/** How much may have to be fetched again. */
const SYNC_BYTES = 32 * 2 ** 20

/** Text of manifest.json and checkpoint: what makes a pack this one and no other. */
export interface Beginning {
  readonly manifest: string
  readonly checkpoint: string
}

export class PartialPack {
  private readonly path: string
  private readonly data: FileHandle
  private readonly journal: FileHandle
  private readonly directory: DirectoryWriter
  /** The first two members. */
  private readonly first: ZipEntry[]
  private journalEnd: number
  /** Records of members that are written but perhaps not yet on disk. */
  private waiting: Uint8Array[] = []
  private unsynced = 0

  private constructor(
    path: string,
    data: FileHandle,
    journal: FileHandle,
    directory: DirectoryWriter,
    first: ZipEntry[],
    journalEnd: number,
  ) {
    this.path = path
    this.data = data
    this.journal = journal
    this.directory = directory
    this.first = first
    this.journalEnd = journalEnd
  }

  /**
   * Opens what an earlier run left, or begins anew. @param request what is asked for: a begun pack of another request
   * is refused with a Failure
   */
  static async open(path: string, request: string, restart: boolean): Promise<PartialPack> {
    if (restart) await removePartial(path)
    const before = await readJournal(path)
    if (before !== undefined && before.request !== request)
      throw new Failure(
        `${path}.part is an unfinished download of something else. Give -o another name, or --restart to drop it.`,
      )
    const data = await open(`${path}.part`, before === undefined ? 'w+' : 'r+', 0o600)
    const journal = await open(`${path}.journal`, before === undefined ? 'w' : 'r+', 0o600)
    const directory = new DirectoryWriter()
    const { size } = await data.stat()
    const entries = (before?.entries ?? []).filter(({ offset, packedSize }) => offset + packedSize <= size)
    const good = (await isBeginning(data, entries)) ? entries : []
    const records = good.map((entry) => directory.add(entry))
    const head = Buffer.from(`${request}\n`)
    const end = head.length + records.reduce((sum, record) => sum + record.length, 0)
    await data.truncate(directory.end)
    await journal.truncate(before === undefined ? 0 : end)
    if (before === undefined) await journal.write(head, 0, head.length, 0)
    await journal.sync()
    return new PartialPack(path, data, journal, directory, good.slice(0, 2), end)
  }

  /** Members so far. */
  get members(): number {
    return this.directory.members
  }

  /** Bytes so far. */
  get bytes(): number {
    return this.directory.end
  }

  /** Writes members behind the others; what is promised to be there are all of these or none. */
  async add(...members: readonly ArrivedMember[]): Promise<void> {
    for (const { entry, bytes } of members) {
      await this.data.write(bytes, 0, bytes.length, this.directory.end)
      if (this.first.length < 2) this.first.push({ ...entry, offset: this.directory.end })
      this.waiting.push(this.directory.add(entry))
      this.unsynced += bytes.length
    }
    if (this.unsynced >= SYNC_BYTES) await this.sync()
  }

  /** Makes everything so far durable; only then the journal says that it is there. */
  async sync(): Promise<void> {
    await this.data.sync()
    const records = Buffer.concat(this.waiting)
    await this.journal.write(records, 0, records.length, this.journalEnd)
    await this.journal.sync()
    this.journalEnd += records.length
    this.waiting = []
    this.unsynced = 0
  }

  /** How the pack begins; undefined before its first three members are there. */
  async beginning(): Promise<Beginning | undefined> {
    const [manifest, checkpoint] = this.first
    if (manifest === undefined || checkpoint === undefined || this.members < 3) return undefined
    return { manifest: await textOf(this.data, manifest), checkpoint: await textOf(this.data, checkpoint) }
  }

  /** Writes the directory and gives the file its name. @returns its size */
  async finish(): Promise<number> {
    await this.sync()
    let at = this.directory.end
    for (const piece of this.directory.finish()) {
      await this.data.write(piece, 0, piece.length, at)
      at += piece.length
    }
    await this.data.sync()
    await this.close()
    await rename(`${this.path}.part`, this.path)
    await syncFolder(dirname(this.path))
    await rm(`${this.path}.journal`, { force: true })
    return at
  }

  /** Leaves what is worth going on with; what is not is removed. */
  async abandon(): Promise<void> {
    await this.close().catch(() => undefined)
    if (this.members < 3) await removePartial(this.path)
  }

  private async close(): Promise<void> {
    await this.data.close()
    await this.journal.close()
  }
}

async function removePartial(path: string): Promise<void> {
  await rm(`${path}.journal`, { force: true })
  await rm(`${path}.part`, { force: true })
}

interface Journal {
  readonly request: string
  readonly entries: readonly ZipEntry[]
}

/** Undefined where there is none, or none that was begun: without a whole first line nothing was promised. */
async function readJournal(path: string): Promise<Journal | undefined> {
  const bytes = await readFile(`${path}.journal`).catch(() => undefined)
  const end = bytes?.indexOf(0x0a) ?? -1
  const hasData = await open(`${path}.part`).then(
    (file) => file.close().then(() => true),
    () => false,
  )
  if (bytes === undefined || end < 0 || !hasData) return undefined
  const { entries } = writtenRecords(new Uint8Array(bytes.subarray(end + 1)))
  return { request: bytes.toString('utf8', 0, end), entries }
}

/** Whether the members are the first ones of the pack that their manifest describes; else all is fetched again. */
async function isBeginning(data: FileHandle, entries: readonly ZipEntry[]): Promise<boolean> {
  if (entries.length < 3) return false
  try {
    const paths = memberPaths(decodeManifest(await textOf(data, entries[0]!)))
    await textOf(data, entries[1]!)
    return entries.every(({ path }) => paths.next().value === path)
  } catch (error) {
    if (error instanceof PackError) return false
    throw error
  }
}

async function textOf(data: FileHandle, entry: ZipEntry): Promise<string> {
  const { size } = await data.stat()
  const file = {
    size,
    read: async (offset: number, length: number) => {
      const { buffer, bytesRead } = await data.read(new Uint8Array(length), 0, length, offset)
      return buffer.subarray(0, bytesRead)
    },
  }
  return new TextDecoder().decode(await readMember(nodeSha256, file, entry, USUAL_LIMIT, nodeInflate))
}

/** The name is only durable when the folder is; some file systems cannot do this, and then nothing is lost but that. */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r').catch(() => undefined)
  await folder?.sync().catch(() => {})
  await folder?.close()
}
