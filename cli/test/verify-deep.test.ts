// `affidavit verify --deep` against a whole server: rich events hold, and whatever a superuser hides from a filter is
// named, though the log itself is untouched.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { freshDatabase, type TestDatabase } from '../../server/test/database.ts'
import { type StartedServer, startedServer } from '../../server/test/started-server.ts'
import { dimensions } from '../src/verify/deep/expected.ts'
import { verified } from './command-line.ts'

// Each run asks some hundred filters, which takes a second on an idle machine.
vi.setConfig({ testTimeout: 120_000 })

let database: TestDatabase
let server: StartedServer

beforeAll(async () => {
  database = await freshDatabase()
  server = await startedServer(database.url)
})
afterAll(async () => {
  await server?.stop()
  await database?.drop()
})

async function send(method: string, path: string, body: unknown): Promise<Response> {
  const headers = { authorization: `Bearer ${server.key}`, 'content-type': 'application/json' }
  return fetch(server.url + path, { method, headers, body: typeof body === 'string' ? body : JSON.stringify(body) })
}

async function record(tenant: string, events: readonly object[]): Promise<number> {
  const reply = await send(
    'POST',
    '/v1/events/batch',
    events.map((event) => ({ tenant, ...event })),
  )
  expect(await reply.json()).toMatchObject({ accepted: events.length, rejected: 0 })
  return events.length
}

/** Until all that was sealed is under a checkpoint: what explains that something is gone, too. */
async function notarized(tenant: string): Promise<void> {
  const newest = `/v1/events?tenant=${tenant}&control=true&limit=1`
  const { seq } = (await server.get<{ data: { seq: number }[] }>(newest)).data[0]!
  for (const until = Date.now() + 60_000; Date.now() < until; await sleep(100))
    if ((await server.get<{ size: number }>(`/v1/trails/${tenant}`)).size > seq) return
  throw new Error(`${tenant} is not notarized`)
}

const deep = (tenant: string) => verified([server.url, '--tenant', tenant, '--key', server.key, '--deep'])

const rich = (i: number) => ({
  id: `event-${i}`,
  action: ['user.login', 'user.role.updated', 'report.exported'][i % 3],
  occurred_at: new Date(Date.UTC(2026, 2, 1 + (i % 5), i % 24, i % 60)).toISOString(),
  outcome: i % 7 === 0 ? 'denied' : 'success',
  reason: `policy number${i % 4} said so`,
  actor: {
    type: 'user',
    id: `user_${i % 9}`,
    name: `Zoë Müller ${i % 9}`,
    email: `Zoe${i % 9}@Example.com`,
    team: `team ${i % 4}`,
  },
  targets: [
    { type: 'user', id: `u-${i % 8}@example.org`, email: `U-${i % 8}@example.org` },
    { type: 'document', id: `doc/${i % 6}`, name: 'Ärger & Söhne' },
  ],
  context: {
    ip: i % 2 ? '2001:DB8::7' : `192.0.2.${i % 8}`,
    user_agent: 'Mozilla/5.0',
    request_id: `req ${i % 20}`,
    trace_id: `t${i % 3}`,
    session_id: `s${i % 4}`,
    auth_method: 'sso',
  },
  metadata: {
    plan: `p${i % 3}`,
    seats: i % 5,
    trial: i % 2 === 0,
    'a key': 'a+b&c',
    phone: `+49 30 ${i % 3}`,
    note: null,
  },
})

/** The same, seq 1 + i: entry 0 opens the trail. */
const events = 9

test('asks every filter that the search has', async () => {
  interface Document {
    readonly paths: { readonly '/v1/events': { readonly get: { readonly parameters: readonly { name: string }[] } } }
  }
  const { paths } = await server.get<Document>('/openapi.json')
  const filters = paths['/v1/events'].get.parameters
    .map(({ name }) => name)
    .filter((name) => !notFilters.includes(name))
  const asked = dimensions.filter((name) => name !== 'id').flatMap((name) => (name === 'day' ? ['from', 'to'] : [name]))
  expect(filters.toSorted()).toEqual(asked.toSorted())
})
/** `control=true` is asked, too: it must list every entry. */
const notFilters = ['tenant', 'order', 'limit', 'after', 'control']

test('rich events hold: people, policies, odd spellings, and nothing is asked that must not be found', async () => {
  await send('PUT', '/v1/tenants/rich', {
    policy: { personal: ['/metadata/phone', '/changes/*/before'], confidential: ['/metadata/plan'] },
  })
  await record(
    'rich',
    Array.from({ length: events }, (_, i) => ({ ...rich(i), changes: [{ path: '/a', before: i, after: { x: [i] } }] })),
  )
  await notarized('rich')
  const told = await deep('rich')
  expect(told.findings).toEqual([])
  expect(told).toMatchObject({ outcome: 'held', verdicts: { columns: 'held' } })
})

