/** Reading back against a server of canned pages: what is asked for, and what odd answers do. */

import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createAffidavit } from '../src/index.ts'

let asked: string[] = []
let answers: unknown[] = []
const server = createServer((request, response) => {
  asked.push(request.url!)
  response.end(JSON.stringify(answers.shift()))
})

beforeEach(async () => {
  asked = []
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
})
afterEach(async () => {
  server.closeAllConnections()
  await new Promise((resolve) => server.close(resolve))
})

function client(tenant?: string) {
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return createAffidavit({ url, key: 'k', flushBeforeExit: false, ...(tenant ? { tenant } : {}) })
}

test('query walks all pages and asks for a page only when it is needed', async () => {
  answers = [
    { data: [{ id: 'a' }, { id: 'b' }], next: 'c1' },
    { data: [{ id: 'c' }], next: null },
  ]
  const ids: string[] = []
  for await (const event of client('org 1').query({ action: 'user.*', metadata: { 'a&b': 1 } }, { pageSize: 2 })) {
    ids.push(event.id)
    if (event.id === 'b') expect(asked).toHaveLength(1)
  }
  expect(ids).toEqual(['a', 'b', 'c'])
  const second = new URL(asked[1]!, 'http://x').searchParams
  expect(Object.fromEntries(second)).toEqual({
    tenant: 'org 1',
    action: 'user.*',
    'metadata.a&b': '1',
    limit: '2',
    after: 'c1',
  })
})

test('dates are sent as ISO 8601', async () => {
  answers = [{ data: [], next: null }]
  await client().page({ from: new Date(0), order: 'asc' })
  expect(asked[0]).toBe('/v1/events?from=1970-01-01T00%3A00%3A00.000Z&order=asc')
})

test('a cursor that does not advance, and an answer that is no page, are errors', async () => {
  answers = [{ data: [], next: 'x' }, { data: [], next: 'x' }, { events: [] }]
  const audit = client()
  await expect(async () => {
    for await (const _ of audit.query()) break
    for await (const _ of audit.query());
  }).rejects.toMatchObject({ code: 'unexpected_reply' })
  await expect(audit.page()).rejects.toMatchObject({ code: 'unexpected_reply' })
})

test('get and proof keep odd ids inside their path', async () => {
  answers = [{ id: 'x' }, { proof: 1 }]
  await client('t').get('a/../b?c')
  await client().proof('a:b')
  expect(asked).toEqual(['/v1/events/a%2F..%2Fb%3Fc?tenant=t', '/v1/events/a%3Ab/proof'])
})
