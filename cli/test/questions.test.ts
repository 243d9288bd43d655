// What --deep asks, from payloads alone.
import type { Entry, Payload } from '@affidavit/trail'
import { expect, test } from 'vitest'
import { Expected } from '../src/verify/expected.ts'
import { questionsOf } from '../src/verify/questions.ts'

const leaf = new Uint8Array(32)
const sealed = { body: { event: 'mutation' }, facts: '' } as unknown as Entry

function expectedOf(events: readonly object[], personal: Payload['personal'] = []): Expected {
  const expected = new Expected()
  for (const [seq, event] of events.entries())
    expected.add(seq, sealed, { seq, facts: { salt: '', content: JSON.stringify(event) }, personal }, leaf)
  return expected
}

test('each value is a filter, and every target counts', () => {
  const { questions, notes } = questionsOf(
    expectedOf([
      {
        action: 'a.b',
        outcome: 'success',
        targets: [{ id: 'x' }, { id: 'y' }],
        occurred_at: '2026-02-28T23:59:59.999Z',
      },
      { action: 'a.c', outcome: 'success', targets: [{ id: 'y' }], context: { request_id: 'r&1' } },
    ]),
    Number.POSITIVE_INFINITY,
  )
  expect(questions.map(({ filter, expected }) => [filter, [...expected.keys()]])).toEqual([
    ['', [0, 1]],
    ['control=true', [0, 1]],
    ['action=a.b', [0]],
    ['action=a.c', [1]],
    ['outcome=success', [0, 1]],
    ['target=x', [0]],
    ['target=y', [0, 1]],
    ['request_id=r%261', [1]],
    ['from=2026-02-28&to=2026-03-01', [0]],
  ])
  expect(notes).toEqual([])
})

test('an id that was cut into the personal part is asked for, and may find more', () => {
  const content = JSON.stringify([['/actor/id', 'ada@example.com']])
  const expected = expectedOf([{ actor: { type: 'user', id: { $personal: 0 } } }], [{ n: 0, salt: '', content }])
  const { questions } = questionsOf(expected, Number.POSITIVE_INFINITY)
  expect(questions.at(-1)).toMatchObject({ filter: 'actor=ada%40example.com', mayHaveMore: true })
})

test('many values are asked in groups that cover each value in both rounds', () => {
  const events = Array.from({ length: 1001 }, (_, i) => ({ context: { request_id: `req_${i}` } }))
  const { questions, notes } = questionsOf(expectedOf(events), Number.POSITIVE_INFINITY)
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

test('what is left out is said', () => {
  const events = [{ action: 'a.b' }, { action: 'a.c' }, { context: { request_id: 'x'.repeat(300) } }]
  const { notes } = questionsOf(expectedOf(events), 1)
  expect(notes).toEqual([
    'action: 1 of 2 values compared (--deep-values)',
    'request_id: 1 value(s) that no filter takes were not compared',
  ])
})
