/** `affidavit tenants`: make, list and show tenants over HTTP. */
import { type Command, InvalidArgumentError } from 'commander'
import { endpoint, type ServerOptions } from '../config.ts'
import { Remote } from '../remote.ts'
import { print, printable, printJson, say, type Terminal, table } from '../terminal.ts'
import { type Define, subcommand, told } from './define.ts'

interface Tenant {
  readonly id: string
  readonly name: string | null
  readonly state: string
  readonly trail: string
  readonly vkey: string
  readonly policy: Readonly<Record<string, unknown>>
}

type Options = ServerOptions & { readonly json?: boolean; readonly name?: string; readonly vkey?: boolean }

export const tenants: Define = (parent, terminal) => {
  const group = parent
    .command('tenants')
    .summary('Make, list and show tenants')
    .description('Tenants are the customers whose trails a server keeps: one trail each.')
    .helpCommand(false)
  const sub = (usage: string, summary: string): Command => subcommand(group, usage, summary)
  sub('create', 'Make a tenant and seal the first entry of its trail')
    .argument('<id>', 'Its id, as your own system calls it', parseId)
    .option('--name <name>', 'Name for people')
    .action((id: string, options: Options) => told(create(id, options, terminal)))
  sub('list', 'List all tenants that the key may see').action((options: Options) => told(list(options, terminal)))
  sub('show <id>', 'Show one tenant, with the verifier key of its trail')
    .option('--vkey', 'Print the verifier key alone')
    .action((id: string, options: Options) => told(show(id, options, terminal)))
}

function parseId(text: string): string {
  if (!/^(?!_operator$)(?!\.{1,2}$)[A-Za-z0-9._-]{1,64}$/.test(text))
    throw new InvalidArgumentError("A tenant's id has up to 64 letters, digits, '.', '_' and '-'.")
  return text
}

const place = (id: string) => `/v1/tenants/${encodeURIComponent(id)}`

async function create(id: string, options: Options, terminal: Terminal): Promise<void> {
  const remote = new Remote(endpoint(options, terminal.environment))
  const body = options.name === undefined ? {} : { name: options.name }
  const tenant = (await remote.json(place(id), { method: 'PUT', body })) as Tenant
  if (options.json) return printJson(terminal, tenant)
  print(terminal, describe(tenant))
  say(terminal, 'Hand the vkey to the tenant by another way than this server: it is what their verifier pins.')
}

async function show(id: string, options: Options, terminal: Terminal): Promise<void> {
  const tenant = (await new Remote(endpoint(options, terminal.environment)).json(place(id))) as Tenant
  if (options.json) printJson(terminal, tenant)
  else if (options.vkey) print(terminal, printable(tenant.vkey))
  else print(terminal, describe(tenant))
}

async function list(options: Options, terminal: Terminal): Promise<void> {
  const remote = new Remote(endpoint(options, terminal.environment))
  const all: Tenant[] = []
  for (let after: string | null = ''; after !== null; ) {
    const query: string = after === '' ? '' : `&after=${encodeURIComponent(after)}`
    const page = (await remote.json(`/v1/tenants?limit=1000${query}`)) as { data: Tenant[]; next: string | null }
    all.push(...page.data)
    after = page.data.length === 0 ? null : page.next
  }
  if (options.json) return printJson(terminal, all)
  if (all.length === 0) return say(terminal, 'No tenants yet. Make one with: affidavit tenants create ID')
  print(terminal, table([['ID', 'STATE', 'TRAIL', 'NAME'], ...all.map(row)]))
}

const row = ({ id, state, trail, name }: Tenant) => [id, state, trail, name ?? ''].map(printable)

function describe({ id, name, state, trail, vkey, policy }: Tenant): string {
  const rows: [string, string][] = [
    ['id', id],
    ['name', name ?? '–'],
    ['state', state],
    ['trail', trail],
    ['vkey', vkey],
    ['policy', JSON.stringify(policy)],
  ]
  return table(rows.map(([label, value]) => [label, printable(value)]))
}
