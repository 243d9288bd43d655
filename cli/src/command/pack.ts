/** `affidavit pack`: takes a trail or a part of it home as one file, and verifies it. */
import { access } from 'node:fs/promises'
import { PackError } from '@affidavit/trail'
import { InvalidArgumentError } from 'commander'
import { endpoint, type ServerOptions } from '../config.ts'
import { Failure, reasonOf } from '../failure.ts'
import { download, type Wanted } from '../pack/download.ts'
import { lockFile } from '../pack/lock.ts'
import { PartialPack } from '../pack/partial.ts'
import { asFailure, Remote, ServerRefused } from '../remote.ts'
import { count, progressLine, say, type Terminal } from '../terminal.ts'
import { collect, type Define, parseSeq, withServer } from './define.ts'

/** How often a pack is begun, where something is removed from its trail again and again. */
const MOST_BEGINNINGS = 3

interface Options extends ServerOptions {
  readonly tenant: string
  readonly from?: number
  readonly to?: number
  readonly since?: string
  readonly until?: string
  readonly event?: readonly string[]
  readonly query?: string
  readonly trail?: string
  readonly restart?: boolean
  readonly output?: string
  readonly force?: boolean
  readonly json?: boolean
}

export const pack: Define = (parent, terminal, done) => {
  const command = parent
    .command('pack')
    .summary('Fetch a trail, or a range of it, as one evidence pack')
    .description(
      'Fetch an evidence pack: one ZIP file with entries, payloads, checkpoint, hashes and the proof of the registry, ' +
        'which anybody can verify offline. It is verified as soon as it is written.',
    )
    .requiredOption('--tenant <id>', 'Tenant whose trail is wanted')
    .option('--from <seq>', 'First entry (default: the first)', parseSeq)
    .option('--to <seq>', 'The entry after the last one (default: all that the newest checkpoint covers)', parseSeq)
    .option('--since <time>', 'Entries sealed at this ISO 8601 time or later, instead', parseTime)
    .option('--until <time>', 'Entries sealed before this time, instead', parseTime)
    .option('--event <id>', 'Only this event, instead; repeat for more', collect)
    .option('--query <search>', "Only the events that this search finds, instead: as behind '?' of GET /v1/events")
    .option('--trail <id>', 'An earlier trail of the tenant (default: the newest)')
    .option('-o, --output <file>', 'File to write (default: <tenant>.affidavit.zip)')
    .option('--force', 'Replace the file if it exists')
    .option('--restart', 'Begin anew instead of going on with an unfinished download')
    .option('--json', 'Print the verification as JSON')
  withServer(command)
    .addHelpText(
      'after',
      [
        '',
        'Examples:',
        '  affidavit pack --tenant org_1',
        '  affidavit pack --tenant org_1 --since 2026-03-01 --until 2026-04-01 -o march.zip',
        "  affidavit pack --tenant org_1 --query 'action=user.role.*&actor=user_42'",
        '',
        'A download that was cut off goes on where it stopped when the same command is given again.',
        '',
        'Exit codes: those of verify, for the file that was written',
      ].join('\n'),
    )
    .action(async (options: Options) => done(await fetchPack(options, terminal)))
}

async function fetchPack(options: Options, terminal: Terminal): Promise<number> {
  const { tenant, from, to } = options
  if (from !== undefined && to !== undefined && from >= to) throw new Failure('--to must lie after --from.')
  checkChoice(options)
  const path = options.output ?? `${tenant}.affidavit.zip`
  if (!options.force && (await exists(path))) throw new Failure(`${path} exists. Give -o another name, or --force.`)
  const remote = new Remote(endpoint(options, terminal.environment))
  const wanted = { remote, path: `/v1/trails/${encodeURIComponent(tenant)}/pack`, query: selection(options) }
  const bytes = await fetchInto(path, wanted, options.restart === true, terminal)
  say(terminal, `Wrote ${path}, ${count(bytes)} bytes. Verifying it:`)
  const [{ EXIT_CODES }, { verifyPackFile }, { outcomeOf, printReport, printReportJson }] = await Promise.all([
    import('@affidavit/trail'),
    import('../verify/file/of-pack.ts'),
    import('../verify/report.ts'),
  ])
  const report = await verifyPackFile(path, terminal)
  const exitCode = EXIT_CODES[outcomeOf(report)]
  if (options.json) printReportJson(report, exitCode, terminal)
  else printReport(report, terminal)
  return exitCode
}

/** What the server would refuse, told in the words of this command. */
function checkChoice({ from, to, since, until, event, query }: Options): void {
  const ways = [from ?? to, since ?? until, event, query].filter((given) => given !== undefined)
  if (ways.length > 1)
    throw new Failure('Choose in one way: by --from and --to, by --since and --until, by --event, or by --query.')
}

function parseTime(text: string): string {
  if (!/^\d{4}-\d\d-\d\d/.test(text) || Number.isNaN(Date.parse(text)))
    throw new InvalidArgumentError('A date or time is expected, such as 2026-03-01 or 2026-03-01T18:00:00Z.')
  return text
}

function selection({ from, to, since, until, event, query, trail }: Options): string {
  const parameters = new URLSearchParams()
  if (from !== undefined) parameters.set('from', String(from))
  if (to !== undefined) parameters.set('to', String(to))
  if (since !== undefined) parameters.set('sealed_from', since)
  if (until !== undefined) parameters.set('sealed_to', until)
  for (const id of event ?? []) parameters.append('event', id)
  if (query !== undefined) parameters.set('query', query)
  if (trail !== undefined) parameters.set('trail', trail)
  return String(parameters)
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  )
}

/** The file appears under its name only when everything is on disk. @returns bytes */
async function fetchInto(path: string, wanted: Wanted, restart: boolean, terminal: Terminal): Promise<number> {
  const bar = progressLine(terminal)
  let partial: PartialPack | undefined
  let unlock: (() => Promise<void>) | undefined
  try {
    unlock = await lockFile(path)
    const request = JSON.stringify({ url: wanted.remote.url, path: wanted.path, query: wanted.query })
    partial = await PartialPack.open(path, request, restart)
    if (partial.bytes > 0) say(terminal, `${path}.part has ${count(partial.bytes)} bytes already: going on from there.`)
    for (let begun = 1; ; begun++) {
      const open: PartialPack = partial
      try {
        await download(wanted, open, () => bar.update(() => `${path}: ${count(open.bytes)} bytes`))
        return await open.finish()
      } catch (error) {
        // A pack explains what it lacks by what was sealed before it: what was removed since makes it another pack.
        if (!(error instanceof ServerRefused && error.code === 'pack_outdated' && begun < MOST_BEGINNINGS)) throw error
        bar.clear()
        say(terminal, 'Something was removed from the trail since this pack was begun: making it anew.')
        await open.abandon()
        partial = undefined
        partial = await PartialPack.open(path, request, true)
      }
    }
  } catch (error) {
    await partial?.abandon()
    throw downloadFailure(error, path)
  } finally {
    bar.clear()
    await unlock?.()
  }
}

function downloadFailure(error: unknown, path: string): unknown {
  const failure = asFailure(error, 2)
  if (failure instanceof Failure) return failure
  const { syscall } = error as NodeJS.ErrnoException
  if (syscall !== undefined) return new Failure(`${path} cannot be written: ${reasonOf(error)}.`, 2, { cause: error })
  if (error instanceof PackError)
    return new Failure(`What the server sends is no pack: ${error.message} [${error.code}].`, 2, { cause: error })
  return error
}
