// How long a search takes in a tenant of millions of events over thirty hot days: through the server's own `Events`,
// without HTTP, one search at a time, each with values of its own. Beside it, in the same run, the same question as
// plain SQL by a superuser, with no row-level security, no decryption and the same indexes.
import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { parseFilter } from '@affidavit/server/filter/parameters.ts'
import { type Keys, openKeys } from '@affidavit/server/keys/open-keys.ts'
import { Personas } from '@affidavit/server/keys/personas.ts'
import { KeyChest, type TenantKeys } from '@affidavit/server/keys/tenant-keys.ts'
import { Events } from '@affidavit/server/query/events.ts'
import { Proofs } from '@affidavit/server/query/proof.ts'
import type { Reader } from '@affidavit/server/query/row.ts'
import { openDatabase } from '@affidavit/server/store/database.ts'
import { startEmbedded } from '@affidavit/server/store/embedded.ts'
import { silent } from '@affidavit/server/store/log.ts'
import { migrate } from '@affidavit/server/store/migrate.ts'
import { Tenants } from '@affidavit/server/tenants/tenants.ts'
import pg from 'pg'
import { random } from './events.ts'
import { figure, percentile, report } from './report.ts'
import { people, storedMonth, tenantId, worst } from './stored-month.ts'
import { growTree, type StoredTrail } from './stored-tree.ts'

type Query = Readonly<Record<string, string>>
type Random = () => number

const permissions = 'user.permission.*,user.role.*'
const anybody = (r: Random) => `user_${1 + Math.floor(r() * (people - 1))}`
const dayMs = 86_400_000
const ago = (daysBack: number) => new Date(Date.now() - daysBack * dayMs).toISOString()

interface Kind {
  readonly name: string
  readonly query: (r: Random) => Query
  readonly budget?: string
  /** The same question in SQL, with the same values. */
  readonly baseline?: (query: Query) => { where: string; values: (string | undefined)[] }
}

const byActorAndAction = ({ actor }: Query) => ({
  where: `actor = (select number from affidavit.subjects where tenant = t.number and id_token = $2)
    and action in (select number from affidavit.actions a where a.tenant = t.number
      and (a.action like 'user.permission.%' or a.action like 'user.role.%'))`,
  values: [actor],
})

const kinds: readonly Kind[] = [
  {
    name: 'permission changes by the worst actor',
    query: () => ({ actor: worst.id, action: permissions, from: ago(30) }),
    budget: 'p95 ≤ 50 ms',
    baseline: byActorAndAction,
  },
  {
    name: 'permission changes by anybody',
    query: (r) => ({ actor: anybody(r), action: permissions, from: ago(30) }),
    budget: 'p95 ≤ 50 ms',
    baseline: byActorAndAction,
  },
  {
    name: 'permission changes by anybody, limit 100',
    query: (r) => ({ actor: anybody(r), action: permissions, limit: '100' }),
    budget: 'p95 ≤ 50 ms',
  },
  {
    name: 'the newest events',
    query: () => ({}),
    budget: 'p95 ≤ 20 ms',
    baseline: () => ({ where: 'e.trail = (select number from affidavit.trails r where r.tenant = $1)', values: [] }),
  },
  { name: 'the events before some day', query: (r) => ({ to: ago(1 + Math.floor(r() * 28)) }) },
  { name: 'the worst actor', query: () => ({ actor: worst.id }) },
  { name: 'anybody', query: (r) => ({ actor: anybody(r) }) },
  {
    name: 'anybody, by e-mail address',
    query: (r) => ({ actor: `${anybody(r).replace('_', '')}@tenant0.example.com` }),
  },
  { name: 'a frequent action', query: () => ({ action: 'document.viewed' }) },
  { name: 'a pattern of actions', query: () => ({ action: 'user.*' }) },
  { name: 'an IP address', query: (r) => ({ ip: `10.7.${Math.floor(r() * 256)}.0` }) },
  { name: 'words of a name', query: () => ({ q: 'kenji sato' }) },
  { name: 'a word and an actor', query: (r) => ({ q: 'invoice', actor: anybody(r) }) },
  { name: 'a target', query: (r) => ({ target: `doc_${Math.floor(r() * 5_000)}` }) },
  { name: 'a metadata value', query: (r) => ({ 'metadata.duration_ms': String(Math.floor(r() * 900)) }) },
  { name: 'failures', query: () => ({ outcome: 'failure' }) },
  { name: 'a request id that was never seen', query: (r) => ({ request_id: `none-${r()}` }) },
]

