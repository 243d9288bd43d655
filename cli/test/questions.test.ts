// What --deep asks, from payloads alone.
import type { Entry, Payload } from '@affidavit/trail'
import { expect, test } from 'vitest'
import { Expected } from '../src/verify/deep/expected.ts'
import { questionsOf } from '../src/verify/deep/questions.ts'

const leaf = new Uint8Array(32)
const sealed = { body: { event: 'mutation' }, facts: '', personal: [] } as unknown as Entry

function expectedOf(events: readonly object[], personal: Payload['personal'] = [], mostValues?: number): Expected {
  const expected = new Expected(mostValues)
  const lines = { ...sealed, personal: personal.map(() => ({ key: '', commitment: '' })) }
  for (const [seq, event] of events.entries())
    expected.add(seq, lines, { seq, facts: { salt: '', content: JSON.stringify(event) }, personal }, leaf)
  return expected
}

const filtersOf = (expected: Expected) => new Map(questionsOf(expected).questions.map((asked) => [asked.filter, asked]))
const seqsOf = (expected: Expected, filter: string) => [...filtersOf(expected).get(filter)!.expected.keys()]

test('each value is a filter, and every target counts', () => {
  const { questions, ids, notes } = questionsOf(
    expectedOf([
      {
        id: 'e1',
        action: 'a.b',
        outcome: 'success',
        actor: { type: 'user', team: 'red' },
        targets: [{ id: 'x' }, { id: 'y' }],
        occurred_at: '2026-02-28T23:59:59.999Z',
        metadata: { plan: 'Gold', seats: 12, open: true, none: null, list: ['x'] },
      },
      {
        id: 'e2',
        action: 'a.c',
        outcome: 'success',
        targets: [{ id: 'y' }],
        context: { request_id: 'r&1', trace_id: 't', auth_method: 'sso' },
      },
    ]),
  )
  expect(questions.map(({ filter, expected }) => [filter, [...expected.keys()]])).toEqual([
    ['', [0, 1]],
    ['control=true', [0, 1]],
    ['action=a.b', [0]],
    ['action=a.c', [1]],
    ['outcome=success', [0, 1]],
    ['target=x', [0]],
    ['target=y', [0, 1]],
    ['team=red', [0]],
    ['auth_method=sso', [1]],
    ['request_id=r%261', [1]],
    ['trace_id=t', [1]],
    ['metadata.plan=Gold', [0]],
    ['metadata.seats=12', [0]],
    ['metadata.open=true', [0]],
    ['q=a', [0, 1]],
    ['q=b', [0]],
    ['q=gold', [0]],
    ['q=c', [1]],
    ['from=2026-02-28&to=2026-03-01', [0]],
    ['action=a.*', [0, 1]],
    ['from=2026-02-28T23:59:59.999Z&to=2026-03-01T00:00:00.000Z', [0]],
  ])
  expect(ids).toEqual([
    { id: 'e1', seq: 0 },
    { id: 'e2', seq: 1 },
  ])
  expect(notes).toEqual([])
})

const marker = { $personal: 0 }

test('values that were cut into the personal part are asked for, in the spelling of the search', () => {
  const content = JSON.stringify([
    ['/actor/email', ' Ada@Example.com '],
    ['/actor/id', 'Ada@example.com'],
    ['/actor/name', 'Ada Løvelace'],
    ['/context/ip', '::FFFF:192.0.2.7'],
    ['/context/user_agent', 'Mozilla'],
    ['/metadata/phone', 'five'],
  ])
  const event = {
    actor: { type: 'user', id: marker, name: marker, email: marker },
    context: { ip: marker, user_agent: marker },
    metadata: { phone: marker },
  }
  const asked = filtersOf(expectedOf([event], [{ n: 0, salt: '', content }]))
  for (const filter of [
    'actor=ada%40example.com',
    'actor=Ada%40example.com',
    'ip=192.0.2.7',
    'q=l%C3%B8velace',
    'q=five',
    'q=example',
  ])
    expect([filter, [...(asked.get(filter)?.expected.keys() ?? [])]]).toEqual([filter, [0]])
  expect([...asked.keys()].filter((filter) => /mozilla|metadata|192&/i.test(filter))).toEqual([])
})

test('whether somebody whose values are gone is found by them is not judged', () => {
  const expected = new Expected()
  const lines = { ...sealed, personal: [{ key: '', commitment: '' }] }
  const content = JSON.stringify({ action: 'a.b', actor: { type: 'user', id: 'u', email: marker } })
  expected.add(0, lines, { seq: 0, facts: { salt: '', content } }, leaf)
  expected.add(1, lines, { seq: 1 }, leaf)
  expect([[...expected.partial], [...expected.unknown]]).toEqual([[0], [1]])
  expect(filtersOf(expected).get('actor=u')!.isPersonal).toBe(true)
  expect(filtersOf(expected).get('action=a.b')!.isPersonal).toBe(false)
})

test('time is cut into windows that hold each event once', () => {
  const start = Date.parse('2026-03-01T00:00:00.000Z')
  const events = Array.from({ length: 500 }, (_, i) => ({ occurred_at: new Date(start + i * 1000).toISOString() }))
  const windows = [...filtersOf(expectedOf(events))].filter(([filter]) => /^from=.*T/.test(filter))
  expect(windows.length).toBeGreaterThan(10)
  const seqs = windows.flatMap(([, { expected }]) => [...expected.keys()])
  expect(seqs.sort((a, b) => a - b)).toEqual(events.map((_, i) => i))
})

test('many values are asked in groups that cover each value in both rounds', () => {
  const events = Array.from({ length: 1001 }, (_, i) => ({ context: { request_id: `req_${i}` } }))
  const { questions, notes } = questionsOf(expectedOf(events))
  const groups = questions.filter(({ filter }) => filter.startsWith('request_id='))
  expect(groups.length).toBe(2 * Math.ceil(1001 / 20))
  const times = new Map<number, number>()
  for (const { expected } of groups) for (const seq of expected.keys()) times.set(seq, (times.get(seq) ?? 0) + 1)
  expect(times.size).toBe(1001)
  expect([...times.values()].every((n) => n === 2)).toBe(true)
  const half = groups.length / 2
  expect(groups[0]!.filter).not.toBe(groups[half]!.filter)
  expect(notes).toEqual(['request_id: 1001 values compared in random groups, 2 rounds'])
})

test('of many words a random few are asked for, each with all of its events', () => {
  const chosen = () => {
    const events = Array.from({ length: 4000 }, (_, i) => ({ reason: `word${i % 2000}` }))
    const expected = expectedOf(events)
    const words = [...expected.values.get('q')!.values()]
    expect(words.length).toBe(100)
    for (const [word, { must }] of words) {
      const n = Number(word.slice(4))
      expect(must).toEqual([n, n + 2000])
    }
    return words.map(([word]) => word)
  }
  const [first, second] = [chosen(), chosen()]
  expect(first).not.toEqual(second)
  expect(first.filter((word) => second.includes(word)).length).toBeLessThan(50)
})

test('what is left out is said', () => {
  const events = [{ action: 'a.b' }, { action: 'a.c' }, { context: { request_id: 'x'.repeat(300) } }]
  const { notes } = questionsOf(expectedOf(events, [], 1))
  expect(notes).toEqual([
    'action: 1 values compared, chosen at random among more (--deep-values)',
    'request_id: 1 value(s) that no filter takes were not compared',
    'q: 1 values compared, chosen at random among more (--deep-values)',
  ])
  expect(seqsOf(expectedOf(events, [], 1), '')).toEqual([0, 1, 2])
})
