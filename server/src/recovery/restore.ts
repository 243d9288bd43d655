// Puts a backup in the place of the embedded database, at the moment of the backup or, where the log was archived, at any
// moment after it. Everything happens in a folder beside the place; what was there before is kept under another name.
//
//   copied ─► (log replayed by PostgreSQL) ─► old folder renamed ─► new folder renamed
//
// Killed before the renames, nothing has changed and a repetition goes on; killed between them, a repetition finishes.
import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { chown, mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import pg from 'pg'
import { type Identity, unprivileged } from '../store/embedded/binaries.ts'
import { stopOrphan } from '../store/embedded/cluster.ts'
import { lockFolder } from '../store/embedded/lock.ts'
import { type Embedded, startEmbedded } from '../store/embedded.ts'
import type { Log } from '../store/log.ts'
import { copyFile, syncTree } from './copying.ts'
import { hashFile, listBackups, type Manifest, RecoveryRefused, syncFolder, writeWhole } from './repository.ts'

/** `backup`: the moment of the backup. `latest`: all of the archived log. A date: then. */
export type Target = 'backup' | 'latest' | Date

export type RestoreStep = 'copied' | 'replayed' | 'set aside' | 'in place'

export interface RestoreProgress {
  readonly step: RestoreStep | 'copying' | 'replaying'
  readonly bytes: number
  readonly of: number
  /** Segment of the archived log that was replayed last. */
  readonly replayed?: string | undefined
}

export interface RestoreOptions {
  /** Folder with backups. */
  readonly folder: string
  /** Where the embedded PostgreSQL lives, `<data>/postgres`. */
  readonly postgres: string
  /** Folder of the archived log, or null. */
  readonly archive: string | null
  readonly to: Target
  /** Whether a database that is there may be set aside. */
  readonly replace: boolean
  readonly log: Log
  readonly onProgress?: (progress: RestoreProgress) => void
}

export interface Restored {
  readonly backup: Manifest
  /** Where the database that was there is now, or null. */
  readonly setAside: string | null
  /** Time of the newest transaction in the restored database as far as the log told, or null. */
  readonly until: string | null
}

/** The backup to begin with: the newest that was whole at the time wanted. */
export function chooseBackup(backups: readonly Manifest[], to: Target, folder: string): Manifest {
  const chosen = backups.findLast(({ ended_at }) => !(to instanceof Date) || Date.parse(ended_at) <= to.getTime())
  if (chosen !== undefined) return chosen
  const oldest = backups[0]
  throw new RecoveryRefused(
    oldest === undefined
      ? `There is no backup in ${folder}.`
      : `The oldest backup in ${folder} was whole at ${oldest.ended_at}: nothing before that can be restored.`,
  )
}

/** @throws RecoveryRefused, EmbeddedError with a sentence for the operator */
export async function restore(options: RestoreOptions): Promise<Restored> {
  if (options.to !== 'backup' && options.archive === null)
    throw new RecoveryRefused('Restoring to a time needs the archived log: name its folder in AFFIDAVIT_WAL_ARCHIVE.')
  const place = resolve(options.postgres)
  await mkdir(dirname(place), { recursive: true })
  const backup = chooseBackup(await listBackups(resolve(options.folder)), options.to, options.folder)
  const staging = `${place}.restoring`
  const occupied = existsSync(join(place, 'data'))
  if (occupied && !options.replace)
    throw new RecoveryRefused(
      `There is a database in ${place}. It is kept under another name if you restore with --replace.`,
    )
  // Also without a database: a server that is about to make one must not be overtaken.
  await mkdir(place, { recursive: true })
  const lock = lockFolder(place)
  try {
    // A killed server leaves its PostgreSQL running, which would go on in the folder that is set aside.
    await stopOrphan({ folder: place }, (pid) => options.log.warn({ pid }, 'stopping a PostgreSQL without its server'))
    return await new Restore(options, backup, place, staging).run(occupied)
  } finally {
    lock.release()
  }
}

/** How often PostgreSQL's log is looked at while it replays. */
const watch_ms = 2_000

/** The restored folder is whole, and only the renames are left. */
const whole = 'restored.json'

class Restore {
  readonly #options: RestoreOptions
  readonly #backup: Manifest
  readonly #place: string
  readonly #staging: string
  readonly #identity: Identity | undefined = unprivileged()
  readonly #progress: { step: RestoreProgress['step']; bytes: number; of: number; replayed?: string | undefined }

  constructor(options: RestoreOptions, backup: Manifest, place: string, staging: string) {
    this.#options = options
    this.#backup = backup
    this.#place = place
    this.#staging = staging
    this.#progress = { step: 'copying', bytes: 0, of: backup.files.reduce((sum, { size }) => sum + size, 0) }
  }

  async run(occupied: boolean): Promise<Restored> {
    const goal = `${this.#backup.id} ${this.#options.to instanceof Date ? this.#options.to.toISOString() : this.#options.to}`
    let until = await this.#finished(goal)
    if (until === undefined) {
      await this.#copy()
      this.#at('copied')
      until = await this.#replay()
      await writeWhole(join(this.#staging, whole), JSON.stringify({ goal, until }))
      this.#at('replayed')
    }
    const setAside = occupied ? await this.#setAside() : null
    this.#at('set aside')
    await this.#moveIn()
    this.#at('in place')
    return { backup: this.#backup, setAside, until }
  }

  #at(step: RestoreProgress['step']): void {
    this.#progress.step = step
    this.#options.onProgress?.({ ...this.#progress })
  }

  /** Of a restore to the same goal that was killed before or between its renames. */
  async #finished(goal: string): Promise<string | null | undefined> {
    const text = await readFile(join(this.#staging, whole), 'utf8').catch(() => undefined)
    if (text === undefined) return undefined
    const found = JSON.parse(text) as { goal: string; until: string | null }
    return found.goal === goal ? found.until : undefined
  }

  /** Whatever a replay that was cut off did to the files is undone by copying those that differ. */
  async #copy(): Promise<void> {
    const from = join(resolve(this.#options.folder), this.#backup.id)
    await rm(join(this.#staging, whole), { force: true })
    if (existsSync(join(this.#staging, 'data', 'begun'))) await rm(this.#staging, { recursive: true, force: true })
    for (const folder of this.#backup.folders) await this.#makeFolder(this.#target(folder))
    await this.#makeFolder(join(this.#staging, 'data', 'pg_wal'))
    for (const { path, size, sha256 } of this.#backup.files) {
      const to = this.#target(path)
      const at = await stat(to).catch(() => undefined)
      if (at?.size === size && (await hashFile(to, () => {})) === sha256) this.#bytes(size)
      else {
        const copied = await copyFile(join(from, path), to, (bytes) => this.#bytes(bytes))
        if (copied === undefined) throw new RecoveryRefused(`${join(from, path)} is missing: the backup is damaged.`)
        if (copied.sha256 !== sha256)
          throw new RecoveryRefused(`${join(from, path)} is not what was backed up: the backup is damaged.`)
      }
      await this.#own(to)
    }
    await syncTree(this.#staging)
  }

  #bytes(bytes: number): void {
    this.#progress.bytes += bytes
    this.#options.onProgress?.({ ...this.#progress })
  }

  /** The log of the backup goes where PostgreSQL looks for it. */
  #target(path: string): string {
    if (path === 'wal') return join(this.#staging, 'data', 'pg_wal')
    return join(this.#staging, path.startsWith('wal/') ? `data/pg_wal/${path.slice(4)}` : path)
  }

  async #makeFolder(path: string): Promise<void> {
    await mkdir(path, { recursive: true, mode: 0o700 })
    await this.#own(path)
  }

  async #own(path: string): Promise<void> {
    if (this.#identity) await chown(path, this.#identity.uid, this.#identity.gid)
  }

  /** PostgreSQL replays the log up to the target and begins a new timeline. @returns the last transaction's time */
  async #replay(): Promise<string | null> {
    const { to, archive, log } = this.#options
    const data = join(this.#staging, 'data')
    this.#at('replaying')
    for (const name of ['begun', 'recovery.signal']) {
      await writeFile(join(data, name), '', { mode: 0o600, flush: true })
      await this.#own(join(data, name))
    }
    await syncFolder(data)
    const custom = join(this.#place, 'custom.conf')
    if (existsSync(custom)) await copyFile(custom, join(this.#staging, 'custom.conf'), () => {})
    const watch = setInterval(() => void this.#watch(), watch_ms)
    let embedded: Embedded
    try {
      embedded = await startEmbedded({
        folder: this.#staging,
        log,
        archive: archive === null ? undefined : { folder: archive, use: 'read' },
        settings: {
          hot_standby: 'off', // the first answer then comes after the replay
          restore_command: 'false', // without an archive, all that is needed lies in pg_wal
          recovery_target_action: 'promote',
          ...(to === 'backup' && { recovery_target: 'immediate' }),
          ...(to instanceof Date && { recovery_target_time: to.toISOString().replace('Z', '+00') }),
        },
      })
    } catch (error) {
      if (String((error as Error).message).includes('before configured recovery target was reached'))
        throw new RecoveryRefused(
          'The archived log ends before the time to restore to. Choose an earlier time, or --to latest.',
        )
      throw error
    } finally {
      clearInterval(watch)
    }
    try {
      const until = await lastReplayed(embedded)
      await rm(join(data, 'begun'))
      return until
    } finally {
      await embedded.stop()
    }
  }

  /** PostgreSQL answers nobody while it replays, but its log names the segments. */
  async #watch(): Promise<void> {
    const text = await readFile(join(this.#staging, 'postgres.log'), 'utf8').catch(() => '')
    this.#progress.replayed = text.match(/restored log file "([0-9A-F]{24})"(?![\s\S]*restored log file)/)?.[1]
    this.#options.onProgress?.({ ...this.#progress })
  }

  async #setAside(): Promise<string> {
    const aside = `${this.#place}.before-${new Date().toISOString().slice(0, 19).replaceAll(/[-:]/g, '')}Z-${randomBytes(2).toString('hex')}`
    await mkdir(aside, { mode: 0o700 })
    await rename(join(this.#place, 'data'), join(aside, 'data'))
    await syncFolder(dirname(this.#place))
    return aside
  }

  /** The folder of the place stays, and with it its lock; only the cluster in it is exchanged. */
  async #moveIn(): Promise<void> {
    await rename(join(this.#staging, 'data'), join(this.#place, 'data'))
    await syncFolder(this.#place)
    await rm(this.#staging, { recursive: true, force: true })
  }
}

/** Time of the last transaction that the log held, or null where it held none after the backup. */
async function lastReplayed(embedded: Embedded): Promise<string | null> {
  const client = new pg.Client(embedded.connection)
  await client.connect()
  try {
    const { rows } = await client.query<{ at: Date | null }>('select pg_last_xact_replay_timestamp() as at')
    return rows[0]!.at?.toISOString() ?? null
  } finally {
    await client.end()
  }
}
