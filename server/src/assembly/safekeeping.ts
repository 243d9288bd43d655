// Backup and restore as the command line calls them: which folders and settings a deployment's configuration means.
import { stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import type { Config } from '../config.ts'
import { type BackupProgress, backUp } from '../recovery/backup.ts'
import { checkApart, copyKeys, dropOldKeys, identityOf, restoreKeys } from '../recovery/key-copies.ts'
import { copyObjects, openCopies } from '../recovery/object-copies.ts'
import {
  type Damage,
  dropOldBackups,
  listBackups,
  type Manifest,
  RecoveryRefused,
  verifyBackup,
} from '../recovery/repository.ts'
import { chooseBackup, type Restored, type RestoreProgress, restore, type Target } from '../recovery/restore.ts'
import type { ArchiveUse } from '../store/embedded/wal-archive.ts'
import { type Embedded, startEmbedded } from '../store/embedded.ts'
import { type Log, silent } from '../store/log.ts'
import { openObjects } from '../store/open-objects.ts'

export type { BackupProgress } from '../recovery/backup.ts'
export type { RestoreProgress, Target } from '../recovery/restore.ts'

/** Where the embedded database archives its log. */
export const archiveOf = ({ walArchive }: Pick<Config, 'walArchive'>): ArchiveUse | undefined =>
  walArchive === undefined ? undefined : { folder: walArchive, use: 'write' }

/** The embedded PostgreSQL of a deployment that names no other. @throws EmbeddedError */
export async function ownDatabase(config: Config, log: Log): Promise<Embedded | null> {
  if (config.databaseUrl !== undefined) return null
  return startEmbedded({ folder: postgresOf(config), log, archive: archiveOf(config) })
}

export interface KeepOptions {
  readonly folder: string
  /** Where the keys are copied to; undefined: not at all. */
  readonly keys?: string | undefined
  /** The keys may lie with the backups. */
  readonly keysBeside?: boolean | undefined
  /** How many backups are kept; undefined: all. */
  readonly keep?: number | undefined
  readonly onProgress?: (progress: BackupProgress) => void
}

export interface Kept {
  readonly backup: Manifest
  /** Objects copied. */
  readonly objects: number
  /** Names of older backups that were taken away. */
  readonly dropped: readonly string[]
}

const postgresOf = (config: Config) => join(config.dataDir, 'postgres')

/** Backs up the embedded database, then what Objects hold, then the keys. @throws RecoveryRefused, EmbeddedError */
export async function keep(config: Config, options: KeepOptions): Promise<Kept> {
  refuseExternal(config)
  const folder = resolve(options.folder)
  if (options.keys !== undefined && options.keysBeside !== true) await checkApart(folder, options.keys)
  const backup = await backUp({
    postgres: postgresOf(config),
    folder,
    deployment: await identityOf(config.keysDir),
    archive: archiveOf(config),
    log: silent,
    ...(options.onProgress && { onProgress: options.onProgress }),
  })
  // Objects after the database: they may be newer than it, never older, so that a restore finds every later epoch.
  const objects = await keepObjects(config, folder)
  if (options.keys !== undefined) await copyKeys(config.keysDir, resolve(options.keys), backup.id)
  const dropped = options.keep === undefined ? [] : await dropOldBackups(folder, options.keep)
  if (options.keep !== undefined && options.keys !== undefined)
    await dropOldKeys(
      resolve(options.keys),
      (await listBackups(folder)).map(({ id }) => id),
    )
  return { backup, objects, dropped }
}

async function keepObjects(config: Config, folder: string): Promise<number> {
  // A bucket is a place of its own, with copies of its own.
  if (!isFolder(config.objects) || !(await stat(config.objects).catch(() => undefined))) return 0
  return copyObjects(await openObjects(config.objects), (await openCopies(folder, true))!)
}

const isFolder = (objects: string) => !objects.startsWith('s3:')

export interface Judged {
  readonly backup: Manifest
  readonly damaged: readonly Damage[]
}

/** Reads every backup of a folder again. @throws RecoveryRefused where there is none */
export async function judge(
  folder: string,
  onBytes: (id: string, bytes: number, of: number) => void,
): Promise<Judged[]> {
  const backups = await listBackups(resolve(folder))
  if (backups.length === 0) throw new RecoveryRefused(`There is no backup in ${folder}.`)
  const judged: Judged[] = []
  for (const backup of backups) {
    const of = backup.files.reduce((sum, { size }) => sum + size, 0)
    let read = 0
    const damaged = await verifyBackup(resolve(folder), backup, (bytes) => {
      read += bytes
      onBytes(backup.id, read, of)
    })
    judged.push({ backup, damaged })
  }
  return judged
}

export interface BringBackOptions {
  readonly folder: string
  readonly to: Target | undefined
  readonly keys?: string | undefined
  readonly replace: boolean
  readonly onProgress?: (progress: RestoreProgress) => void
}

export interface BroughtBack extends Restored {
  readonly objects: number
  /** The copy that they came from, and how many files were missing. */
  readonly keys: { readonly copy: string | null; readonly files: number }
}

/** Restores the database, then what is missing of Objects and keys. @throws RecoveryRefused, EmbeddedError */
export async function bringBack(config: Config, options: BringBackOptions): Promise<BroughtBack> {
  refuseExternal(config)
  const folder = resolve(options.folder)
  const to = options.to ?? (config.walArchive === undefined ? 'backup' : 'latest')
  const { deployment } = chooseBackup(await listBackups(folder), to, folder)
  const keys =
    options.keys === undefined
      ? { copy: null, files: 0 }
      : await restoreKeys(resolve(options.keys), deployment, config.keysDir)
  const restored = await restore({
    folder,
    postgres: postgresOf(config),
    archive: config.walArchive ?? null,
    to,
    replace: options.replace,
    log: silent,
    ...(options.onProgress && { onProgress: options.onProgress }),
  })
  return { ...restored, keys, objects: await bringBackObjects(config, folder) }
}

async function bringBackObjects(config: Config, folder: string): Promise<number> {
  const copies = isFolder(config.objects) ? await openCopies(folder, false) : undefined
  return copies === undefined ? 0 : copyObjects(copies, await openObjects(config.objects))
}

function refuseExternal(config: Config): void {
  if (config.databaseUrl === undefined) return
  throw new RecoveryRefused(
    'DATABASE_URL names a PostgreSQL of your own: back it up and restore it with its own tools (pg_basebackup with ' +
      'archived log, pgBackRest, your provider’s snapshots). docs/operating/backup.md says what else belongs to a backup.',
  )
}
