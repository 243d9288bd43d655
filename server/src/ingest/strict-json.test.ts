import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isExact, parseStrict, parseStrictText } from './strict-json.ts'

const refusal = (text: string) => {
  const parsed = parseStrict(Buffer.from(text))
  return parsed.ok ? 'accepted' : `${parsed.problem.code} ${parsed.problem.pointer}`
}

describe('what JSON.parse would hide is refused with its pointer', () => {
  test.each([
    ['{"a":1,"a":2}', 'duplicate_key /a'],
    ['{"a":1, "\\u0061":2}', 'duplicate_key /a'],
    ['{"x":[{"b":1},{"b":1,"c":2,"b":3}]}', 'duplicate_key /x/1/b'],
    ['{"a/b":{"~":1,"~":1}}', 'duplicate_key /a~1b/~0'],
    ['{"__proto__":1,"__proto__":2}', 'duplicate_key /__proto__'],
    ['{"a":"\\ud800"}', 'lone_surrogate /a'],
    ['{"a":"\\uD800\\u0041"}', 'lone_surrogate /a'],
    ['{"a":["x","\\udc00"]}', 'lone_surrogate /a/1'],
    ['{"a":"\\udc00\\ud800"}', 'lone_surrogate /a'],
    ['{"o":{"\\ud800":1}}', 'lone_surrogate /o'],
    ['{"n":9007199254740993}', 'number_not_exact /n'],
    ['[0,-9007199254740993]', 'number_not_exact /1'],
    ['{"n":[1e400]}', 'number_not_exact /n/0'],
    ['{"n":1e-400}', 'number_not_exact /n'],
    ['{"n":0.10000000000000000555}', 'number_not_exact /n'],
    ['{"n":12345678901234567890}', 'number_not_exact /n'],
    ['12345678901234567890', 'number_not_exact '],
  ])('%s', (text, expected) => expect(refusal(text)).toBe(expected))

  test('the thirteenth and later keys of an object are compared too', () => {
    const keys = Array.from({ length: 40 }, (_, i) => `"k${i}":${i}`)
    expect(refusal(`{ ${keys.join(', ')} }`)).toBe('accepted')
    for (const again of [0, 11, 12, 13, 39]) {
      expect(refusal(`{${keys.join(',')},"k${again}":0}`)).toBe(`duplicate_key /k${again}`)
    }
  })

  test('siblings do not share their keys', () => {
    expect(refusal('[{"a":{"b":1}}, {"a":{"b":1}}]')).toBe('accepted')
    expect(refusal('{"a":{"x":1}, "x":{"a":1}}')).toBe('accepted')
  })
})

describe('what looks suspicious but loses nothing is accepted as it is', () => {
  test.each([
    ['{"a":"\\ud83d\\ude00"}', { a: '😀' }],
    ['{"a":"\\\\ud800"}', { a: '\\ud800' }],
    ['{"a":"\\u0000"}', { a: '\0' }],
    [
      '{ "n" : [ 1.0, 1e3, 0.1, -0, 1E+2, 100000000000000000000, 9007199254740992 ] }',
      { n: [1, 1000, 0.1, -0, 100, 1e20, 2 ** 53] },
    ],
    ['{"2":1,"1":2}', { 1: 2, 2: 1 }],
    ['"{\\"a\\":1,\\"a\\":2}"', '{"a":1,"a":2}'],
    ['null', null],
  ])('%s', (text, value) => expect(parseStrict(Buffer.from(text))).toEqual({ ok: true, value }))

  test('__proto__ is a key like any other', () => {
    const parsed = parseStrict(Buffer.from('{"__proto__":{"admin":true},"constructor":1}'))
    expect(parsed.ok && Object.keys(parsed.value as object)).toEqual(['__proto__', 'constructor'])
    expect(({} as { admin?: boolean }).admin).toBeUndefined()
    expect(parsed.ok && (parsed.value as { admin?: boolean }).admin).toBeUndefined()
  })
})

describe('broken texts', () => {
  test.each(['', ' ', '{', '{"a":}', '[1,]', 'nul', '{"a":1}x', "{'a':1}", '\ufeff{}', '"\n"', '01', '1.'])(
    '%j',
    (text) => expect(refusal(text)).toBe('invalid_json '),
  )

  test('invalid UTF-8, also where only one byte is wrong', () => {
    const bytes = Buffer.from('{"a":"é"}')
    for (const broken of [
      bytes.subarray(0, 7),
      Buffer.from([0x22, 0xff, 0x22]),
      Buffer.from([0x22, 0xed, 0xa0, 0x80, 0x22]),
    ]) {
      expect(parseStrict(broken)).toMatchObject({ ok: false, problem: { code: 'invalid_utf8' } })
    }
  })

  test('half a pair in a string that was never bytes', () => {
    expect(parseStrictText('"\ud800"')).toMatchObject({ ok: false, problem: { code: 'lone_surrogate' } })
  })

  test('the detail repeats nothing of the text', () => {
    const parsed = parseStrict(Buffer.from('{"password":"hunter2" oops}'))
    expect(JSON.stringify(parsed)).not.toMatch(/hunter2|oops/)
  })
})

