// Runs the PostgreSQL that npm brings, for deployments that have none: one child process on a Unix socket under the
// data folder. This is its supervisor. In words:
//
//   locked ─► (orphan stopped) ─► (cluster made) ─► starting ─► running ─► stopping ─► stopped
//                                                      ▲           │ the postmaster died
//                                                      └─ waiting ◄┘ 0.1 s, doubling to 10 s
//
// A backend that is killed needs no help (the postmaster restarts itself); a killed postmaster is started again here; a
// killed server leaves its postmaster running, which the next start stops and replaces. Every start recovers through
// PostgreSQL's own WAL replay. Nothing acknowledged is lost in any of these: settings.ts keeps fsync on.
//
//   <folder>/data  the cluster     <folder>/run  the socket     <folder>/postgres.log     <folder>/lock
//   <folder>/custom.conf  settings of the operator's own, optional
import { type ChildProcess, spawn } from 'node:child_process'
import { chown, mkdir, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { answers } from './embedded/answers.ts'
import { type Binaries, findBinaries, type Identity, unprivileged } from './embedded/binaries.ts'
import { childEnvironment, ensureCluster, stopOrphan } from './embedded/cluster.ts'
import { EmbeddedError } from './embedded/error.ts'
import { type Lock, lockFolder } from './embedded/lock.ts'
import { type LogFile, openLogFile } from './embedded/log-file.ts'
import { type Place, port, preparePlace } from './embedded/place.ts'
import { renderSettings, type Settings, settingsFor } from './embedded/settings.ts'
import { type Archive, type ArchiveUse, openArchive } from './embedded/wal-archive.ts'
import type { Log } from './log.ts'

export type EmbeddedState = 'starting' | 'running' | 'waiting' | 'stopping' | 'stopped'

/** How to reach a database: what `pg` takes, and what can be handed to a worker thread or child process. */
export interface Connection {
  host: string
  port: number
  user: string
  database: string
}

export interface Embedded {
  readonly connection: Connection
  readonly state: EmbeddedState
  /** The postmaster's process id, while there is one. */
  readonly pid: number | undefined
  /** Called at each change of state until the returned function is called. */
  onState(listener: (state: EmbeddedState) => void): () => void
  /** Fast shutdown: open transactions are rolled back, a checkpoint is written. May be called again. */
  stop(): Promise<void>
}

export interface EmbeddedOptions {
  /** Made if missing; belongs to PostgreSQL's user from then on. */
  folder: string
  log: Log
  /** Beats the defaults of embedded/settings.ts. */
  settings?: Settings
  /** A folder outside of this one that the log is archived to, or replayed from. */
  archive?: ArchiveUse | undefined
  /** Made if missing. Default `affidavit`. */
  database?: string
}

const stop_wait_ms = 60_000
/** How long backends of a killed postmaster may take to notice; PostgreSQL refuses to start beside them. */
const busy_wait_ms = 30_000

/**
 * Starts PostgreSQL and returns once it answers queries, however long its crash recovery takes.
 * @throws EmbeddedError
 */
export async function startEmbedded(options: EmbeddedOptions): Promise<Embedded> {
  const folder = resolve(options.folder)
  const identity = unprivileged()
  await mkdir(folder, { recursive: true })
  const lock = lockFolder(folder)
  let place: Place | undefined
  let archive: Archive | undefined
  try {
    place = await preparePlace(folder, identity)
    archive = options.archive && (await openArchive(options.archive, identity))
    const binaries = await findBinaries(folder, identity)
    await stopOrphan(place, (pid) =>
      options.log.warn({ pid, folder }, 'stopping a PostgreSQL that outlived its server'),
    )
    await ensureCluster(place, binaries, identity)
    await writeSettings(place, identity, { ...options.settings, ...archive?.settings })
    const supervisor = new Supervisor(options, identity, binaries, place, archive, lock)
    await supervisor.start()
    return supervisor
  } catch (error) {
    archive?.release()
    await place?.release()
    lock.release()
    throw error
  }
}

async function writeSettings(place: Place, identity: Identity | undefined, overrides: Settings): Promise<void> {
  const settings = await settingsFor(place.folder, { ...overrides, unix_socket_directories: place.socketInside })
  const path = join(place.folder, 'data', 'postgresql.conf')
  await writeFile(path, renderSettings(settings), { mode: 0o600 })
  if (identity) await chown(path, identity.uid, identity.gid)
}

class Supervisor implements Embedded {
  readonly connection: Connection
  state: EmbeddedState = 'starting'
  readonly #log: Log
  readonly #identity: Identity | undefined
  readonly #binaries: Binaries
  readonly #place: Place
  readonly #archive: Archive | undefined
  readonly #lock: Lock
  readonly #output: LogFile
  readonly #listeners = new Set<(state: EmbeddedState) => void>()
  readonly #stopping = new AbortController()
  #child: ChildProcess | undefined
  #stopped: Promise<void> | undefined
  #revival: Promise<void> | undefined

  constructor(
    options: EmbeddedOptions,
    identity: Identity | undefined,
    binaries: Binaries,
    place: Place,
    archive: Archive | undefined,
    lock: Lock,
  ) {
    this.#log = options.log
    this.#identity = identity
    this.#binaries = binaries
    this.#place = place
    this.#archive = archive
    this.#lock = lock
    this.#output = openLogFile(join(place.folder, 'postgres.log'))
    this.connection = { host: place.socket, port, user: 'postgres', database: options.database ?? 'affidavit' }
  }

  get pid(): number | undefined {
    return this.#child?.pid
  }

  onState(listener: (state: EmbeddedState) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  async start(): Promise<void> {
    try {
      await this.#launch()
      await makeDatabase(this.connection)
    } catch (error) {
      this.#stopping.abort()
      await this.#endPostmaster()
      this.#output.close()
      throw error
    }
    process.on('exit', this.#atExit)
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#shutDown()
    return this.#stopped
  }

  async #shutDown(): Promise<void> {
    this.#to('stopping')
    this.#stopping.abort()
    await this.#endPostmaster()
    await this.#revival
    process.off('exit', this.#atExit)
    this.#output.close()
    this.#archive?.release()
    await this.#place.release()
    this.#lock.release()
    this.#to('stopped')
  }

  /**
   * PostgreSQL 18 can hang on a fast shutdown that reaches it in crash recovery. There is nothing to write down then:
   * an immediate one merely leaves the recovery to the next start.
   */
  async #endPostmaster(): Promise<void> {
    const recovering = !(await answers({ ...this.connection, database: 'postgres' }))
    await endChild(this.#child, recovering ? 'SIGQUIT' : 'SIGINT')
  }

  /** Last resort when the process ends without `stop`: PostgreSQL then shuts itself down. */
  readonly #atExit = () => {
    this.#child?.kill('SIGINT')
  }

  #to(state: EmbeddedState): void {
    this.state = state
    for (const listener of this.#listeners) listener(state)
  }

  /** One start, from process to first answered query; waits out backends that a killed postmaster left. */
  async #launch(): Promise<void> {
    this.#to('starting')
    for (const until = Date.now() + busy_wait_ms; ; await this.#pause(200)) {
      this.#output.mark()
      const child = this.#spawn()
      const failure = await this.#ready(child)
      if (failure === undefined) {
        child.once('exit', (code, signal) => this.#died(code, signal))
        if (child.exitCode !== null || child.signalCode !== null) continue // between the answer and this line
        return this.#to('running')
      }
      const busy = /pre-existing shared memory block|lock file "[^"]*" already exists/.test(failure)
      if (!busy || Date.now() > until || this.#stopping.signal.aborted)
        throw new EmbeddedError('embedded_failed', `PostgreSQL did not start in ${this.#place.folder}. ${failure}`)
    }
  }

  #spawn(): ChildProcess {
    const { fd } = this.#output
    const data = join(this.#place.inside, 'data')
    const child = spawn(this.#binaries.postgres, ['-D', data, '-p', String(port)], {
      ...this.#identity,
      cwd: '/',
      env: childEnvironment,
      // A session of its own: Ctrl-C in a terminal is for the server, which still needs its database to drain.
      detached: true,
      stdio: ['ignore', fd, fd, this.#place.fd ?? 'ignore', this.#archive?.fd ?? 'ignore'],
    })
    this.#child = child
    return child
  }

  /** Undefined once a query was answered, else what PostgreSQL said before it ended. */
  async #ready(child: ChildProcess): Promise<string | undefined> {
    let ended: string | undefined
    child.once('error', (error) => (ended = error.message))
    child.once('exit', (code, signal) => (ended ??= `It ended with ${signal ?? `exit code ${code}`}.`))
    for (let waited = 0; ended === undefined; waited++) {
      if (await answers({ ...this.connection, database: 'postgres' })) return undefined
      if (waited > 0 && waited % 600 === 0)
        this.#log.info({ folder: this.#place.folder }, 'PostgreSQL is still recovering')
      await sleep(25)
    }
    return `${ended} ${this.#output.tail()}`
  }

  #died(code: number | null, signal: NodeJS.Signals | null): void {
    if (this.#stopping.signal.aborted) return
    this.#log.error({ code, signal, tail: this.#output.tail() }, 'PostgreSQL ended unexpectedly; starting it again')
    this.#revival = this.#revive()
  }

  async #revive(): Promise<void> {
    for (let wait_ms = 100; !this.#stopping.signal.aborted; wait_ms = Math.min(wait_ms * 2, 10_000)) {
      this.#to('waiting')
      await this.#pause(wait_ms)
      if (this.#stopping.signal.aborted) return
      try {
        await this.#launch()
        this.#log.info({ pid: this.pid }, 'PostgreSQL runs again')
        return
      } catch (error) {
        this.#log.error({ error: (error as Error).message }, 'PostgreSQL does not start')
      }
    }
  }

  #pause(wait_ms: number): Promise<void> {
    return sleep(wait_ms, undefined, { signal: this.#stopping.signal }).catch(() => {})
  }
}

async function makeDatabase(connection: Connection): Promise<void> {
  const client = new pg.Client({ ...connection, database: 'postgres' })
  await client.connect()
  try {
    const { rowCount } = await client.query('select from pg_database where datname = $1', [connection.database])
    if (rowCount === 0) await client.query(`create database ${client.escapeIdentifier(connection.database)}`)
  } finally {
    await client.end()
  }
}

/** Ends a postmaster as asked; if that takes too long, immediately, which costs a recovery and loses nothing. */
async function endChild(child: ChildProcess | undefined, signal: 'SIGINT' | 'SIGQUIT'): Promise<void> {
  if (child?.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  const patience = setTimeout(() => child.kill('SIGQUIT'), stop_wait_ms)
  const last = setTimeout(() => child.kill('SIGKILL'), stop_wait_ms + 10_000)
  child.kill(signal)
  await ended
  clearTimeout(patience)
  clearTimeout(last)
}
