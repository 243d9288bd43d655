/** `affidavit keys`: make, list and revoke API keys over HTTP. */
import { type Command, InvalidArgumentError, Option } from 'commander'
import { endpoint, type ServerOptions } from '../config.ts'
import { Failure } from '../failure.ts'
import { Remote } from '../remote.ts'
import { plural, print, printable, printJson, progressLine, say, type Terminal, table } from '../terminal.ts'
import { collect, type Define, subcommand, told } from './define.ts'
import { addRecover } from './recover.ts'
import { settingsOf, spoken } from './settings.ts'

interface Key {
  readonly id: string
  readonly name: string
  readonly tenant: string | null
  readonly scopes: readonly string[]
  readonly internal: boolean
  readonly created_at: string
  readonly expires_at: string | null
  readonly revoked_at: string | null
  readonly last_used_at: string | null
}

type Options = ServerOptions & { readonly json?: boolean; readonly tenant?: string }
type CreateOptions = Options & {
  readonly name: string
  readonly scope?: readonly string[]
  readonly expires?: string
  readonly internal?: boolean
}

const DAY_MS = 86_400_000

export const keys: Define = (parent, terminal) => {
  const group = parent
    .command('keys')
    .summary('Make, list and revoke API keys; rotate encryption keys')
    .description('API keys: what may record, read and verify, and under which name it is shown in events.')
    .helpCommand(false)
  const sub = (usage: string, summary: string): Command => subcommand(group, usage, summary)
  sub('create', 'Make a key. It is printed once, alone on standard output; the server keeps only its hash.')
    .requiredOption('--name <name>', 'Shown in every event made with the key, for example "Nightly Data Sync"')
    .option('--tenant <id>', 'Bind the key to one tenant; without: an operator key')
    .option('--scope <scope>', 'What the key may do; repeat for more (default: events:write)', collect)
    .option('--expires <when>', 'When it stops working: 90d, 12h, or a date such as 2027-01-31', parseExpiry)
    .option('--internal', "Used by the operator's own staff or services")
    .addHelpText('after', scopesHelp)
    .action((options: CreateOptions) => told(create(options, terminal)))
  sub('list', 'List keys, without their secrets')
    .option('--tenant <id>', 'Only those of one tenant')
    .action((options: Options) => told(list(options, terminal)))
  sub('revoke <id>', 'Revoke a key; it is refused everywhere within 10 seconds').action(
    (id: string, options: Options) => told(revoke(id, options, terminal)),
  )
  sub('rotate', "Rotate one of a tenant's encryption keys, or the log's signing key; nothing becomes unreadable by it")
    .option('--tenant <id>', 'Whose key')
    .option(
      '--log',
      'The signing key of the log instead: its successor signs once every server process was started again',
    )
    .addOption(
      new Option('--which <key>', 'data: confidential values; subject: what wraps the keys of people')
        .choices(['data', 'subject'])
        .default('subject'),
    )
    .action((options: RotateOptions) => told(rotate(options, terminal)))
  group
    .command('rewrap')
    .summary('Wrap the key folder under a key of AFFIDAVIT_KMS_KEY, the first time or anew')
    .description(
      'Wrap what the key folder holds under the first key of AFFIDAVIT_KMS_KEY: to move the keys of a deployment into KMS, ' +
        'with every server stopped, or to another key there, while they run. It works on the folder itself, with the ' +
        'environment of the server, and can be repeated.',
    )
    .option(
      '--delete-after <days>',
      'Have the other keys of AFFIDAVIT_KMS_KEY deleted in KMS after 7 to 30 days: old copies of the folder open nothing then',
      parseDays,
    )
    .option('--json', 'Print JSON')
    .action((options: RewrapOptions) => told(rewrap(options, terminal)))
  addRecover(group, terminal)
  sub('retire', 'Destroy signing keys of the log that have a successor, once whoever pinned them has followed').action(
    (options: Options) => told(changeLogKey('retire', options, terminal)),
  )
}

const scopesHelp = `
Scopes: events:write, events:read, events:confidential, verify, tenants:read, tenants:write, keys:manage,
keys:rotate, forget:read, forget:request, forget:approve, holds:place;
for operator keys also tenants:create and operator. docs/reference lists what each allows.

Examples:
  affidavit keys create --name "Billing service" --tenant org_1
  affidavit keys create --name "Auditor" --tenant org_1 --scope events:read --scope verify --expires 90d`

/** "90d", "12h", a date or a time → ISO 8601. */
export function parseExpiry(text: string): string {
  const span = /^([1-9]\d{0,4})([dh])$/.exec(text)
  const time_ms = span === null ? dateMs(text) : Date.now() + Number(span[1]) * (span[2] === 'd' ? DAY_MS : DAY_MS / 24)
  if (Number.isNaN(time_ms) || time_ms <= Date.now())
    throw new InvalidArgumentError('Write 90d, 12h, or a date that is still to come, such as 2027-01-31.')
  return new Date(time_ms).toISOString()
}

function dateMs(text: string): number {
  return /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,3})?)?(Z|[+-]\d\d:\d\d))?$/.test(text)
    ? Date.parse(text)
    : Number.NaN
}

