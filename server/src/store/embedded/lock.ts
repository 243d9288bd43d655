// One server per data folder. The kernel keeps the lock and drops it with the process, so a server that was killed
// leaves nothing to clean up, and pid files that lie (reused pids, several containers on one folder) are not needed.
// Node offers no file locks of its own; an exclusive SQLite transaction on an empty database is one.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { EmbeddedError } from './error.ts'

export interface Lock {
  release(): void
}

/** @throws EmbeddedError `embedded_in_use` with the owner's process id */
export function lockFolder(folder: string): Lock {
  const database = new DatabaseSync(join(folder, 'lock'), { timeout: 0 })
  const owner = join(folder, 'lock.owner')
  try {
    database.exec('begin exclusive')
  } catch (error) {
    database.close()
    if ((error as { errcode?: number }).errcode !== 5) throw error // 5 = SQLITE_BUSY
    throw new EmbeddedError(
      'embedded_in_use',
      `The data folder ${folder} is in use by another server (${whoIs(owner)}). Stop that server first, or give this ` +
        'one a folder of its own in AFFIDAVIT_DATA_DIR.',
    )
  }
  writeFileSync(owner, `process ${process.pid}, since ${new Date().toISOString()}\n`)
  return { release: () => database.close() }
}

function whoIs(owner: string): string {
  try {
    return readFileSync(owner, 'utf8').trim()
  } catch {
    return 'it has not yet said which'
  }
}
