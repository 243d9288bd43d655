/** The whole import over HTTP, against a server that keeps ids, and fails on command the way servers fail. */

import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { gunzipSync, gzipSync } from 'node:zlib'
import { createAffidavit } from '@affidavit/sdk'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { parseFieldMap } from '../src/import/format/csv.ts'
import { formats } from '../src/import/formats.ts'
import { describeSummary, exitCode, progressLine } from '../src/import/progress.ts'
import { type BadRecord, type ImportOptions, runImport } from '../src/import/run.ts'
import { chunksOf, eventOf, haveSamples, objections, readItems, sampleLines, tally } from './import-samples.ts'

interface Sent {
  id?: string
  event_id?: string
  action: string
}

let stored: Map<string, Sent>
let faults: { status: number; retryAfter?: string }[]
let headers: IncomingMessage['headers'][]
let busy: number
let busiest: number
let delayMs: number
/** What becomes of an event just now, by its action: a code, and how often. */
let notNow: Map<string, { code: string; status: number; times: number }>

const server = createServer(async (request, response) => {
  busiest = Math.max(busiest, ++busy)
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  const raw = Buffer.concat(chunks)
  const lines = (request.headers['content-encoding'] === 'gzip' ? gunzipSync(raw) : raw).toString().split('\n')
  headers.push(request.headers)
  if (delayMs > 0) await new Promise((resolve) => setTimeout(resolve, delayMs))
  busy--
  const fault = faults.shift()
  if (fault) {
    if (fault.retryAfter) response.setHeader('retry-after', fault.retryAfter)
    response.writeHead(fault.status).end(JSON.stringify({ code: 'injected', detail: 'as ordered' }))
    return
  }
  if (lines.length > 1500) {
    response.writeHead(413).end('{"code":"too_many_items"}')
    return
  }
  const counts = { accepted: 0, duplicates: 0, rejected: 0 }
  const results: unknown[] = []
  for (const [index, line] of lines.entries()) {
    const event = JSON.parse(line) as Sent
    const id = event.id ?? event.event_id!
    const later = notNow.get(event.action)
    if (later !== undefined && later.times-- > 0) {
      counts.rejected++
      results.push({ index, status: later.status, error: { code: later.code, detail: 'Later.', status: later.status } })
    } else if (event.action === 'bad') {
      counts.rejected++
      results.push({ index, status: 422, error: { code: 'invalid_value', detail: 'No.', pointer: '/action' } })
    } else if (stored.has(id)) counts.duplicates++
    else {
      counts.accepted++
      stored.set(id, event)
    }
  }
  response.end(JSON.stringify({ ...counts, results }))
})

beforeEach(async () => {
  stored = new Map()
  faults = []
  headers = []
  busy = 0
  busiest = 0
  delayMs = 0
  notNow = new Map()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
})
afterEach(async () => {
  server.closeAllConnections()
  await new Promise((resolve) => server.close(resolve))
})

function run(format: string, input: AsyncIterable<Uint8Array>, options: Partial<ImportOptions> = {}) {
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const client = createAffidavit({ url, key: 'k', flushBeforeExit: false })
  return runImport({ format: formats.get(format)!, input, client, ...options })
}

function ndjson(n: number, change: (i: number) => object = () => ({})): string {
  const events = Array.from({ length: n }, (_, i) => ({
    action: 'a.b',
    actor: { type: 'user', id: `u${i}` },
    ...change(i),
  }))
  return events.map((event) => JSON.stringify(event)).join('\n')
}

describe.skipIf(!haveSamples)('the CloudTrail sample', () => {
  // All of it with AFFIDAVIT_LONG=1; test/samples.test.ts of the server brings the same file to a real one.
  const lines = haveSamples
    ? sampleLines('cloudtrail/s3-ransomware-lab.ndjson.gz').slice(
        0,
        process.env.AFFIDAVIT_LONG === '1' ? undefined : 9_000,
      )
    : []
  const actions = tally(lines.map((line) => (JSON.parse(line) as { eventName: string }).eventName))

  test('is imported whole; the same import again, through errors, doubles nothing', async () => {
    const input = () => chunksOf(gzipSync(lines.join('\n'), { level: 1 }))
    const records = lines.length
    const first = await run('cloudtrail', input(), { tenant: 'org_1' })
    expect(first).toMatchObject({ records, accepted: records, duplicates: 0, rejected: 0 })
    expect(actions.PutObject).toBeGreaterThan(records / 4)
    expect(first.actions.get('aws.s3.PutObject')).toBe(actions.PutObject)
    expect(exitCode(first)).toBe(0)
    expect(headers[0]!['affidavit-personal']).toContain('%2Factor%2Fid,')
    faults = [{ status: 503 }, { status: 429, retryAfter: '1' }, { status: 500 }]
    const second = await run('cloudtrail', input(), { tenant: 'org_1' })
    expect(second).toMatchObject({ records, accepted: 0, duplicates: records, rejected: 0 })
    expect(stored.size).toBe(records)
  })
})

