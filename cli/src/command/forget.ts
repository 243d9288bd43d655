/** `affidavit forget`: ask for what is to be forgotten, and approve what another key asked for, over HTTP. */
import { type Command, InvalidArgumentError } from 'commander'
import { endpoint, type ServerOptions } from '../config.ts'
import { Failure } from '../failure.ts'
import { Remote } from '../remote.ts'
import { print, printable, printJson, say, type Terminal, table } from '../terminal.ts'
import { type Define, parseSeq, subcommand, told } from './define.ts'

/** A request as the server shows it. */
export interface Act {
  readonly id: string
  readonly kind: string
  readonly tenant: string
  readonly state: string
  readonly reason: string
  readonly requested_by: { readonly name: string }
  readonly requested_at: string
  readonly decided_by: { readonly name: string } | null
  readonly holds: readonly string[]
  readonly control_seq: number | null
}

export type ForgetOptions = ServerOptions & { readonly json?: boolean }
interface PersonOptions {
  readonly type: string
  readonly id?: string
  readonly email?: string
}
type Asking = ForgetOptions & { readonly tenant: string; readonly reason: string }

export const forget: Define = (parent, terminal) => {
  const group = parent
    .command('forget')
    .summary('Ask that people, payloads or a tenant be forgotten, and approve it')
    .description(
      'What is forgotten stays provable: a control entry says what is gone, and every proof still holds. Whoever asks ' +
        'cannot approve: another key must.',
    )
    .helpCommand(false)
  const sub = (usage: string, summary: string): Command => subcommand(group, usage, summary)
  const asking = (usage: string, summary: string): Command =>
    sub(usage, summary)
      .requiredOption('--tenant <id>', 'Whose trail')
      .requiredOption('--reason <text>', 'Why. It is sealed and stays: name no person')
  const ask = (path: string, bodyOf: (options: never) => object) => (options: Asking) =>
    told(request(path, bodyOf(options as never), options, terminal))

  withPerson(asking('person', 'Destroy the key of a person: what the trail holds of them becomes unreadable')).action(
    ask('/v1/erasures', (options: PersonOptions) => ({ subject: personOf(options) })),
  )
  asking('payload', 'Remove the payload of single entries, such as a secret logged by mistake')
    .requiredOption('--seq <n>', 'Its sequence number; repeat for more', collectSeqs)
    .action(ask('/v1/redactions', ({ seq }: { seq: number[] }) => ({ seqs: seq })))
  asking('retention', 'Keep payloads shorter or longer')
    .requiredOption('--days <n>', 'Days to keep payloads, or forever', parseDays)
    .option('--category <name>', 'Only those of one category', 'all')
    .option('--notice', 'For what is sealed already, too, 30 days after the notice was sealed')
    .action(
      ask(
        '/v1/retentions',
        ({ days, category, notice }: { days: number | null; category: string; notice?: boolean }) => ({
          retention_days: days,
          category,
          from: notice ? 'notice' : 'new',
        }),
      ),
    )
  asking('entries', 'Remove the oldest entries altogether')
    .requiredOption('--below <size>', 'Entries below this number, a multiple of 256', parseSeq)
    .action(ask('/v1/truncations', ({ below }: { below: number }) => ({ size: below })))
  asking('tenant', 'Close a tenant for good: its keys are destroyed, all payloads go').action(
    ask('/v1/deletions', () => ({})),
  )
  sub('prune', 'Remove now what retention allows; the server does it daily by itself')
    .requiredOption('--tenant <id>', 'Whose trail')
    .action((options: Asking) => told(prune(options, terminal)))
  sub('list', 'List requests, the newest first')
    .option('--tenant <id>', 'Only those of one tenant')
    .option('--state <state>', 'waiting, held, done, rejected …')
    .action((options: ForgetOptions & { tenant?: string; state?: string }) => told(list(options, terminal)))
  sub('approve', 'Approve what another key asked for; it is carried out at once')
    .argument('<request>', 'Its id, as list shows it', parseRequest)
    .action((id: string, options: ForgetOptions) => told(decide(id, 'approve', options, terminal)))
  sub('reject', 'Reject what another key asked for')
    .argument('<request>', 'Its id, as list shows it', parseRequest)
    .action((id: string, options: ForgetOptions) => told(decide(id, 'reject', options, terminal)))
}

