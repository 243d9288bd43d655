// The scrub and forgetting at the same time: what is forgotten while a trail is read was announced after the reading
// began, and is no finding.
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Personas } from '../src/keys/personas.ts'
import { scrubRound } from '../src/scrub/scrub.ts'
import { silent } from '../src/store/log.ts'
import { carriedOut, event, type Forgetter, forgetter, notarized } from './forget-fixture.ts'
import { type ForgetNode, forgetNode } from './forget-node.ts'

let all: Forgetter
let node: ForgetNode

beforeAll(async () => {
  all = await forgetter({ AFFIDAVIT_SCRUB_EVENTS: '0' })
  node = await forgetNode({ login: all.database.url, dataDir: all.server.dataDir })
})
afterAll(async () => {
  await node?.stop()
  await all?.stop()
})

test('an erasure and a redaction in the middle of a round are no findings', async () => {
  const people = ['anna', 'bob', 'carl']
  const events = Array.from({ length: 700 }, (_, n) => event('busy', people[n % 3]!, { metadata: { n } }))
  await all.api.post('/v1/events/batch', events)
  await notarized(all, 'busy')
  const { number } = await node.tenant('busy')
  let pages = 0
  // Between the page's rows and its people.
  const open = async (...asked: Parameters<Personas['open']>) => {
    if (asked[0].number === number && ++pages === 2) {
      await carriedOut(all, '/v1/erasures', { tenant: 'busy', subject: { type: 'user', id: 'anna' }, reason: 'r' })
      await carriedOut(all, '/v1/redactions', { tenant: 'busy', seqs: [600], reason: 'r' })
    }
    return node.personas.open(...asked)
  }
  const found: string[] = []
  const parts = {
    pool: node.database.pool('scrub'),
    personas: { open } as unknown as Personas,
    tenants: node.tenants,
    log: silent,
  }
  await scrubRound(parts, {
    rate: Number.POSITIVE_INFINITY,
    signal: new AbortController().signal,
    onFound: ({ message }) => found.push(message),
  })
  expect(pages).toBeGreaterThan(2)
  expect(found).toEqual([])
})
