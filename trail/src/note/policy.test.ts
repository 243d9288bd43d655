import { describe, expect, it } from 'vitest'
import {
  cosigned,
  POLICY,
  REGISTRY,
  REGISTRY_SIGNER,
  REGISTRY_VKEY,
  seededWitness,
} from '../../test/sample-registry.ts'
import { LOG, seededKey } from '../../test/sample-trail.ts'
import { FormatError } from '../format-error.ts'
import { sha256, verifyEd25519 } from '../web.ts'
import { formatCheckpoint } from './checkpoint.ts'
import { formatVkey, signNote } from './note.ts'
import { makePolicy, meetsQuorum, parsePolicy, policyKeys, verifyCheckpoint } from './policy.ts'

const WITNESS = Array.from({ length: 6 }, (_, at) => seededWitness(`witness.example/${at}`))
const line = (at: number, name = `w${at}`) => `witness ${name} ${WITNESS[at]!.vkey}\n`
const all = WITNESS.map((_, at) => line(at)).join('')
const parse = (text: string | Uint8Array) => parsePolicy(sha256, text)

/** For each subset of the six witnesses, as bits, whether it is a quorum. */
function quorums(text: string): boolean[] {
  const policy = parse(text)
  return Array.from({ length: 64 }, (_, bits) =>
    meetsQuorum(
      policy,
      WITNESS.filter((_, at) => bits & (1 << at)).map(({ key }) => key),
    ),
  )
}
const bitsOf = (bits: number) => [0, 1, 2, 3, 4, 5].filter((at) => bits & (1 << at))
const count = (bits: number, ...of: number[]) => bitsOf(bits).filter((at) => of.includes(at)).length

describe('quorum', () => {
  it.each<[string, string, (bits: number) => boolean]>([
    ['none', 'quorum none\n', () => true],
    ['none, with witnesses', `${all}quorum none\n`, () => true],
    ['one witness', `${all}quorum w3\n`, (bits) => count(bits, 3) === 1],
    ['any', `${all}group g any w0 w1\nquorum g\n`, (bits) => count(bits, 0, 1) >= 1],
    ['all', `${all}group g all w0 w1 w2\nquorum g\n`, (bits) => count(bits, 0, 1, 2) === 3],
    ['k', `${all}group g 2 w0 w1 w2\nquorum g\n`, (bits) => count(bits, 0, 1, 2) >= 2],
    [
      'the example of the specification',
      `${all}group X-witnesses 2 w0 w1 w2\ngroup Y-witnesses any w3 w4 w5\n` +
        'group X-and-Y all X-witnesses Y-witnesses\nquorum X-and-Y\n',
      (bits) => count(bits, 0, 1, 2) >= 2 && count(bits, 3, 4, 5) >= 1,
    ],
    [
      'groups and witnesses mixed, three levels',
      `${all}group a any w0 w1\ngroup b 2 a w2 w3\ngroup c all b w4\nquorum c\n`,
      (bits) => Number(count(bits, 0, 1) > 0) + count(bits, 2, 3) >= 2 && count(bits, 4) === 1,
    ],
    ['a group of one', `${all}group g all w5\nquorum g\n`, (bits) => count(bits, 5) === 1],
  ])('%s', (_, text, expected) => {
    expect(quorums(text)).toEqual(Array.from({ length: 64 }, (_, bits) => expected(bits)))
  })

  it('counts no key that the policy does not list, and none that is listed as a log', () => {
    const policy = parse(`log ${LOG.vkey}\n${line(0)}group g any w0\nquorum g\n`)
    expect(meetsQuorum(policy, [WITNESS[1]!.key, LOG.key, { ...WITNESS[0]!.key, name: 'other' }])).toBe(false)
    expect(meetsQuorum(policy, [WITNESS[0]!.key])).toBe(true)
  })
})

