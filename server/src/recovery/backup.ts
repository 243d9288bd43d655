// A base backup of the embedded database while it serves: PostgreSQL's low-level API (documentation, "Making a Base
// Backup Using the Low Level API") around a copy of its files. In steps:
//
//   connected ─► begun (pg_backup_start) ─► copied ─► ended (pg_backup_stop) ─► log copied ─► named
//
// Killed at any step, what is left is the folder `unfinished`, which the next backup takes up; the server's side of a
// backup ends with its connection. A temporary replication slot keeps the segments of the log until they are copied.
import { readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import pg from 'pg'
import { enterEmbedded } from '../store/embedded/live.ts'
import { lockFolder } from '../store/embedded/lock.ts'
import type { ArchiveUse } from '../store/embedded/wal-archive.ts'
import type { Log } from '../store/log.ts'
import { Copying, listFolder, syncTree } from './copying.ts'
import {
  backup_format,
  backupId,
  type CopiedFile,
  hashFile,
  type Manifest,
  makePrivateFolder,
  RecoveryRefused,
  syncFolder,
  unfinished,
  writeWhole,
} from './repository.ts'

export interface BackupProgress {
  readonly step: BackupStep
  readonly bytes: number
  readonly of: number
}

export type BackupStep = 'connected' | 'begun' | 'copied' | 'ended' | 'log copied' | 'named'

export interface BackupOptions {
  /** Folder of the embedded PostgreSQL, `<data>/postgres`. */
  readonly postgres: string
  /** Where backups are kept; made if missing. */
  readonly folder: string
  /** For the manifest. */
  readonly deployment: string | null
  /** Of the cluster, should it have to be started for the backup: its log must not miss in the archive. */
  readonly archive: ArchiveUse | undefined
  readonly log: Log
  readonly onProgress?: (progress: BackupProgress) => void
}

/** What PostgreSQL makes anew at its start, or what would mislead it (same source, "Backing Up The Data Directory"). */
const contents_skipped = new Set([
  'pg_wal',
  'pg_replslot',
  'pg_dynshmem',
  'pg_notify',
  'pg_serial',
  'pg_snapshots',
  'pg_stat_tmp',
  'pg_subtrans',
])
const files_skipped =
  /^(postmaster\.(pid|opts)|backup_label(\.old)?|tablespace_map(\.old)?|backup_manifest|recovery\.signal|standby\.signal|postgresql\.auto\.conf\.tmp)$/
const skipped_anywhere = /(^|\/)(pgsql_tmp[^/]*|pg_internal\.init[^/]*)(\/|$)/

export function isSkipped(path: string, isFolder: boolean): boolean {
  const [top, rest] = path.split(/\/(.*)/s)
  if (rest !== undefined && contents_skipped.has(top!)) return !(top === 'pg_wal' && isFolder && !rest.includes('/'))
  return files_skipped.test(path) || skipped_anywhere.test(path)
}

/**
 * Makes one backup.
 * @throws RecoveryRefused, EmbeddedError with a sentence for the operator
 */
export async function backUp(options: BackupOptions): Promise<Manifest> {
  const { postgres, log, archive } = options
  const folder = resolve(options.folder)
  if (`${folder}/`.startsWith(`${resolve(postgres)}/`))
    throw new RecoveryRefused('A backup does not go into the folder of the database that it is of.')
  await makePrivateFolder(folder)
  const lock = lockFolder(folder)
  try {
    const entered = await enterEmbedded({ folder: postgres, log, archive })
    try {
      const session = new pg.Client({ ...entered.connection, database: 'postgres', keepAlive: true })
      session.on('error', (error) => log.warn({ error: error.message }, 'the connection of the backup was lost'))
      await session.connect()
      try {
        return await new Backup(options, folder, session).run()
      } finally {
        await session.end().catch(() => {})
      }
    } finally {
      await entered.leave()
    }
  } finally {
    lock.release()
  }
}

class Backup {
  readonly #options: BackupOptions
  readonly #data: string
  readonly #folder: string
  readonly #partial: string
  readonly #session: pg.Client
  readonly #progress = { step: 'connected' as BackupStep, bytes: 0, of: 0 }

  constructor(options: BackupOptions, folder: string, session: pg.Client) {
    this.#options = options
    this.#data = join(resolve(options.postgres), 'data')
    this.#folder = folder
    this.#partial = join(folder, unfinished)
    this.#session = session
  }

  async run(): Promise<Manifest> {
    const started = new Date()
    const id = backupId(started)
    await makePrivateFolder(this.#partial)
    this.#at('connected')
    const begun = await this.#begin(id)
    this.#at('begun')
    const { files, folders } = await this.#copyCluster()
    this.#at('copied')
    const ended = await this.#end()
    this.#at('ended')
    const log = await this.#copyLog(begun.segment, ended.segment)
    this.#at('log copied')
    const manifest: Manifest = {
      format: backup_format,
      id,
      started_at: started.toISOString(),
      ended_at: ended.time,
      postgres: begun.version,
      system_identifier: begun.system,
      deployment: this.#options.deployment,
      start_lsn: begun.lsn,
      stop_lsn: ended.lsn,
      wal: [begun.segment, ended.segment],
      folders,
      files: [...files, ...log],
    }
    await this.#name(manifest)
    this.#at('named')
    return manifest
  }

  #at(step: BackupStep): void {
    this.#progress.step = step
    this.#options.onProgress?.({ ...this.#progress })
  }

  readonly #onBytes = (bytes: number) => {
    this.#progress.bytes += bytes
    this.#options.onProgress?.({ ...this.#progress })
  }

  async #begin(id: string): Promise<{ lsn: string; segment: string; version: string; system: string }> {
    await this.#session.query(`select pg_create_physical_replication_slot($1, true, true)`, [
      `affidavit_${id.toLowerCase()}`,
    ])
    const { rows } = await this.#session.query<{ lsn: string }>(`select pg_backup_start($1, fast => true) as lsn`, [
      `affidavit ${id}`,
    ])
    const { lsn } = rows[0]!
    const facts = await this.#session.query<{ segment: string; version: string; system: string }>(
      `select pg_walfile_name($1::pg_lsn) as segment, system_identifier::text as system,
         current_setting('server_version_num')::int / 10000 || '' as version from pg_control_system()`,
      [lsn],
    )
    return { lsn, ...facts.rows[0]! }
  }

  async #copyCluster(): Promise<{ files: CopiedFile[]; folders: string[] }> {
    const listing = await listFolder(this.#data, isSkipped)
    if (listing.folders.some((path) => /^pg_tblspc\/./.test(path)))
      throw new RecoveryRefused('The cluster has tablespaces of its own, which this backup would leave out.')
    this.#progress.of = listing.files.reduce((sum, { size }) => sum + size, 0)
    const copying = await Copying.into(this.#data, this.#partial, 'data', this.#onBytes)
    await copying.clean(listing)
    const files: CopiedFile[] = []
    // The control file last: it then is not older than what it speaks of.
    const control = listing.files.filter(({ path }) => path === 'global/pg_control')
    for (const file of [...listing.files.filter((one) => !control.includes(one)), ...control]) {
      const copied = await copying.copy(file)
      if (copied !== undefined) files.push(copied)
    }
    return { files, folders: ['data', 'wal', ...listing.folders.map((path) => `data/${path}`)] }
  }

  async #end(): Promise<{ lsn: string; segment: string; time: string }> {
    const { rows } = await this.#session.query<{ lsn: string; label: string; time: Date }>(
      `select lsn::text, labelfile as label, clock_timestamp() as time from pg_backup_stop(wait_for_archive => false)`,
    )
    const { lsn, label, time } = rows[0]!
    // Without it a restore would begin at a wrong place of the log, and not notice.
    await writeFile(join(this.#partial, 'data', 'backup_label'), label, { mode: 0o600, flush: true })
    const named = await this.#session.query<{ segment: string }>('select pg_walfile_name($1::pg_lsn) as segment', [lsn])
    return { lsn, segment: named.rows[0]!.segment, time: time.toISOString() }
  }

  async #copyLog(first: string, last: string): Promise<CopiedFile[]> {
    const wal = join(this.#data, 'pg_wal')
    const { files } = await listFolder(wal, (path) => !(isSegment(path) && path >= first && path <= last))
    if (!files.some(({ path }) => path === first) || !files.some(({ path }) => path === last))
      throw new RecoveryRefused(`The log of the backup, ${first} to ${last}, is not in ${wal} any more.`)
    await rm(join(this.#partial, 'wal'), { recursive: true, force: true })
    const copying = await Copying.into(wal, this.#partial, 'wal', this.#onBytes)
    const copied: CopiedFile[] = []
    for (const file of files) copied.push((await copying.copy({ ...file, modified: '0' }))!)
    return copied
  }

  async #name(manifest: Manifest): Promise<void> {
    const label = join(this.#partial, 'data', 'backup_label')
    const size = (await readFile(label)).length
    const files = [...manifest.files, { path: 'data/backup_label', size, sha256: await hashFile(label, () => {}) }]
    await rm(join(this.#partial, 'copied.ndjson'), { force: true })
    await writeWhole(join(this.#partial, 'manifest.json'), `${JSON.stringify({ ...manifest, files })}\n`)
    await syncTree(this.#partial)
    await rename(this.#partial, join(this.#folder, manifest.id))
    await syncFolder(this.#folder)
  }
}

/** 24 hex digits: timeline, log, segment. */
const isSegment = (name: string) => /^[0-9A-F]{24}$/.test(name)
