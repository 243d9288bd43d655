/** `affidavit backup`: copies the embedded database while it serves, checks what was copied, keeps as many as are wanted. */
import type { BackupProgress } from '@affidavit/server/assembly/safekeeping.ts'
import { InvalidArgumentError } from 'commander'
import { Failure } from '../failure.ts'
import { count, plural, print, printJson, progressLine, say, type Terminal } from '../terminal.ts'
import type { Define } from './define.ts'
import { settingsOf, spoken } from './settings.ts'

interface Options {
  readonly keys?: string
  readonly keysBeside?: boolean
  readonly keep?: number
  readonly verify?: boolean
  readonly json?: boolean
}

export const backup: Define = (parent, terminal, done) => {
  parent
    .command('backup')
    .argument('<folder>', 'Folder for backups; each gets a folder of its own in it')
    .summary('Back up the embedded database, also while the server runs')
    .description(
      'Copy the embedded database, and the objects beside it, into a folder. A backup appears only when it is whole; one ' +
        'that was cut off is taken up by the next. The keys belong elsewhere: give their folder with --keys.',
    )
    .option('--keys <folder>', 'Copy the keys, too, into this folder')
    .option('--keys-beside', 'Allow --keys to lie with the backups: whoever gets both can read every person')
    .option('--keep <n>', 'Take away all but the newest n backups', positive)
    .option('--verify', 'Make none: read all that are there and compare them with their manifests')
    .option('--json', 'Print JSON')
    .addHelpText(
      'after',
      [
        '',
        'Examples:',
        '  affidavit backup /mnt/backup --keys /mnt/elsewhere/keys --keep 14',
        '  affidavit backup /mnt/backup --verify',
        '',
        'Exit codes: 0 done, 1 a backup is damaged, 2 could not be made',
      ].join('\n'),
    )
    .action(async (folder: string, options: Options) =>
      done(await (options.verify ? verifyAll(folder, options, terminal) : make(folder, options, terminal))),
    )
}

function positive(text: string): number {
  if (!/^[1-9]\d{0,3}$/.test(text)) throw new InvalidArgumentError('A number from 1 to 9999 is expected.')
  return Number(text)
}

const megabytes = (bytes: number) => `${count(Math.round(bytes / 1e6))} MB`

async function make(folder: string, options: Options, terminal: Terminal): Promise<number> {
  const { keep } = await import('@affidavit/server/assembly/safekeeping.ts')
  const config = await settingsOf(terminal)
  const bar = progressLine(terminal)
  const onProgress = ({ step, bytes, of }: BackupProgress) =>
    bar.update(() => `${step === 'begun' ? 'copying' : step}: ${megabytes(bytes)} of ${megabytes(of)}`)
  const { keys, keysBeside } = options
  const kept = await spoken(() =>
    keep(config, { folder, keys, keysBeside, keep: options.keep, onProgress }).finally(() => bar.clear()),
  )
  const { id, files, ended_at } = kept.backup
  const bytes = files.reduce((sum, { size }) => sum + size, 0)
  if (options.json) {
    printJson(terminal, { id, ended_at, bytes, objects: kept.objects, keys: keys !== undefined, dropped: kept.dropped })
    return 0
  }
  print(terminal, `Backed up as ${id}: ${megabytes(bytes)}, the state of ${ended_at}.`)
  if (kept.objects > 0) print(terminal, `Copied ${plural(kept.objects, 'new object', 'new objects')}.`)
  for (const old of kept.dropped) print(terminal, `Took away ${old}.`)
  if (keys === undefined)
    say(
      terminal,
      'The keys were not copied. Without them nobody in it can be read again: use --keys with a folder elsewhere.',
    )
  return 0
}

async function verifyAll(folder: string, options: Options, terminal: Terminal): Promise<number> {
  if (options.keys !== undefined || options.keep !== undefined)
    throw new Failure('--verify only reads: leave out --keys and --keep.')
  const { judge } = await import('@affidavit/server/assembly/safekeeping.ts')
  const bar = progressLine(terminal)
  const judged = await spoken(() =>
    judge(folder, (id, bytes, of) => bar.update(() => `${id}: ${megabytes(bytes)} of ${megabytes(of)}`)).finally(() =>
      bar.clear(),
    ),
  )
  if (options.json)
    printJson(
      terminal,
      judged.map(({ backup, damaged }) => ({ id: backup.id, ended_at: backup.ended_at, damaged })),
    )
  else {
    for (const { backup, damaged } of judged) {
      print(terminal, `${backup.id}: ${damaged.length === 0 ? 'whole' : 'DAMAGED'}, the state of ${backup.ended_at}`)
      for (const { path, reason } of damaged.slice(0, 20)) print(terminal, `  ${path}: ${reasons[reason]}`)
    }
  }
  return judged.every(({ damaged }) => damaged.length === 0) ? 0 : 1
}

const reasons = { missing: 'is missing', size: 'has another size', content: 'has another content' } as const
