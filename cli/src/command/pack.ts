/** `affidavit pack`: takes a trail home as one file, written whole or not at all, and verifies it. */
import { randomBytes } from 'node:crypto'
import { access, open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { endpoint, type ServerOptions } from '../config.ts'
import { Failure, reasonOf } from '../failure.ts'
import { asFailure, Remote, ServerRefused } from '../remote.ts'
import { count, progressLine, say, type Terminal } from '../terminal.ts'
import { type Define, parseSeq, withServer } from './define.ts'

interface Options extends ServerOptions {
  readonly tenant: string
  readonly from?: number
  readonly to?: number
  readonly output?: string
  readonly force?: boolean
  readonly json?: boolean
}

export const pack: Define = (parent, terminal, done) => {
  const command = parent
    .command('pack')
    .summary('Fetch a trail, or a range of it, as one evidence pack')
    .description(
      'Fetch an evidence pack: one ZIP file with entries, payloads, checkpoint and hashes, which anybody can verify ' +
        'offline. It is verified as soon as it is written.',
    )
    .requiredOption('--tenant <id>', 'Tenant whose trail is wanted')
    .option('--from <seq>', 'First entry (default: the first)', parseSeq)
    .option('--to <seq>', 'The entry after the last one (default: all that the newest checkpoint covers)', parseSeq)
    .option('-o, --output <file>', 'File to write (default: <tenant>.affidavit.zip)')
    .option('--force', 'Replace the file if it exists')
    .option('--json', 'Print the verification as JSON')
  withServer(command)
    .addHelpText(
      'after',
      [
        '',
        'Examples:',
        '  affidavit pack --tenant org_1',
        '  affidavit pack --tenant org_1 --from 1000 --to 2000 -o march.zip',
        '',
        'Exit codes: those of verify, for the file that was written',
      ].join('\n'),
    )
    .action(async (options: Options) => done(await fetchPack(options, terminal)))
}

async function fetchPack(options: Options, terminal: Terminal): Promise<number> {
  const { tenant, from, to } = options
  if (from !== undefined && to !== undefined && from >= to) throw new Failure('--to must lie after --from.')
  const path = options.output ?? `${tenant}.affidavit.zip`
  if (!options.force && (await exists(path))) throw new Failure(`${path} exists. Give -o another name, or --force.`)
  const remote = new Remote(endpoint(options, terminal.environment))
  const query = new URLSearchParams()
  if (from !== undefined) query.set('from', String(from))
  if (to !== undefined) query.set('to', String(to))
  const bytes = await download(remote, `/v1/trails/${encodeURIComponent(tenant)}/pack?${query}`, path, terminal)
  say(terminal, `Wrote ${path}, ${count(bytes)} bytes. Verifying it:`)
  const [{ EXIT_CODES }, { verifyPackFile }, { outcomeOf, printReport, printReportJson }] = await Promise.all([
    import('@affidavit/trail'),
    import('../verify/run.ts'),
    import('../verify/report.ts'),
  ])
  const report = await verifyPackFile(path, terminal)
  const exitCode = EXIT_CODES[outcomeOf(report)]
  if (options.json) printReportJson(report, exitCode, terminal)
  else printReport(report, terminal)
  return exitCode
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  )
}

/** A trail that was begun a moment ago has its first checkpoint within seconds: waiting is kinder than refusing. */
async function opened(remote: Remote, address: string): ReturnType<Remote['stream']> {
  for (const deadline = Date.now() + 10_000; ; await sleep(500)) {
    try {
      return await remote.stream(address)
    } catch (error) {
      const isEarly = error instanceof ServerRefused && error.code === 'not_notarized'
      if (!isEarly || Date.now() > deadline) throw error
    }
  }
}

/** Streams into a temporary file beside the target, which appears only when everything is on disk. @returns bytes */
async function download(remote: Remote, address: string, path: string, terminal: Terminal): Promise<number> {
  const temporary = `${path}.${randomBytes(6).toString('hex')}.part`
  const bar = progressLine(terminal)
  try {
    const file = await open(temporary, 'wx', 0o600)
    let bytes = 0
    try {
      for await (const piece of await opened(remote, address)) {
        await file.writeFile(piece)
        bytes += piece.length
        bar.update(() => `${path}: ${count(bytes)} bytes`)
      }
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(temporary, path)
    await syncFolder(dirname(path))
    return bytes
  } catch (error) {
    await rm(temporary, { force: true })
    throw downloadFailure(error, path)
  } finally {
    bar.clear()
  }
}

/** The name is only durable when the folder is; some file systems cannot do this, and then nothing is lost but that. */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r').catch(() => undefined)
  await folder?.sync().catch(() => {})
  await folder?.close()
}

function downloadFailure(error: unknown, path: string): unknown {
  const failure = asFailure(error, 2)
  if (failure instanceof Failure) return failure
  const { syscall } = error as NodeJS.ErrnoException
  if (syscall !== undefined && /open|write|fsync|rename/.test(syscall))
    return new Failure(`${path} cannot be written: ${reasonOf(error)}.`, 2, { cause: error })
  return new Failure(
    `The pack broke off on the way: ${reasonOf((error as Error).cause ?? error)}. Nothing was kept.`,
    2,
    {
      cause: error,
    },
  )
}