/** `--type --id`, or `--email`. */
export function withPerson(command: Command): Command {
  return command
    .option('--type <type>', 'What the person is called in events', 'user')
    .option('--id <id>', 'Their id')
    .option('--email <address>', 'Instead of an id: everybody whose own address it is. It is not kept')
}

export function personOf({ type, id, email }: PersonOptions): object {
  if ((id === undefined) === (email === undefined)) throw new Failure('Name the person with --id or with --email.')
  return email === undefined ? { type, id } : { email }
}

/** Sends a request and says what is to be done next. */
export async function request(
  path: string,
  body: object,
  options: Asking | (ForgetOptions & { reason: string }),
  terminal: Terminal,
) {
  const { reason } = options
  const sent = { ...('tenant' in options && { tenant: options.tenant }), ...body, reason }
  const act = (await new Remote(endpoint(options, terminal.environment)).json(path, {
    method: 'POST',
    body: sent,
  })) as Act
  if (options.json) return printJson(terminal, act)
  say(
    terminal,
    printable(`Asked as ${act.requested_by.name}. Nothing has changed yet: another key must approve it with`),
  )
  print(terminal, `affidavit forget approve ${printable(act.id)}`)
}

async function decide(id: string, decision: string, options: ForgetOptions, terminal: Terminal): Promise<void> {
  const remote = new Remote(endpoint(options, terminal.environment))
  const path = `/v1/approvals/${encodeURIComponent(id)}`
  const act = (await remote.json(path, { method: 'POST', body: { decision } })) as Act
  if (options.json) printJson(terminal, act)
  else print(terminal, printable(sentence(act)))
}

function sentence({ state, kind, holds, control_seq }: Act): string {
  switch (state) {
    case 'done':
      return `Done (${kind}). Entry ${control_seq} says so.`
    case 'held':
      return `Approved, and held by the legal hold ${holds.join(', ')}: it is carried out after the release.`
    case 'rejected':
      return `Rejected (${kind}). Nothing was changed.`
    default:
      return `Approved (${kind}); it is carried out soon.`
  }
}

async function prune(options: Asking, terminal: Terminal): Promise<void> {
  const remote = new Remote(endpoint(options, terminal.environment))
  const { data } = (await remote.json('/v1/prunes', { method: 'POST', body: { tenant: options.tenant } })) as {
    data: { category: string; before: number; control_seq: number }[]
  }
  if (options.json) return printJson(terminal, data)
  if (data.length === 0) return say(terminal, 'Nothing is due.')
  const rows = data.map((one) => [one.category, `below ${one.before}`, `entry ${one.control_seq}`].map(printable))
  print(terminal, table([['CATEGORY', 'PAYLOADS', 'SAYS'], ...rows]))
}

async function list(options: ForgetOptions & { tenant?: string; state?: string }, terminal: Terminal): Promise<void> {
  const query = new URLSearchParams({ limit: '1000' })
  for (const name of ['tenant', 'state'] as const) if (options[name] !== undefined) query.set(name, options[name])
  const remote = new Remote(endpoint(options, terminal.environment))
  const { data } = (await remote.json(`/v1/approvals?${query}`)) as { data: Act[] }
  if (options.json) return printJson(terminal, data)
  if (data.length === 0) return say(terminal, 'No requests.')
  const rows = data.map(({ id, tenant, kind, state, requested_at, requested_by, decided_by }) =>
    [id, tenant, kind, state, requested_at.slice(0, 10), requested_by.name, decided_by?.name ?? ''].map(printable),
  )
  print(terminal, table([['REQUEST', 'TENANT', 'KIND', 'STATE', 'ASKED', 'BY', 'DECIDED BY'], ...rows]))
}

function collectSeqs(value: string, before: readonly number[] | undefined): number[] {
  return [...(before ?? []), parseSeq(value)]
}

function parseRequest(text: string): string {
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(text))
    throw new InvalidArgumentError('The id of a request is expected: affidavit forget list shows them.')
  return text
}

function parseDays(text: string): number | null {
  if (text === 'forever') return null
  if (!/^[1-9]\d{0,4}$/.test(text)) throw new InvalidArgumentError('Write a number of days, or forever.')
  return Number(text)
}
