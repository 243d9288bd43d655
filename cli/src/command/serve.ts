/** `affidavit serve`: starts a server and prints how to send it the first event. */
import type { RunningServer } from '@affidavit/server/main.ts'
import { Failure } from '../failure.ts'
import { print, say, type Terminal } from '../terminal.ts'
import type { Define } from './define.ts'
import { SPEAKING } from './settings.ts'

export const serve: Define = (parent, terminal, done) => {
  parent
    .command('serve')
    .summary('Start a server; without DATABASE_URL with its own PostgreSQL')
    .description(
      'Start a server. Its settings come from the environment; without any it listens on 127.0.0.1:4100 and keeps ' +
        'everything, an embedded PostgreSQL included, in ./data. SIGTERM or Ctrl-C ends it cleanly; a second one at once.',
    )
    .addHelpText(
      'after',
      [
        '',
        'Environment (all of it: docs/reference/configuration.md):',
        '  HOST, PORT            Where to listen (127.0.0.1, 4100)',
        '  AFFIDAVIT_DATA_DIR    Folder of everything the server keeps (./data)',
        '  DATABASE_URL          PostgreSQL 15 or newer, instead of the embedded one',
        '  AFFIDAVIT_LOG_NAME    Name of the log, for example audit.example.com; fixed at the first start',
        '',
        'Exit codes: 0 stopped cleanly, 1 could not start or not stop cleanly, 2 a setting is wrong',
      ].join('\n'),
    )
    .action(async () => done(await runServer(terminal)))
}

async function runServer(terminal: Terminal): Promise<number> {
  const [{ readConfig }, { startServer }] = await Promise.all([
    import('@affidavit/server/config.ts'),
    import('@affidavit/server/main.ts'),
  ])
  const read = readConfig(terminal.environment)
  if (!read.ok) throw new Failure(`the settings are not usable:\n  ${read.problems.join('\n  ')}`, 2)
  const { config } = read
  const signals = new Signals(terminal)
  let server: RunningServer
  try {
    server = await startServer(config)
  } catch (error) {
    throw new Failure(startFailure(error, config), 1, { cause: error })
  }
  print(terminal, banner(server, config))
  await signals.first
  await server.stop()
  signals.close()
  return 0
}

/** Signals that arrive while the server starts count, too: it then stops as soon as it is up. */
class Signals {
  readonly first: Promise<void>
  private readonly listener: () => void
  private seen = 0

  constructor(terminal: Terminal) {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.first = promise
    this.listener = () => {
      this.seen += 1
      if (this.seen === 1) say(terminal, 'Stopping: what was taken is being sealed. Once more stops at once.')
      else process.exit(1)
      resolve()
    }
    process.on('SIGTERM', this.listener).on('SIGINT', this.listener)
  }

  close(): void {
    process.off('SIGTERM', this.listener).off('SIGINT', this.listener)
  }
}

interface Shown {
  readonly dataDir: string
  readonly databaseUrl: string | undefined
}

/** What the operator reads at every start, and, the first time, how to begin. */
export function banner(
  server: Pick<RunningServer, 'url' | 'operatorKeyFile' | 'recoveryFile'>,
  { dataDir, databaseUrl }: Shown,
): string {
  const lines = [
    `Affidavit listens on ${server.url}`,
    `Database: ${databaseUrl === undefined ? `embedded PostgreSQL in ${dataDir}` : withoutPassword(databaseUrl)}`,
  ]
  if (server.operatorKeyFile !== null) lines.push('', ...firstSteps(server.url, server.operatorKeyFile))
  if (server.recoveryFile !== null) {
    lines.push(
      '',
      `The recovery key is in ${server.recoveryFile}.`,
      'Move it to a place that this machine cannot reach, and keep it: it alone can name a new log key, should this one',
      'be lost or stolen.',
    )
  }
  return lines.join('\n')
}

function firstSteps(url: string, keyFile: string): string[] {
  const event = '{"action":"user.login","actor":{"type":"user","id":"user_1","name":"Sarah Johnson"},"tenant":"org_1"}'
  const key = `$(cat ${shellWord(keyFile)})`
  return [
    `The operator key is in ${keyFile}. Record a first event with it:`,
    '',
    `  curl -sS ${url}/v1/events -H "Authorization: Bearer ${key}" -H 'Content-Type: application/json' -d '${event}'`,
    '',
    'Then prove it:',
    '',
    `  npx affidavit verify ${url} --tenant org_1 --key "${key}"`,
  ]
}

/** A path as one word of a shell, inside the double quotes of $(…) too. */
function shellWord(path: string): string {
  return /^[\w@%+=:,./-]+$/.test(path) ? path : `'${path.replaceAll("'", `'\\''`)}'`
}

function withoutPassword(databaseUrl: string): string {
  const url = new URL(databaseUrl)
  return `PostgreSQL at ${url.host || 'a local socket'}${url.pathname}`
}

/** Why a start failed, as one sentence. */
export function startFailure(error: unknown, config: { readonly host: string; readonly port: number }): string {
  const { code, name, message, path } = error as NodeJS.ErrnoException
  const address = `${config.host}:${config.port}`
  switch (code) {
    case 'EADDRINUSE':
      return `${address} is in use. Stop what listens there, or choose another port with PORT.`
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
      return `${config.host} is no address of this machine. Choose another with HOST.`
    case 'EACCES':
      return path === undefined
        ? `this user may not listen on ${address}. Choose a port above 1023 with PORT.`
        : `this user may not write ${path}. Choose another folder with AFFIDAVIT_DATA_DIR.`
    case 'ENOSPC':
      return 'the disk is full.'
  }
  if (SPEAKING.includes(name)) return message
  return `the server could not start: ${message}`
}
