// What all operations have in common: addresses, methods, media types, limits, connections, and the document itself.
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { freshDatabase, type TestDatabase } from './database.ts'
import { type Answer, Api } from './http-api.ts'
import { RawConnection } from './http-raw.ts'
import { type StartedServer, startedServer } from './started-server.ts'

let database: TestDatabase
let server: StartedServer
let api: Api

beforeAll(async () => {
  database = await freshDatabase()
  server = await startedServer(database.url)
  api = await Api.of(server.url, server.key)
})
afterAll(async () => {
  await server?.stop()
  await database?.drop()
})

const event = { tenant: 'door', action: 'a.b', actor: { id: 'u' } }
const rest = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

describe('the document', () => {
  test('is complete: references, parameters, schemas, codes', () => {
    const { document } = api
    expect(document).toMatchObject({ openapi: '3.1.0', info: { title: 'Affidavit' } })
    const names = new Set(Object.keys((document.components as { schemas: object }).schemas))
    const used = [...JSON.stringify(document).matchAll(/"\$ref":"([^"]+)"/g)].map(([, reference]) => reference!)
    for (const reference of used) expect(names).toContain(/^#\/components\/schemas\/(\w+)$/.exec(reference)?.[1])
    expect(new Set(api.operations.map(({ operationId }) => operationId)).size).toBe(api.operations.length)
    for (const { path, parameters } of api.operations) {
      const inPath = parameters.filter((one) => one.in === 'path').map(({ name }) => name)
      expect([...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name)).toEqual(inPath)
    }
    // Whoever has no key gets the registry, which tells of no tenant, the verifiers, and how the server does.
    const open = api.operations.filter(({ scope }) => scope === null).map(({ operationId }) => operationId)
    expect(open.toSorted()).toEqual([
      'getAnchoredCheckpoint',
      'getRegistryCheckpoint',
      'getRegistryKeys',
      'getRegistrySuccession',
      'getRegistryTile',
      'getTimestampToken',
      'getVerifierPage',
      'getVerifierProgram',
      'health',
      'listAnchoredCheckpoints',
      'metrics',
      'openapi',
      'readiness',
    ])
  })

  test('every operation that needs a key is refused without one, and with one that lacks the scope', async () => {
    const poor = api.with((await api.post('/v1/keys', { name: 'Poor', scopes: ['tenants:write'] })).body.key)
    for (const { method, path, scope } of api.operations.filter((one) => one.scope !== null)) {
      const address = path.replace(/\{\w+\}/g, 'x')
      const ask = { method, ...(method !== 'GET' && method !== 'DELETE' && { body: {} }) }
      expect((await api.ask(address, { ...ask, key: null })).body).toMatchObject({ status: 401, code: 'unauthorized' })
      const lacking = await poor.ask(address, ask)
      expect(lacking.body).toMatchObject({
        status: 403,
        code: 'missing_scope',
        detail: `The operation needs the scope ${scope}.`,
      })
    }
  })
})

describe('an address', () => {
  test.each(['/', '/v1', '/v2/events', '/v1/event', '/v1/events/x/proof/y', '//v1/events', '/V1/events'])(
    '%s is not there',
    async (path) => {
      const { status, body } = await api.get(path)
      expect([status, body.code]).toEqual([404, 'not_found'])
    },
  )

  test('known under another method says which', async () => {
    for (const [method, path, allow] of [
      ['PATCH', '/v1/events', 'POST, GET, HEAD'],
      ['DELETE', '/v1/events/abc', 'GET, HEAD'],
      ['OPTIONS', '/v1/keys', 'POST, GET, HEAD'],
      ['POST', '/v1/tenants/x', 'PUT, GET, HEAD'],
      ['PUT', '/v1/trails/x/tile/0/000', 'GET, HEAD'],
      ['GET', '/v1/events/batch/x', null],
      ['GET', '/v1/verify', 'POST'],
    ] as const) {
      const response = await fetch(server.url + path, { method, headers: { authorization: `Bearer ${server.key}` } })
      const body = (await response.json()) as { code: string }
      expect([method, path, response.headers.get('allow'), body.code]).toEqual([
        method,
        path,
        allow,
        allow === null ? 'not_found' : 'method_not_allowed',
      ])
    }
  })

  test('that is broken or endless', async () => {
    for (const path of ['/v1/events/%zz', '/v1/events/%', '/v1/events/%ff', '/v1/trails/%c3%28/checkpoint'])
      expect([path, (await api.get(path)).status]).toEqual([path, 400])
    expect((await api.get(`/v1/events/${'x'.repeat(12_000)}`)).body.code).toBe('invalid_parameter')
    const tooLong = await fetch(`${server.url}/v1/events?q=${'x'.repeat(20_000)}`)
    expect(tooLong.status).toBe(431)
    expect(await tooLong.json()).toMatchObject({ code: 'headers_too_large' })
  })

  test('HEAD answers like GET, without the body', async () => {
    await api.post('/v1/events', event)
    for (const path of ['/v1/events?tenant=door', '/healthz', '/v1/trails/door/pack', '/v1/trails/door/content']) {
      const { status, headers, body } = await api.ask(path, { method: 'HEAD' })
      expect([path, status, body]).toEqual([path, 200, undefined])
      expect(headers.get('content-type')).toBe((await api.get(path)).headers.get('content-type'))
    }
    expect((await api.ask('/v1/events/nothing', { method: 'HEAD' })).status).toBe(404)
  })
})

describe('a body', () => {
  test.each([
    ['a form', { 'content-type': 'application/x-www-form-urlencoded' }, 'unsupported_media_type'],
    ['text', { 'content-type': 'text/plain' }, 'unsupported_media_type'],
    ['NDJSON where one event is taken', { 'content-type': 'application/x-ndjson' }, 'unsupported_media_type'],
    ['no media type', { 'content-type': 'nonsense' }, 'unsupported_media_type'],
    ['brotli', { 'content-encoding': 'br' }, 'unsupported_encoding'],
    ['several encodings', { 'content-encoding': 'gzip, gzip' }, 'unsupported_encoding'],
    ['no gzip', { 'content-encoding': 'gzip' }, 'invalid_gzip'],
  ])('%s is refused', async (_name, headers, code) => {
    expect((await api.post('/v1/events', event, { headers })).body.code).toBe(code)
  })

  test('JSON with a charset, or in capitals, is JSON', async () => {
    for (const type of ['application/json; charset=utf-8', 'Application/JSON', 'application/json;charset=utf-8;x=y'])
      expect((await api.post('/v1/events', event, { headers: { 'content-type': type } })).status).toBe(201)
  })

  test('of one event may be gzip', async () => {
    const body = gzipSync(JSON.stringify(event))
    expect((await api.post('/v1/events', body, { headers: { 'content-encoding': 'gzip' } })).status).toBe(201)
    const cut = await api.post('/v1/events', body.subarray(0, -9), { headers: { 'content-encoding': 'gzip' } })
    expect(cut.body.code).toBe('invalid_gzip')
  })

  test('that is too large is refused, stated or not, packed or not; the connection lives on', async () => {
    const large = Buffer.alloc(50 * 1024 * 1024, 0x20)
    expect((await api.post('/v1/events/batch', large)).body.code).toBe('body_too_large')
    const bomb = gzipSync(large)
    const headers = { 'content-encoding': 'gzip' }
    const answers = await Promise.all(Array.from({ length: 24 }, () => api.post('/v1/events/batch', bomb, { headers })))
    for (const { status, body } of answers) expect([status, body.code]).toEqual([413, 'body_too_large'])
    expect((await api.post('/v1/events', Buffer.alloc(400_000, 0x20))).body.code).toBe('body_too_large')
    expect((await api.post('/v1/keys', Buffer.alloc(70_000, 0x20))).body.code).toBe('body_too_large')

    const connection = await RawConnection.open(server.url)
    const head = `POST /v1/events/batch HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${server.key}\r\n`
    connection.write(`${head}transfer-encoding: chunked\r\n\r\n`)
    for (let sent = 0; sent < 34; sent++)
      connection.write(`100000\r\n`).write(Buffer.alloc(0x100000, 0x20)).write('\r\n')
    connection.write('0\r\n\r\n')
    expect((await connection.answer())?.status).toBe(413)
    connection.write(`GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n`)
    expect((await connection.answer())?.status).toBe(200)
    connection.close()
  })

  test('is not read from those who have no key', async () => {
    const connection = await RawConnection.open(server.url)
    connection.write('POST /v1/events/batch HTTP/1.1\r\nhost: x\r\ncontent-length: 30000000\r\n\r\n[')
    expect((await connection.answer())?.status).toBe(401)
    connection.close()
  })

  test('where none is taken is refused', async () => {
    expect((await api.delete('/v1/keys/abc', { body: { x: 1 } })).body.code).toBe('invalid_request')
    expect((await api.delete('/v1/keys/abc', { headers: { 'content-type': 'application/json' } })).body.code).toBe(
      'not_found',
    )
  })
})

describe('a connection', () => {
  const request = (path: string) => `GET ${path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${server.key}\r\n\r\n`

  test('lives through refusals, and takes requests one after the other without waiting', async () => {
    const connection = await RawConnection.open(server.url)
    const paths = ['/nowhere', '/v1/events?x=1', '/v1/events/none', '/healthz', '/v1/events?limit=1']
    connection.write(paths.map(request).join(''))
    const statuses: (number | undefined)[] = []
    for (const _ of paths) statuses.push((await connection.answer())?.status)
    expect(statuses).toEqual([404, 400, 404, 200, 200])
    connection.close()
  })

  test.each([
    ['garbage', 'garbage\r\n\r\n', 400],
    ['another protocol', 'GET /healthz HTTP/9.9\r\n\r\n', 400],
    ['a TLS greeting', Buffer.from('16030100a5010000a10303', 'hex'), 400],
    ['two lengths', 'POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n{}', 400],
    [
      'a length and chunks',
      'POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n',
      400,
    ],
    ['a negative length', 'POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n', 400],
    ['a bad header name', 'GET /healthz HTTP/1.1\r\nhost: x\r\nbad header: y\r\n\r\n', 400],
    ['a folded header', 'GET /healthz HTTP/1.1\r\nhost: x\r\n folded: y\r\n\r\n', 400],
    ['endless headers', `GET /healthz HTTP/1.1\r\nhost: x\r\nx: ${'y'.repeat(20_000)}\r\n\r\n`, 431],
  ])('%s', async (_name, bytes, status) => {
    const connection = await RawConnection.open(server.url)
    connection.write(bytes)
    const answer = await connection.answer()
    expect(answer?.status).toBe(status)
    expect(JSON.parse(answer!.body.toString())).toMatchObject({ status })
    connection.close()
  })

  test('bad chunks end it without an answer to anything else', async () => {
    const connection = await RawConnection.open(server.url)
    connection.write(
      `POST /v1/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${server.key}\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n`,
    )
    expect((await connection.answer())?.status).toBeOneOf([400, undefined])
    connection.close()
  })

  test('that drops in the middle of a body records nothing', async () => {
    const before = (await api.get('/v1/events?tenant=dropped&limit=1')).status
    expect(before).toBe(404)
    const body = JSON.stringify({ ...event, tenant: 'dropped' })
    for (let cut = 1; cut < body.length; cut += 9) {
      const connection = await RawConnection.open(server.url)
      connection.write(
        `POST /v1/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${server.key}\r\ncontent-length: ${body.length}\r\n\r\n${body.slice(0, cut)}`,
      )
      await rest(2)
      connection.close()
    }
    await rest(100)
    expect((await api.get('/v1/tenants/dropped')).status).toBe(404)
  })

  test('that goes away in the middle of a pack leaves nothing open', async () => {
    const events = Array.from({ length: 400 }, () => ({
      ...event,
      tenant: 'abandoned',
      metadata: { text: 'x'.repeat(20_000) },
    }))
    for (let i = 0; i < 400; i += 100) await api.post('/v1/events/batch', events.slice(i, i + 100))
    while ((await api.get('/v1/trails/abandoned')).body.size < 401) await rest(50)
    for (let round = 0; round < 30; round++) {
      const connection = await RawConnection.open(server.url)
      connection.write(request(round % 2 === 0 ? '/v1/trails/abandoned/content' : '/v1/trails/abandoned/pack'))
      await new Promise((resolve) => connection.socket.once('data', resolve))
      connection.close()
    }
    // More than there are database connections: had one of them been kept, this would hang.
    expect((await api.get('/v1/events?tenant=abandoned&limit=1')).status).toBe(200)
  })

  test('the key and the body are in no log line', async () => {
    // Every answer above went through; here the shapes that carry secrets are asked for once more.
    const answers: Answer[] = [
      await api.get('/v1/events', { key: `${server.key}x` }),
      await api.post('/v1/events', '{"actor": {"email": "secret@example.com"', {}),
      await api.post('/v1/events', { action: 'secret value', actor: { id: 's' } }),
    ]
    for (const { body } of answers) expect(JSON.stringify(body)).not.toMatch(/secret|aff_/)
  })
})
