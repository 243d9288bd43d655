import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { toBase64, toHex } from '../bytes.ts'
import { CATEGORIES } from './category.ts'
import { type Control, encodeControl } from './control.ts'
import { decodeEntry, type Entry, encodeEntry, NO_PREVIOUS } from './entry.ts'
import { EntryError } from './entry-error.ts'

/** Some of what may be made at random; every byte of one entry is tried in any case. */
const isLong = process.env.AFFIDAVIT_LONG === '1'
const bytes = new TextEncoder()
const hashText = fc.uint8Array({ minLength: 32, maxLength: 32 }).map(toBase64)
const id = fc.uint8Array({ minLength: 16, maxLength: 16 }).map(toHex)
const size = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER })
const positive = fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER })
const time = fc
  .date({ min: new Date('0000-01-01T00:00:00.000Z'), max: new Date('9999-12-31T23:59:59.999Z'), noInvalidDate: true })
  .map((date) => date.toISOString())
const retention = fc.oneof(positive, fc.constant('forever' as const))
const category = fc.constantFrom(...CATEGORIES)
const range = fc
  .tuple(size, size)
  .filter(([from, to]) => from !== to)
  .map(([from, to]) => ({ from: Math.min(from, to), to: Math.max(from, to) }))
const times = fc
  .tuple(time, time)
  .filter(([from, to]) => from !== to)
  .map(([a, b]) => (a < b ? { from: a, to: b } : { from: b, to: a }))
const vkey = fc
  .tuple(id, fc.uint8Array({ minLength: 33, maxLength: 33 }))
  .map(([name, key]) => `log.example/${name}+${name.slice(0, 8)}+${toBase64(key)}`)
const ids = fc.uniqueArray(id, { minLength: 1, maxLength: 9 }).map((values) => values.sort())
const seqs = fc.uniqueArray(size, { minLength: 1, maxLength: 9 }).map((values) => values.sort((a, b) => a - b))
const vkeys = (minLength: number) => fc.array(vkey, { minLength, maxLength: 3 })

const simple: fc.Arbitrary<Control> = fc.oneof(
  fc.record({
    kind: fc.constant('open' as const),
    origin: id.map((trail) => `log.example/${trail}`),
    retention,
    log: vkeys(1),
    recovery: vkeys(0),
  }),
  fc.record({ kind: fc.constant('continues' as const), trail: id, size, root: hashText }),
  fc.record({
    kind: fc.constant('policy' as const),
    about: fc.constant('retention' as const),
    category: fc.oneof(category, fc.constant('all' as const)),
    retention,
    from: fc.oneof(time, fc.constant('new')),
  }),
  fc.record({ kind: fc.constant('policy' as const), about: fc.constant('capture' as const), version: positive }),
  fc.record({ kind: fc.constant('keys' as const), about: fc.constantFrom('log', 'recovery'), vkeys: vkeys(1) }),
  fc.record({
    kind: fc.constant('keys' as const),
    about: fc.constantFrom('data', 'subject'),
    step: fc.constantFrom('made', 'destroyed'),
    generation: positive,
  }),
  fc.record({ kind: fc.constant('prune' as const), category, before: positive }),
  fc.record({ kind: fc.constant('erase' as const), subjects: ids }),
  fc.record({ kind: fc.constant('redact' as const), seqs }),
  fc.record({ kind: fc.constant('hold' as const), hold: id, scope: fc.constant('trail' as const) }),
  fc
    .tuple(id, range)
    .map(([hold, entries]) => ({ kind: 'hold' as const, hold, scope: 'entries' as const, ...entries })),
  fc.record({ kind: fc.constant('hold' as const), hold: id, scope: fc.constant('subjects' as const), subjects: ids }),
  fc.tuple(times, size, positive).map(([span, tier, count]) => ({ kind: 'sampled' as const, ...span, tier, count })),
  range.map((entries) => ({ kind: 'lost' as const, ...entries })),
)
const control: fc.Arbitrary<Control> = fc.oneof(
  simple,
  fc.integer({ min: 1, max: 2 ** 44 }).map((n) => ({ kind: 'truncate' as const, size: n * 256 })),
  fc.record({ kind: fc.constant('release' as const), hold: id }),
  fc.record({ kind: fc.constant('close' as const), reason: fc.constantFrom('continued', 'deleted') }),
  fc
    .tuple(
      fc.integer({ min: 1, max: 99 }),
      fc.integer({ min: 0, max: 99 }),
      fc.array(simple, { minLength: 1, maxLength: 3 }),
    )
    .map(([part, more, restated]) => ({ kind: 'state' as const, part, parts: part + more, restated })),
)
const entry: fc.Arbitrary<Entry> = fc
  .tuple(
    fc.record(
      {
        trail: id,
        seq: size,
        previous: hashText,
        sealedAt: time,
        body: fc.oneof(
          category.map((event) => ({ event })),
          control.map((control) => ({ control })),
        ),
        facts: hashText,
        confidential: hashText,
        operator: hashText,
        personal: fc.array(fc.record({ key: id, commitment: hashText }), { maxLength: 100 }),
      },
      { requiredKeys: ['trail', 'seq', 'previous', 'sealedAt', 'body', 'facts', 'personal'] },
    ),
  )
  .map(([made]) => (made.seq === 0 ? { ...made, previous: NO_PREVIOUS } : made))

const EVENT: Entry = {
  trail: '000102030405060708090a0b0c0d0e0f',
  seq: 7,
  previous: toBase64(new Uint8Array(32).fill(7)),
  sealedAt: '2026-03-10T18:33:14.123Z',
  body: { event: 'authorization' },
  facts: toBase64(new Uint8Array(32).fill(1)),
  confidential: toBase64(new Uint8Array(32).fill(2)),
  personal: [{ key: 'f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff', commitment: toBase64(new Uint8Array(32).fill(3)) }],
}

