/** The SDK against a whole server, as a user's program meets it. */

import { createHash } from 'node:crypto'
import {
  commitText,
  decodeEntry,
  fromBase64,
  fromHex,
  leafHash,
  parseCheckpoint,
  parseVkey,
  verifyEd25519,
  verifyInclusion,
  verifyNote,
  verifyReceipt,
} from '@affidavit/trail'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { freshDatabase, type TestDatabase } from '../../server/test/database.ts'
import { type StartedServer, startedServer } from '../../server/test/started-server.ts'
import { type Affidavit, AffidavitError, createAffidavit, type StoredEvent } from '../src/index.ts'

const sha256 = (data: Uint8Array) => createHash('sha256').update(data).digest()
const sarah = { type: 'user', id: 'user_1', name: 'Sarah Johnson', email: 'sarah@example.com' } as const
const login = { action: 'user.login', actor: sarah, context: { ip: '192.0.2.7' } }

let database: TestDatabase
let server: StartedServer
let affidavit: Affidavit

const clientFor = (tenant: string) =>
  createAffidavit({ url: server.url, key: server.key, tenant, flushBeforeExit: false })

async function all(client: Affidavit, filter = {}): Promise<StoredEvent[]> {
  const events: StoredEvent[] = []
  for await (const event of client.query(filter, { pageSize: 1000 })) events.push(event)
  return events
}

/** A refusal, as the caller of `work` catches it. */
const refusal = (work: Promise<unknown>): Promise<AffidavitError> =>
  work.then(
    () => Promise.reject(new Error('it was not refused')),
    (error) => {
      expect(error).toBeInstanceOf(AffidavitError)
      return error as AffidavitError
    },
  )

beforeAll(async () => {
  database = await freshDatabase()
  server = await startedServer(database.url)
  affidavit = clientFor('org_1')
})

afterAll(async () => {
  await affidavit?.close()
  await server?.stop()
  await database?.drop()
})

describe('record', () => {
  test('comes back with the receipt, signed by the log', async () => {
    const receipt = await affidavit.record({ id: 'first', ...login })
    expect(receipt).toMatchObject({ id: 'first', tenant: 'org_1', seq: 1, duplicate: false })
    const { vkey } = await server.get<{ vkey: string }>('/v1/trails/org_1')
    const checked = await verifyReceipt(verifyEd25519, receipt.receipt, [parseVkey(sha256, vkey)])
    expect(checked.verified).toHaveLength(1)
    expect(checked.receipt).toMatchObject({ trail: receipt.trail, last: 1, leaf: fromHex(receipt.hash) })
  })

  test('a repeat gives the same place, another event under the id is refused', async () => {
    const once = await affidavit.record({ id: 'repeated', ...login })
    const again = await affidavit.record({ id: 'repeated', ...login })
    expect(again).toMatchObject({ duplicate: true, seq: once.seq, hash: once.hash, previous_hash: once.previous_hash })
    const error = await refusal(affidavit.record({ id: 'repeated', ...login, action: 'user.logout' }))
    expect(error).toMatchObject({ status: 409, code: 'id_reused' })
  })

  test('an event made without an id gets one, under which it is found', async () => {
    const { id } = await affidavit.record(login)
    expect(await affidavit.get(id)).toMatchObject({
      id,
      action: 'user.login',
      actor: sarah,
      context: { ip: '192.0.2.7' },
    })
  })
})

test('emit and flush: 5,000 events arrive, each once, numbered without gaps', async () => {
  const busy = createAffidavit({
    url: server.url,
    key: server.key,
    tenant: 'org_busy',
    source: 'api-7',
    flushBeforeExit: false,
  })
  for (let n = 0; n < 5000; n++)
    busy.emit({ action: 'invoice.updated', actor: { type: 'user', id: `user_${n % 50}` }, metadata: { n } })
  expect(await busy.flush({ timeoutMs: 50_000 })).toBe(true)
  expect(busy.stats()).toMatchObject({ queued: 0, accepted: 5000, duplicates: 0, rejected: 0, dropped: 0 })
  const stored = await all(busy, { action: 'invoice.updated', order: 'asc' })
  expect(stored.map(({ metadata }) => metadata?.n)).toEqual(Array.from({ length: 5000 }, (_, n) => n))
  const counters = stored.map(({ source }) => source?.seq ?? -1)
  expect(counters.every((seq, i) => i === 0 || seq === counters[i - 1]! + 1)).toBe(true)
  expect(await all(busy, { actor: 'user_7' })).toHaveLength(100)
  await busy.close()
})

