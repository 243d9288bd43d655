// `affidavit verify` and `pack` against a whole server, with a superuser as the attacker.
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { freshDatabase, type TestDatabase } from '../../server/test/database.ts'
import { type StartedServer, startedServer } from '../../server/test/started-server.ts'
import { affidavit, verified } from './command-line.ts'

let database: TestDatabase
let server: StartedServer
let folder: string
let environment: Record<string, string>
const at = (name: string) => join(folder, name)

beforeAll(async () => {
  database = await freshDatabase()
  await database.withoutEpochs()
  server = await startedServer(database.url)
  folder = await mkdtemp(join(tmpdir(), 'affidavit-live-'))
  environment = { AFFIDAVIT_URL: server.url, AFFIDAVIT_KEY: server.key }
})
afterAll(async () => {
  await server?.stop()
  await database?.drop()
  if (folder) await rm(folder, { recursive: true, force: true })
})

/** A tenant with `events` events under a checkpoint. */
async function trailOf(tenant: string, events: number): Promise<string> {
  const lines = Array.from({ length: events }, (_, i) =>
    JSON.stringify({
      action: i % 3 === 0 ? 'user.login' : 'document.deleted',
      actor: { type: 'user', id: `user_${i % 5}`, name: `Person ${i % 5}` },
      targets: [{ type: 'document', id: `doc_${i % 7}` }],
      context: { request_id: `req_${i}`, session_id: 's' },
    }),
  )
  await writeFile(at(`${tenant}.ndjson`), lines.join('\n'))
  const imported = await affidavit(
    ['import', '--format', 'ndjson', at(`${tenant}.ndjson`), '--tenant', tenant],
    environment,
  )
  expect(imported).toMatchObject({ code: 0 })
  await expect
    .poll(async () => (await server.get<{ size: number }>(`/v1/trails/${tenant}`)).size, { timeout: 60_000 })
    .toBe(events + 1)
  return `${server.url}/v1/trails/${tenant}`
}

/** Runs SQL as a superuser with every trigger off. */
async function attack(sql: string, values: unknown[] = []): Promise<void> {
  await database.superuser.query('set session_replication_role = replica')
  try {
    expect((await database.superuser.query(sql, values)).rowCount).toBeGreaterThan(0)
  } finally {
    await database.superuser.query('set session_replication_role = origin')
  }
}

const ofTenant = `trail = (select t.number from affidavit.trails t join affidavit.tenants n on n.number = t.tenant where n.id = $1)`

test('first event to offline proof: record, pack, verify', async () => {
  await trailOf('org_1', 300)
  const packed = await affidavit(['pack', '--tenant', 'org_1', '-o', at('org_1.zip')], environment)
  expect(packed).toMatchObject({ code: 0 })
  expect(packed.out).toContain('all 301')
  const { out } = await affidavit(['tenants', 'show', 'org_1', '--json'], environment)
  const { vkey } = JSON.parse(out) as { vkey: string }
  // Nothing of the server is needed any more: no address, no key.
  expect(await verified([at('org_1.zip'), '--vkey', vkey])).toMatchObject({ outcome: 'held', assurance: 'anchored' })
  const again = await affidavit(['pack', '--tenant', 'org_1', '-o', at('org_1.zip')], environment)
  expect(again).toMatchObject({ code: 2, err: expect.stringContaining('exists. Give -o another name, or --force.') })
  const range = ['pack', '--tenant', 'org_1', '--from', '290', '--to', '295', '-o', at('range.zip')]
  expect((await affidavit(range, environment)).out).toContain('5 of 301')
})

test('a live trail holds, deep as well, and is held against the last visit', async () => {
  const url = await trailOf('org_2', 30)
  const state = ['--state', at('state.json')]
  expect(await verified([url, '--deep', ...state], environment)).toMatchObject({
    outcome: 'held',
    assurance: 'tamper-detecting only',
    verdicts: { columns: 'held' },
  })
  expect(await verified([url, ...state], environment)).toMatchObject({
    outcome: 'held',
    assurance: 'anchored',
    verdicts: { consistency: 'held' },
  })
})

test('a tenant key without operator parts verifies, and is told what it was not shown', async () => {
  await trailOf('org_3', 3)
  const made = await affidavit(
    [
      'keys',
      'create',
      '--name',
      'Auditor',
      '--tenant',
      'org_3',
      '--scope',
      'verify',
      '--scope',
      'events:read',
      '--expires',
      '90d',
    ],
    environment,
  )
  expect(made.code).toBe(0)
  const told = await verified([server.url, '--tenant', 'org_3', '--key', made.out.trim()])
  expect(told).toMatchObject({ outcome: 'held' })
  expect(told.notes.join()).toContain('operator')
  const elsewhere = await affidavit(['verify', server.url, '--tenant', 'org_2', '--key', made.out.trim()])
  expect(elsewhere).toMatchObject({ code: 2, err: expect.stringContaining('[not_found]') })
})

test('an edited column hides an event from a filter: only --deep sees it, and names it', async () => {
  const url = await trailOf('org_4', 20)
  const login = `(select a.number from affidavit.actions a where a.tenant = e.tenant and a.action = 'user.login')`
  await attack(`update affidavit.events e set action = ${login} where ${ofTenant} and seq = 3`, ['org_4'])
  expect(await verified([url], environment)).toMatchObject({ outcome: 'held' })
  const told = await verified([url, '--deep'], environment)
  expect(told).toMatchObject({ outcome: 'tampered', exit_code: 1, first_wrong: 3, verdicts: { columns: 'failed' } })
  expect(told.findings[0]).toMatchObject({
    verdict: 'column',
    code: 'hidden',
    seq: 3,
    filter: 'action=document.deleted',
  })
})