async function create(options: CreateOptions, terminal: Terminal): Promise<void> {
  const { name, tenant, expires, internal } = options
  const body = {
    name,
    scopes: options.scope ?? ['events:write'],
    ...(tenant !== undefined && { tenant }),
    ...(expires !== undefined && { expires_at: expires }),
    ...(internal && { internal }),
  }
  const remote = new Remote(endpoint(options, terminal.environment))
  const made = (await remote.json('/v1/keys', { method: 'POST', body })) as Key & { key: string }
  if (options.json) return printJson(terminal, made)
  const whose = made.tenant === null ? 'an operator key' : `a key of ${made.tenant}`
  const until = made.expires_at === null ? 'does not expire' : `expires ${made.expires_at}`
  say(terminal, printable(`Made ${made.id}, ${whose}: ${made.scopes.join(', ')}; ${until}.`))
  say(terminal, 'This is the only time the key is shown:')
  print(terminal, made.key)
}

interface RotateOptions extends Options {
  readonly which: string
  readonly log?: boolean
}

async function rotate(options: RotateOptions, terminal: Terminal): Promise<void> {
  if (options.log) return changeLogKey('rotate', options, terminal)
  if (options.tenant === undefined) throw new Failure('Name the tenant with --tenant, or the log with --log.')
  const body = { tenant: options.tenant, key: options.which }
  const remote = new Remote(endpoint(options, terminal.environment))
  const done = (await remote.json('/v1/rotations', { method: 'POST', body })) as {
    generation: number
    destroyed: number[]
    buckets: number
  }
  if (options.json) return printJson(terminal, done)
  const gone = done.destroyed.length === 0 ? '' : `; destroyed: ${done.destroyed.join(', ')}`
  print(terminal, printable(`Generation ${done.generation} is in use${gone}.`))
}

interface RewrapOptions {
  readonly deleteAfter?: number
  readonly json?: boolean
}

function parseDays(text: string): number {
  if (!/^(7|8|9|1\d|2\d|30)$/.test(text)) throw new InvalidArgumentError('A number of days from 7 to 30 is expected.')
  return Number(text)
}

async function rewrap({ deleteAfter, json }: RewrapOptions, terminal: Terminal): Promise<void> {
  const { rewrap: work } = await import('@affidavit/server/assembly/rewrap.ts')
  const config = await settingsOf(terminal)
  let files = 0
  const bar = progressLine(terminal)
  const onStep = () => bar.update(() => `${plural(++files, 'file', 'files')} wrapped anew`)
  const done = await spoken(() => work(config, { deleteAfterDays: deleteAfter, onStep }).finally(() => bar.clear()))
  if (json) return printJson(terminal, done)
  print(
    terminal,
    printable(`${plural(done.moved, 'file', 'files')} wrapped anew, ${done.kept} were already: ${done.key}`),
  )
  if (done.migrated)
    say(
      terminal,
      'The root key is not on this disk in the clear any more. Copies of the key folder from before still have it: destroy ' +
        'them once you have a new one, and rotate (docs/operating/keys.md).',
    )
  for (const { key, deletion } of done.retired)
    print(
      terminal,
      printable(
        deletion === null
          ? `Nothing in the folder needs ${key} any more.`
          : `${key} is deleted on ${new Date(deletion).toISOString().slice(0, 10)}: copies of the key folder from before open nothing from then on.`,
      ),
    )
}

async function changeLogKey(action: 'rotate' | 'retire', options: Options, terminal: Terminal): Promise<void> {
  const remote = new Remote(endpoint(options, terminal.environment))
  const done = (await remote.json('/v1/log-key', { method: 'POST', body: { action } })) as {
    vkey: string
    retired: number
  }
  if (options.json) return printJson(terminal, done)
  const what = action === 'rotate' ? 'The next signing key is' : `Retired: ${done.retired}. The signing key is`
  say(terminal, `${what}`)
  print(terminal, printable(done.vkey))
  if (action === 'rotate' || done.retired > 0) say(terminal, 'Start every server process again: only then it holds.')
}

async function list(options: Options, terminal: Terminal): Promise<void> {
  const remote = new Remote(endpoint(options, terminal.environment))
  const query = options.tenant === undefined ? '' : `?tenant=${encodeURIComponent(options.tenant)}`
  const { data } = (await remote.json(`/v1/keys${query}`)) as { data: Key[] }
  if (options.json) return printJson(terminal, data)
  if (data.length === 0) return say(terminal, 'No keys. Make one with: affidavit keys create --name NAME')
  print(terminal, table([['ID', 'TENANT', 'STATE', 'LAST USED', 'NAME', 'SCOPES'], ...data.map(row)]))
}

function row(key: Key): string[] {
  const used = key.last_used_at?.slice(0, 10) ?? 'never'
  return [key.id, key.tenant ?? '(operator)', stateOf(key), used, key.name, key.scopes.join(', ')].map(printable)
}

function stateOf({ revoked_at, expires_at, internal }: Key): string {
  if (revoked_at !== null) return 'revoked'
  if (expires_at !== null && Date.parse(expires_at) <= Date.now()) return 'expired'
  return internal ? 'internal' : 'active'
}

async function revoke(id: string, options: Options, terminal: Terminal): Promise<void> {
  const remote = new Remote(endpoint(options, terminal.environment))
  await remote.json(`/v1/keys/${encodeURIComponent(id)}`, { method: 'DELETE' })
  if (options.json) printJson(terminal, { id, revoked: true })
  else say(terminal, `${id} is revoked.`)
}
