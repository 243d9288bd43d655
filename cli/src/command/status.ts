/** `affidavit status`: how a server, its registry, its witnesses and its anchors do, for people and for monitoring. */
import { endpoint, type ServerOptions } from '../config.ts'
import { asFailure, Remote } from '../remote.ts'
import { count, painter, plural, print, printable, printJson, type Terminal, table } from '../terminal.ts'
import { type Define, withServer } from './define.ts'

interface Anchor {
  readonly name: string
  readonly kind: string
  readonly state: 'untried' | 'good' | 'failing' | 'wrong'
  readonly epoch: number | null
  readonly succeeded_at: string | null
  readonly error: string | null
  readonly failures: number
}

interface Status {
  readonly ready: boolean
  readonly waiting_for: readonly string[]
  readonly assurance: string
  readonly notary: {
    readonly unnotarized_events: number
    readonly missing_events: number
    readonly stopped_trails: readonly { readonly trail: number; readonly reason: string }[]
    readonly last_error: string | null
  } | null
  readonly registry: {
    readonly epoch: number | null
    readonly time: string | null
    readonly cosigned_epoch: number | null
    readonly cosigned_time: string | null
    readonly late: boolean
    readonly behind: boolean
    readonly broken_trails: number
  } | null
  readonly scrub: {
    readonly state: 'off' | 'idle' | 'running'
    readonly checked: number
    readonly total: number
    readonly finished_at: string | null
    readonly open_findings: number
    readonly stopped_trails: number
  }
  readonly anchors: readonly Anchor[]
}

type Options = ServerOptions & { readonly json?: boolean }

export const status: Define = (parent, terminal, done) => {
  withServer(
    parent
      .command('status')
      .summary('How a server, its witnesses and its anchors do')
      .description(
        'Show whether a server seals events, how far its checkpoints and its registry are, and how each witness and anchor ' +
          'does. Needs an operator key.',
      )
      .option('--json', 'Print JSON'),
  )
    .addHelpText('after', '\nExit codes: 0 all is well, 1 something needs a look, 2 could not be asked')
    .action(async (options: Options) => done(await show(options, terminal)))
}

async function show(options: Options, terminal: Terminal): Promise<number> {
  const remote = new Remote(endpoint(options, terminal.environment))
  const told = (await remote.json('/v1/status').catch((error: unknown) => {
    throw asFailure(error, 2)
  })) as Status
  const worries = worriesOf(told, Date.now())
  if (options.json) printJson(terminal, told)
  else {
    const paint = painter(terminal.stdout, terminal.environment)
    for (const line of describe(told, Date.now())) print(terminal, line)
    for (const worry of worries) print(terminal, paint('red', printable(`! ${worry}`)))
  }
  return worries.length === 0 ? 0 : 1
}

/** As long the server prefers a checkpoint with its quorum to a newer one without. */
const quorum_patience_ms = 600_000

const hasWitness = (anchors: readonly Anchor[]) => anchors.some(({ kind }) => kind === 'witness')

/** What a person should look at, one sentence each. */
export function worriesOf({ ready, waiting_for, notary, registry, scrub, anchors }: Status, now_ms: number): string[] {
  const worries = ready ? [] : waiting_for.map((reason) => `Events are not sealed: ${reason}.`)
  if (notary === null) worries.push('The notary is down: checkpoints get old.')
  for (const { trail, reason } of notary?.stopped_trails ?? [])
    worries.push(`Trail number ${trail} is stopped: ${reason}.`)
  if (notary !== null && notary.missing_events > 0)
    worries.push(`${plural(notary.missing_events, 'sealed event is', 'sealed events are')} missing from the database.`)
  if (registry === null) worries.push('The registry is down: no new epochs.')
  if (registry?.late) worries.push('The registry is late: no epoch for more than three intervals.')
  if (registry?.behind) worries.push('The database is older than the epochs in Objects: restore a newer one.')
  if (registry !== null && registry.broken_trails > 0)
    worries.push(
      `What is stored of ${plural(registry.broken_trails, 'trail', 'trails')} contradicts the last epoch: the server's log says where.`,
    )
  if (scrub.open_findings > 0)
    worries.push(
      `The scrub found ${plural(scrub.open_findings, 'change', 'changes')} behind the server's back; ` +
        `${plural(scrub.stopped_trails, 'trail is', 'trails are')} stopped: affidavit scrub --list.`,
    )
  const cosigned_ms = Date.parse(registry?.cosigned_time ?? '')
  if (hasWitness(anchors) && typeof registry?.epoch === 'number' && !(now_ms - cosigned_ms < quorum_patience_ms))
    worries.push('The quorum of witnesses has cosigned nothing for ten minutes.')
  for (const { name, kind, state, error, failures } of anchors) {
    if (state === 'wrong') worries.push(`${kind} ${name} answers what cannot be right: ${error}.`)
    if (state === 'failing') worries.push(`${kind} ${name} failed ${plural(failures, 'time', 'times')}: ${error}.`)
  }
  return worries
}

function describe({ ready, assurance, notary, registry, scrub, anchors }: Status, now_ms: number): string[] {
  const quorum =
    registry !== null && hasWitness(anchors)
      ? `; the quorum cosigned ${registry.cosigned_epoch === null ? 'none yet' : `epoch ${count(registry.cosigned_epoch)}, ${ago(registry.cosigned_time, now_ms)}`}`
      : ''
  const epoch = registry?.epoch
  const lines = [
    table([
      ['Server', ready ? 'seals events' : 'does not seal events'],
      ['Notary', notary === null ? 'down' : `${count(notary.unnotarized_events)} events behind`],
      [
        'Registry',
        epoch === null || epoch === undefined
          ? 'no epoch yet'
          : `epoch ${count(epoch)}, ${ago(registry!.time, now_ms)}${quorum}`,
      ],
      ['Scrub', scrubbed(scrub, now_ms)],
      ['Assurance', printable(assurance)],
    ]),
  ]
  if (anchors.length === 0)
    return [...lines, 'Nobody outside has seen this log: configure witnesses or anchors (docs/operating/anchors.md).']
  return [
    ...lines,
    '',
    table([
      ['KIND', 'NAME', 'STATE', 'EPOCH', 'LAST'],
      ...anchors.map(({ kind, name, state, epoch, succeeded_at }) => [
        ...[kind, name, state].map(printable),
        epoch === null ? '-' : count(epoch),
        ago(succeeded_at, now_ms),
      ]),
    ]),
  ]
}

function scrubbed({ state, checked, total, finished_at }: Status['scrub'], now_ms: number): string {
  const round = finished_at === null ? 'no round is complete yet' : `last round complete ${ago(finished_at, now_ms)}`
  if (state !== 'running') return `${state}; ${round}`
  return `${count(checked)} of ${plural(total, 'entry', 'entries')} read again; ${round}`
}

/** "12 s ago" */
function ago(time: string | null, now_ms: number): string {
  if (time === null) return 'never'
  const seconds = Math.max(0, Math.round((now_ms - Date.parse(time)) / 1000))
  if (seconds < 120) return `${seconds} s ago`
  if (seconds < 7_200) return `${Math.round(seconds / 60)} min ago`
  if (seconds < 172_800) return `${Math.round(seconds / 3_600)} h ago`
  return `${Math.round(seconds / 86_400)} days ago`
}