test('an edited sealing time is named', async () => {
  const url = await trailOf('org_5', 20)
  await attack(`update affidavit.events set sealed_at = sealed_at - interval '1 ms' where ${ofTenant} and seq = 7`, [
    'org_5',
  ])
  const told = await verified([url], environment)
  expect(told).toMatchObject({ outcome: 'tampered', first_wrong: 7, verdicts: { inclusion: 'failed' } })
})

test('edited facts are named', async () => {
  const url = await trailOf('org_6', 20)
  await attack(
    `update affidavit.events set facts = replace(facts::text, 'user_0', 'user_9')::text where ${ofTenant} and seq = 11`,
    ['org_6'],
  )
  expect(await verified([url], environment)).toMatchObject({
    outcome: 'tampered',
    first_wrong: 11,
    verdicts: { content: 'failed', chain: 'held' },
  })
})

test('a deleted entry is named', async () => {
  const url = await trailOf('org_7', 20)
  await attack(`delete from affidavit.events where ${ofTenant} and seq = 9`, ['org_7'])
  const told = await verified([url], environment)
  expect(told).toMatchObject({ outcome: 'tampered', first_wrong: 9, verdicts: { completeness: 'failed' } })
})

test('a replaced tile is told apart from a replaced entry', async () => {
  const url = await trailOf('org_10', 260)
  await attack(
    `update affidavit.tiles set hashes = set_byte(hashes, 32 * 5, 1 - get_byte(hashes, 32 * 5) % 2) where ${ofTenant} and level = 0`,
    ['org_10'],
  )
  const told = await verified([url], environment)
  expect(told).toMatchObject({ outcome: 'tampered', first_wrong: 5, verdicts: { chain: 'held', content: 'held' } })
  expect(told.findings[0]).toMatchObject({ code: 'tile_changed' })
})

test('a tail that is gone contradicts the checkpoint kept before', async () => {
  const url = await trailOf('org_8', 10)
  const reply = await fetch(`${url}/checkpoint`, { headers: { authorization: `Bearer ${server.key}` } })
  const note = await reply.text()
  // Another trail of the same log, shorter: what a server would show after it lost the end.
  await writeFile(at('longer.txt'), note.replace(/\n11\n/, '\n12\n'))
  const told = await verified([url, '--checkpoint', at('longer.txt')], environment)
  expect(told).toMatchObject({ outcome: 'tampered', first_wrong: 11 })
  expect(told.findings[0]).toMatchObject({ verdict: 'consistency', code: 'rolled_back' })
  await writeFile(at('same.txt'), note)
  expect(await verified([url, '--checkpoint', at('same.txt')], environment)).toMatchObject({ outcome: 'held' })
})

test('another trail in the place of the one last visited is evidence', async () => {
  const url = await trailOf('org_9', 2)
  await verified([url, '--state', at('swap.json')], environment)
  const state = await readFile(at('swap.json'), 'utf8')
  await writeFile(at('swap.json'), state.replaceAll('org_9', 'org_2'))
  const told = await verified([`${server.url}/v1/trails/org_2`, '--state', at('swap.json')], environment)
  expect(told).toMatchObject({ outcome: 'tampered' })
  expect(told.findings[0]).toMatchObject({ verdict: 'consistency', code: 'trail_replaced' })
})

test('tenants and keys: create, list, show, revoke', async () => {
  const tenant = await affidavit(['tenants', 'create', 'org_new', '--name', 'New Ltd'], environment)
  expect(tenant).toMatchObject({ code: 0, out: expect.stringMatching(/^vkey +\S+\+[0-9a-f]{8}\+\S+$/m) })
  const made = await affidavit(['keys', 'create', '--name', 'Nightly Sync', '--json'], environment)
  const { id, key } = JSON.parse(made.out) as { id: string; key: string }
  expect((await affidavit(['keys', 'list'], environment)).out).toMatch(new RegExp(`${id} .*Nightly Sync`))
  expect((await affidavit(['keys', 'revoke', id], environment)).code).toBe(0)
  const revoked = await affidavit(['tenants', 'list', '--key', key], environment)
  expect(revoked).toMatchObject({ code: 1, err: expect.stringContaining('Give another key') })
  expect((await affidavit(['tenants', 'list'], environment)).out).toMatch(/^org_new +open .* New Ltd$/m)
  const absent = await affidavit(['tenants', 'show', 'nobody'], environment)
  expect(absent).toMatchObject({ code: 1, err: expect.stringContaining('[not_found]') })
})

test('bad lines of an import are named, the others are stored', async () => {
  await writeFile(at('bad.ndjson'), '{"action":"a.b","actor":{"type":"user","id":"u"}}\nnonsense\n')
  const ran = await affidavit(
    ['import', '--format', 'ndjson', at('bad.ndjson'), '--tenant', 'org_1', '--json'],
    environment,
  )
  expect(ran.code).toBe(1)
  expect(ran.err).toContain('line 2')
  expect(JSON.parse(ran.out)).toMatchObject({ accepted: 1, rejected: 1, actions: { 'a.b': 1 } })
})