export interface QueryOptions {
  readonly events: number
  readonly searches: number
  /** Where the data folder is made, or, kept from before, is. */
  readonly folder: string
  readonly keep: boolean
  /** Only kinds whose name contains this. */
  readonly only: string
}

export async function query(options: QueryOptions): Promise<void> {
  const { keep, folder, events } = options
  const dataDir = keep ? join(folder, `affidavit-month-${events}`) : mkdtempSync(join(folder, 'affidavit-month-'))
  const month = await storedMonth(dataDir, events)
  const postgres = await startEmbedded({ folder: join(dataDir, 'postgres'), log: silent })
  try {
    await migrate(postgres.connection, silent) // refuses a folder kept from before a change of the schema
    const store = openDatabase({ login: postgres.connection, log: silent })
    const superuser = new pg.Client(postgres.connection)
    await superuser.connect()
    const keys = await openKeys({ keeper: store.pool('keeper'), folder: join(dataDir, 'keys') })
    const opened = await openReader(store, keys)
    await growTree(superuser, store.pool('notary'), await storedTrail(superuser), keys)
    await measure({ ...options, events: month.events }, opened, superuser)
    await superuser.end()
    await store.end()
  } finally {
    await postgres.stop()
    if (!keep) rmSync(dataDir, { recursive: true, force: true })
  }
}

async function storedTrail(superuser: pg.Client): Promise<StoredTrail> {
  const { rows } = await superuser.query<{ number: number; id: string; size: string }>(
    `select t.number, replace(t.id::text, '-', '') as id, h.size from affidavit.trails t join affidavit.heads h on h.trail = t.number
       join affidavit.tenants n on n.number = t.tenant where n.id = $1`,
    [tenantId],
  )
  return { ...rows[0]!, size: Number(rows[0]!.size) }
}

interface Opened {
  readonly events: Events
  readonly proofs: Proofs
  readonly reader: Reader
}

async function openReader(store: ReturnType<typeof openDatabase>, { provider }: Keys): Promise<Opened> {
  const keeper = store.pool('keeper')
  const tenants = new Tenants<TenantKeys>({ keeper, chest: new KeyChest(provider) })
  const tenant = await tenants.get(tenantId)
  if (tenant === undefined) throw new Error(`no tenant ${tenantId}`)
  const personas = new Personas({ keeper, provider })
  const events = new Events({ store, personas })
  return { events, proofs: new Proofs({ store, personas }), reader: { tenant, operator: false, confidential: false } }
}

interface Measured {
  readonly kind: Kind
  readonly ours: number[]
  readonly baseline: number[]
  readonly rows: number
  readonly requests: number
}

async function measure(options: QueryOptions, opened: Opened, superuser: pg.Client): Promise<void> {
  const results: Measured[] = []
  for (const kind of kinds.filter(({ name }) => name.includes(options.only))) {
    const r = random(11)
    const queries = Array.from({ length: options.searches }, () => kind.query(r))
    for (const one of queries.slice(0, 5)) await search(opened, one)
    const ours: number[] = []
    let rows = 0
    let requests = 0
    for (const one of queries) {
      const started = performance.now()
      const found = await search(opened, one)
      ours.push(performance.now() - started)
      rows += found.rows
      requests += found.requests
    }
    const measured = { kind, ours, baseline: await plainly(kind, queries, opened.reader, superuser), rows, requests }
    results.push(measured)
    console.error(line(measured, options.searches))
  }
  publish(options, results, await prove(opened, options))
}

/** Proofs of events by place, anywhere in the trail, and of today's by id, with their entry and its payload. */
async function prove({ proofs, events, reader }: Opened, { searches, events: size }: QueryOptions): Promise<Proven> {
  const r = random(13)
  const bySeq: number[] = []
  const byId: number[] = []
  for (let n = 0; n < searches + 5; n++) {
    const started = performance.now()
    const { kind } = await proofs.ofSeq(reader, Math.floor(r() * size))
    if (kind !== 'proof') throw new Error(kind)
    bySeq.push(performance.now() - started)
  }
  const parsed = parseFilter({ limit: '100' }, false)
  if (!parsed.ok) throw new Error('no filter')
  const page = await events.list(reader, parsed.filter, { ...parsed.page, after: null })
  if (page.kind !== 'page') throw new Error(page.kind)
  for (const { id } of [...page.data, ...page.data]) {
    const started = performance.now()
    const { kind } = await proofs.ofEvent(reader, String(id))
    if (kind !== 'proof') throw new Error(kind)
    byId.push(performance.now() - started)
  }
  return { bySeq: bySeq.slice(5), byId: byId.slice(5) }
}