test('somebody erased and a payload redacted: filters need not find them, and find everything else', async () => {
  const made = await send('POST', '/v1/keys', { name: 'Second', scopes: ['forget:approve', 'forget:read'] })
  const { key } = (await made.json()) as { key: string }
  const forget = async (path: string, body: object) => {
    const asked = (await (await send('POST', path, { tenant: 'forgot', reason: 'asked for', ...body })).json()) as {
      id: string
    }
    const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json' }
    const url = `${server.url}/v1/approvals/${asked.id}`
    const done = await fetch(url, { method: 'POST', headers, body: '{"decision":"approve"}' })
    expect(await done.json()).toMatchObject({ state: 'done' })
  }
  await record(
    'forgot',
    Array.from({ length: events }, (_, i) => rich(i)),
  )
  await notarized('forgot')
  await forget('/v1/erasures', { subject: { type: 'user', id: 'user_3' } })
  await forget('/v1/redactions', { seqs: [5, 6] })
  // At once: what explains the gaps is sealed, but not under the checkpoint yet.
  const told = await deep('forgot')
  expect(told.findings).toEqual([])
  expect(told.outcome).toBe('held')
})

const vectors = join(import.meta.dirname, '..', '..', '..', 'shared', 'vectors', 'requests')
test.skipIf(!existsSync(vectors))('requests of many kinds hold', async () => {
  const tenants = new Set<string>()
  for (const name of readdirSync(vectors).filter((file) => file.endsWith('.json'))) {
    const { body } = JSON.parse(readFileSync(join(vectors, name), 'utf8')) as { body: Record<string, unknown> }
    const reply = await send('POST', '/v1/events', { tenant_id: 'own', ...body })
    expect(reply.status).toBe(201)
    tenants.add(((await reply.json()) as { tenant: string }).tenant)
  }
  for (const tenant of tenants) {
    await notarized(tenant)
    expect((await deep(tenant)).findings).toEqual([])
  }
})

describe('something is hidden or shown otherwise by a superuser', () => {
  const struck = 8
  let trail: number
  beforeAll(async () => {
    await record(
      'victim',
      Array.from({ length: events }, (_, i) => rich(i)),
    )
    await notarized('victim')
    const { rows } = await database.superuser.query(
      `select t.number from affidavit.trails t join affidavit.tenants n on n.number = t.tenant where n.id = 'victim'`,
    )
    trail = rows[0].number
    for (const table of tables)
      await database.superuser.query(`create table public.${table} as select * from affidavit.${table}`)
  })

  const tables: readonly string[] = ['events', 'event_ids', 'persona_tokens']

  async function attack(sql: string): Promise<void> {
    await database.superuser.query('set session_replication_role = replica')
    await database.superuser.query(sql)
    await database.superuser.query('set session_replication_role = origin')
  }
  const undo = (): Promise<void> =>
    attack(
      tables
        .map(
          (table) =>
            `delete from affidavit.${table}; insert into affidavit.${table} overriding system value select * from public.${table};`,
        )
        .join(''),
    )

  const update = (set: string): string =>
    `update affidavit.events set ${set} where trail = ${trail} and seq = ${struck}`

  const attacks: [string, () => string, RegExp][] = [
    ['all terms', () => update('terms = array[]::int[]'), /team|metadata|q=|trace_id|target/],
    ['one term', () => update('terms = terms[:4] || terms[6:]'), /=/],
    ['the time within a day', () => update(`occurred_at = occurred_at + interval '7 hours'`), /from=/],
    ['the id', () => `delete from affidavit.event_ids where trail = ${trail} and seq = ${struck}`, /^id=event-7$/],
    ['people by their address', () => `delete from affidavit.persona_tokens`, /actor|target|ip|q=/],
  ]

  test.each(attacks)('%s', async (name, sql, filter) => {
    try {
      await attack(sql())
      const told = await deep('victim')
      expect(told).toMatchObject({
        outcome: 'tampered',
        exit_code: 1,
        verdicts: { columns: 'failed', inclusion: 'held' },
      })
      if (name !== 'people by their address') expect(told.first_wrong).toBe(struck)
      for (const finding of told.findings) expect(finding).toMatchObject({ verdict: 'column' })
      expect(told.findings.some((finding) => filter.test(finding.filter ?? ''))).toBe(true)
    } finally {
      await undo()
    }
  })

  test('undone, it holds', async () => {
    expect((await deep('victim')).findings).toEqual([])
  })
})
