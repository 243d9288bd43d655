// The data folder itself: made once, checked for its version, and freed of a postmaster that outlived its server.
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { chown, readdir, readFile, readlink, realpath, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Binaries, Identity } from './binaries.ts'
import { EmbeddedError } from './error.ts'
import type { Place } from './place.ts'

/** Nothing of our environment concerns PostgreSQL, and some of it (PG*, LD_*) would change what it does. */
export const childEnvironment = { LC_ALL: 'C', TZ: 'UTC', PATH: '/usr/bin:/bin' }

/** Makes the cluster in `<folder>/data` unless it is there. A half-made one is never taken for a whole one. */
export async function ensureCluster(place: Place, binaries: Binaries, identity: Identity | undefined): Promise<void> {
  const data = join(place.folder, 'data')
  if (existsSync(data)) return checkVersion(data, binaries)
  // A name of its own: the initdb of a start that was killed may still be at work in its folder, and clean up there.
  const name = `data.new-${randomBytes(4).toString('hex')}`
  const staging = join(place.folder, name)
  for (const left of await readdir(place.folder))
    if (left.startsWith('data.new'))
      await rm(join(place.folder, left), { recursive: true, force: true }).catch(() => {})
  await initdb(join(place.inside, name), place, binaries, identity)
  const hba = join(staging, 'pg_hba.conf')
  // The socket's folder admits nobody but this user, so whoever comes through it needs no password.
  await writeFile(
    hba,
    '# Unix socket only, in a folder of mode 0700\nlocal all all trust\nlocal replication all trust\n',
  )
  if (identity) await chown(hba, identity.uid, identity.gid)
  await rename(staging, data)
}

async function initdb(data: string, place: Place, binaries: Binaries, identity: Identity | undefined): Promise<void> {
  const options = ['-D', data, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C']
  const locale = ['--locale-provider=builtin', '--builtin-locale=C.UTF-8']
  const child = spawn(binaries.initdb, [...options, ...locale], {
    ...identity,
    cwd: '/',
    env: childEnvironment,
    stdio: ['ignore', 'pipe', 'pipe', place.fd ?? 'ignore'],
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk: Buffer) => (output += chunk))
  const code = await new Promise((resolve) => {
    child.on('error', (error) => resolve(error.message))
    child.on('close', resolve)
  })
  if (code === 0) return
  throw new EmbeddedError(
    'embedded_failed',
    `PostgreSQL could not create its data folder in ${place.folder} (initdb: ${code}). ${output.trim().slice(-2000)}`,
  )
}

function checkVersion(data: string, binaries: Binaries): void {
  let version: string
  try {
    version = readFileSync(join(data, 'PG_VERSION'), 'utf8').trim()
  } catch {
    throw new EmbeddedError(
      'embedded_version',
      `${data} exists, but is no PostgreSQL data folder (it has no PG_VERSION). Move it away, or restore it from a backup.`,
    )
  }
  if (version === binaries.major) return
  throw new EmbeddedError(
    'embedded_version',
    `${data} was made by PostgreSQL ${version}; this release of affidavit brings PostgreSQL ${binaries.major}. Take a ` +
      'backup with the release that made it, and restore that into an empty data folder with this one.',
  )
}

/**
 * Stops the postmaster that a killed server left behind. The caller holds the folder's lock, so no live server owns it.
 * A postmaster.pid whose process is something else (the number was reused) is removed: PostgreSQL would refuse to start.
 */
export async function stopOrphan(place: Pick<Place, 'folder'>, notice: (pid: number) => void): Promise<void> {
  const data = join(place.folder, 'data')
  const file = join(data, 'postmaster.pid')
  const text = await readFile(file, 'utf8').catch(() => undefined)
  if (text === undefined) return
  const pid = Number.parseInt(text, 10)
  if (!(pid > 0) || !alive(pid)) return // PostgreSQL sees for itself that it is stale
  if (!(await isPostmasterOf(pid, data))) return rm(file, { force: true })
  notice(pid)
  for (const [signal, wait_ms] of [
    ['SIGINT', 20_000],
    ['SIGQUIT', 10_000],
    ['SIGKILL', 5_000],
  ] as const) {
    kill(pid, signal)
    for (const until = Date.now() + wait_ms; Date.now() < until; await sleep(20)) if (!alive(pid)) return
  }
  throw new EmbeddedError('embedded_failed', `An earlier PostgreSQL (process ${pid}) of ${data} does not stop.`)
}

async function isPostmasterOf(pid: number, data: string): Promise<boolean> {
  if (process.platform === 'linux') {
    const cwd = await readlink(`/proc/${pid}/cwd`).catch(() => undefined)
    return cwd === (await realpath(data)) // a postmaster works in its data folder
  }
  const child = spawn('ps', ['-o', 'command=', '-p', String(pid)], { stdio: ['ignore', 'pipe', 'ignore'] })
  let command = ''
  child.stdout.on('data', (chunk: Buffer) => (command += chunk))
  await new Promise((resolve) => child.on('close', resolve))
  return command.includes('postgres') && command.includes(data)
}

export function alive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch {
    // it went by itself
  }
}