describe('policy file', () => {
  it('reads logs, witnesses, groups, URLs, comments and any white space', () => {
    const text = `# c\n \t# d\n\n\tlog \t ${REGISTRY_VKEY}  https://log.example/ \n${line(0).trimEnd()}\thttps://w\n${line(1)}group g 1 w0 w1 \nquorum g`
    expect(parse(text)).toEqual({
      logs: [{ key: expect.objectContaining({ name: REGISTRY }), url: 'https://log.example/' }],
      witnesses: [
        { name: 'w0', key: WITNESS[0]!.key, url: 'https://w' },
        { name: 'w1', key: WITNESS[1]!.key },
      ],
      groups: [{ name: 'g', threshold: 1, members: ['w0', 'w1'] }],
      quorum: 'g',
    })
    expect(parse(new TextEncoder().encode(text))).toEqual(parse(text))
  })

  it('takes names as octets: a Kelvin sign is no K, and bytes that are no UTF-8 are names too', () => {
    expect(parse(`${line(0, 'K')}${line(1, '\u212a')}quorum \u212a\n`).witnesses.map(({ name }) => name)).toEqual([
      'K',
      '\u212a',
    ])
    const octets = (text: string) => Uint8Array.from(text, (character) => character.charCodeAt(0))
    expect(parse(octets(`${line(0, '\xff')}${line(1, '\xfe')}quorum \xfe\n`)).quorum).toBe('\xfe')
    expect(() => parse(octets(`${line(0, '\xff')}quorum \xfe\n`))).toThrow(FormatError)
  })

  it('keeps keys of a type it cannot verify', () => {
    const publicKey = new Uint8Array(1312).fill(7)
    const typed = new Uint8Array(1313).fill(7)
    typed[0] = 6
    // The id of name, type and key, as any vkey has it.
    const id = Buffer.from(sha256(Buffer.concat([Buffer.from('pq.example\n'), Buffer.of(6), publicKey]))).toString(
      'hex',
    )
    const vkey = `pq.example+${id.slice(0, 8)}+${Buffer.from(typed).toString('base64')}`
    const policy = parse(`witness pq ${vkey}\n${line(0)}group g any pq w0\nquorum g\n`)
    expect(policy.witnesses[0]!.key.type).toBe(6)
    expect(meetsQuorum(policy, [WITNESS[0]!.key])).toBe(true)
  })

  const duplicateKey = formatVkey(sha256, 'other.example', WITNESS[0]!.key.publicKey, 4)
  it.each<[string, string, FormatError['code'], number]>([
    ['no quorum', all, 'malformed', 7],
    ['two quorums', 'quorum none\nquorum none\n', 'duplicate', 2],
    ['a quorum of nobody', 'quorum\n', 'malformed', 1],
    ['a quorum of two', `${line(0)}${line(1)}quorum w0 w1\n`, 'malformed', 3],
    ['a quorum defined later', `quorum w0\n${line(0)}`, 'undefined_name', 1],
    ['a member defined later', `group g any w0\n${line(0)}quorum g\n`, 'undefined_name', 1],
    ['a group in itself', `${line(0)}group g any g\nquorum g\n`, 'undefined_name', 2],
    ['none as a member', `${line(0)}group g any none\nquorum g\n`, 'undefined_name', 2],
    ['none as a name', `${line(0, 'none')}quorum none\n`, 'duplicate', 1],
    ['one name twice', `${line(0, 'a')}${line(1, 'a')}quorum a\n`, 'duplicate', 2],
    ['a group named like a witness', `${line(0)}group w0 any w0\nquorum w0\n`, 'duplicate', 2],
    ['one member of two groups', `${all}group a any w0\ngroup b any w0\nquorum a\n`, 'duplicate', 8],
    ['one member twice', `${all}group a 2 w0 w0\nquorum a\n`, 'duplicate', 7],
    ['one witness key twice', `${line(0)}witness x ${duplicateKey}\nquorum none\n`, 'duplicate', 2],
    ['one log key twice', `log ${LOG.vkey}\nlog ${REGISTRY_VKEY}\nquorum none\n`, 'duplicate', 2],
    ['a threshold of 0', `${all}group g 0 w0\nquorum g\n`, 'malformed', 7],
    ['a threshold above n', `${all}group g 3 w0 w1\nquorum g\n`, 'malformed', 7],
    ['a threshold of 01', `${all}group g 01 w0\nquorum g\n`, 'malformed', 7],
    ['a threshold of 1.0', `${all}group g 1.0 w0\nquorum g\n`, 'malformed', 7],
    ['a group without members', `${all}group g all\nquorum g\n`, 'malformed', 7],
    ['a log without key', 'log\nquorum none\n', 'malformed', 1],
    ['a log with too much', `log ${LOG.vkey} https://a b\nquorum none\n`, 'malformed', 1],
    ['a broken key', `log ${LOG.vkey.slice(0, -1)}\nquorum none\n`, 'bad_key', 1],
    ['a key with the id of another', `log ${LOG.vkey.replace(/\+.{8}\+/, '+00000000+')}\nquorum none\n`, 'bad_key', 1],
    ["a log's key as a witness", `witness w ${LOG.vkey}\nquorum none\n`, 'bad_key', 1],
    ["a witness's key as a log", `log ${WITNESS[0]!.vkey}\nquorum none\n`, 'bad_key', 1],
    ['an unknown keyword', 'quorums none\n', 'malformed', 1],
    ['a carriage return', 'quorum none\r\n', 'malformed', 1],
    ['a delete', '# \u007f\nquorum none\n', 'malformed', 1],
    ['nothing', '', 'malformed', 1],
  ])('refuses %s', (_, text, code, at) => {
    expect(() => parse(text)).toThrow(expect.objectContaining({ name: 'FormatError', code, line: at }))
  })

  it('is bounded, far above what the specification asks for', () => {
    const many = Array.from({ length: 257 }, (_, at) => `log ${seededKey(`l${at}`).vkey}\n`)
    expect(parse(`${many.slice(0, 256).join('')}quorum none\n`).logs).toHaveLength(256)
    expect(() => parse(`${many.join('')}quorum none\n`)).toThrow(expect.objectContaining({ code: 'too_large' }))
    expect(() => parse('#'.repeat(1_000_001))).toThrow(expect.objectContaining({ code: 'too_large' }))
  })
})