interface Proven {
  readonly bySeq: number[]
  readonly byId: number[]
}

const line = ({ kind, ours, baseline, rows, requests }: Measured, searches: number) =>
  `${kind.name.padEnd(42)} p50 ${percentile(ours, 50).toFixed(1)} p95 ${percentile(ours, 95).toFixed(1)} ms, ${(rows / searches).toFixed(1)} rows, ${(requests / searches).toFixed(2)} requests${baseline.length > 0 ? `, plain SQL p95 ${percentile(baseline, 95).toFixed(1)}` : ''}`

/** One page. A search that costs much comes back early with a cursor; whoever waits for a page goes on, up to a bound. */
async function search({ events, reader }: Opened, asked: Query): Promise<{ rows: number; requests: number }> {
  const parsed = parseFilter({ limit: '50', ...asked }, false)
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems))
  let rows = 0
  for (let requests = 1, after: string | null = null; ; requests++) {
    const page = await events.list(reader, parsed.filter, { ...parsed.page, after })
    if (page.kind !== 'page') throw new Error(page.kind)
    rows += page.data.length
    after = page.next
    if (rows > 0 || after === null || requests >= 20) return { rows, requests }
  }
}

async function plainly(kind: Kind, queries: readonly Query[], reader: Reader, superuser: pg.Client): Promise<number[]> {
  if (kind.baseline === undefined) return []
  const times: number[] = []
  for (const one of queries) {
    const { where, values } = kind.baseline(one)
    const text = `select e.* from affidavit.events e, (select $1::int as number) t where e.tenant = $1 and ${where} order by e.seq desc limit 50`
    const numbers = values.map((id) => reader.tenant.keys.subjectIdToken(id as string).toString())
    const started = performance.now()
    await superuser.query({ name: `plain ${kind.name}`.slice(0, 60), text }, [reader.tenant.number, ...numbers])
    times.push(performance.now() - started)
  }
  return times.slice(5)
}

function publish(options: QueryOptions, results: readonly Measured[], { bySeq, byId }: Proven): void {
  report(
    `query-${options.events}`,
    `
${options.events.toLocaleString('en')} events of one tenant over 30 days, ${people.toLocaleString('en')} people, one of whom did a tenth; 29 days
closed, today open and full. ${options.searches} searches of each kind after five to warm up, one at a time, newest first, 50 to a page
unless said otherwise, through \`Events.list\` in one process: tokens, search, row-level security, decryption, recheck and
the shown form, without HTTP. Data in the page cache as the machine has it. A search that the server cuts into several
requests counts until its first event or its end. Plain SQL: the same predicate by a superuser on the same indexes,
prepared, rows shipped and parsed. Proofs: of random places in the whole trail, and of today's events by id with their
entry, through \`Proofs\` in the same process; the tree is the notary's own over the stored leaf hashes.`,
    [
      ...results.flatMap(({ kind, ours, baseline }) => [
        figure(`${kind.name}: p50`, 'ms', [percentile(ours, 50)]),
        figure(`${kind.name}: p95`, 'ms', [percentile(ours, 95)], kind.budget),
        ...(baseline.length === 0
          ? []
          : [
              figure(`${kind.name}, plain SQL: p95`, 'ms', [percentile(baseline, 95)]),
              figure(`${kind.name}: ours / plain, p50`, '×', [percentile(ours, 50) / percentile(baseline, 50)]),
            ]),
      ]),
      figure('inclusion proof of any entry: p50', 'ms', [percentile(bySeq, 50)]),
      figure('inclusion proof of any entry: p95', 'ms', [percentile(bySeq, 95)], 'p95 ≤ 10 ms'),
      figure('entry, payload and proof by id: p50', 'ms', [percentile(byId, 50)]),
      figure('entry, payload and proof by id: p95', 'ms', [percentile(byId, 95)], 'p95 ≤ 10 ms'),
    ],
  )
}
