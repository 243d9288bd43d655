/**
 * Keeps two downloads from writing one file: `<file>.lock` names the process that does. A process that is gone without
 * having removed it, after a kill or a power cut, keeps nobody waiting.
 */
import { mkdir, readFile, rm, rmdir, stat, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Failure } from '../failure.ts'

/** A lock that is made and not yet filled is somebody's for so long. */
const FILLING_MS = 500
/** Whoever judges a lock is done within so long, or is gone. */
const JUDGING_MS = 10_000
const PATIENCE_MS = 15_000
const PAUSE_MS = 50

interface Holder {
  readonly pid: number
  readonly host: string
  /** What tells the process from a later one of the same number; empty where the system does not say. */
  readonly start: string
}

/** Locks that this process holds, or is about to. */
const held = new Set<string>()

/**
 * Takes the lock of a file. @returns what gives it back
 * Throws Failure when somebody has it, or what the file system refuses.
 */
export async function lockFile(path: string): Promise<() => Promise<void>> {
  const lock = `${resolve(path)}.lock`
  if (held.has(lock)) throw inUse(path, lock, process.pid, '')
  held.add(lock)
  try {
    await take(path, lock)
  } catch (error) {
    held.delete(lock)
    throw error
  }
  return async () => {
    await rm(lock, { force: true })
    held.delete(lock)
  }
}

async function take(path: string, lock: string): Promise<void> {
  const own = `${JSON.stringify({ pid: process.pid, host: hostname(), start: await startOf(process.pid) })}\n`
  for (const until = performance.now() + PATIENCE_MS; performance.now() < until; ) {
    try {
      return await writeFile(lock, own, { flag: 'wx', mode: 0o600 })
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    }
    // One at a time judges a lock and removes what is left behind: another's might be taken for the one that was judged.
    const judging = `${lock}.judged`
    if (!(await enter(judging))) await sleep(PAUSE_MS)
    else {
      try {
        await removeIfLeft(path, lock)
      } finally {
        await rmdir(judging).catch(() => undefined)
      }
    }
  }
  throw new Failure(`${path} is being written by others again and again. Give -o another name.`)
}

/** @returns whether this process may judge */
async function enter(judging: string): Promise<boolean> {
  try {
    await mkdir(judging)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
  const { mtimeMs } = await stat(judging).catch(() => ({ mtimeMs: Date.now() }))
  if (mtimeMs < Date.now() - JUDGING_MS) await rmdir(judging).catch(() => undefined)
  return false
}

/** Throws Failure unless whoever made the lock is gone. */
async function removeIfLeft(path: string, lock: string): Promise<void> {
  const text = await readFile(lock, 'utf8').catch(() => undefined)
  if (text === undefined) return
  const holder = holderIn(text)
  if (holder === undefined) {
    await sleep(FILLING_MS)
    if ((await readFile(lock, 'utf8').catch(() => undefined)) !== text) return
  } else if (await isThere(holder)) throw inUse(path, lock, holder.pid, holder.host)
  await rm(lock, { force: true })
}

function inUse(path: string, lock: string, pid: number, host: string): Failure {
  const where = host === '' || host === hostname() ? '' : ` on ${host}`
  return new Failure(
    `Process ${pid}${where} is writing ${path}. Wait for it, or give -o another name. ` +
      `If there is no such process, remove ${lock}.`,
  )
}

function holderIn(text: string): Holder | undefined {
  try {
    const { pid, host, start } = JSON.parse(text) as Partial<Holder>
    if (!Number.isSafeInteger(pid) || typeof host !== 'string' || typeof start !== 'string') return undefined
    return { pid: pid!, host, start }
  } catch {
    return undefined
  }
}

/** Of a process on another host nothing is known, so it is taken to be there. */
async function isThere({ pid, host, start }: Holder): Promise<boolean> {
  if (host !== hostname()) return true
  if (pid === process.pid) return false // what this process holds it knows without asking: this is of an earlier one
  try {
    process.kill(pid, 0)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false
  }
  const present = await startOf(pid)
  return start === '' || present === '' || present === start
}

/** When a process was started, as Linux counts (proc_pid_stat(5), field 22). */
async function startOf(pid: number): Promise<string> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  // The second field, the name, may hold anything but is the only one in parentheses.
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? ''
}