describe('policy of keys given one by one', () => {
  const witnesses = WITNESS.slice(0, 3).map(({ vkey }) => vkey)
  const meets = (quorum: number | undefined, cosigners: number) =>
    meetsQuorum(
      makePolicy(sha256, { logs: [LOG.vkey], witnesses, ...(quorum !== undefined && { quorum }) }),
      WITNESS.slice(0, cosigners).map(({ key }) => key),
    )

  it('wants all, or as many as said', () => {
    expect([2, 3].map((n) => meets(undefined, n))).toEqual([false, true])
    expect([1, 2].map((n) => meets(2, n))).toEqual([false, true])
    expect(meets(0, 0)).toBe(true)
    expect(makePolicy(sha256, { logs: [LOG.vkey], witnesses: [] }).quorum).toBe('none')
  })

  it.each([-1, 4, 1.5])('refuses a quorum of %d of three', (quorum) => {
    expect(() => makePolicy(sha256, { logs: [], witnesses, quorum })).toThrow(FormatError)
  })
})

describe('checkpoint under a policy', () => {
  const text = formatCheckpoint(REGISTRY, 4, new Uint8Array(32))

  it('says who signed, who cosigned when, and whether that is enough', async () => {
    const note = await signNote(text, [REGISTRY_SIGNER])
    const full = await verifyCheckpoint(verifyEd25519, await cosigned(note), POLICY)
    expect(full).toMatchObject({ signed: true, quorum: true, checkpoint: { origin: REGISTRY, size: 4 } })
    expect(full.cosigned.map(({ name }) => name)).toEqual(['w1', 'w2'])
    expect(await verifyCheckpoint(verifyEd25519, note, POLICY)).toMatchObject({ signed: true, quorum: false })
    const unsigned = await cosigned(await signNote(text, [seededKey(REGISTRY).signer]))
    expect(await verifyCheckpoint(verifyEd25519, unsigned, POLICY)).toMatchObject({ signed: false, quorum: true })
  })

  it('counts no log whose name is not the origin', async () => {
    const other = makePolicy(sha256, { logs: [LOG.vkey], witnesses: [] })
    const note = await signNote(text, [LOG.signer])
    expect(await verifyCheckpoint(verifyEd25519, note, other)).toMatchObject({ signed: false })
  })

  it('hands all keys to the note', () => {
    expect(policyKeys(POLICY).map(({ type }) => type)).toEqual([1, 4, 4])
  })
})
