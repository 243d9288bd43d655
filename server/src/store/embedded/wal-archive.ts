// Write-ahead log that outlives its machine: PostgreSQL hands each finished segment to a command, which copies it into a
// folder. The command is fixed and names no program but sh, cmp, dd and mv; the folder's name is the only thing in it that
// somebody chose, and is quoted for PostgreSQL and for the shell.
//
// A segment appears under its name only when it is whole and synced. One that is there already is compared, not replaced:
// after a crash the same segment may come again, and two clusters that archive into one folder must be noticed.
import { closeSync, constants, openSync } from 'node:fs'
import { chmod, chown, mkdir, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { type Identity, reachable } from './binaries.ts'
import { EmbeddedError } from './error.ts'
import type { Settings } from './settings.ts'

/** `write`: the cluster archives into the folder. `read`: it replays from there, and archives nothing. */
export interface ArchiveUse {
  /** Absolute. */
  readonly folder: string
  readonly use: 'write' | 'read'
}

export interface Archive {
  readonly settings: Settings
  /** The descriptor through which PostgreSQL reaches the folder, where it cannot by name: descriptor 4 of the child. */
  readonly fd: number | undefined
  release(): void
}

/** Seconds after which a segment is archived though it is not full: how much a lost disk can cost. */
const archive_timeout_s = 300

/**
 * Makes the folder, gives it to the user that PostgreSQL runs as, and says how it is used.
 * @throws EmbeddedError when that user cannot reach it
 */
export async function openArchive({ folder, use }: ArchiveUse, identity: Identity | undefined): Promise<Archive> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  if (identity) {
    await chmod(folder, 0o700)
    const names = use === 'read' ? await readdir(folder) : []
    for (const name of ['', ...names]) await chown(join(folder, name), identity.uid, identity.gid)
  }
  const direct = await reachable(folder, identity)
  if (!direct && process.platform !== 'linux')
    throw new EmbeddedError(
      'embedded_failed',
      `The user that PostgreSQL runs as cannot reach ${folder} (AFFIDAVIT_WAL_ARCHIVE). Choose a folder outside of private ones.`,
    )
  // As in place.ts: the kernel asks for no permission on the folders above.
  const fd = direct ? undefined : openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY)
  const inside = direct ? folder : '/proc/self/fd/4'
  return {
    settings: use === 'write' ? writing(inside) : { archive_mode: 'off', restore_command: reading(inside) },
    fd,
    release: () => {
      if (fd !== undefined) closeSync(fd)
    },
  }
}

function writing(folder: string): Settings {
  const target = `${quoted(folder)}/%f`
  const copy = `dd if=%p of=${target}.part bs=1048576 conv=fsync 2>/dev/null && mv ${target}.part ${target}`
  return {
    archive_mode: 'on',
    archive_timeout: `${archive_timeout_s}s`,
    archive_command: `if test -e ${target}; then cmp -s %p ${target}; else ${copy}; fi`,
  }
}

const reading = (folder: string) => `cp ${quoted(folder)}/%f %p`

/** One word of a POSIX shell, whatever is in it; PostgreSQL replaces %f and %p, and takes %% for a percent sign. */
const quoted = (text: string) => `'${text.replaceAll("'", `'\\''`).replaceAll('%', '%%')}'`
