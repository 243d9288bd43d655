import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { toBase64 } from './bytes.ts'
import { decodeContent, encodeContent, type Payload } from './content.ts'
import { PackError } from './pack-error.ts'

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
      { numRuns: 2000 },
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
    '{"seq":1,"personal":[]}',
    '{"seq":1,"personal":[{"n":1,"salt":"AAAAAAAAAAAAAAAAAAAAAA==","content":""},{"n":1,"salt":"AAAAAAAAAAAAAAAAAAAAAA==","content":""}]}',
  ])('refuses %j', (line) => {
    expect(codeOf(line)).toBe('malformed')
  })
})
