// The folder that backups are kept in. A backup appears under its name only when it is whole:
//
//   <folder>/20261121T155500Z/manifest.json    what the backup is, and the size and SHA-256 of each of its files
//                            /data/…           the cluster          /wal/…  the log that makes it consistent
//   <folder>/unfinished/…                      a backup under way, or one that was cut off: the next one goes on with it
//   <folder>/objects/…                         copies of Objects, common to all backups

import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

/** Why a backup or a restore cannot be done: a sentence for the operator. */
export class RecoveryRefused extends Error {
  override name = 'RecoveryRefused'
}

export const backup_format = 'affidavit-backup/1'
export const unfinished = 'unfinished'

export interface CopiedFile {
  /** Below the backup's folder, with slashes: `data/base/5/1259`. */
  readonly path: string
  readonly size: number
  /** Hex. */
  readonly sha256: string
}

export interface Manifest {
  readonly format: typeof backup_format
  /** Name of its folder: the time when it began. */
  readonly id: string
  readonly started_at: string
  /** Restoring gives the state of this moment, or of a later one where the log is archived. */
  readonly ended_at: string
  /** Major version of PostgreSQL. */
  readonly postgres: string
  readonly system_identifier: string
  /** Which deployment's keys open it: the text of its recovery.pub; null where the backup could not read it. */
  readonly deployment: string | null
  readonly start_lsn: string
  readonly stop_lsn: string
  /** First and last segment of the log that the backup holds. */
  readonly wal: readonly [string, string]
  /** Folders of the cluster, also empty ones. */
  readonly folders: readonly string[]
  readonly files: readonly CopiedFile[]
}

const id_pattern = /^\d{8}T\d{6}Z$/

/** 20261121T155500Z */
export const backupId = (now: Date) => `${now.toISOString().slice(0, 19).replaceAll(/[-:]/g, '')}Z`

/** Whole backups, oldest first. */
export async function listBackups(folder: string): Promise<Manifest[]> {
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return []
    throw error
  })
  const manifests = names.filter((name) => id_pattern.test(name)).map((name) => readManifest(join(folder, name)))
  return (await Promise.all(manifests)).sort((a, b) => (a.id < b.id ? -1 : 1))
}

async function readManifest(path: string): Promise<Manifest> {
  let manifest: Manifest
  try {
    manifest = JSON.parse(await readFile(join(path, 'manifest.json'), 'utf8')) as Manifest
  } catch {
    throw new RecoveryRefused(`${path} is no backup: its manifest.json is missing or damaged.`)
  }
  if (manifest.format !== backup_format)
    throw new RecoveryRefused(`${path} has the format ${manifest.format}; this release reads ${backup_format}.`)
  for (const { path: file } of manifest.files)
    if (!isBelow(file)) throw new RecoveryRefused(`The manifest of ${path} names ${file}, which lies outside of it.`)
  for (const name of manifest.folders)
    if (!isBelow(name)) throw new RecoveryRefused(`The manifest of ${path} names ${name}, which lies outside of it.`)
  return manifest
}

/** A manifest may have been written by anybody: it must not lead a restore out of its folder. */
const isBelow = (path: string) =>
  /^(data|wal)(\/|$)/.test(path) && path.split('/').every((part) => part !== '' && part !== '.' && part !== '..')

/** Writes a file durably under its name or not at all. */
export async function writeWhole(path: string, text: string): Promise<void> {
  await writeFile(`${path}.new`, text, { mode: 0o600, flush: true })
  await rename(`${path}.new`, path)
}

export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}

export async function makePrivateFolder(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 })
}

export interface Damage {
  readonly path: string
  readonly reason: 'missing' | 'size' | 'content'
}

/**
 * Reads every file of a backup again and compares it with the manifest.
 * @param onBytes called with the bytes read since it was last called
 */
export async function verifyBackup(
  folder: string,
  manifest: Manifest,
  onBytes: (bytes: number) => void,
): Promise<Damage[]> {
  const damaged: Damage[] = []
  for (const { path, size, sha256 } of manifest.files) {
    const file = join(folder, manifest.id, path)
    const at = await stat(file).catch(() => undefined)
    if (at === undefined || !at.isFile()) damaged.push({ path, reason: 'missing' })
    else if (at.size !== size) damaged.push({ path, reason: 'size' })
    else if ((await hashFile(file, onBytes)) !== sha256) damaged.push({ path, reason: 'content' })
  }
  return damaged
}

/**
 * Bytes to read at once from a file of a size. Nearly all of a cluster's thousand files are small: a large buffer for each
 * would keep the garbage collector busier than the copying itself.
 */
export const chunkFor = (size: number): number => Math.min(1 << 20, Math.max(size, 1 << 12))

/** SHA-256 of a file, hex. */
export async function hashFile(path: string, onBytes: (bytes: number) => void): Promise<string> {
  const hash = createHash('sha256')
  const { size } = await stat(path)
  for await (const chunk of createReadStream(path, { highWaterMark: chunkFor(size) })) {
    hash.update(chunk as Buffer)
    onBytes((chunk as Buffer).length)
  }
  return hash.digest('hex')
}

/** Takes away all but the newest `keep` backups, each by first giving up its name. @returns what went */
export async function dropOldBackups(folder: string, keep: number): Promise<string[]> {
  const old = (await listBackups(folder)).slice(0, -keep)
  for (const { id } of old) {
    const going = join(folder, `${id}.going`)
    await rename(join(folder, id), going)
    await rm(going, { recursive: true, force: true })
  }
  for (const name of await readdir(folder))
    if (name.endsWith('.going')) await rm(join(folder, name), { recursive: true, force: true })
  return old.map(({ id }) => id)
}
