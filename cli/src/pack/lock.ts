/**
 * Keeps two downloads from writing one file: `<file>.lock` names the process that does. A process that is gone without
 * having removed it, after a kill or a power cut, keeps nobody waiting.
 */
import { link, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { Failure } from '../failure.ts'

/** A lock that is made and not yet filled is somebody's for so long. */
const FILLING_MS = 5_000
const ATTEMPTS = 10

interface Holder {
  readonly pid: number
  readonly host: string
  /** What tells the process from a later one of the same number; empty where the system does not say. */
  readonly start: string
}

/** Locks that this process holds. */
const held = new Set<string>()

/**
 * Takes the lock of a file. @returns what gives it back
 * Throws Failure when another process has it, or what the file system refuses.
 */
export async function lockFile(path: string): Promise<() => Promise<void>> {
  const lock = `${path}.lock`
  const own = `${JSON.stringify({ pid: process.pid, host: hostname(), start: await startOf(process.pid) })}\n`
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    try {
      await writeFile(lock, own, { flag: 'wx', mode: 0o600 })
      held.add(lock)
      return async () => {
        held.delete(lock)
        await rm(lock, { force: true })
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    }
    await removeIfLeft(path, lock)
  }
  throw new Failure(`${path} is being written by others again and again. Give -o another name.`)
}

/** Throws Failure unless whoever made the lock is gone. */
async function removeIfLeft(path: string, lock: string): Promise<void> {
  const text = await readFile(lock, 'utf8').catch(() => undefined)
  if (text === undefined) return
  const holder = holderIn(text)
  if (holder === undefined) {
    await new Promise((resolve) => setTimeout(resolve, FILLING_MS / ATTEMPTS))
    if ((await readFile(lock, 'utf8').catch(() => undefined)) !== text) return
  } else if (await isThere(holder, lock)) {
    const where = holder.host === hostname() ? '' : ` on ${holder.host}`
    throw new Failure(
      `Process ${holder.pid}${where} is writing ${path}. Wait for it, or give -o another name. ` +
        `If there is no such process, remove ${lock}.`,
    )
  }
  // By renaming: of several that find it left behind one gets it, and sees whether it still is the one it judged.
  const taken = `${lock}.${process.pid}`
  const isTaken = await rename(lock, taken).then(
    () => true,
    () => false,
  )
  if (!isTaken) return
  if ((await readFile(taken, 'utf8')) !== text) await link(taken, lock).catch(() => undefined)
  await rm(taken, { force: true })
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
async function isThere({ pid, host, start }: Holder, lock: string): Promise<boolean> {
  if (host !== hostname()) return true
  if (pid === process.pid) return held.has(lock)
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
