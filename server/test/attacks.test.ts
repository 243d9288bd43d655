// What a hostile tenant may try against a running server that its API allows piece by piece: to be two principals, to
// outlive an expiry, to shut others out.
import { connect, type Socket } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { freshDatabase, type TestDatabase } from './database.ts'
import { Api } from './http-api.ts'
import { type StartedServer, startedServer } from './started-server.ts'

let database: TestDatabase
let server: StartedServer
let operator: Api

/** Events per second that one tenant may send. */
const share = 500
const forgetting = ['forget:read', 'forget:request', 'forget:approve']
const all = ['events:write', 'events:read', 'keys:manage', 'holds:place', ...forgetting]

beforeAll(async () => {
  database = await freshDatabase()
  server = await startedServer(database.url, { AFFIDAVIT_RATE_EVENTS: String(share) })
  operator = await Api.of(server.url, server.key)
  for (const tenant of ['mallory', 'victim'])
    for (let n = 0; n < 3; n++)
      await operator.post('/v1/events', { tenant, action: 'a.b', actor: { type: 'user', id: 'u' }, id: `e${n}` })
})
afterAll(async () => {
  await server?.stop()
  await database?.drop()
})

async function keyFrom(maker: Api, scopes: readonly string[] = all, more: object = {}): Promise<Api> {
  const { status, body } = await maker.post('/v1/keys', { name: 'k', tenant: 'mallory', scopes, ...more })
  expect(status).toBe(201)
  return operator.with(body.key)
}

const ask = async (api: Api): Promise<string> =>
  (await api.post('/v1/redactions', { tenant: 'mallory', seqs: [1], reason: 'r' })).body.id

const approve = async (api: Api, id: string, decision = 'approve'): Promise<string> => {
  const { status, body } = await api.post(`/v1/approvals/${id}`, { decision })
  return `${status} ${body.code ?? body.state}`
}

test('one key cannot be two principals by making others', async () => {
  const admin = await keyFrom(operator)
  const [child, sibling] = [await keyFrom(admin), await keyFrom(admin)]
  const grandchild = await keyFrom(child)
  for (const [asks, approves] of [
    [admin, child],
    [child, admin],
    [child, sibling],
    [sibling, grandchild],
    [grandchild, admin],
  ] as const)
    expect(await approve(approves, await ask(asks))).toBe('403 same_principal')
  const other = await keyFrom(operator)
  const id = await ask(grandchild)
  // Revoked, a maker is a maker still.
  expect((await admin.delete(`/v1/keys/${child.key.split('_')[2]}`)).status).toBe(204)
  expect(await approve(sibling, id)).toBe('403 same_principal')
  expect(await approve(grandchild, await ask(grandchild), 'reject')).toBe('200 rejected')
  expect(await approve(other, id)).toBe('200 done')
  expect(await approve(other, id)).toBe('409 conflict')
})

test('a key that was made after the request does not approve it', async () => {
  const id = await ask(operator)
  const late = await keyFrom(operator, forgetting)
  expect(await approve(late, id)).toBe('403 same_principal')
  expect(await approve(late, await ask(operator))).toBe('200 done')
})

test('a key that expires makes none that lives longer', async () => {
  const soon = new Date(Date.now() + 3_600_000).toISOString()
  const expiring = await keyFrom(operator, all, { expires_at: soon })
  const made = (more: object) =>
    expiring.post('/v1/keys', { name: 'k', scopes: ['events:read'], ...more }).then(({ status, body }) => ({
      status,
      expires: body.expires_at ?? body.pointer,
    }))
  expect(await made({})).toEqual({ status: 201, expires: soon })
  expect(await made({ expires_at: new Date(Date.now() + 7_200_000).toISOString() })).toEqual({
    status: 422,
    expires: '/expires_at',
  })
  const sooner = new Date(Date.now() + 60_000).toISOString()
  expect(await made({ expires_at: sooner })).toEqual({ status: 201, expires: sooner })
})

