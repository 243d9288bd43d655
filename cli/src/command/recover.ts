/** `affidavit keys recover`: names a successor of a lost or stolen log key by the offline recovery key. */
import { type Command, InvalidArgumentError } from 'commander'
import { Failure } from '../failure.ts'
import { print, printable, say, type Terminal } from '../terminal.ts'
import { settingsOf, spoken } from './settings.ts'

interface Options {
  readonly origin?: string
  readonly sign?: string
  readonly recoveryKey?: string
  readonly install?: string
}

export function addRecover(group: Command, terminal: Terminal): void {
  group
    .command('recover')
    .summary('Replace a log key that was lost or stolen, by the offline recovery key')
    .description(
      'Replace a log key that was lost or stolen. In three steps, with every server stopped: --origin makes the next key and ' +
        'prints what the recovery key has to sign; --sign signs it, on the machine where that key is; --install keeps the ' +
        'signed entry for the next epoch, and destroys every older log key.',
    )
    .option(
      '--origin <origin>',
      'Of the registry: the first line of its checkpoint, audit.example.com/registry',
      parseOrigin,
    )
    .option('--sign <file>', 'What the first step printed')
    .option('--recovery-key <file>', 'The recovery key, recovery.key of the first start')
    .option('--install <file>', 'What the second step printed')
    .addHelpText('after', examples)
    .action((options: Options) => recover(options, terminal))
}

const examples = `
Examples:
  affidavit keys recover --origin audit.example.com/registry > successor.request
  affidavit keys recover --sign successor.request --recovery-key /media/recovery.key > successor.entry
  affidavit keys recover --install successor.entry`

function parseOrigin(text: string): string {
  if (!/^[!-*,-~]{1,255}\/registry(\.[1-9]\d{0,5})?$/.test(text))
    throw new InvalidArgumentError('It ends in /registry, or /registry.1 after a loss: GET /v1/registry/checkpoint.')
  return text
}

async function recover({ origin, sign, recoveryKey, install }: Options, terminal: Terminal): Promise<void> {
  if (
    [origin, sign, install].filter((one) => one !== undefined).length !== 1 ||
    (sign === undefined) !== (recoveryKey === undefined)
  )
    throw new Failure('Give one of --origin, --sign with --recovery-key, or --install.')
  const work = await import('@affidavit/server/assembly/log-key-recovery.ts')
  if (sign !== undefined) {
    terminal.stdout.write(await read(() => work.signSuccessor(sign, recoveryKey!)))
    return
  }
  const config = await settingsOf(terminal)
  if (origin !== undefined) {
    terminal.stdout.write(await read(() => work.beginRecovery(config, origin)))
    say(
      terminal,
      'Take this to where the recovery key is: affidavit keys recover --sign FILE --recovery-key recovery.key',
    )
    return
  }
  const vkey = await read(() => work.installSuccessor(config, install!))
  print(terminal, printable(`${vkey} is the log's key from the next epoch on; older ones are destroyed.`))
  say(terminal, 'Start the servers. Whoever pinned the old key and the recovery key follows by themselves.')
}

async function read<Result>(work: () => Promise<Result>): Promise<Result> {
  return spoken(work).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') throw new Failure(`there is no file ${error.path}.`, 2)
    throw error
  })
}
