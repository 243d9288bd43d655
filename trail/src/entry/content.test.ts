import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { toBase64 } from '../bytes.ts'
import { PackError } from '../pack-error.ts'
import { sha256 } from '../web.ts'
import { commitText } from './commitment.ts'
import { decodeContent, encodeContent, type Payload } from './content.ts'
import { ContentReader } from './content-reader.ts'
import { highestMarkerOf } from './marker.ts'

const part = fc.record({
  salt: fc.uint8Array({ minLength: 16, maxLength: 16 }).map(toBase64),
  content: fc.oneof(fc.string({ unit: 'binary' }), fc.json()),
})
const payload = fc
  .record(
    {
      seq: fc.maxSafeNat(),
      facts: part,
      confidential: part,
      operator: part,
      personal: fc.array(part, { minLength: 1, maxLength: 4 }),
    },
    { requiredKeys: ['seq'] },
  )
  .map(
    ({ personal, ...rest }): Payload => ({
      ...rest,
      ...(personal && { personal: personal.map((p, n) => ({ n: n * 7, ...p })) }),
    }),
  )

const codeOf = (line: string) => {
  try {
    decodeContent(line)
    return 'accepted'
  } catch (error) {
    if (error instanceof PackError) return error.code
    throw error
  }
}

describe('content line', () => {
  it('reads what it writes, and reads it as JSON does', () => {
    fc.assert(
      fc.property(payload, (made) => {
        const line = encodeContent(made)
        expect(decodeContent(line)).toEqual(made)
        expect(decodeContent(line)).toEqual(JSON.parse(line))
      }),
    )
  })

  it('reads every accepted line as any JSON parser would, and nothing hides beside it', () => {
    fc.assert(
      fc.property(payload, fc.nat(), fc.string({ maxLength: 3 }), (made, where, text) => {
        const line = encodeContent(made)
        const at = where % line.length
        const changed = line.slice(0, at) + text + line.slice(at + 1)
        if (codeOf(changed) !== 'accepted') return
        expect(decodeContent(changed)).toEqual(JSON.parse(changed))
        expect(decodeContent(encodeContent(decodeContent(changed)))).toEqual(decodeContent(changed))
      }),
      { numRuns: process.env.AFFIDAVIT_LONG === '1' ? 20_000 : 700 },
    )
  })

  const facts = '{"salt":"AAAAAAAAAAAAAAAAAAAAAA==","content":"x"}'
  it.each([
    '',
    '{}',
    '{"seq":07}',
    '{"seq":-1}',
    '{"seq":1e3}',
    '{"seq":9007199254740992}',
    '{"seq":1} ',
    '{ "seq":1}',
    `{"seq":1,"facts":${facts},"facts":${facts}}`,
    `{"seq":1,"operator":${facts},"facts":${facts}}`,
    `{"seq":1,"facts":null}`,
    `{"seq":1,"extra":${facts}}`,
    '{"seq":1,"facts":{"content":"x","salt":"AAAAAAAAAAAAAAAAAAAAAA=="}}',
    '{"seq":1,"facts":{"salt":"short","content":"x"}}',
    '{"seq":1,"facts":{"salt":"AAAAAAAAAAAAAAAAAAAAAA==","content":"x}}',
    '{"seq":1,"facts":{"salt":"AAAAAAAAAAAAAAAAAAAAAA==","content":"\\x"}}',
    '{"seq":1,"facts":{"salt":"AAAAAAAAAAAAAAAAAAAAAA==","content":"\t"}}',
    '{"seq":1,"facts":{"salt":"AAAAAAAAAAAAAAAAAAAAAA==","content": "x"}}',
    '{"seq":1,"facts":{"salt":"AAAAAAAAAAAAAAAAAAAAAA==","content":"x" }}',
    '{"seq":1,"facts":{"salt":"AAAAAAAAAAAAAAAAAAAAAA==","content":"\ud800"}}',
    '{"seq":1,"facts":{"salt":"AAAAAAAAAAAAAAAAAAAAAA==","content":"\\ud800"}}',
    '{"seq":1,"personal":[]}',
    '{"seq":1,"personal":[{"n":1,"salt":"AAAAAAAAAAAAAAAAAAAAAA==","content":""},{"n":1,"salt":"AAAAAAAAAAAAAAAAAAAAAA==","content":""}]}',
  ])('refuses %j', (line) => {
    expect(codeOf(line)).toBe('malformed')
  })

  // As bytes: escapes short and long, characters of every length, and markers of personal lines at every place.
  const bits = [
    '"',
    '\\',
    '/',
    '\b',
    '\u0001',
    '$',
    '{"$personal":0}',
    '{"$personal":17}',
    '{"$personal":100}',
    'é',
    '漢',
    '😀',
  ]
  const text = fc.oneof(
    fc
      .array(fc.oneof(fc.constantFrom(...bits), fc.string({ unit: 'binary', maxLength: 5 })), { maxLength: 12 })
      .map((all) => all.join('')),
    fc.integer({ min: 0, max: 120 }).map((n) => JSON.stringify({ a: { $personal: n }, b: 'c' })),
  )
  const spelt = (content: string, mask: number) =>
    [...JSON.stringify(content)].map((one, i) => (one === '/' && (mask >> (i % 30)) & 1 ? '\\/' : one)).join('')

  it('commits to what the literal says, and finds its markers, from the bytes alone', () => {
    const salt = 'AAAAAAAAAAAAAAAAAAAAAA=='
    fc.assert(
      fc.property(text, fc.nat(), (content, mask) => {
        const line = `{"seq":5,"facts":{"salt":"${salt}","content":${spelt(content, mask)}}}\n`
        const reader = new ContentReader(new TextEncoder().encode(line))
        expect([reader.open(), reader.facts()]).toEqual([5, true])
        expect(reader.commitment(sha256, 'facts')).toBe(commitText(sha256, 'facts', new Uint8Array(16), content))
        expect(reader.highestMarker()).toBe(highestMarkerOf(content))
        expect(reader.text()).toEqual({ salt, content })
        reader.close()
        expect(reader.isAtEnd).toBe(true)
      }),
    )
  })

  it('refuses bytes that are no UTF-8, and does not mix the parts of two readers', () => {
    const bytes = new TextEncoder().encode('{"seq":1,"facts":{"salt":"AAAAAAAAAAAAAAAAAAAAAA==","content":"abc"}}\n')
    const [good, other] = [new ContentReader(bytes), new ContentReader(bytes.slice())]
    for (const reader of [good, other]) {
      reader.open()
      reader.facts()
    }
    expect(() => good.commitment(sha256, 'facts')).toThrow('another reader')
    expect(other.text().content).toBe('abc')
    const broken = bytes.slice()
    broken[broken.indexOf(0x62)] = 0xff
    const reader = new ContentReader(broken)
    reader.open()
    expect(() => reader.facts()).toThrow(PackError)
  })
})
