// Recording events over HTTP: every form that is taken, and what the answers promise. All answers are held to the
// OpenAPI document by the client.
import { gzipSync } from 'node:zlib'
import { contradicts, parseNote, parseReceipt, parseVkey, sha256, verifyEd25519, verifyReceipt } from '@affidavit/trail'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { freshDatabase, type TestDatabase } from './database.ts'
import { Api } from './http-api.ts'
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

const event = (more: object = {}) => ({
  tenant: 'acme',
  action: 'user.role.updated',
  actor: { id: 'u1', name: 'Sarah Johnson', email: 'sarah@example.com' },
  targets: [{ type: 'user', id: 'u2', name: 'Mark Chen' }],
  changes: [{ path: '/role', before: 'Member', after: 'Admin' }],
  context: { ip: '203.0.113.9', request_id: 'r-1' },
  metadata: { ticket: 'OPS-7' },
  ...more,
})
const batchPath = '/v1/events/batch'

describe('one event', () => {
  test('is given back as it was sent, with its place and hashes', async () => {
    const { status, body, headers } = await api.post('/v1/events', event())
    expect(status).toBe(201)
    expect(headers.get('ratelimit')).toMatch(/^"events";r=\d+;t=1$/)
    expect(headers.get('ratelimit-policy')).toBe('"events";q=100000;w=1')
    const { body: stored } = await api.get(`/v1/events/${body.id}?tenant=acme`)
    expect(stored).toMatchObject(event())
    const { id, tenant, trail, seq, hash, previous_hash, sealed_at, facts_salt } = body
    expect(stored).toMatchObject({ id, tenant, trail, seq, hash, previous_hash, sealed_at, facts_salt })
    expect(stored.sentence).toBe('Sarah Johnson changed the role of Mark Chen from Member to Admin')
    expect(JSON.parse(stored.facts).actor.name).toEqual({ $personal: 0 })
  })

  test('follows the one before it by hash', async () => {
    const first = await api.post('/v1/events', event({ tenant: 'chain' }))
    const second = await api.post('/v1/events', event({ tenant: 'chain' }))
    expect(second.body.seq).toBe(first.body.seq + 1)
    expect(second.body.previous_hash).toBe(first.body.hash)
    const opening = await api.get('/v1/events?tenant=chain&control=true&order=asc&limit=1')
    expect(opening.body.data[0]).toMatchObject({
      seq: 0,
      previous_hash: '0'.repeat(64),
      hash: first.body.previous_hash,
    })
    expect(opening.body.data[0].control).toMatch(/^open /)
  })

  test('comes with a receipt that its vkey verifies and that names it', async () => {
    const { body } = await api.post('/v1/events', event())
    const { vkey } = (await api.get('/v1/trails/acme')).body
    const { receipt, verified } = await verifyReceipt(verifyEd25519, body.receipt, [parseVkey(sha256, vkey)])
    expect(verified).toHaveLength(1)
    expect(receipt.trail).toBe(body.trail)
    expect(receipt.first).toBeLessThanOrEqual(body.seq)
    expect(receipt.last).toBeGreaterThanOrEqual(body.seq)
    expect(receipt.sealedAt).toBe(body.sealed_at)
    if (receipt.last === body.seq) expect(contradicts(receipt, Buffer.from(body.hash, 'hex'))).toBe(false)
    expect(parseNote(body.receipt).signatures).toHaveLength(1)
  })

  test('sent again with the same id is the same event', async () => {
    const sent = event({ id: 'evt-1' })
    const first = await api.post('/v1/events', sent)
    const again = await api.post('/v1/events', sent)
    expect([first.status, again.status]).toEqual([201, 200])
    const { receipt, ...rest } = again.body
    expect(first.body).toMatchObject(rest)
    const { vkey } = (await api.get('/v1/trails/acme')).body
    const checked = await verifyReceipt(verifyEd25519, receipt, [parseVkey(sha256, vkey)])
    expect(checked.receipt).toMatchObject({
      first: first.body.seq,
      last: first.body.seq,
      sealedAt: first.body.sealed_at,
    })
    expect(Buffer.from(checked.receipt.leaf).toString('hex')).toBe(first.body.hash)
  })

  test('with the same id and another content is refused', async () => {
    await api.post('/v1/events', event({ id: 'evt-2' }))
    const other = await api.post('/v1/events', event({ id: 'evt-2', action: 'user.deleted' }))
    expect(other.body).toMatchObject({ status: 409, code: 'id_reused', pointer: '/id' })
    const flat = { tenant_id: 'acme', event_id: 'evt-2', action: 'x.y', actor_id: 'u' }
    expect((await api.post('/v1/events', flat)).body).toMatchObject({ code: 'id_reused', pointer: '/event_id' })
    // An id belongs to its tenant.
    expect((await api.post('/v1/events', event({ id: 'evt-2', tenant: 'other' }))).status).toBe(201)
  })

  test('many at once with one id are one event', async () => {
    const sent = event({ id: 'evt-3' })
    const answers = await Promise.all(Array.from({ length: 20 }, () => api.post('/v1/events', sent)))
    expect(answers.filter(({ status }) => status === 201)).toHaveLength(1)
    expect(new Set(answers.map(({ body }) => body.seq)).size).toBe(1)
  })

  test('takes its id from Idempotency-Key', async () => {
    const headers = { 'idempotency-key': 'key-1' }
    const first = await api.post('/v1/events', event(), { headers })
    expect(first.body.id).toBe('key-1')
    expect((await api.post('/v1/events', event(), { headers })).status).toBe(200)
    expect((await api.post('/v1/events', event({ id: 'key-1' }), { headers })).status).toBe(200)
    const contradiction = await api.post('/v1/events', event({ id: 'key-2' }), { headers })
    expect(contradiction.body).toMatchObject({ code: 'invalid_value', pointer: '/id' })
    const flat = { tenant_id: 'acme', action: 'x.y', actor_id: 'u1' }
    expect((await api.post('/v1/events', flat, { headers: { 'idempotency-key': 'key-3' } })).body.id).toBe('key-3')
    const malformed = await api.post('/v1/events', event(), { headers: { 'idempotency-key': 'no spaces' } })
    expect(malformed.body.code).toBe('invalid_request')
  })

  test('in the flat form tells what went to metadata', async () => {
    const { body } = await api.post('/v1/events', {
      tenant_id: 'acme',
      action: 'a.b',
      actor_id: 'u',
      rows: 3,
      event_type: 'x',
    })
    expect(body.moved_to_metadata.toSorted()).toEqual(['event_type', 'rows'])
  })

  test('a key for writing makes no tenants and does not read', async () => {
    const writer = api.with((await api.post('/v1/keys', { name: 'Writer', scopes: ['events:write'] })).body.key)
    const refused = await writer.post('/v1/events', event({ tenant: 'nobody-made-me' }))
    expect(refused.body).toMatchObject({ status: 404, code: 'unknown_tenant', pointer: '/tenant' })
    const flat = await writer.post('/v1/events', { tenant_id: 'nobody-made-me', action: 'a', actor_id: 'u' })
    expect(flat.body).toMatchObject({ code: 'unknown_tenant', pointer: '/tenant_id' })
    expect((await writer.get('/v1/events')).body.code).toBe('missing_scope')
    expect((await api.get('/v1/tenants/nobody-made-me')).status).toBe(404)
  })

  test('what a sender declares personal is personal, and does not change what a repeat is', async () => {
    const sent = event({ id: 'declared', metadata: { badge: 'B-123' } })
    const headers = { 'affidavit-personal': encodeURIComponent('/metadata/badge') }
    const { body } = await api.post('/v1/events', sent, { headers })
    const { body: stored } = await api.get(`/v1/events/${body.id}?tenant=acme`)
    expect(stored.metadata).toEqual({ badge: 'B-123' })
    expect(stored.facts).not.toContain('B-123')
    expect((await api.post('/v1/events', sent)).status).toBe(200)
    for (const bad of ['%zz', 'metadata', encodeURIComponent('/id'), Array(51).fill('/reason').join(',')]) {
      const refused = await api.post('/v1/events', sent, { headers: { 'affidavit-personal': bad } })
      expect([bad.slice(0, 20), refused.body.code]).toEqual([bad.slice(0, 20), 'invalid_request'])
    }
  })

  test('a sender cannot make personal what holds something confidential', async () => {
    await api.put('/v1/tenants/secretive', { policy: { confidential: ['/metadata/secret'] } })
    const sent = event({ tenant: 'secretive', metadata: { secret: 's' } })
    const refused = await api.post('/v1/events', sent, { headers: { 'affidavit-personal': '%2Fmetadata%2F*' } })
    expect(refused.body).toMatchObject({ status: 409, code: 'conflict' })
    expect((await api.post('/v1/events', sent)).status).toBe(201)
  })

  test('an internal key flags its actors', async () => {
    const made = await api.post('/v1/keys', { name: 'Support', scopes: ['events:write'], internal: true })
    const { body } = await api.with(made.body.key).post('/v1/events', event())
    const { body: stored } = await api.get(`/v1/events/${body.id}?tenant=acme`)
    expect(stored.actor.internal).toBe(true)
    expect(stored.key).toEqual({ id: made.body.id, name: 'Support' })
  })
})

