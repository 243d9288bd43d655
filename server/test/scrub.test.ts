// A database superuser with every trigger off changes one thing at a time; the scrub names it. Then the same with a whole
// server: the trail stops, the others go on, the operator acknowledges.

import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest'
import { affidavit } from '../../cli/test/command-line.ts'
import { readConfig } from '../src/config.ts'
import { openKeyFolder } from '../src/keys/key-folder.ts'
import { Personas } from '../src/keys/personas.ts'
import { KeyChest } from '../src/keys/tenant-keys.ts'
import { startServer } from '../src/main.ts'
import { type Found, type ScrubOptions, scrubRound } from '../src/scrub/scrub.ts'
import { silent } from '../src/store/log.ts'
import { Tenants } from '../src/tenants/tenants.ts'
import { freshDatabase, type TestDatabase } from './database.ts'
import { Api } from './http-api.ts'
import { type StartedServer, startedServer } from './started-server.ts'

let database: TestDatabase
let server: StartedServer
let trail: number

beforeAll(async () => {
  database = await freshDatabase()
  server = await startedServer(database.url, { AFFIDAVIT_SCRUB_EVENTS: '0' })
  const events = Array.from({ length: 600 }, (_, n) => ({
    id: `e${n}`,
    tenant: 'acme',
    action: n % 3 === 0 ? 'user.login' : 'document.deleted',
    actor: { type: 'user', id: `user_${n % 5}`, name: `Person ${n % 5}`, email: `p${n % 5}@example.com` },
    targets: [{ type: 'document', id: `doc_${n % 7}` }],
    context: { request_id: `req_${n}`, session_id: 's', ip: '192.0.2.7' },
    metadata: { plan: 'gold' },
  }))
  expect(await record(events)).toMatchObject({ rejected: 0 })
  expect(await record([{ id: 'x', tenant: 'other', action: 'a.b', actor: { type: 'user', id: 'u' } }])).toMatchObject({
    rejected: 0,
  })
  await vi.waitFor(async () => expect((await server.get<{ size: number }>('/v1/trails/acme')).size).toBe(601), {
    timeout: 60_000,
    interval: 100,
  })
  const { rows } = await database.superuser.query<{ number: number }>(
    `select t.number from affidavit.trails t join affidavit.tenants n on n.number = t.tenant where n.id = 'acme'`,
  )
  trail = rows[0]!.number
})
afterAll(async () => {
  await server?.stop()
  await database?.drop()
})

