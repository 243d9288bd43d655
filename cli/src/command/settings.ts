/** For the commands that work on a server's own data: its settings, and its refusals as failures of the command. */
import type { Config } from '@affidavit/server/config.ts'
import { Failure } from '../failure.ts'
import type { Terminal } from '../terminal.ts'

/** The settings as `affidavit serve` reads them. Throws Failure. */
export async function settingsOf(terminal: Terminal): Promise<Config> {
  const { readConfig } = await import('@affidavit/server/config.ts')
  const read = readConfig(terminal.environment)
  if (!read.ok) throw new Failure(`the settings are not usable:\n  ${read.problems.join('\n  ')}`, 2)
  return read.config
}

/** Names of the errors that the server throws on purpose: each carries a sentence for the operator. */
export const SPEAKING: readonly string[] = [
  'RecoveryRefused',
  'EmbeddedError',
  'StoreRefused',
  'MigrationRefused',
  'KeyUnusable',
  'StoreUnavailable',
  'BadBucket',
  'AnchorsRefused',
  'BadAnchors',
]

/** Runs `work`; what it refuses with a sentence becomes the command's failure. */
export async function spoken<Result>(work: () => Promise<Result>): Promise<Result> {
  try {
    return await work()
  } catch (error) {
    const { name, message, code, path } = error as NodeJS.ErrnoException
    if (SPEAKING.includes(name)) throw new Failure(message, 2, { cause: error })
    if (code === 'ENOSPC') throw new Failure('the disk is full. Nothing was changed; repeat the command.', 2)
    if (code === 'EACCES' || code === 'EPERM') throw new Failure(`this user may not access ${path}.`, 2)
    throw error
  }
}