describe('hostile size and depth', () => {
  test('64 levels are the limit', () => {
    const nested = (depth: number) => '['.repeat(depth) + ']'.repeat(depth)
    expect(refusal(nested(64))).toBe('accepted')
    expect(refusal(nested(65))).toBe(`too_deep ${'/0'.repeat(64)}`)
    expect(refusal(`{"a":${'{"b":'.repeat(64)}1${'}'.repeat(65)}`)).toBe(`too_deep /a${'/b'.repeat(63)}`)
    expect(refusal(`[${'[],'.repeat(500)}"[[[["]`)).toBe('accepted')
  })

  test.each([
    ['a million open arrays', '['.repeat(1e6) + ']'.repeat(1e6), /^too_deep/],
    ['a million unclosed objects', '{"a":'.repeat(1e6), /^invalid_json/],
    ['a million equal keys', `{${'"a":1,'.repeat(1e6)}"a":1}`, /^duplicate_key \/a$/],
    [
      '200,000 different keys and one equal',
      `{${Array.from({ length: 2e5 }, (_, i) => `"k${i}":0`).join()},"k9":0}`,
      /^duplicate_key \/k9$/,
    ],
    ['300,000 small objects', `[${'{"a":1, "b":2},'.repeat(3e5)}0]`, /^accepted/],
    ['a number of a million digits', `[${'1'.repeat(1e6)}]`, /^number_not_exact \/0$/],
    ['a million zeros behind the point', `[1.${'0'.repeat(1e6)}]`, /^accepted/],
    ['a million escapes', `["${'\\ud83d\\ude00'.repeat(5e5)}"]`, /^accepted/],
  ])('%s, in linear time', (_, text, expected) => {
    const start = performance.now()
    expect(refusal(text)).toMatch(expected)
    expect(performance.now() - start).toBeLessThan(5000)
  })
})

test('a number is kept exactly when its double prints the same decimal value', () => {
  const kept = ['1', '1.0', '1e3', '1E-3', '0.1', '-0', '0e5', '-0.0', '5e-324', '1.7976931348623157e308', '1e22']
  expect(kept.filter((token) => !isExact(token))).toEqual([])
  const lost = ['9007199254740993', '1e309', '2e-324', '0.1000000000000000055511151231257827', '-1e999999999999']
  expect(lost.filter(isExact)).toEqual([])
  fc.assert(fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (n) => isExact(n.toExponential())))
  // Integers of up to 18 digits print without an exponent, so the texts themselves can be compared.
  fc.assert(
    fc.property(
      fc.bigInt({ min: -(10n ** 18n), max: 10n ** 18n }),
      (n) => isExact(`${n}`) === (`${n}` === `${Number(n)}`),
    ),
  )
})

test('whatever JSON.stringify writes is accepted, with any white space, and comes back equal', () => {
  fc.assert(
    fc.property(fc.json({ maxDepth: 6 }), fc.integer({ min: 0, max: 4 }), (text, indent) => {
      const value: unknown = JSON.parse(text)
      const spaced = JSON.stringify(value, null, indent)
      expect(parseStrict(Buffer.from(spaced))).toEqual({ ok: true, value })
    }),
  )
})

test('any duplicate anywhere is found, however the text is spaced', () => {
  const path = fc.array(fc.constantFrom('a', 'b/c', '~', 'é', ''), { minLength: 0, maxLength: 5 })
  fc.assert(
    fc.property(path, fc.string(), fc.boolean(), (keys, key, spaced) => {
      const name = JSON.stringify(key.toWellFormed())
      const inner = spaced ? `{ ${name} : 1 , ${name} : 1 }` : `{${name}:1,${name}:1}`
      const text = keys.reduceRight((text, k) => `{${JSON.stringify(k)}:${text}}`, inner)
      const pointer = [...keys, key.toWellFormed()]
        .map((k) => `/${k.replaceAll('~', '~0').replaceAll('/', '~1')}`)
        .join('')
      expect(refusal(text)).toBe(`duplicate_key ${pointer}`)
    }),
  )
})