test('a key of a tenant does not speak of staff of the operator', async () => {
  const mallory = await keyFrom(operator, ['events:write'])
  const said = async (api: Api, actor: object) => {
    const { status, body } = await api.post('/v1/events', { tenant: 'mallory', action: 'a.b', actor })
    return `${status} ${body.pointer ?? ''}`
  }
  const staff = { type: 'user', id: 's', internal: true }
  expect(await said(mallory, staff)).toBe('422 /actor/internal')
  expect(await said(mallory, { type: 'user', id: 'u', impersonator: staff })).toBe('422 /actor/impersonator/internal')
  expect(await said(mallory, { ...staff, internal: false })).toBe('201 ')
  expect(await said(operator, staff)).toBe('201 ')
  const service = await keyFrom(operator, ['events:write'], { internal: true })
  expect(await said(service, staff)).toBe('201 ')
})

test('a tenant that sends more than its share, with however many keys, is told when to come back; others feel nothing', async () => {
  const keys = await Promise.all(Array.from({ length: 4 }, () => keyFrom(operator, ['events:write'])))
  const { body: victim } = await operator.post('/v1/keys', { name: 'v', tenant: 'victim', scopes: ['events:write'] })
  const event = { action: 'a.b', actor: { type: 'user', id: 'u' } }
  const batch = (api: Api) => api.post('/v1/events/batch', Array(share).fill(event))
  const [calm, ...flood] = await Promise.all([operator.with(victim.key).post('/v1/events', event), ...keys.map(batch)])
  expect(calm.status).toBe(201)
  const refused = flood.filter(({ status }) => status === 429)
  expect(refused.length).toBeGreaterThan(0)
  expect(flood.filter(({ status }) => status === 200).length).toBe(flood.length - refused.length)
  for (const { body, headers } of refused) {
    expect(body).toMatchObject({ code: 'rate_limited', detail: expect.stringContaining(`${share} events per second`) })
    expect(headers.get('retry-after')).toBe('1')
    expect(headers.get('ratelimit')).toMatch(/^"events";r=\d+;t=1$/)
  }
  await new Promise((resolve) => setTimeout(resolve, 1_000))
  expect((await batch(keys[0]!)).status).toBe(200)
})

test("packs that wait for the server's opinion do not hold the room for bodies, nor the place of other tenants", async () => {
  const keys = await Promise.all(Array.from({ length: 3 }, () => keyFrom(operator, ['verify'])))
  const { body: victim } = await operator.post('/v1/keys', { name: 'v', tenant: 'victim', scopes: ['verify'] })
  const zip = Buffer.alloc(2 ** 20, 'PK\u0003\u0004')
  const headers = { 'content-type': 'application/zip' }
  const checked = async (api: Api) => (await api.post('/v1/verify', zip, { headers })).status
  const statuses = await Promise.all([...keys, operator.with(victim.key)].map(checked))
  expect(statuses.pop()).toBe(400)
  expect(statuses.sort()).toEqual([400, 429, 429])
})

test('one tenant that never ends its bodies does not shut out the others', async () => {
  const { hostname, port } = new URL(server.url)
  const mallory = await keyFrom(operator, ['events:write'])
  const { body: victim } = await operator.post('/v1/keys', { name: 'v', tenant: 'victim', scopes: ['events:write'] })
  const bytes = 15 * 2 ** 20
  const sockets = Array.from({ length: 7 }, () => connect(Number(port), hostname))
  try {
    const answers = sockets.map((socket) => halfBatch(socket, mallory.key, bytes))
    // Not all of them are taken in.
    await expect.poll(() => answers.filter((answer) => answer().startsWith('HTTP/1.1 503')).length).toBeGreaterThan(3)
    const event = { action: 'a.b', actor: { type: 'user', id: 'u' } }
    expect((await operator.with(victim.key).post('/v1/events', event)).status).toBe(201)
    expect((await operator.post('/v1/events', { ...event, tenant: 'victim' })).status).toBe(201)
  } finally {
    for (const socket of sockets) socket.destroy()
  }
})

/** Sends most of a batch and stays. @returns what is answered so far */
function halfBatch(socket: Socket, key: string, bytes: number): () => string {
  let answer = ''
  socket.on('data', (chunk) => (answer += chunk))
  socket.on('error', () => {})
  socket.write(
    `POST /v1/events/batch HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${key}\r\n` +
      `content-type: application/x-ndjson\r\ncontent-length: ${bytes + 1}\r\n\r\n`,
  )
  socket.write(Buffer.alloc(bytes, ' '))
  return () => answer
}
