/**
 * The command line as a whole: commands, help, exit codes. Command files only describe themselves here; what they need
 * (the server, the verifier) is loaded when they run, so that help is instant.
 */
import { readFileSync } from 'node:fs'
import { Command, CommanderError } from 'commander'
import { backup } from './command/backup.ts'
import { doctor } from './command/doctor.ts'
import { forget } from './command/forget.ts'
import { holds } from './command/holds.ts'
import { importing } from './command/import.ts'
import { keys } from './command/keys.ts'
import { pack } from './command/pack.ts'
import { restore } from './command/restore.ts'
import { scrub } from './command/scrub.ts'
import { serve } from './command/serve.ts'
import { status } from './command/status.ts'
import { tenants } from './command/tenants.ts'
import { verify } from './command/verify.ts'
import { witness } from './command/witness.ts'
import { variables } from './config.ts'
import { Failure } from './failure.ts'
import { painter, say, type Terminal, table } from './terminal.ts'

/** Runs one command line (without node and script). @returns the exit code */
export async function run(args: readonly string[], terminal: Terminal): Promise<number> {
  let exitCode = 0
  const program = build(terminal, (code) => {
    exitCode = code
  })
  try {
    if (args.length === 0) program.outputHelp()
    else await program.parseAsync(args, { from: 'user' })
    return exitCode
  } catch (error) {
    // Commander has printed its message; help and version end with 0, a wrong command line must never look like a verdict.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2
    if (!(error instanceof Failure)) throw error
    say(terminal, `${painter(terminal.stderr, terminal.environment)('red', 'affidavit:')} ${error.message}`)
    return error.exitCode
  }
}

function build(terminal: Terminal, done: (exitCode: number) => void): Command {
  const program = new Command('affidavit')
    .description('The audit trail that can be checked without trusting whoever runs it.')
    .usage('<command> [options]')
    .version(version(), '-V, --version', 'Print the version')
    .helpOption('-h, --help', 'Print help; each command has its own')
    .helpCommand(false)
    .exitOverride()
    .showHelpAfterError('Run the command with --help to see what it takes.')
    .configureOutput({
      writeOut: (text) => terminal.stdout.write(text),
      writeErr: (text) => terminal.stderr.write(text),
      getOutHelpWidth: () => terminal.stdout.columns ?? 100,
      getErrHelpWidth: () => terminal.stderr.columns ?? 100,
      getOutHasColors: () => false,
      getErrHasColors: () => false,
      outputError: (text, write) => write(text.replace(/^error: (.)/, (_, first: string) => `affidavit: ${first}`)),
    })
    .configureHelp({ sortOptions: false, showGlobalOptions: false })
  program.commandsGroup('Run a server:')
  for (const define of [serve, status, doctor, backup, restore, scrub]) define(program, terminal, done)
  program.commandsGroup('Prove:')
  for (const define of [verify, pack, witness]) define(program, terminal, done)
  program.commandsGroup('Bring in events:')
  importing(program, terminal, done)
  program.commandsGroup('Administer:')
  for (const define of [tenants, keys, forget, holds]) define(program, terminal, done)
  program.addHelpText('after', () => `\n${closing()}`)
  return program
}

function closing(): string {
  return [
    'Examples:',
    '  affidavit serve                                    Start a server here, with its own database',
    '  affidavit tenants create org_1 --name "Acme"       Make a tenant',
    '  affidavit pack --tenant org_1                      Take its trail home',
    '  affidavit verify org_1.affidavit.zip               Check it, offline',
    '',
    'Environment:',
    table(variables.map(([name, about]) => [`  ${name}`, about])),
    '',
    'Exit codes:',
    '  0  done; for verify: everything held',
    '  1  the answer is no: evidence of tampering, refused, rejected, failed to start',
    '  2  could not be carried out: wrong usage, server unreachable, file malformed',
  ].join('\n')
}

function version(): string {
  return (JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }).version
}
