import { existsSync, readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { batchLimits, splitBatch } from './batch-body.ts'

/** Items as their values, refused ones as their code; a refused batch as its code. */
function outcome(body: string | Buffer, limits = batchLimits): unknown {
  const batch = splitBatch(Buffer.from(body as string), limits)
  if (!batch.ok) return batch.problem.code
  const items = [...batch.items]
  expect(items.map((item) => item.index)).toEqual(items.map((_, i) => i))
  return items.map((item) => (item.ok ? item.value : item.problem.code))
}

test.each([
  ['NDJSON', '{"a":1}\n{"a":2}\n'],
  ['NDJSON without a last line feed', '{"a":1}\n{"a":2}'],
  ['NDJSON with CRLF, blank lines and a byte order mark', '\ufeff\r\n{"a":1}\r\n\r\n  \n{"a":2}\r\n'],
  ['an array', '[{"a":1},{"a":2}]'],
  ['a spread array', ' [\n {"a":1} ,\n {"a":2}\n ]\n'],
  ['wrapped', '{"events":[{"a":1},{"a":2}]}'],
  ['wrapped and spread', '{ "events" : [ {"a":1}, {"a":2} ] } \n'],
])('%s', (_, body) => expect(outcome(body)).toEqual([{ a: 1 }, { a: 2 }]))

describe('a broken item loses only itself', () => {
  test.each([
    ['{"a":1}\n{"a":\n{"a":3}', [{ a: 1 }, 'invalid_json', { a: 3 }]],
    [
      '{"a":1}\nnot json\n{"a":1,"a":2}\n{"a":"\\ud800"}\n{"a":5}',
      [{ a: 1 }, 'invalid_json', 'duplicate_key', 'lone_surrogate', { a: 5 }],
    ],
    ['[{"a":1},{"a":},{"a":1,"a":1},{"a":4}]', [{ a: 1 }, 'invalid_json', 'duplicate_key', { a: 4 }]],
    ['[{"a":"],[}{"},{"b":"\\"]"},3]', [{ a: '],[}{' }, { b: '"]' }, 3]],
    ['{"events":[{"a":1},tru,{"a":3}]}', [{ a: 1 }, 'invalid_json', { a: 3 }]],
    ['[1,,2]', [1, 'invalid_json', 2]],
  ])('%s', (body, expected) => expect(outcome(body)).toEqual(expected))

  test('also when its bytes are not UTF-8', () => {
    const broken = Buffer.from('{"a":"\u00ff"}', 'latin1')
    const line = Buffer.concat([Buffer.from('{"a":1}\n'), broken, Buffer.from('\n{"a":3}')])
    expect(outcome(line)).toEqual([{ a: 1 }, 'invalid_utf8', { a: 3 }])
    const array = Buffer.concat([Buffer.from('[{"a":1},'), broken, Buffer.from(',{"a":3}]')])
    expect(outcome(array)).toEqual([{ a: 1 }, 'invalid_utf8', { a: 3 }])
  })

  test('also when it is too large', () => {
    const limits = { items: 10, itemBytes: 10 }
    expect(outcome('{"a":1}\n{"a":"0123456789"}\n{"a":3}', limits)).toEqual([{ a: 1 }, 'event_too_large', { a: 3 }])
  })
})

test.each([
  ['', 'invalid_batch'],
  [' \n\n', 'invalid_batch'],
  ['[{"a":1}', 'invalid_json'],
  ['[{"a":1},', 'invalid_json'],
  ['[', 'invalid_json'],
  ['[{"a":"x]', 'invalid_json'],
  ['[{"a":1}]}', 'invalid_json'],
  ['[{"a":1}}', 'invalid_json'],
  ['[1] [2]', 'invalid_json'],
  ['{"events":[1],"more":2}', 'invalid_batch'],
  ['{"events":[1]', 'invalid_batch'],
])('the whole body is refused: %j', (body, code) => expect(outcome(body)).toBe(code))

test('an empty array is an empty batch', () => {
  expect(outcome('[]')).toEqual([])
  expect(outcome('{"events":[ ]}')).toEqual([])
})

test('more items than the limit are refused before they are parsed', () => {
  const limits = { items: 3, itemBytes: 100 }
  expect(outcome('1\n2\n3', limits)).toEqual([1, 2, 3])
  expect(outcome('1\n2\n3\n4', limits)).toBe('too_many_items')
  expect(outcome('[1,2,3]', limits)).toEqual([1, 2, 3])
  expect(outcome('[1,2,3,4]', limits)).toBe('too_many_items')
})

test.each([
  ['line feeds', '\n'.repeat(5e6)],
  ['open brackets', '['.repeat(5e6)],
  ['commas', `[${','.repeat(5e6)}]`],
  ['one string', `["${'x'.repeat(5e6)}`],
  ['backslashes', `["${'\\'.repeat(5e6)}`],
])('5 MB of %s end quickly', (_, body) => {
  const start = performance.now()
  expect(typeof outcome(body)).toBe('string')
  expect(performance.now() - start).toBeLessThan(3000)
})

test('the three forms carry any values alike', () => {
  const values = fc.array(
    fc.jsonValue().map((v) => JSON.parse(JSON.stringify(v)) as unknown),
    { minLength: 1, maxLength: 8 },
  )
  fc.assert(
    fc.property(values, (events) => {
      // The first line must not look like another form.
      fc.pre(!Array.isArray(events[0]))
      const texts = events.map((event) => JSON.stringify(event))
      expect(outcome(texts.join('\n'))).toEqual(events)
      expect(outcome(`[${texts.join(' , ')}]`)).toEqual(events)
      expect(outcome(JSON.stringify({ events }, null, 2))).toEqual(events)
    }),
  )
})

const sample = new URL('../../../../shared/data/saas/okta-systemlog.ndjson.gz', import.meta.url)
test.skipIf(!existsSync(sample))(
  'a real export splits into its lines (skipped where the sample data is absent)',
  () => {
    const body = gunzipSync(readFileSync(sample))
    const lines = body.toString().trim().split('\n')
    expect(outcome(body)).toEqual(lines.map((line) => JSON.parse(line) as unknown))
  },
)
