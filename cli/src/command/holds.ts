/** `affidavit holds`: legal holds over HTTP. One key places one; two release it. */
import type { Command } from 'commander'
import { endpoint } from '../config.ts'
import { Failure } from '../failure.ts'
import { Remote } from '../remote.ts'
import { print, printable, printJson, say, type Terminal, table } from '../terminal.ts'
import { type Define, parseSeq, subcommand, told } from './define.ts'
import { type ForgetOptions, personOf, request, withPerson } from './forget.ts'

interface Hold {
  readonly id: string
  readonly scope: string
  readonly from: number | null
  readonly to: number | null
  readonly subjects: number
  readonly control_seq: number
  readonly placed_at: string
  readonly released_at: string | null
  readonly waiting: readonly string[]
}

type PlaceOptions = ForgetOptions & {
  readonly tenant: string
  readonly reason: string
  readonly from?: number
  readonly to?: number
  readonly type: string
  readonly id?: string
  readonly email?: string
}

export const holds: Define = (parent, terminal) => {
  const group = parent
    .command('holds')
    .summary('Place, list and release legal holds')
    .description('Nothing that a legal hold covers is erased, redacted, pruned or deleted; what waits is queued.')
    .helpCommand(false)
  const sub = (usage: string, summary: string): Command => subcommand(group, usage, summary)
  withPerson(
    sub('place', 'Place a hold: on a whole trail, on --from and --to, or on a person')
      .requiredOption('--tenant <id>', 'Whose trail')
      .requiredOption('--reason <text>', 'Why, for example the number of the case. It is sealed and stays')
      .option('--from <seq>', 'First entry', parseSeq)
      .option('--to <seq>', 'Entry after the last one', parseSeq),
  ).action((options: PlaceOptions) => told(place(options, terminal)))
  sub('list', 'List the holds of a tenant, and what waits for them')
    .requiredOption('--tenant <id>', 'Whose trail')
    .action((options: ForgetOptions & { tenant: string }) => told(list(options, terminal)))
  sub('release <hold>', 'Ask that a hold be released; another key must approve')
    .requiredOption('--reason <text>', 'Why. It is sealed and stays')
    .action((id: string, options: ForgetOptions & { reason: string }) =>
      told(request(`/v1/holds/${encodeURIComponent(id)}/release`, {}, options, terminal)),
    )
}

async function place(options: PlaceOptions, terminal: Terminal): Promise<void> {
  const { tenant, reason, from, to, id, email } = options
  if ((from === undefined) !== (to === undefined)) throw new Failure('--from and --to go together.')
  const isPerson = id !== undefined || email !== undefined
  const body = {
    tenant,
    reason,
    ...(from !== undefined && { from, to }),
    ...(isPerson && { subject: personOf(options) }),
  }
  const hold = (await new Remote(endpoint(options, terminal.environment)).json('/v1/holds', {
    method: 'POST',
    body,
  })) as Hold
  if (options.json) return printJson(terminal, hold)
  say(terminal, `In force: entry ${hold.control_seq} says so. Its id:`)
  print(terminal, printable(hold.id))
}

async function list(options: ForgetOptions & { tenant: string }, terminal: Terminal): Promise<void> {
  const remote = new Remote(endpoint(options, terminal.environment))
  const { data } = (await remote.json(`/v1/holds?tenant=${encodeURIComponent(options.tenant)}`)) as { data: Hold[] }
  if (options.json) return printJson(terminal, data)
  if (data.length === 0) return say(terminal, 'No holds.')
  const rows = data.map((hold) =>
    [
      hold.id,
      covers(hold),
      hold.placed_at.slice(0, 10),
      hold.released_at?.slice(0, 10) ?? 'in force',
      String(hold.waiting.length),
    ].map(printable),
  )
  print(terminal, table([['HOLD', 'COVERS', 'PLACED', 'RELEASED', 'WAITING'], ...rows]))
}

function covers({ scope, from, to, subjects }: Hold): string {
  if (scope === 'entries') return `entries ${from} to ${to}`
  return scope === 'subjects' ? `${subjects} subjects` : 'the whole trail'
}
