/** `affidavit scrub`: recompute everything that is stored, now; show what was found; let a stopped trail go on. */
import type { Found } from '@affidavit/server/assembly/scrub-foreground.ts'
import { endpoint, type ServerOptions } from '../config.ts'
import { Failure } from '../failure.ts'
import { Remote } from '../remote.ts'
import { count, plural, print, printable, printJson, progressLine, say, type Terminal, table } from '../terminal.ts'
import { type Define, withServer } from './define.ts'
import { settingsOf, spoken } from './settings.ts'

interface Options extends ServerOptions {
  readonly list?: boolean
  readonly acknowledge?: string
  readonly reason?: string
  readonly json?: boolean
}

export const scrub: Define = (parent, terminal, done) => {
  const command = parent
    .command('scrub')
    .summary('Recompute what is stored and compare, now')
    .description(
      'Read everything that the database of AFFIDAVIT_DATA_DIR or DATABASE_URL holds, and recompute hashes, commitments, ' +
        'tiles, columns and search terms. What does not fit stops its trail until it is acknowledged. A server does the ' +
        'same in the background (AFFIDAVIT_SCRUB_EVENTS); this needs the key folder and may run beside it.',
    )
    .option('--list', 'Do not read: show how far the server’s scrub is and what it found')
    .option('--acknowledge <finding>', 'Take note of a finding, so that its trail goes on; needs --reason')
    .option('--reason <text>', 'Why, for the operator’s own trail')
    .option('--json', 'Print JSON')
  withServer(command)
    .addHelpText(
      'after',
      [
        '',
        'Examples:',
        '  affidavit scrub',
        '  affidavit scrub --list',
        '  affidavit scrub --acknowledge 7 --reason "restored by hand, ticket 4711"',
        '',
        'Exit codes: 0 nothing is wrong, 1 something is, 2 could not be carried out',
      ].join('\n'),
    )
    .action(async (options: Options) => done(await run(options, terminal)))
}

async function run(options: Options, terminal: Terminal): Promise<number> {
  if (options.acknowledge !== undefined) return acknowledge(options, terminal)
  return options.list ? list(options, terminal) : read(options, terminal)
}

const place = (tenant: string, seq: number | null) => `${tenant}${seq === null ? '' : ` entry ${seq}`}`

async function read(options: Options, terminal: Terminal): Promise<number> {
  const { scrubNow } = await import('@affidavit/server/assembly/scrub-foreground.ts')
  const config = await settingsOf(terminal)
  const bar = progressLine(terminal)
  const found: Found[] = []
  const scrubbed = await spoken(() =>
    scrubNow(config, {
      rate: Number.POSITIVE_INFINITY,
      signal: new AbortController().signal,
      onProgress: ({ checked, total }) => bar.update(() => `${count(checked)} of ${plural(total, 'entry', 'entries')}`),
      onFound: (one) => {
        found.push(one)
        if (options.json) return
        bar.clear()
        print(terminal, printable(`${place(one.tenant, one.seq)}: ${one.what}: ${one.message}`))
      },
    }).finally(() => bar.clear()),
  )
  if (scrubbed.kind === 'busy')
    throw new Failure('A server’s scrub is at it. See it with --list, or turn it off with AFFIDAVIT_SCRUB_EVENTS=0.')
  if (options.json) {
    const shown = found.map(({ tenant, trailId, seq, what, message }) => ({
      tenant,
      trail: trailId,
      seq,
      what,
      message,
    }))
    printJson(terminal, { checked: scrubbed.checked, findings: shown })
  } else {
    const what = found.length === 0 ? 'nothing new is wrong' : plural(found.length, 'new finding', 'new findings')
    print(terminal, `${plural(scrubbed.checked, 'entry', 'entries')} recomputed: ${what}.`)
  }
  return found.length === 0 ? 0 : 1
}

interface Shown {
  readonly state: string
  readonly checked: number
  readonly total: number
  readonly open_findings: number
  readonly stopped_trails: number
  readonly finished_at: string | null
  readonly findings: readonly {
    readonly id: string
    readonly tenant: string
    readonly seq: number | null
    readonly what: string
    readonly message: string
    readonly found_at: string
    readonly acknowledged_by: string | null
  }[]
}

async function list(options: Options, terminal: Terminal): Promise<number> {
  const remote = new Remote(endpoint(options, terminal.environment))
  const shown = (await remote.json('/v1/scrub')) as Shown
  if (options.json) printJson(terminal, shown)
  else {
    const { state, checked, total, finished_at, findings } = shown
    const last = finished_at === null ? 'no round is through yet' : `the last round ended ${finished_at}`
    print(terminal, `The scrub is ${state}: ${count(checked)} of ${plural(total, 'entry', 'entries')}; ${last}.`)
    const rows = findings.map(({ id, tenant, seq, what, message, acknowledged_by }) =>
      [id, acknowledged_by === null ? 'OPEN' : 'noted', place(tenant, seq), what, message].map(printable),
    )
    if (rows.length > 0) print(terminal, table([['ID', 'STATE', 'WHERE', 'WHAT', 'FINDING'], ...rows]))
  }
  return shown.open_findings === 0 ? 0 : 1
}

async function acknowledge(options: Options, terminal: Terminal): Promise<number> {
  if (!options.reason) throw new Failure('--acknowledge needs --reason: it is kept with the finding.')
  const remote = new Remote(endpoint(options, terminal.environment))
  const path = `/v1/scrub/findings/${encodeURIComponent(options.acknowledge!)}/acknowledge`
  const finding = await remote.json(path, { method: 'POST', body: { reason: options.reason } })
  if (options.json) printJson(terminal, finding)
  else say(terminal, `Finding ${options.acknowledge} is acknowledged; its trail goes on once none is open.`)
  return 0
}