function codeOf(text: string | Uint8Array): string {
  try {
    decodeEntry(typeof text === 'string' ? bytes.encode(text) : text)
    return 'accepted'
  } catch (error) {
    if (error instanceof EntryError) return error.code
    throw error
  }
}

describe('entry', () => {
  it('decodes what it encodes, of every kind', () => {
    fc.assert(
      fc.property(entry, (made) => {
        const text = encodeEntry(made)
        expect(decodeEntry(bytes.encode(text))).toEqual(made)
        expect(encodeEntry(decodeEntry(bytes.encode(text)))).toBe(text)
      }),
      { numRuns: isLong ? 10_000 : 500 },
    )
  })

  it('has one spelling: a changed byte is refused or means something else, and what is accepted re-encodes to itself', () => {
    fc.assert(
      fc.property(entry, fc.nat(), fc.integer({ min: 0, max: 255 }), (made, where, byte) => {
        const changed = bytes.encode(encodeEntry(made))
        const at = where % changed.length
        if (changed[at] === byte) return
        changed[at] = byte
        if (codeOf(changed) !== 'accepted') return
        const again = decodeEntry(changed)
        expect(again).not.toEqual(made)
        expect(bytes.encode(encodeEntry(again))).toEqual(changed)
      }),
      { numRuns: isLong ? 30_000 : 1000 },
    )
  })

  it('refuses every other value of every byte or reads another entry', () => {
    const good = bytes.encode(encodeEntry(EVENT))
    for (let at = 0; at < good.length; at++) {
      for (let byte = 0; byte < 256; byte++) {
        if (byte === good[at]) continue
        const changed = good.slice()
        changed[at] = byte
        if (codeOf(changed) !== 'accepted') continue
        expect(bytes.encode(encodeEntry(decodeEntry(changed)))).toEqual(changed)
      }
    }
  })

  it('says what it cannot know apart from what is broken', () => {
    const text = encodeEntry(EVENT)
    expect(codeOf(text.replace('affidavit/1', 'affidavit/2'))).toBe('unknown_version')
    expect(codeOf(text.replace('affidavit/1', 'affidavit/01'))).toBe('malformed')
    expect(codeOf(text.replace('event authorization', 'event gardening'))).toBe('unknown_kind')
    expect(codeOf(text.replace('event authorization', 'control levitate 3'))).toBe('unknown_kind')
    expect(codeOf(text.replace('event authorization', 'control keys moon made 3'))).toBe('unknown_kind')
    expect(codeOf(text.replace('event authorization', 'control policy weather sunny'))).toBe('unknown_kind')
    expect(codeOf('x'.repeat(20_000))).toBe('too_long')
  })

  it.each<[string, (text: string) => string]>([
    ['an upper-case trail id', (text) => text.replace('0a0b', '0A0b')],
    ['a leading zero', (text) => text.replace('\n7\n', '\n07\n')],
    ['a seq above 2^53', (text) => text.replace('\n7\n', '\n9007199254740992\n')],
    ['a day that does not exist', (text) => text.replace('2026-03-10', '2026-02-29')],
    ['an hour that does not exist', (text) => text.replace('T18', 'T24')],
    ['a leap second', (text) => text.replace(':14.123', ':60.123')],
    ['CRLF', (text) => text.replaceAll('\n', '\r\n')],
    ['no last newline', (text) => text.slice(0, -1)],
    ['an empty line more', (text) => `${text}\n`],
    ['bits behind the base64', (text) => text.replace(`facts ${EVENT.facts}`, `facts ${EVENT.facts.slice(0, 42)}F=`)],
    ['two spaces', (text) => text.replace('facts ', 'facts  ')],
    ['facts twice', (text) => text.replace(/(facts .*\n)/, '$1$1')],
    ['operator before confidential', (text) => text.replace(/(confidential) (.*\n)/, `operator $2$1 $2`)],
    ['101 personal lines', (text) => text.replace(/(personal .*\n)/, (line) => line.repeat(101))],
    ['a previous hash at the start', (text) => text.replace('\n7\n', '\n0\n')],
  ])('refuses %s', (_, change) => {
    const text = encodeEntry(EVENT)
    expect(change(text)).not.toBe(text)
    expect(codeOf(change(text))).toBe('malformed')
  })

  it.each([
    'truncate 257',
    'truncate 0',
    'erase',
    `erase ${'1'.repeat(32)} ${'1'.repeat(32)}`,
    'redact 4 3',
    'redact  3',
    'lost 5 5',
    'prune everything 5',
    'prune billing 0',
    'close',
    'close continued now',
    `open log.example/${'0'.repeat(32)} 0 log 0 recovery 0`,
    `open log.example/${'0'.repeat(32)} 30 log 2 a+00000000+AAAA recovery 0`,
    'state 2/1 lost 1 2',
    'state 1/1 close deleted',
    'state 1/1 lost 1 2 ;',
    `hold ${'0'.repeat(32)} entries 4 4`,
    'sampled 2026-01-02T00:00:00.000Z 2026-01-01T00:00:00.000Z 1 1',
    'policy retention all 30 later',
  ])('refuses control %s', (line) => {
    expect(codeOf(encodeEntry(EVENT).replace('event authorization', `control ${line}`))).toBe('malformed')
  })

  it('refuses to write more than 16 KiB', () => {
    const subjects = Array.from({ length: 600 }, (_, n) => n.toString(16).padStart(32, '0'))
    expect(encodeControl({ kind: 'erase', subjects }).length).toBeGreaterThan(16_384)
    expect(() => encodeEntry({ ...EVENT, body: { control: { kind: 'erase', subjects } } })).toThrow(EntryError)
  })
})
