/** `affidavit restore`: brings the embedded database back from a backup, to its moment or to any later one. */
import type { RestoreProgress, Target } from '@affidavit/server/assembly/safekeeping.ts'
import { InvalidArgumentError } from 'commander'
import { Failure } from '../failure.ts'
import { count, plural, print, printJson, progressLine, type Terminal } from '../terminal.ts'
import { collect, type Define } from './define.ts'
import { settingsOf, spoken } from './settings.ts'

interface Options {
  readonly to?: Target
  readonly keys?: string
  readonly replace?: boolean
  readonly continueFrom?: readonly string[]
  readonly json?: boolean
}

export const restore: Define = (parent, terminal, done) => {
  parent
    .command('restore')
    .argument('[folder]', 'Folder with backups')
    .summary('Restore the embedded database from a backup')
    .description(
      'Restore the embedded database of AFFIDAVIT_DATA_DIR, while no server runs. What is there is kept under another ' +
        'name. The next start of the server replays what the registry’s epoch objects still hold, erasures included.',
    )
    .option(
      '--to <time>',
      'backup, latest, or a time like 2026-03-10T18:00:00Z; times need AFFIDAVIT_WAL_ARCHIVE',
      target,
    )
    .option('--keys <folder>', 'Put back the keys that are missing, from the newest copy in this folder')
    .option('--replace', 'Allow that a database is there; it is set aside')
    .option(
      '--continue-from <copy>',
      'Without a backup, when Objects are lost, too: begin new trails where packs or kept checkpoints vouch for the old ' +
        'ones, written <tenant>=<file>, and a new registry where an anchored checkpoint of it does; repeat for more',
      collect,
    )
    .option('--json', 'Print JSON')
    .addHelpText(
      'after',
      [
        '',
        'Examples:',
        '  affidavit restore /mnt/backup --replace',
        '  affidavit restore /mnt/backup --to 2026-03-10T18:00:00Z --replace',
        '  AFFIDAVIT_DATA_DIR=/tmp/rehearsal affidavit restore /mnt/backup --keys /mnt/elsewhere/keys',
        '  affidavit restore --continue-from acme=acme.affidavit.zip --continue-from registry.checkpoint',
        '',
        'Exit codes: 0 restored, 2 could not be carried out; the database that was there is untouched then',
      ].join('\n'),
    )
    .action(async (folder: string | undefined, options: Options) => {
      if (options.continueFrom !== undefined) return done(await continueFromCopies(folder, options, terminal))
      if (folder === undefined) throw new Failure('Name the folder with backups.')
      return done(await bringBackFrom(folder, options, terminal))
    })
}

function target(text: string): Target {
  if (text === 'backup' || text === 'latest') return text
  const time = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)$/.test(text)
    ? new Date(text)
    : undefined
  if (time === undefined || Number.isNaN(time.getTime()))
    throw new InvalidArgumentError('Write backup, latest, or a time with its zone: 2026-03-10T18:00:00Z.')
  return time
}

const megabytes = (bytes: number) => `${count(Math.round(bytes / 1e6))} MB`

async function bringBackFrom(folder: string, options: Options, terminal: Terminal): Promise<number> {
  const { bringBack } = await import('@affidavit/server/assembly/safekeeping.ts')
  const config = await settingsOf(terminal)
  const bar = progressLine(terminal)
  const onProgress = ({ step, bytes, of, replayed }: RestoreProgress) =>
    bar.update(() =>
      step === 'replaying'
        ? `replaying the log${replayed === undefined ? '' : `: segment ${replayed}`}`
        : `${step}: ${megabytes(bytes)} of ${megabytes(of)}`,
    )
  const { to, keys, replace = false } = options
  const restored = await spoken(() =>
    bringBack(config, { folder, to, keys, replace, onProgress }).finally(() => bar.clear()),
  )
  const { backup, setAside, until, objects } = restored
  if (options.json) {
    printJson(terminal, {
      backup: backup.id,
      until,
      set_aside: setAside,
      objects,
      keys: restored.keys.files,
      keys_of: restored.keys.copy,
    })
    return 0
  }
  print(terminal, `Restored backup ${backup.id}${until === null ? '' : `; the newest transaction is of ${until}`}.`)
  if (setAside !== null) print(terminal, `The database that was there is in ${setAside}. Delete it when all is well.`)
  const { copy, files } = restored.keys
  if (files > 0) print(terminal, `Put back ${plural(files, 'key file', 'key files')} of the copy ${copy}.`)
  if (objects > 0) print(terminal, `Put back ${plural(objects, 'object', 'objects')}.`)
  print(terminal, 'Start the server: before it serves, it replays what later epochs hold, and says so in its log.')
  return 0
}

async function continueFromCopies(folder: string | undefined, options: Options, terminal: Terminal): Promise<number> {
  if (folder !== undefined || options.to !== undefined || options.replace)
    throw new Failure('--continue-from begins in an empty data folder: it takes no backup, no --to and no --replace.')
  const [{ continueFrom }, { readCopies }] = await Promise.all([
    import('@affidavit/server/assembly/recovery.ts'),
    import('../verify/file/copies.ts'),
  ])
  const config = await settingsOf(terminal)
  const copies = await readCopies(options.continueFrom!)
  const continued = await spoken(() => continueFrom(config, copies))
  if (options.json) {
    printJson(terminal, continued)
    return 0
  }
  const { registry, trails } = continued
  print(terminal, `Registry ${registry.origin} continues ${registry.continues} at ${registry.size} entries.`)
  for (const { tenant, trail, continues, size } of trails)
    print(terminal, `${tenant}: trail ${trail} continues ${continues} at ${plural(size, 'entry', 'entries')}.`)
  print(terminal, 'Start the server: its first entries say so. What came after these sizes is lost; tell your tenants.')
  return 0
}