describe('a batch', () => {
  const events = [0, 1, 2].map((n) => event({ tenant: 'batch', metadata: { n } }))
  const ndjson = `${events.map((one) => JSON.stringify(one)).join('\n')}\n`
  const array = JSON.stringify(events)
  const wrapped = JSON.stringify({ events })
  const lines = { 'content-type': 'application/x-ndjson' }

  test.each([
    ['NDJSON', ndjson, lines],
    ['NDJSON that says it is JSON', ndjson, {}],
    ['NDJSON without a last line feed', ndjson.trimEnd(), lines],
    ['NDJSON with CRLF, empty lines and a byte order mark', `\ufeff${ndjson.replaceAll('\n', '\r\n\r\n')}`, lines],
    ['an array', array, {}],
    ['an array with white space', `  ${JSON.stringify(events, null, 2)}\n`, {}],
    ['an object', wrapped, {}],
    ['gzip', gzipSync(ndjson), { ...lines, 'content-encoding': 'gzip' }],
    ['x-gzip', gzipSync(array), { 'content-encoding': 'x-gzip' }],
    [
      'gzip in two members',
      Buffer.concat([gzipSync(ndjson.slice(0, 100)), gzipSync(ndjson.slice(100))]),
      { ...lines, 'content-encoding': 'gzip' },
    ],
  ])('as %s', async (_name, body, headers) => {
    const { status, body: report } = await api.post(batchPath, body, { headers })
    expect(status).toBe(200)
    expect(report).toMatchObject({ accepted: 3, duplicates: 0, rejected: 0 })
    const seqs = report.results.map(({ seq }: { seq: number }) => seq)
    expect(seqs).toEqual([seqs[0], seqs[0] + 1, seqs[0] + 2])
    const page = await api.get('/v1/events?tenant=batch&limit=3')
    expect(page.body.data.map((one: { metadata: { n: number } }) => one.metadata.n)).toEqual([2, 1, 0])
  })

  test('each event for itself: results in input order, with pointers into each', async () => {
    const items = [
      JSON.stringify(event({ id: 'mixed-0' })),
      '{"broken',
      JSON.stringify(event({ action: 7 })),
      JSON.stringify(event({ id: 'mixed-0' })),
      JSON.stringify(event({ id: 'mixed-0', action: 'other.thing' })),
      '{"a":1,"a":2}',
      '17',
      JSON.stringify(event({ actor: { id: 'u', nickname: 'x' } })),
      JSON.stringify(event({ id: 'mixed-8' })),
    ]
    const { body } = await api.post(batchPath, items.join('\n'))
    expect(body).toMatchObject({ accepted: 2, duplicates: 1, rejected: 6 })
    expect(
      body.results.map((one: Record<string, never>) => [one.status, (one.error as never as { code: string })?.code]),
    ).toEqual([
      [201, undefined],
      [400, 'invalid_json'],
      [422, 'wrong_type'],
      [200, undefined],
      [409, 'id_reused'],
      [400, 'duplicate_key'],
      [422, 'wrong_type'],
      [422, 'unknown_field'],
      [201, undefined],
    ])
    const pointers = body.results.map((one: { error?: { pointer?: string } }) => one.error?.pointer)
    expect([pointers[2], pointers[4], pointers[7]]).toEqual(['/action', '/id', '/actor/nickname'])
    expect(body.results[3].seq).toBe(body.results[0].seq)
  })

  test('receipts cover their events', async () => {
    const both = [...events, ...events.map((one) => ({ ...one, tenant: 'batch-2' }))]
    const { body } = await api.post(batchPath, both)
    expect(body.accepted).toBe(6)
    for (const result of body.results) {
      const { vkey } = (await api.get(`/v1/trails/${result.tenant}`)).body
      const note = body.receipts[result.receipt]
      const { receipt, verified } = await verifyReceipt(verifyEd25519, note, [parseVkey(sha256, vkey)])
      expect(verified).toHaveLength(1)
      expect([receipt.trail, receipt.sealedAt]).toEqual([result.trail, result.sealed_at])
      expect(receipt.first <= result.seq && result.seq <= receipt.last).toBe(true)
    }
  })

  test('Prefer: return=minimal counts, and lists what was refused', async () => {
    const body = [event({ tenant: 'mini' }), { action: 'no.actor', actor: 7 }, event({ tenant: 'mini' }), null]
    for (const prefer of ['return=minimal', 'respond-async, return=minimal', 'return=minimal; foo']) {
      const { body: report, headers } = await api.post(batchPath, body, { headers: { prefer } })
      expect(headers.get('preference-applied')).toBe('return=minimal')
      expect(report).toMatchObject({ accepted: 2, duplicates: 0, rejected: 2 })
      expect(report.results.map(({ index }: { index: number }) => index)).toEqual([1, 3])
      expect(report.results[0].error).toMatchObject({ code: 'wrong_type', pointer: '/actor' })
      const [range] = report.trails
      expect(range).toMatchObject({ tenant: 'mini', events: 2, last: range.first + 1 })
      expect(report.receipts).toBeUndefined()
    }
  })

  test('Prefer: return=minimal, receipts adds the receipts, one per trail and transaction', async () => {
    const body = [event({ tenant: 'mini' }), event({ tenant: 'mini2' }), null]
    const { body: report, headers } = await api.post(batchPath, body, {
      headers: { prefer: 'return=minimal, receipts' },
    })
    expect(headers.get('preference-applied')).toBe('return=minimal, receipts')
    expect(report.results).toHaveLength(1)
    const texts = report.receipts.map((note: string) => parseReceipt(parseNote(note).text))
    for (const { trail, last } of report.trails) expect(texts).toContainEqual(expect.objectContaining({ trail, last }))
  })

  test('an empty array is a batch of nothing', async () => {
    expect((await api.post(batchPath, [])).body).toMatchObject({ accepted: 0, duplicates: 0, rejected: 0, results: [] })
    expect((await api.post(batchPath, { events: [] })).body.results).toEqual([])
  })

  test.each([
    ['nothing', '', 'invalid_batch'],
    ['white space', ' \n ', 'invalid_batch'],
    ['an array that is cut off', array.slice(0, -1), 'invalid_json'],
    ['something after the array', `${array}x`, 'invalid_json'],
    ['a member beside events', `{"events":[],"x":1}`, 'invalid_batch'],
    ['too many events', `[${Array(10_001).fill('1').join()}]`, 'too_many_items'],
  ])('%s is refused as a whole', async (_name, body, code) => {
    const answer = await api.post(batchPath, body)
    expect(answer.body.code).toBe(code)
  })

  test('is refused when it comes with an Idempotency-Key', async () => {
    const answer = await api.post(batchPath, array, { headers: { 'idempotency-key': 'k' } })
    expect(answer.body).toMatchObject({ status: 400, code: 'idempotency_key_on_batch' })
  })

  test('a key bound to a tenant writes only there, whatever the events say', async () => {
    await api.put('/v1/tenants/bound')
    const made = await api.post('/v1/keys', { name: 'Bound', tenant: 'bound', scopes: ['events:write'] })
    const bound = api.with(made.body.key)
    const { tenant: _, ...plain } = event()
    const { body } = await bound.post(batchPath, [
      plain,
      event({ tenant: 'bound' }),
      event({ tenant: 'acme' }),
      event({ tenant: 'nope' }),
    ])
    expect(body).toMatchObject({ accepted: 2, rejected: 2 })
    expect(body.results.map(({ tenant }: { tenant?: string }) => tenant)).toEqual([
      'bound',
      'bound',
      undefined,
      undefined,
    ])
    expect(body.results[2].error).toEqual(body.results[3].error)
    expect(body.results[2].error).toMatchObject({ code: 'wrong_tenant', pointer: '/tenant' })
  })
})
