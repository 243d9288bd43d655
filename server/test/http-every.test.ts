// Every operation of the OpenAPI document answers well at least once here, and each answer is held to the document by the
// client: status, media type, every member. What is behind the answers is tested where it belongs.
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { encodeManifest, PackReader, sha256 } from '@affidavit/trail'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { freshDatabase, type TestDatabase } from './database.ts'
import { Api } from './http-api.ts'
import { apiPagePath } from './http-reference.ts'
import { type StartedServer, startedServer } from './started-server.ts'

let database: TestDatabase
let server: StartedServer
let api: Api
let second: Api

const EVENTS = 256
const reason = 'as the document says'
const person = { type: 'user', id: 'u1' }
const event = { tenant: 'door', action: 'a.b', actor: { ...person, name: 'Ada' } }

beforeAll(async () => {
  // What `npm start` does before it.
  await promisify(execFile)(process.execPath, ['web/verify/build.ts', '--if-stale'], {
    cwd: join(import.meta.dirname, '..', '..'),
  })
  database = await freshDatabase()
  server = await startedServer(database.url, { AFFIDAVIT_REGISTRY_INTERVAL_MS: '300' })
  api = await Api.of(server.url, server.key)
})
afterAll(async () => {
  await server?.stop()
  await database?.drop()
})

/** Fails where another status comes than the one that says that all is well. */
async function well(status: number, answer: Promise<{ status: number; body: unknown }>) {
  const { status: came, body } = await answer
  if (came !== status) throw new Error(`${came} instead of ${status}: ${JSON.stringify(body)}`)
  // biome-ignore lint/suspicious/noExplicitAny: the client has held it to the document
  return body as any
}

async function until(path: string, isThere: (answer: { status: number; body: { size?: number } }) => boolean) {
  for (const end = Date.now() + 60_000; Date.now() < end; await new Promise((resolve) => setTimeout(resolve, 50)))
    if (isThere(await api.get(path))) return
  throw new Error(`${path} does not come`)
}

const tests: Record<string, () => Promise<void>> = {
  async events() {
    const one = await well(201, api.post('/v1/events', event))
    await well(
      200,
      api.post(
        '/v1/events/batch',
        Array.from({ length: EVENTS }, () => event),
      ),
    )
    await until('/v1/trails/door', ({ body }) => (body.size ?? 0) > EVENTS)
    await well(200, api.get('/v1/events'))
    await well(200, api.get(`/v1/events/${one.id}?tenant=door`))
    await well(200, api.get(`/v1/events/${one.id}/proof?tenant=door`))
    await well(200, api.get(`/v1/events/${one.id}/proof?tenant=door&format=tlog`))
    await well(200, api.post('/v1/verify', { receipts: [one.receipt] }))
  },

  async 'tenants and keys'() {
    await well(200, api.put('/v1/tenants/door'))
    await well(200, api.get('/v1/tenants'))
    await well(200, api.get('/v1/tenants/door'))
    const key = await well(201, api.post('/v1/keys', { name: 'x', scopes: ['verify'] }))
    await well(200, api.get('/v1/keys'))
    await well(204, api.delete(`/v1/keys/${key.id}`))
    const approver = { name: 'Second', scopes: ['forget:read', 'forget:approve'] }
    second = api.with((await well(201, api.post('/v1/keys', approver))).key)
  },

  async trails() {
    for (const part of ['', '/checkpoint', '/tile/0/000', '/consistency?from=1', '/proofs/0', '/content?to=3'])
      await well(200, api.get(`/v1/trails/door${part}`))
    const bytes = await well(200, api.get('/v1/trails/door/pack'))
    const file = { size: bytes.length, read: async (at: number, length: number) => bytes.subarray(at, at + length) }
    const pack = await PackReader.open(sha256, file)
    const begun = { manifest: encodeManifest(pack.manifest), checkpoint: await pack.text('checkpoint'), skip: 3 }
    await well(200, api.post('/v1/trails/door/pack', begun))
  },

  async registry() {
    await until('/v1/trails/door/slot', ({ status }) => status === 200)
    for (const part of ['checkpoint', 'tile/entries/000.p/1', 'vkeys', 'succession'])
      await well(200, api.get(`/v1/registry/${part}`))
    await database.superuser.query(
      `insert into affidavit.anchored (epoch, size, anchor, kind, origin, public, note, token, details)
       select epoch, size, 'authority', 'timestamp', 'log.example/registry', true, note, 'token', $1
       from affidavit.registry_notes order by size desc limit 1`,
      [{ time: '2026-03-10T18:33:14.000Z', policy: '1.2.3', serial: '01' }],
    )
    const { data } = await well(200, api.get('/v1/registry/anchors'))
    await well(200, api.get(`/v1/registry/anchors/${data[0].id}/checkpoint`))
    await well(200, api.get(`/v1/registry/anchors/${data[0].id}/token`))
  },

  async forgetting() {
    const tenant = 'door'
    const asked = await well(202, api.post('/v1/erasures', { tenant, subject: person, reason }))
    await well(202, api.post('/v1/redactions', { tenant, seqs: [1], reason }))
    await well(202, api.post('/v1/retentions', { tenant, retention_days: 400, reason }))
    await well(202, api.post('/v1/truncations', { tenant, size: 256, reason }))
    await well(202, api.post('/v1/deletions', { tenant, reason }))
    await well(200, api.get('/v1/erasures'))
    await well(200, api.get(`/v1/erasures/${asked.id}`))
    await well(200, api.get('/v1/approvals'))
    await well(200, api.get(`/v1/approvals/${asked.id}`))
    await well(200, second.post(`/v1/approvals/${asked.id}`, { decision: 'approve' }))
    const hold = await well(201, api.post('/v1/holds', { tenant, from: 2, to: 4, reason }))
    await well(200, api.get(`/v1/holds?tenant=${tenant}`))
    await well(202, api.post(`/v1/holds/${hold.id}/release`, { reason }))
    await well(200, api.post('/v1/prunes', { tenant }))
    await well(200, api.post('/v1/rotations', { tenant, key: 'data' }))
  },

  async 'status, scrub, what is public'() {
    for (const path of ['/healthz', '/readyz', '/metrics', '/openapi.json', '/verify', '/verify/affidavit-verify.mjs'])
      await well(200, api.get(path))
    await well(200, api.get('/v1/status'))
    await well(200, api.get('/v1/scrub'))
    const { rows } = await database.superuser.query<{ number: string }>(
      `insert into affidavit.scrub_findings (trail, seq, what, message, print)
       select number, 0, 'action', 'a drill', 'x' from affidavit.trails limit 1 returning number`,
    )
    await well(200, api.post(`/v1/scrub/findings/${rows[0]!.number}/acknowledge`, { reason }))
  },

  // Last: the new key signs from the next start on.
  'the log key': async () => void (await well(200, api.post('/v1/log-key', { action: 'rotate' }))),
}

test.each(Object.keys(tests))('%s', (name) => tests[name]!())

test('the page of the HTTP API has every operation that this server has', () => {
  const page = readFileSync(apiPagePath, 'utf8')
  const there = api.operations.map(({ method, path }) => `### ${method.toUpperCase()} ${path}`)
  expect(there.filter((heading) => !page.includes(`\n${heading}\n`))).toEqual([])
})

test('that was every operation', () => {
  const seen = new Set([...api.seen].filter((one) => / 20\d$/.test(one)).map((one) => one.split(' ')[0]))
  expect(api.operations.map(({ operationId }) => operationId).filter((id) => !seen.has(id))).toEqual([])
})
