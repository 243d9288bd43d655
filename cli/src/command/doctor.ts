/** `affidavit doctor`: looks at the set-up of this machine, one sentence for each thing, and says what to do. */
import { access, constants, stat, statfs } from 'node:fs/promises'
import { connect } from 'node:net'
import { dirname, join, resolve } from 'node:path'
import { serverUrl } from '../config.ts'
import { Failure, reasonOf } from '../failure.ts'
import { painter, print, printable, printJson, type Terminal } from '../terminal.ts'
import type { Define } from './define.ts'

interface Check {
  readonly name: string
  readonly state: 'good' | 'warning' | 'bad'
  readonly sentence: string
}

interface Options {
  readonly url?: string
  readonly json?: boolean
}

const GB = 2 ** 30
const LOW_DISK_BYTES = 5 * GB
const SHORT_DISK_BYTES = GB / 2
const SKEW_MS = 5000
const WAIT_MS = 5000

export const doctor: Define = (parent, terminal, done) => {
  parent
    .command('doctor')
    .summary('Look at the set-up of this machine and say what to do')
    .description('Look at Node, the data folder, the disk, the database, the server and the clock. Nothing is changed.')
    .option('--url <url>', 'Address of the server (AFFIDAVIT_URL, else http://127.0.0.1:4100)')
    .option('--json', 'Print JSON')
    .addHelpText('after', '\nExit codes: 0 nothing is bad, 1 something is')
    .action(async (options: Options) => done(await examine(options, terminal)))
}

async function examine(options: Options, terminal: Terminal): Promise<number> {
  const { readConfig } = await import('@affidavit/server/config.ts')
  const read = readConfig(terminal.environment)
  if (!read.ok) throw new Failure(`the settings are not usable:\n  ${read.problems.join('\n  ')}`, 2)
  const { dataDir, databaseUrl, port } = read.config
  const url = serverUrl(options.url ?? (terminal.environment.AFFIDAVIT_URL || `http://127.0.0.1:${port}`))
  const checks = [
    checkNode(),
    await checkFolder(dataDir),
    await checkOperatorKey(dataDir),
    await checkDisk(dataDir),
    await checkDatabase(databaseUrl),
    ...(await checkServer(url)),
  ]
  if (options.json) printJson(terminal, checks)
  else {
    const paint = painter(terminal.stdout, terminal.environment)
    for (const { name, state, sentence } of checks) {
      const [mark, style] = marks[state]
      print(terminal, `  ${paint(style, mark)} ${name.padEnd(12)}  ${printable(sentence)}`)
    }
  }
  return checks.some(({ state }) => state === 'bad') ? 1 : 0
}

const marks = { good: ['✓', 'green'], warning: ['!', 'yellow'], bad: ['✗', 'red'] } as const

function checkNode(): Check {
  const { node } = process.versions
  return { name: 'node', state: 'good', sentence: `Node ${node} on ${process.platform} ${process.arch}.` }
}

async function checkFolder(folder: string): Promise<Check> {
  const name = 'data folder'
  try {
    await access(folder, constants.R_OK | constants.W_OK | constants.X_OK)
    return { name, state: 'good', sentence: `${folder} is there and writable.` }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT')
      return { name, state: 'warning', sentence: `${folder} is not there yet; the first start makes it.` }
    return { name, state: 'bad', sentence: `${folder}: ${reasonOf(error)}. Choose another with AFFIDAVIT_DATA_DIR.` }
  }
}

async function checkOperatorKey(folder: string): Promise<Check> {
  const name = 'operator key'
  const path = join(folder, 'operator.key')
  try {
    const { mode } = await stat(path)
    if ((mode & 0o077) === 0) return { name, state: 'good', sentence: `${path} is there, readable by its owner only.` }
    return { name, state: 'bad', sentence: `${path} can be read by others. Close it: chmod 600 ${path}` }
  } catch {
    const sentence = `${path} is not there. The first start writes it; move it elsewhere once you have other keys.`
    return { name, state: 'warning', sentence }
  }
}