test('query finds people by what is personal about them, and only within the tenant', async () => {
  const [one, two] = [clientFor('org_q1'), clientFor('org_q2')]
  await one.record(login)
  await two.record({ ...login, actor: { type: 'user', id: 'user_2', email: 'other@example.com' } })
  expect(await all(one, { actor: 'sarah@example.com' })).toHaveLength(1)
  expect(await all(one, { ip: '192.0.2.7' })).toHaveLength(1)
  expect(await all(one, { actor: 'other@example.com' })).toEqual([])
  expect(await all(two, { q: 'Sarah' })).toEqual([])
})

test('polling with order asc and the last cursor gives what is new, once', async () => {
  const polled = clientFor('org_polled')
  await polled.record({ id: 'p-1', ...login })
  const first = await polled.page({ order: 'asc' })
  expect(first.data.map(({ id }) => id)).toContain('p-1')
  const nothing = await polled.page({ order: 'asc' }, { after: first.next! })
  expect(nothing).toEqual({ data: [], next: null })
  await polled.record({ id: 'p-2', ...login })
  const second = await polled.page({ order: 'asc' }, { after: first.next! })
  expect(second.data.map(({ id }) => id)).toEqual(['p-2'])
})

test('a proof verifies with the trail package alone, given the vkey', async () => {
  const { id } = await affidavit.record(login)
  const proof = await notarized(() => affidavit.proof(id))
  const { vkey } = await server.get<{ vkey: string }>('/v1/trails/org_1')
  const { text, verified } = await verifyNote(verifyEd25519, proof.checkpoint, [parseVkey(sha256, vkey)])
  expect(verified).toHaveLength(1)
  const { size, root } = parseCheckpoint(text)
  const leaf = leafHash(sha256, new TextEncoder().encode(proof.entry))
  const path = proof.inclusion.map((hash) => fromHex(hash)!)
  expect(verifyInclusion(sha256, leaf, proof.seq, size, path, root)).toBe(true)
  expect(verifyInclusion(sha256, leaf, proof.seq - 1, size, path, root)).toBe(false)
  const entry = decodeEntry(new TextEncoder().encode(proof.entry))
  const { salt, content } = proof.content.facts
  expect(commitText(sha256, 'facts', fromBase64(salt)!, content)).toBe(entry.facts)
  expect(JSON.parse(content)).toMatchObject({ id, action: 'user.login' })
})

interface Proof {
  readonly seq: number
  readonly entry: string
  readonly inclusion: readonly string[]
  readonly checkpoint: string
  readonly content: { readonly facts: { readonly salt: string; readonly content: string } }
}

/** Asks until the next checkpoint covers the event. */
async function notarized(ask: () => Promise<Record<string, unknown>>): Promise<Proof> {
  for (;;) {
    try {
      return (await ask()) as unknown as Proof
    } catch (error) {
      expect(error).toMatchObject({ status: 409, code: 'not_notarized', retryAfterMs: 1000 })
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }
}

describe('errors say what is wrong', () => {
  test('in one event, by its pointer', async () => {
    const error = await refusal(affidavit.record({ ...login, outcome: 'maybe' as 'success' }))
    expect(error).toMatchObject({ status: 422, code: 'invalid_value', pointer: '/outcome' })
  })

  test('in a batch, by index; the others go in', async () => {
    const result = await affidavit.recordMany([login, { ...login, color: 'red' } as typeof login, login])
    expect(result).toMatchObject({ accepted: 2, rejected: 1 })
    expect(result.rejections).toMatchObject([{ index: 1, code: 'unknown_field', pointer: '/color' }])
  })

  test('in the key, the tenant, the cursor, the address', async () => {
    const stranger = createAffidavit({ url: server.url, key: 'aff_live_nothing', flushBeforeExit: false })
    expect(await refusal(stranger.record(login))).toMatchObject({ status: 401, code: 'unauthorized' })
    expect(await refusal(clientFor('org_none').page())).toMatchObject({ status: 404, code: 'not_found' })
    expect(await refusal(affidavit.page({}, { after: 'x' }))).toMatchObject({ status: 400, code: 'invalid_cursor' })
    expect(await refusal(affidavit.get('nobody'))).toMatchObject({ status: 404, code: 'not_found' })
    const nowhere = createAffidavit({ url: 'http://127.0.0.1:9', key: 'k', timeoutMs: 200, flushBeforeExit: false })
    expect(await refusal(nowhere.record(login))).toMatchObject({ status: 0 })
  })
})