test('bad records, wherever they are found, are reported with their line', async () => {
  const lines = ndjson(3000, (i) => (i === 2499 ? { action: 'bad' } : {})).split('\n')
  lines[9] = '{"action":'
  lines[10] = ''
  const bad: BadRecord[] = []
  const summary = await run('ndjson', chunksOf(lines.join('\n')), { onBad: (one) => bad.push(one) })
  expect(summary).toMatchObject({ records: 2999, accepted: 2997, rejected: 2 })
  expect(bad).toEqual([
    { place: { unit: 'line', number: 10 }, reason: 'not valid JSON' },
    { place: { unit: 'line', number: 2500 }, reason: 'No. (/action)', code: 'invalid_value' },
  ])
  expect(exitCode(summary)).toBe(1)
  expect(describeSummary(summary)).toContain('2 rejected')
})

test('records that the server cannot take just then are sent again, and are no bad records', async () => {
  notNow.set('full', { code: 'rate_limited', status: 429, times: 3 })
  notNow.set('away', { code: 'unavailable', status: 503, times: 1 })
  const actions = ['full', 'a.b', 'bad', 'full', 'away', 'bad', 'a.b']
  const bad: BadRecord[] = []
  const lines = ndjson(actions.length, (i) => ({ action: actions[i] }))
  const summary = await run('ndjson', chunksOf(lines), { onBad: (one) => bad.push(one) })
  expect(summary).toMatchObject({ records: 7, accepted: 5, duplicates: 0, rejected: 2 })
  expect(summary.stopped).toBeUndefined()
  expect(bad.map(({ place }) => place.number)).toEqual([3, 6])
  expect(Object.fromEntries(summary.actions)).toEqual({ full: 2, 'a.b': 2, bad: 2, away: 1 })
  expect(stored.size).toBe(5)
})

test('a trail that was stopped stops the import, and no record is called bad for it', async () => {
  notNow.set('a.b', { code: 'trail_stopped', status: 503, times: Number.POSITIVE_INFINITY })
  const bad: BadRecord[] = []
  const summary = await run('ndjson', chunksOf(ndjson(10)), { onBad: (one) => bad.push(one) })
  expect(summary.stopped).toMatchObject({ status: 503, code: 'trail_stopped' })
  expect([summary.records, bad]).toEqual([0, []])
  expect(exitCode(summary)).toBe(1)
})

test('a few batches are under way at once, never more', async () => {
  delayMs = 30
  const summary = await run('ndjson', chunksOf(ndjson(2000)), { batchEvents: 100, concurrency: 3 })
  expect(summary.accepted).toBe(2000)
  expect(busiest).toBe(3)
})

test('reading waits for the server', async () => {
  delayMs = 1500
  let read = 0
  async function* input() {
    for (let i = 0; i < 500; i++) {
      read++
      yield Buffer.from(`${ndjson(100, (j) => ({ id: `${i}-${j}` }))}\n`)
    }
  }
  const running = run('ndjson', input(), { batchEvents: 1000, concurrency: 2 })
  await new Promise((resolve) => setTimeout(resolve, 700))
  expect(read).toBeLessThan(60)
  server.closeAllConnections()
  delayMs = 0
  expect((await running).accepted + (await running).duplicates).toBe(50_000)
})

test('a batch that is too large is halved', async () => {
  const summary = await run('ndjson', chunksOf(ndjson(4000)), { batchEvents: 4000 })
  expect(summary).toMatchObject({ accepted: 4000, rejected: 0 })
})

test('a final refusal stops the import and says how to go on', async () => {
  faults = [{ status: 403 }]
  const summary = await run('ndjson', chunksOf(ndjson(5000)), { concurrency: 1 })
  expect(summary.stopped).toMatchObject({ status: 403 })
  expect(summary.records).toBeLessThan(5000)
  expect(exitCode(summary)).toBe(1)
  expect(describeSummary(summary)).toContain('Run the same import again')
})

