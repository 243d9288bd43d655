/** `affidavit witness`: runs a C2SP witness for the logs of others. */
import { InvalidArgumentError, Option } from 'commander'
import { Failure } from '../failure.ts'
import { print, printable, say, type Terminal } from '../terminal.ts'
import type { Define } from './define.ts'

interface Options {
  readonly file: string
  readonly name?: string
  readonly listen: Address
}

interface Address {
  readonly host: string
  readonly port: number
}

export const witness: Define = (parent, terminal, done) => {
  parent
    .command('witness [logs...]')
    .summary("Vouch for somebody else's log: a C2SP witness")
    .description(
      'Run a witness (C2SP tlog-witness). It cosigns checkpoints of the logs given by their verifier keys, as long as ' +
        'each one continues the last. Key, logs and last checkpoints are in one file, made at the first start. ' +
        'SIGTERM or Ctrl-C ends it cleanly.',
    )
    .option('--file <path>', 'Where the witness keeps everything', 'witness.json')
    .option('--name <name>', 'Name of the witness, like witness.example.com/w1; needed at the first start')
    .addOption(
      new Option('--listen <host:port>', 'Address to listen on')
        .argParser(parseAddress)
        .default({ host: '127.0.0.1', port: 4180 }, '127.0.0.1:4180'),
    )
    .addHelpText(
      'after',
      [
        '',
        'The registry key of an Affidavit server is the first line of GET /v1/registry/vkeys. Keys once given are kept in',
        'the file. Never put back an older copy of the file: a witness that forgets may sign a contradiction.',
        '',
        'Example:',
        '  affidavit witness --name witness.example.com/w1 audit.vendor.com/registry+1a2b3c4d+AbCd…',
        '',
        'Exit codes: 0 stopped cleanly, 2 could not start',
      ].join('\n'),
    )
    .action(async (logs: string[], options: Options) => {
      await runWitness(logs, options, terminal)
      done(0)
    })
}

/** "127.0.0.1:4180", "[::1]:4180" */
export function parseAddress(text: string): Address {
  const match = /^(?:\[([0-9a-f:.]+)\]|([^:[\]]+)):(\d{1,5})$/i.exec(text)
  const port = Number(match?.[3])
  if (match === null || port > 65_535) throw new InvalidArgumentError('Write an address and a port: 127.0.0.1:4180.')
  return { host: (match[1] ?? match[2])!, port }
}

async function runWitness(logs: readonly string[], options: Options, terminal: Terminal): Promise<void> {
  const [{ WitnessState }, { startWitness }] = await Promise.all([
    import('../witness/state.ts'),
    import('../witness/server.ts'),
  ])
  const state = await WitnessState.open(options.file, options.name, logs)
  try {
    if (state.logs.length === 0)
      throw new Failure('the witness knows no log yet: give the verifier key of one as an argument.')
    const log = (line: string) => say(terminal, printable(`${new Date().toISOString()} ${line}`))
    const running = await startWitness({ state, ...options.listen, log }).catch((error: NodeJS.ErrnoException) => {
      throw new Failure(`the witness cannot listen on ${options.listen.host}:${options.listen.port}: ${error.message}.`)
    })
    print(terminal, state.vkey)
    say(terminal, `Listening on ${running.url} for:`)
    for (const { origin, head } of state.logs) say(terminal, printable(`  ${origin} (size ${head?.size ?? 0})`))
    say(
      terminal,
      `The line for the policy file of the log's operator, and of everybody who verifies with this witness:`,
    )
    say(terminal, `  witness ${policyName(state.name)} ${state.vkey} ${running.url}`)
    await terminated()
    await running.stop()
  } finally {
    await state.close()
  }
}

/** A policy's names are its own: the last part of the key's name will do. */
const policyName = (name: string) => name.split('/').at(-1)!

function terminated(): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      process.off('SIGTERM', end).off('SIGINT', end)
      resolve()
    }
    process.on('SIGTERM', end).on('SIGINT', end)
  })
}
