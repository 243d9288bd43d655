import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isPlain } from './plain-json.ts'
import { parseStrict, parseStrictText } from './strict-json.ts'

const plain = (text: string) => {
  const bytes = Buffer.from(`"${text},`)
  return isPlain(bytes, 1, bytes.length - 1)
}

describe('what is plain', () => {
  const many = (count: number) => `{${Array.from({ length: count }, (_, n) => `"k${n}":0`).join()}}`
  test.each([
    ['{"a":1,"b":{"a":"\\u00e9\\n\\"","c":[{"a":1},{"a":2}]},"é":-0.25}', true],
    [' { "a" : [ 1 , 2 ] , "b" : [ ] , "c" : { } , "d" : "x" } ', true],
    ['{"a":["b","b"],"b":"a"}', true],
    ['"a"', true],
    ['{"a":1,"b":2,"a":3}', false],
    ['{"a":{"x":1},"b":[{}],"a":3}', false],
    ['{"\\u0061":1}', false],
    ['["\\ud83d\\ude00"]', false],
    ['["\\\\ud83d"]', true],
    ['123456789012345', true],
    ['1234567890123456', false],
    ['[1e3]', false],
    ['[1E3]', false],
    ['0.12345678901234', false],
    [many(64), true],
    [many(65), false],
    ['['.repeat(64) + ']'.repeat(64), true],
    ['['.repeat(65) + ']'.repeat(65), false],
    [`${'[{"a":'.repeat(32)}1${'}]'.repeat(32)}`, true],
  ])('%j: %s', (text, expected) => expect(plain(text)).toBe(expected))
})

test('bytes, which are looked at quickly, are taken and refused as text, which is always scanned', () => {
  const name = fc.constantFrom('a', 'b', 'é', '', '\\u0061', '\\"', '\\ud800', '\\ud83d\\ude00')
  const string = fc.oneof(
    name.map((text) => `"${text}"`),
    fc.string().map((text) => JSON.stringify(text.toWellFormed())),
  )
  const number = fc.oneof(
    fc.constantFrom('1e3', '-0', '-0.0', '9007199254740993', '1e400', '0.1', '12345678901234.5', '0.30000000000000001'),
    fc.double({ noNaN: true, noDefaultInfinity: true }).map(String),
    fc.tuple(fc.maxSafeNat(), fc.nat(99_999)).map(([whole, part]) => `${whole}.${part}`),
    fc.bigInt({ min: -(10n ** 17n), max: 10n ** 17n }).map(String),
  )
  const { text } = fc.letrec<{ text: string }>((tie) => ({
    text: fc.oneof(
      { depthSize: 'small', withCrossShrink: true },
      fc.oneof(string, number, fc.constantFrom('true', 'null')),
      fc.array(tie('text'), { maxLength: 4 }).map((items) => `[${items.join(' ,')}]`),
      fc
        .array(fc.tuple(name, tie('text')), { maxLength: 5 })
        .map((members) => `{${members.map(([key, value]) => `"${key}" :${value}`).join()}}`),
    ),
  }))
  fc.assert(
    fc.property(text, (json) => {
      expect(parseStrict(Buffer.from(json))).toEqual(parseStrictText(json))
    }),
    { numRuns: 1_000 },
  )
})
