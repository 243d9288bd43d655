import { afterEach, beforeEach, expect, test } from 'vitest'
import { AffidavitError, type AuditEvent, createAffidavit } from '../src/index.ts'
import { type FaultyServer, startFaultyServer } from './faulty-server.ts'

const login: AuditEvent = { action: 'user.login', actor: { type: 'user', id: 'u1' } }

let server: FaultyServer
beforeEach(async () => {
  server = await startFaultyServer()
})
afterEach(() => server.close())

function client(options: { timeoutMs?: number; attemptTimeoutMs?: number; tenant?: string } = {}) {
  return createAffidavit({ url: `${server.url}/`, key: 'aff_test_1', flushBeforeExit: false, ...options })
}

async function failure(call: Promise<unknown>): Promise<AffidavitError> {
  const error = await call.then(
    () => undefined,
    (reason) => reason,
  )
  expect(error).toBeInstanceOf(AffidavitError)
  return error
}

test('record answers with the receipt and sends key, tenant and a UUIDv7', async () => {
  const receipt = await client({ tenant: 'org_1' }).record(login)
  const [seen] = server.requests
  expect(seen!.headers.authorization).toBe('Bearer aff_test_1')
  expect(JSON.parse(seen!.body)).toEqual({ ...login, id: receipt.id, tenant: 'org_1' })
  expect(receipt).toMatchObject({ seq: 0, duplicate: false })
  expect(receipt.id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
})

test('record repeats after errors, resets and cut answers, and stores the event once', async () => {
  server.faults = [
    { kind: 'status', status: 500 },
    { kind: 'reset', stored: true },
    { kind: 'truncated' },
    { kind: 'status', status: 503, body: '<html>proxy</html>' },
  ]
  const receipt = await client().record(login)
  expect(server.requests).toHaveLength(5)
  expect(new Set(server.requests.map((seen) => JSON.parse(seen.body).id))).toEqual(new Set([receipt.id]))
  expect(server.stored.size).toBe(1)
  expect(receipt.duplicate).toBe(true)
})

test('record waits at least as long as Retry-After asks', async () => {
  server.faults = [{ kind: 'status', status: 429, retryAfter: '1' }]
  await client().record(login)
  expect(server.requests[1]!.at - server.requests[0]!.at).toBeGreaterThanOrEqual(995)
})

test('record gives up at once if Retry-After lies beyond its deadline', async () => {
  server.faults = [{ kind: 'status', status: 503, retryAfter: '60' }]
  const started = performance.now()
  const error = await failure(client({ timeoutMs: 30_000 }).record(login))
  expect(error).toMatchObject({ status: 503, code: 'injected', retryAfterMs: 60_000 })
  expect(performance.now() - started).toBeLessThan(10_000)
})

test('record does not repeat a refusal, and the error carries the problem', async () => {
  const problem = { status: 422, code: 'bad_type', detail: 'must be a string', pointer: '/actor/id' }
  server.faults = [{ kind: 'status', status: 422, body: JSON.stringify(problem) }]
  const error = await failure(client().record(login))
  expect(error).toMatchObject(problem)
  expect(error.message).toContain('/actor/id')
  expect(server.requests).toHaveLength(1)
})

test('a slow answer is a timeout, and the repeat finds the event stored', async () => {
  server.faults = [{ kind: 'slow', ms: 2_000 }]
  const receipt = await client({ attemptTimeoutMs: 500 }).record(login)
  expect(receipt.id).toBeTruthy()
  expect(server.requests.length).toBeGreaterThan(1)
})

test('nobody listening ends as a network error within the deadline', async () => {
  const url = server.url
  await server.close()
  const audit = createAffidavit({ url, key: 'k', timeoutMs: 300, flushBeforeExit: false })
  expect(await failure(audit.record(login))).toMatchObject({ status: 0, code: 'network' })
})

test('an aborted call ends at once', async () => {
  server.faults = [{ kind: 'slow', ms: 5000 }]
  const error = await failure(client().record(login, { signal: AbortSignal.timeout(50) }))
  expect(error.code).toBe('closed')
})

test('recordMany lists refusals by index and sends text as it is', async () => {
  server.refuse = (event) =>
    event.action === 'bad' ? { code: 'bad_action', detail: 'no', pointer: '/action' } : undefined
  const text = '{"id":"x-1", "action":"a.b","actor":{"type":"system"}}'
  const result = await client().recordMany([login, { ...login, action: 'bad' }, text, text], {
    personal: ['/a,b', '/c/*'],
  })
  expect(result).toEqual({
    accepted: 2,
    duplicates: 1,
    rejected: 1,
    rejections: [{ index: 1, code: 'bad_action', detail: 'no', pointer: '/action' }],
  })
  expect(server.requests[0]!.body).toContain(text)
  expect(server.requests[0]!.headers['affidavit-personal']).toBe('%2Fa%2Cb,%2Fc%2F*')
  expect(server.requests[0]!.headers.prefer).toBe('return=minimal')
})

test('a reply that does not account for every event is an error', async () => {
  server.faults = [{ kind: 'status', status: 200, body: '{"accepted":1,"duplicates":0,"rejected":0}' }]
  expect(await failure(client().recordMany([login, login]))).toMatchObject({ code: 'unexpected_reply' })
})

test('a redirect is not followed: it would hand the key to another address', async () => {
  server.faults = [{ kind: 'status', status: 307, location: '/elsewhere' }]
  expect(await failure(client().record(login))).toMatchObject({ status: 307 })
  expect(server.requests).toHaveLength(1)
})

test('impossible settings are refused when the client is made', () => {
  expect(() => createAffidavit({ url: 'ftp://x', key: 'k' })).toThrow(TypeError)
  expect(() => createAffidavit({ url: 'http://x', key: 'a\nb' })).toThrow(TypeError)
})