async function record(events: object[]): Promise<unknown> {
  const response = await fetch(`${server.url}/v1/events/batch`, {
    method: 'POST',
    headers: { authorization: `Bearer ${server.key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ events }),
  })
  return response.json()
}

/** One whole round. @returns entries read */
async function round(options: Partial<ScrubOptions> & Pick<ScrubOptions, 'onFound'>): Promise<number> {
  const provider = await openKeyFolder({ folder: `${server.dataDir}/keys`, mayCreateRoot: false })
  const keeper = database.store.pool('keeper')
  const parts = {
    pool: database.store.pool('scrub'),
    personas: new Personas({ keeper, provider }),
    tenants: new Tenants({ keeper, chest: new KeyChest(provider) }),
    log: silent,
    recheck_ms: 0,
  }
  return scrubRound(parts, { rate: Number.POSITIVE_INFINITY, signal: new AbortController().signal, ...options })
}

/** One whole round. @returns what was found in this trail, `<what> <seq>` */
async function scrubbed(): Promise<string[]> {
  await database.superuser.query('delete from affidavit.scrub_findings')
  const found: Found[] = []
  await round({ onFound: (one) => found.push(one) })
  expect(found.filter((one) => one.trail !== trail)).toEqual([])
  return [...new Set(found.map(({ what, seq }) => `${what} ${seq}`))]
}

async function superuser(sql: string): Promise<void> {
  await database.superuser.query('set session_replication_role = replica')
  await database.superuser.query(sql.replaceAll('$trail', String(trail)))
  await database.superuser.query('set session_replication_role = origin')
}

test('what nobody changed holds', async () => {
  expect(await scrubbed()).toEqual([])
})

test('a round reads no more events a second than it is told, and says how far it is', async () => {
  const rate = 1_500
  const told: { checked: number; total: number }[] = []
  const began = performance.now()
  const checked = await round({
    rate,
    onProgress: (progress) => told.push(progress),
    onFound: ({ message }) => expect.fail(message),
  })
  expect(checked).toBeGreaterThan(600)
  expect(performance.now() - began).toBeGreaterThan((checked / rate) * 950) // timers may be early by a millisecond
  expect(told.map((one) => one.checked)).toEqual(told.map((one) => one.checked).toSorted((a, b) => a - b))
  expect(told.at(-1)).toEqual({ checked, total: checked })
})

const event = (seq: number) => `affidavit.events where trail = $trail and seq = ${seq}`
const saved = (table: string, where: string) => ({
  keep: `create temp table kept as select * from ${table} where ${where}`,
  back: `delete from ${table} where ${where}; insert into ${table} select * from kept`,
})
const ofEvent = (seq: number) => saved('affidavit.events', `trail = $trail and seq = ${seq}`)
const set = (change: string, seq = 100) => ({
  change: `update affidavit.events set ${change} where trail = $trail and seq = ${seq}`,
  ...ofEvent(seq),
})

test.each<[string, { change: string; keep: string; back: string }, (string | RegExp)[]]>([
  [
    'facts',
    set(`facts = replace(facts, 'document.deleted', 'document.viewed!')`, 101),
    ['facts 101', 'action 101', 'terms 101'],
  ],
  ['the salt of the facts', set('facts_salt = gen_random_uuid()'), ['facts 100', 'personal 100']],
  ['the commitment', set(`facts_commitment = sha256('x')`), ['hash 100', 'facts 100']],
  ['the leaf hash', set(`hash = sha256('x')`), ['hash 100', 'tiles 0', 'notarized null']],
  ['the time of sealing', set(`sealed_at = sealed_at + interval '1 ms'`), ['hash 100']],
  ['the time of occurrence', set(`occurred_at = occurred_at - interval '1 ms'`), ['occurred_at 100', 'days 100']],
  ['the actor', set('actor = (select max(number) from affidavit.subjects)'), ['actor 100', 'terms 100']],
  ['nobody as the actor', set('actor = null'), ['actor 100', 'terms 100']],
  ['the request', set('terms[1] = terms[1] + 1'), ['terms 100']],
  ['the action', set('action = (select max(number) from affidavit.actions)'), ['action 100']],
  ['the category', set('category = 1 + category % 3'), ['hash 100', 'category 100']],
  ['the outcome', set('outcome = 2'), ['outcome 100']],
  ['the flags', set('flags = flags # 1'), ['flags 100']],
  ['the terms', set('terms = terms[2:]'), ['terms 100']],
  ['the position', set('position = position + 1000000'), ['position 100', 'position 101']],
  ['a persona line', set(`personal = overlay(personal placing '\\x00' from 30)`), ['hash 100', 'personal 100']],
  ['the operator part', set(`operator = overlay(operator placing '\\x5b20' from 49)`), ['operator 100', 'terms 100']],
  [
    'a deleted event',
    { change: `delete from ${event(100)}`, ...ofEvent(100) },
    ['events 100', 'hash 101', 'notarized null'],
  ],
  [
    'a persona',
    {
      change: `update affidavit.personas set content = overlay(content placing '\\x0000' from 20) where number = (select min(number) from affidavit.personas)`,
      keep: `create temp table kept as select number, content from affidavit.personas`,
      back: `update affidavit.personas p set content = k.content from kept k where k.number = p.number`,
    },
    [/^personas [1-5]$/],
  ],
  [
    'the tokens of a person',
    {
      change: `delete from affidavit.persona_tokens where persona = (select min(persona) from affidavit.persona_tokens)`,
      keep: `create temp table kept as select * from affidavit.persona_tokens where persona = (select min(persona) from affidavit.persona_tokens)`,
      back: `insert into affidavit.persona_tokens select * from kept`,
    },
    [/^persona_tokens [1-5]$/],
  ],
  [
    'a tile',
    {
      change: `update affidavit.tiles set hashes = overlay(hashes placing '\\x00ff00ff' from 65) where trail = $trail and level = 0 and index = 1`,
      ...saved('affidavit.tiles', 'trail = $trail and level = 0 and index = 1'),
    },
    ['tiles 256'],
  ],
  [
    'a tile of the second level',
    {
      change: `update affidavit.tiles set hashes = overlay(hashes placing '\\x00ff00ff' from 1) where trail = $trail and level = 1`,
      ...saved('affidavit.tiles', 'trail = $trail and level = 1'),
    },
    ['tiles 0'],
  ],
  [
    'the id table',
    {
      change: `delete from affidavit.event_ids where trail = $trail and seq = 100`,
      ...saved('affidavit.event_ids', 'trail = $trail and seq = 100'),
    },
    ['event_ids 100'],
  ],
  [
    'the days that searches go by',
    {
      change: `update affidavit.days set last_seq = 599 where trail = $trail`,
      ...saved('affidavit.days', 'trail = $trail'),
    },
    ['days 600'],
  ],
  [
    'the root that was notarized',
    {
      change: `update affidavit.notarized set root = sha256('x') where trail = $trail`,
      ...saved('affidavit.notarized', 'trail = $trail'),
    },
    ['notarized null'],
  ],
])('%s', async (_what, { change, keep, back }, wanted) => {
  await superuser('drop table if exists kept')
  await superuser(keep)
  await superuser(change)
  const found = await scrubbed()
  await superuser(back)
  expect(found.sort()).toEqual(
    expect.arrayContaining(wanted.map((one) => (one instanceof RegExp ? expect.stringMatching(one) : one))),
  )
  // One change is not told as a hundred.
  expect(found.length).toBeLessThan(8)
})

test('a server stops the trail, tells the operator, and goes on once that is acknowledged', async () => {
  await database.superuser.query('delete from affidavit.scrub_findings')
  await superuser(`update affidavit.events set outcome = 2 where trail = $trail and seq = 100`)
  const read = readConfig({
    PORT: '0',
    AFFIDAVIT_DATA_DIR: server.dataDir,
    AFFIDAVIT_LOG_LEVEL: 'silent',
    AFFIDAVIT_SCRUB_EVENTS: '1000000',
    DATABASE_URL: database.url,
  })
  if (!read.ok) throw new Error(read.problems.join())
  const other = await startServer(read.config)
  onTestFinished(() => other.stop())
  const api = await Api.of(other.url, server.key)
  const send = (tenant: string, id: string) =>
    api.post('/v1/events', { id, tenant, action: 'a.b', actor: { id: 'u', type: 'user' } })
  const scrub = async () =>
    (await api.get('/v1/scrub')).body as { findings: { id: string; seq: number; what: string }[] }
  await vi.waitFor(async () => expect((await scrub()).findings).toMatchObject([{ seq: 100, what: 'outcome' }]), {
    timeout: 60_000,
    interval: 200,
  })
  await vi.waitFor(async () => expect((await send('acme', 'after')).status).toBe(503), {
    timeout: 60_000,
    interval: 200,
  })
  expect((await send('acme', 'after')).body).toMatchObject({ code: 'trail_stopped' })
  expect((await send('other', 'after')).status).toBe(201)
  expect(String((await api.get('/metrics')).body)).toContain('affidavit_seal_stopped_trails 1')
  const status = await affidavit(['status', '--url', other.url, '--key', server.key])
  expect(status).toMatchObject({
    code: 1,
    out: expect.stringMatching(/! The scrub found 1 change .* 1 trail is stopped/),
  })

  const [finding] = (await scrub()).findings
  const acknowledge = () => api.post(`/v1/scrub/findings/${finding!.id}/acknowledge`, { reason: 'a restore drill' })
  expect(await acknowledge()).toMatchObject({
    status: 200,
    body: { reason: 'a restore drill', acknowledged_at: expect.any(String) },
  })
  expect((await send('acme', 'after')).status).toBe(201)
  expect(await acknowledge()).toMatchObject({ status: 409 })
  expect(await api.post('/v1/scrub/findings/999/acknowledge', { reason: 'x' })).toMatchObject({ status: 404 })
  // The operator's own trail tells both.
  const told = async () =>
    ((await api.get('/v1/events?tenant=_operator&action=affidavit.integrity.*')).body as { data: object[] }).data
  await vi.waitFor(async () => expect(await told()).toHaveLength(2), { timeout: 60_000, interval: 100 })
})
