import { compilePolicy } from '@affidavit/server/ingest/policy.ts'
import { describe, expect, test } from 'vitest'
import { okta } from '../src/import/format/okta.ts'
import {
  chunksOf,
  eventOf,
  haveSamples,
  objections,
  readItems,
  sampleLines,
  sampleStream,
  tally,
} from './import-samples.ts'

const FILE = 'saas/okta-systemlog.ndjson.gz'

describe.skipIf(!haveSamples)('the Okta sample', () => {
  test('every record becomes an event that the server accepts, per action as many as the file has', async () => {
    const raw = sampleLines(FILE).map((line) => JSON.parse(line))
    const items = await readItems(okta, sampleStream(FILE))
    expect(items).toHaveLength(88)
    expect(items.flatMap(objections)).toEqual([])
    const inFile = raw.map((record) => `okta.${record.eventType ?? record.eventtype ?? 'unknown'}`)
    expect(tally(items.map((item) => (item.ok ? item.action : 'bad')))).toEqual(tally(inFile))
  })

  test('different records under one uuid are different events, copies are one, repeats give the same ids', async () => {
    const lines = sampleLines(FILE)
    const items = await readItems(okta, sampleStream(FILE), { keepCopies: false })
    const ids = items.map((item) => eventOf(item).id)
    const withUuid = lines.filter((line) => JSON.parse(line).uuid)
    const without = lines.length - withUuid.length
    expect(new Set(ids).size).toBe(new Set(withUuid).size + without)
    expect(await readItems(okta, sampleStream(FILE), { keepCopies: false })).toEqual(items)
    const copies = await readItems(okta, sampleStream(FILE))
    expect(new Set(copies.map((item) => eventOf(item).id)).size).toBe(88)
  })

  test('times without a zone are UTC and cut to milliseconds; a redacted time is left out, visibly', async () => {
    const raw = sampleLines(FILE).map((line) => JSON.parse(line))
    const events = (await readItems(okta, sampleStream(FILE))).map(eventOf)
    expect(events[0]!.occurred_at).toBe('2022-03-22T14:21:53.225Z')
    const redacted = raw.findIndex((record) => record.published === 'redacted')
    expect(events[redacted]!.occurred_at).toBeUndefined()
    expect(events[redacted]!.metadata!.published).toBe('redacted')
  })

  test('actor, targets, outcome and context are found', async () => {
    const events = (await readItems(okta, sampleStream(FILE))).map(eventOf)
    expect(events.find((event) => event.action === 'okta.user.account.privilege.grant')).toMatchObject({
      category: 'authorization',
      actor: { type: 'user', id: '00uu1uuuuIlllaaaa356', email: 'jack@acme.io' },
      targets: [{ type: 'user', id: '00u6eup97mAJZWYmP357', name: 'Alice Green', email: 'alice@acme.io' }],
      outcome: 'success',
      context: { ip: '136.24.229.58' },
    })
    expect(tally(events.map((event) => event.outcome ?? 'none'))).toMatchObject({
      denied: 3,
      failure: expect.any(Number),
    })
  })

  test('no e-mail address stands outside a personal field', async () => {
    const policy = compilePolicy({ personal: okta.personalPointers })
    expect(policy.ok && policy.policy.personal).toHaveLength(okta.personalPointers.length)
    const patterns = [...okta.personalPointers, '/actor/email', '/actor/id', '/targets/*/email', '/targets/*/name'].map(
      (pointer) => pointer.split('/').slice(1),
    )
    const leaks = new Set<string>()
    const walk = (value: unknown, path: string[]) => {
      if (patterns.some((p) => p.length === path.length && p.every((s, i) => s === '*' || s === path[i]))) return
      if (typeof value === 'string' && /[^\s@]@[a-z]+\.[a-z]/.test(value)) leaks.add(path.join('/'))
      if (typeof value === 'object' && value)
        for (const [key, inner] of Object.entries(value)) walk(inner, [...path, key])
    }
    for (const item of await readItems(okta, sampleStream(FILE))) walk(eventOf(item), [])
    expect([...leaks]).toEqual([])
  })
})

test('every member may have any type', async () => {
  const values = [null, 0, '', 'x', [], [null], {}, { x: [{}] }, [[1]], [{ type: 1, id: [] }]]
  const members = `eventType published actor client target outcome transaction debugContext authenticationContext
    securityContext uuid request severity`.split(/\s+/)
  const records = members.flatMap((member) => values.map((value) => ({ eventType: 'a.b', uuid: 'u', [member]: value })))
  const items = await readItems(okta, chunksOf(records.map((record) => JSON.stringify(record)).join('\n')))
  expect(items.flatMap(objections)).toEqual([])
})

test('what is not a LogEvent is said to be none', async () => {
  const items = await readItems(okta, chunksOf('{}\n{"a":1}'))
  expect(items.map((item) => item.ok)).toEqual([false, false])
})
