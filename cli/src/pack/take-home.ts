/** A pack is fetched into a file and verified: the work of `affidavit pack`. */
import { access } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { EXIT_CODES, PackError } from '@affidavit/trail'
import { endpoint, type ServerOptions } from '../config.ts'
import { Failure, reasonOf } from '../failure.ts'
import { asFailure, Remote, ServerRefused } from '../remote.ts'
import { count, progressLine, say, type Terminal } from '../terminal.ts'
import { verifyPackFile } from '../verify/file/of-pack.ts'
import { outcomeOf, printReport, printReportJson } from '../verify/report.ts'
import { download, type Wanted } from './download.ts'
import { lockFile } from './lock.ts'
import { PartialPack } from './partial.ts'

/** How often a pack is begun, where something is removed from its trail again and again. */
const MOST_BEGINNINGS = 6
/** Before it is begun again, twice as long each time: a pack ends at a checkpoint, and the next one is about a second away. */
const PAUSE_MS = 500

export interface PackOptions extends ServerOptions {
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

/** Fetches what the options choose into a file, and verifies it. @returns the exit code */
export async function takeHome(options: PackOptions, terminal: Terminal): Promise<number> {
  const { tenant, from, to } = options
  if (from !== undefined && to !== undefined && from >= to) throw new Failure('--to must lie after --from.')
  checkChoice(options)
  const path = options.output ?? `${tenant}.affidavit.zip`
  if (!options.force && (await exists(path))) throw new Failure(`${path} exists. Give -o another name, or --force.`)
  const remote = new Remote(endpoint(options, terminal.environment))
  const wanted = { remote, path: `/v1/trails/${encodeURIComponent(tenant)}/pack`, query: selection(options) }
  const bytes = await fetchInto(path, wanted, options.restart === true, terminal)
  say(terminal, `Wrote ${path}, ${count(bytes)} bytes. Verifying it:`)
  const report = await verifyPackFile(path, terminal)
  const exitCode = EXIT_CODES[outcomeOf(report)]
  if (options.json) printReportJson(report, exitCode, terminal)
  else printReport(report, terminal)
  return exitCode
}

/** What the server would refuse, told in the words of this command. */
function checkChoice({ from, to, since, until, event, query }: PackOptions): void {
  const ways = [from ?? to, since ?? until, event, query].filter((given) => given !== undefined)
  if (ways.length > 1)
    throw new Failure('Choose in one way: by --from and --to, by --since and --until, by --event, or by --query.')
}

function selection({ from, to, since, until, event, query, trail }: PackOptions): string {
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
        await sleep(PAUSE_MS * 2 ** (begun - 1))
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