describe('ndjson', () => {
  const read = (text: string, tenant?: string) =>
    readItems(formats.get('ndjson')!, chunksOf(text), tenant ? { tenant } : {})

  test('equal lines without an id are two events, and the same two the next time', async () => {
    const text = `${ndjson(1)}\n${ndjson(1)}`
    const first = await run('ndjson', chunksOf(text))
    const again = await run('ndjson', chunksOf(text))
    expect([first.accepted, again.accepted, again.duplicates]).toEqual([2, 0, 2])
  })

  test('the text passes untouched but for id and tenant, so that the server sees what is wrong with it', async () => {
    const text = '{ "action":"a.b", "action":"c.d","actor":{},"metadata":{"n":12345678901234567890} }'
    const [item] = await read(text, 'org_1')
    expect(item!.ok && item!.text).toMatch(
      /^\{"id":"ndjson:[0-9a-f]{32}","tenant":"org_1","action":"a.b", "action":"c.d"/,
    )
    expect(objections(item!)).not.toEqual([])
    const [own] = await read('{"id":"x","tenant":"org_1","actor":{},"action":"a"}', 'org_1')
    expect(own!.ok && own!.text).toBe('{"id":"x","tenant":"org_1","actor":{},"action":"a"}')
    const [flat] = await read('{"user_id":"u","event_type":"login"}', 'org_1')
    expect(eventOf(flat)).toMatchObject({
      event_id: expect.stringMatching(/^ndjson:/),
      tenant_id: 'org_1',
      user_id: 'u',
    })
    expect(eventOf((await read('{}'))[0])).toMatchObject({ event_id: expect.any(String) })
  })

  test('an event of another tenant is not imported into this one', async () => {
    const items = await read('{"tenant":"org_2","actor":{},"action":"a"}\n{"tenant_id":"org_2","action":"a"}', 'org_1')
    expect(items.map((item) => item.ok)).toEqual([false, false])
  })
})

describe('csv', () => {
  const read = (text: string, map?: string) =>
    readItems(formats.get('csv')!, chunksOf(text), map ? { map: parseFieldMap(map), tenant: 't' } : {})

  test('columns are guessed from their headers, the rest is metadata', async () => {
    const text = [
      '\ufeffTimestamp,User,E-Mail,Event,Resource Type,Resource ID,Result,IP Address,Note',
      '2026-01-02 03:04:05,u1,u1@example.com,doc.read,doc,d1,allowed,1.2.3.4,"a ""quoted"", note',
      'over two lines"',
      '2026-01-02T03:04:05+02:00,u2,,doc read!,,,DENIED,not-an-ip,',
    ].join('\r\n')
    const items = await read(text)
    expect(items.flatMap(objections)).toEqual([])
    expect(eventOf(items[0])).toMatchObject({
      action: 'doc.read',
      occurred_at: '2026-01-02T03:04:05.000Z',
      actor: { type: 'user', id: 'u1', email: 'u1@example.com' },
      targets: [{ type: 'doc', id: 'd1' }],
      context: { ip: '1.2.3.4' },
      metadata: { Note: 'a "quoted", note\r\nover two lines' },
    })
    expect(eventOf(items[1])).toMatchObject({
      action: 'doc_read_',
      occurred_at: '2026-01-02T01:04:05.000Z',
      outcome: 'denied',
      metadata: { ip: 'not-an-ip' },
    })
  })

  test('a field map goes before guesses', async () => {
    const items = await read(
      'user,login,what,when\nalice,al,x.y,1700000000',
      'actor.id=login,action=what,occurred_at=when,metadata.who=user',
    )
    expect(eventOf(items[0])).toMatchObject({
      tenant: 't',
      action: 'x.y',
      actor: { id: 'al' },
      occurred_at: '2023-11-14T22:13:20.000Z',
      metadata: { who: 'alice' },
    })
    expect(await read('a,b\n1,2', 'action=c')).toEqual([
      { place: { unit: 'line', number: 1 }, ok: false, reason: 'the header has no column c' },
    ])
    expect(() => parseFieldMap('actor.shoe=x')).toThrow(/no such field: actor.shoe/)
    expect(() => parseFieldMap('action')).toThrow(/not field=column/)
  })

  test('broken rows lose only themselves and are named by line', async () => {
    const items = await read('action,user\na.b,u1\nonly-one\nc.d,u2\n,u3\ne.f,u4,extra\ng.h,u5')
    expect(items.map((item) => (item.ok ? item.action : item.place.number))).toEqual(['a.b', 3, 'c.d', 5, 6, 'g.h'])
  })

  test('a stray quote is a character; one that opens a value and never closes is reported', async () => {
    const stray = await read('action,user\na.b,u1\nc.d,"u"2\nc"d,u3\ng.h,u4')
    expect(stray.map((item) => item.ok && item.action)).toEqual(['a.b', 'c.d', 'c_d', 'g.h'])
    const open = await read(`action,user\na.b,u1\n"open,${'x,y\n'.repeat(800_000)}`)
    expect(open.filter((item) => item.ok)).toHaveLength(1)
    expect(open.filter((item) => !item.ok).length).toBeGreaterThan(0)
  })

  test('equal rows are two events; a row with an id is one', async () => {
    const rows = 'id,action\n,a.b\n,a.b\nx,a.b\nx,a.b\nx,c.d'
    const ids = (await read(rows)).map((item) => eventOf(item).id)
    expect(new Set(ids).size).toBe(4)
    expect((await read(rows)).map((item) => eventOf(item).id)).toEqual(ids)
  })
})

test('progress redraws on a terminal and writes lines elsewhere', () => {
  const progress = { records: 1000, accepted: 1000, duplicates: 0, rejected: 1, bytesRead: 50, elapsedMs: 1000 }
  for (const isTTY of [true, false]) {
    const written: string[] = []
    const line = progressLine({ isTTY, columns: 60, write: (text) => written.push(text) }, 100)
    for (let ms = 0; ms <= 11_000; ms += 50) line.update({ ...progress, elapsedMs: ms })
    line.clear()
    expect(written.length).toBe(isTTY ? 111 : 2)
    expect(written[1]).toContain('50 %')
    expect(written[1]!.includes('\n')).toBe(!isTTY)
    if (isTTY) expect(written.at(-1)).toBe('\r\x1b[2K')
  }
})
