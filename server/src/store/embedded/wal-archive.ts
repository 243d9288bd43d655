// Write-ahead log that outlives its machine: PostgreSQL hands each finished segment to a command, which copies it into a
// folder. The command is fixed and names no program but sh, cmp, dd and mv; the folder's name is the only thing in it that
// somebody chose, and is quoted for PostgreSQL and for the shell.
//
// A segment appears under its name only when it is whole and synced. One that is there already is compared, not replaced:
// after a crash the same segment may come again, and two clusters that archive into one folder must be noticed.
import { chmod, chown, mkdir } from 'node:fs/promises'
import { type Identity, reachable } from './binaries.ts'
import { EmbeddedError } from './error.ts'
import type { Settings } from './settings.ts'

/** Seconds after which a segment is archived though it is not full: how much a lost disk can cost. */
const archive_timeout_s = 300

/**
 * Settings of a cluster that archives into `folder`.
 * @param folder absolute; made by `makeArchive`
 */
export function archiveSettings(folder: string): Settings {
  const target = `${shellQuoted(forPostgres(folder))}/%f`
  const copy = `dd if=%p of=${target}.part bs=1048576 conv=fsync 2>/dev/null && mv ${target}.part ${target}`
  return {
    archive_mode: 'on',
    archive_timeout: `${archive_timeout_s}s`,
    archive_command: `if test -e ${target}; then cmp -s %p ${target}; else ${copy}; fi`,
  }
}

/** The command by which a restore fetches segments; `null`: there is no archive, and all it needs lies in pg_wal. */
export function restoreCommand(folder: string | null): string {
  return folder === null ? 'false' : `cp ${shellQuoted(forPostgres(folder))}/%f %p`
}

/**
 * Makes the folder and gives it to the user that PostgreSQL runs as.
 * @throws EmbeddedError when that user could not reach it
 */
export async function makeArchive(folder: string, identity: Identity | undefined): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  if (identity) {
    await chown(folder, identity.uid, identity.gid)
    await chmod(folder, 0o700)
  }
  if (await reachable(folder, identity)) return
  throw new EmbeddedError(
    'embedded_failed',
    `The user that PostgreSQL runs as cannot reach ${folder} (AFFIDAVIT_WAL_ARCHIVE). Choose a folder outside of private ones.`,
  )
}

/** PostgreSQL replaces %f, %p and %r in commands; %% is a percent sign. */
const forPostgres = (text: string) => text.replaceAll('%', '%%')

/** One word of a POSIX shell, whatever is in it. */
const shellQuoted = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`