async function checkDisk(folder: string): Promise<Check> {
  const name = 'disk'
  for (let place = resolve(folder); ; place = dirname(place)) {
    try {
      const { bavail, bsize } = await statfs(place)
      const free = bavail * bsize
      const sentence = `${(free / GB).toFixed(1)} GB are free at ${place}.`
      if (free < SHORT_DISK_BYTES)
        return { name, state: 'bad', sentence: `${sentence} Make room before events are refused.` }
      return { name, state: free < LOW_DISK_BYTES ? 'warning' : 'good', sentence }
    } catch (error) {
      if (place === dirname(place)) return { name, state: 'bad', sentence: `the disk: ${reasonOf(error)}.` }
    }
  }
}

async function checkDatabase(databaseUrl: string | undefined): Promise<Check> {
  const name = 'database'
  if (databaseUrl === undefined)
    return { name, state: 'good', sentence: 'Embedded PostgreSQL, kept in the data folder; the server starts it.' }
  const { hostname, port, searchParams } = new URL(databaseUrl)
  const socket = searchParams.get('host')
  const path = socket?.startsWith('/') ? join(socket, `.s.PGSQL.${port || 5432}`) : undefined
  const where = path ?? `${hostname || 'localhost'}:${port || 5432}`
  const reason = await unreachable(
    path === undefined
      ? { host: hostname.replace(/^\[|\]$/g, '') || 'localhost', port: Number(port || 5432) }
      : { path },
  )
  if (reason === undefined) return { name, state: 'good', sentence: `Something answers at ${where} of DATABASE_URL.` }
  return { name, state: 'bad', sentence: `${where} of DATABASE_URL cannot be reached: ${reason}.` }
}

function unreachable(to: { host: string; port: number } | { path: string }): Promise<string | undefined> {
  return new Promise((settle) => {
    const socket = connect(to)
    socket.setTimeout(WAIT_MS, () => socket.destroy(new Error('no answer')))
    socket.once('connect', () => {
      settle(undefined)
      socket.destroy()
    })
    socket.once('error', (error) => settle(reasonOf((error as AggregateError).errors?.[0] ?? error)))
  })
}

/** The server, and by its answer the clock. */
async function checkServer(url: string): Promise<Check[]> {
  const sent_ms = Date.now()
  let response: Response
  try {
    response = await fetch(`${url}/readyz`, { redirect: 'manual', signal: AbortSignal.timeout(WAIT_MS) })
  } catch (error) {
    const cause = (error as Error).cause ?? error
    const reason = reasonOf((cause as AggregateError).errors?.[0] ?? cause)
    const sentence = `Nothing answers at ${url} (${reason}). Start it with: affidavit serve`
    return [{ name: 'server', state: 'warning', sentence }]
  }
  const half_ms = (Date.now() - sent_ms) / 2
  return [await readiness(url, response), clock(response.headers.get('date'), sent_ms + half_ms)]
}

async function readiness(url: string, response: Response): Promise<Check> {
  const name = 'server'
  if (response.status === 200) return { name, state: 'good', sentence: `${url} is ready: events can be sealed.` }
  const told: unknown = await response.json().catch(() => undefined)
  const waiting = (told as { waiting_for?: unknown } | undefined)?.waiting_for
  const why = Array.isArray(waiting) ? waiting.join('; ') : `it answers ${response.status}; is it an Affidavit server?`
  return { name, state: 'bad', sentence: `${url} is not ready: ${why}.` }
}

function clock(date: string | null, here_ms: number): Check {
  const name = 'clock'
  // The header has whole seconds.
  const skew_ms = date === null ? Number.NaN : here_ms - (Date.parse(date) + 500)
  if (Number.isNaN(skew_ms)) return { name, state: 'warning', sentence: 'The server does not tell its time.' }
  if (Math.abs(skew_ms) < SKEW_MS)
    return { name, state: 'good', sentence: 'This machine and the server agree on the time.' }
  const seconds = Math.round(Math.abs(skew_ms) / 1000)
  return {
    name,
    state: 'bad',
    sentence: `The clocks of this machine and the server are ${seconds} s apart. Run NTP on both.`,
  }
}
