// Timestamps of a real authority (`openssl ts`): held, and refused for each thing that can be wrong with one; no byte of a
// token can be changed so that it says something else.
import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  type AuthorityKind,
  hasOpenssl,
  startTimestampAuthority,
  type TimestampAuthority,
} from '../../server/test/timestamp-authority.ts'
import {
  concatBytes,
  FormatError,
  fromHex,
  parseCertificates,
  type TimestampVerdict,
  verifyTimestamp,
  webCertificateCrypto,
} from '../src/index.ts'
import { DerError, DerReader, oidOf, timeOf } from '../src/timestamp/der.ts'
import { damage, manyAsync } from './damage.ts'
import { ascii } from './sample-trail.ts'
import { stamped } from './timestamps.ts'

const run = promisify(execFile)
const DOCUMENT = 'log.example/registry\n17\nroot\n'
const kinds: readonly (readonly [string, AuthorityKind])[] = [
  ['EC P-256, SHA-256', {}],
  ['EC P-384, SHA-384, through another authority', { keys: 'P-384', digest: 'sha384', hasIntermediate: true }],
  ['RSA 2048, SHA-256', { keys: 'rsa' }],
  ['RSA 2048, SHA-512, through another authority', { keys: 'rsa', digest: 'sha512', hasIntermediate: true }],
]

async function check(token: Uint8Array, ca: string, document = DOCUMENT): Promise<TimestampVerdict> {
  return verifyTimestamp(token, ascii.encode(document), {
    crypto: webCertificateCrypto,
    trusted: parseCertificates(ca),
  })
}

const codeOf = (verdict: TimestampVerdict) => (verdict.outcome === 'held' ? 'held' : verdict.code)

describe.skipIf(!hasOpenssl)('a timestamp', () => {
  const authorities: TimestampAuthority[] = []
  const tokens: Uint8Array[] = []
  beforeAll(async () => {
    for (const [, kind] of kinds) authorities.push(await startTimestampAuthority(kind))
    for (const authority of authorities) tokens.push(await stamped(authority, DOCUMENT))
  }, 60_000)
  afterAll(() => Promise.all(authorities.map((authority) => authority.stop())))

  it.each(kinds.map(([name], at) => [name, at] as const))(
    '%s holds under its root, and under no other',
    async (_, at) => {
      const held = await check(tokens[at]!, authorities[at]!.ca)
      expect(held).toMatchObject({
        outcome: 'held',
        accuracyMs: 1000,
        authority: 'Test tsa',
        policy: '1.3.6.1.4.1.32473.1',
      })
      if (held.outcome !== 'held') return
      expect(Math.abs(held.time - Date.now())).toBeLessThan(120_000)
      expect(codeOf(await check(tokens[at]!, authorities[at]!.ca, `${DOCUMENT} `))).toBe('other_document')
      expect(codeOf(await check(tokens[at]!, authorities[(at + 1) % kinds.length]!.ca))).toBe('untrusted')
      const both = authorities.map(({ ca }) => ca).join('\n')
      expect(codeOf(await check(tokens[at]!, both))).toBe('held')
      const own = await readFile(join(authorities[at]!.folder, 'tsa.crt'), 'utf8')
      expect(codeOf(await check(tokens[at]!, own))).toBe('held')
      expect(
        codeOf(await check(tokens[at]!, await readFile(join(authorities[at]!.folder, 'server.crt'), 'utf8'))),
      ).toBe('untrusted')
    },
  )

  it('signed anew by whoever has another certificate of the same root is refused', async () => {
    const [authority] = authorities
    const [genuine] = tokens
    const again = async (signer: 'tsa' | 'server', isNamed: boolean) =>
      codeOf(await check(new Uint8Array(await authority!.resign(genuine!, signer, isNamed)), authority!.ca))
    expect(await again('tsa', true)).toBe('held')
    expect(await again('server', true)).toBe('bad_purpose')
    expect(await again('tsa', false)).toBe('not_named')
  })

  it('whose certificate was not valid then is refused', async () => {
    const [authority] = authorities
    const at = (name: string) => join(authority!.folder, name)
    const signing = ['-CA', at('ca.crt'), '-CAkey', at('ca.key'), '-set_serial', '9', '-extfile', at('tsa.ext')]
    // A certificate's shortest life is a day, so this one's day is yesterday: made by a root that lives longer.
    const validity = ['-not_before', '20200101000000Z', '-not_after', '20200102000000Z']
    const tried = await run('openssl', [
      'x509',
      '-req',
      '-in',
      at('tsa.csr'),
      ...signing,
      ...validity,
      '-out',
      at('old.crt'),
    ])
      .then(() => true)
      .catch(() => false) // openssl before 3.4 cannot say when
    if (!tried)
      await run('openssl', ['x509', '-req', '-in', at('tsa.csr'), ...signing, '-days', '-1', '-out', at('old.crt')])
    const info = ['-binary', '-nodetach', '-in', at('info'), '-econtent_type', '1.2.840.113549.1.9.16.1.4', '-cades']
    await authority!.resign(tokens[0]!, 'tsa', true) // leaves the statement in the folder
    const signer = ['-signer', at('old.crt'), '-inkey', at('tsa.key'), '-md', 'sha256', '-outform', 'DER']
    await run('openssl', ['cms', '-sign', ...info, ...signer, '-out', at('old.token')])
    const token = await readFile(at('old.token'))
    expect(codeOf(await check(response(token), authority!.ca))).toBe('expired')
  })

  it('that the authority refused, or that is none, is refused', async () => {
    const [authority] = authorities
    const refusal = fromHex('300730050201023000')!
    expect(codeOf(await check(refusal, authority!.ca))).toBe('rejected')
    expect(codeOf(await check(new Uint8Array(0), authority!.ca))).toBe('malformed')
    expect(codeOf(await check(ascii.encode('not a token'), authority!.ca))).toBe('malformed')
    expect(codeOf(await check(new Uint8Array(200_000), authority!.ca))).toBe('malformed')
    expect(codeOf(await check(tokens[0]!.slice(0, -1), authority!.ca))).toBe('malformed')
    expect(codeOf(await check(concatBytes([tokens[0]!, new Uint8Array(1)]), authority!.ca))).toBe('malformed')
  })

  it('with any single byte changed never says anything else, and holds only where nothing is signed or needed', async () => {
    for (const [kind, token] of tokens.entries()) {
      const { ca, folder } = authorities[kind]!
      const genuine = await check(token, ca)
      const carried = parseCertificates(await readFile(join(folder, 'carried.crt'), 'utf8'))[0]!.bytes
      const spare = placeOf(token, carried)
      const held: number[] = []
      // In the long run every byte; else every byte of one token, and some of the others.
      const step = process.env.AFFIDAVIT_LONG === '1' || kind === 0 ? 1 : 11
      for (let at = kind; at < token.length; at += step) {
        const verdict = await check(token.with(at, token[at]! ^ (1 << (at % 8))), ca)
        if (verdict.outcome !== 'held') continue
        expect(verdict).toEqual(genuine)
        held.push(at)
      }
      // The one synonym there is: `rsaEncryption` as an algorithm of signatures.
      for (let at = 0; at < token.length; at++)
        if (isSynonym(token, at) && (await check(token.with(at, [12, 12, 11, 13][kind]!), ca)).outcome === 'held')
          held.push(at)
      const isNeeded = kinds[kind]![1].hasIntermediate === true
      const inside = held.filter((at) => !isNeeded && at >= spare && at < spare + carried.length)
      const status = held.filter((at) => at < placeOfToken(token))
      const synonym = held.filter((at) => isSynonym(token, at))
      expect(held.filter((at) => ![...inside, ...status, ...synonym].includes(at))).toEqual([])
      if (step === 1 && isNeeded) expect(held.length).toBeLessThan(3)
    }
  }, 120_000)

  it('damaged in any way is refused, and nothing crashes', async () => {
    const [authority] = authorities
    await manyAsync(300, async (dice) => {
      const kind = dice.roll(tokens.length)
      const broken = damage(tokens[kind]!, dice)
      const verdict = await check(broken, authorities[kind]!.ca)
      if (verdict.outcome === 'held') expect(verdict).toEqual(await check(tokens[kind]!, authorities[kind]!.ca))
    })
    for (let at = 0; at < authority!.ca.length; at += 7) {
      const broken = authority!.ca.slice(0, at) + (authority!.ca[at] === 'A' ? 'B' : 'A') + authority!.ca.slice(at + 1)
      // A changed signature on a root changes nothing: it is trusted because the verifier brought it.
      await check(tokens[0]!, broken).catch((error: unknown) => expect(error).toBeInstanceOf(FormatError))
    }
  }, 60_000)
})

/** TimeStampResp around a token. */
function response(token: Uint8Array): Uint8Array {
  const status = Uint8Array.of(0x30, 3, 2, 1, 0)
  const length = status.length + token.length
  return concatBytes([Uint8Array.of(0x30, 0x82, length >> 8, length & 255), status, token])
}

function placeOf(whole: Uint8Array, part: Uint8Array): number {
  const place = Buffer.from(whole).indexOf(Buffer.from(part))
  expect(place).toBeGreaterThan(0)
  return place
}

/** Where the token begins: behind the response's header and status. */
function placeOfToken(response: Uint8Array): number {
  const outer = new DerReader(response).any()
  return outer.whole.length - outer.content.length + new DerReader(outer.content).any().whole.length
}

/** `rsaEncryption` and, for SHA-256 and SHA-512, `sha…WithRSAEncryption` are two names of one algorithm in CMS. */
function isSynonym(token: Uint8Array, at: number): boolean {
  const rsa = fromHex('06092a864886f70d010101')!
  return Buffer.from(token.subarray(at - rsa.length + 1, at + 1)).equals(Buffer.from(rsa))
}

describe('DER', () => {
  const read = (hex: string) => {
    const reader = new DerReader(fromHex(hex)!)
    const element = reader.any()
    reader.end()
    return element
  }

  it.each([
    ['a length with a needless byte', '04810100'],
    ['a long length that fits the short form', '0482000100'],
    ['an indefinite length', '30800000'],
    ['a length beyond the end', '040500'],
    ['no length', '04'],
    ['a tag of several bytes', '1f810100'],
    ['more behind the end', '050000'],
    ['a length of five bytes', '0485000000000100'],
  ])('refuses %s', (_name, hex) => {
    expect(() => read(hex)).toThrow(DerError)
  })

  it('reads identifiers and times, and only real ones', () => {
    expect(oidOf(read('06062a864886f70d'))).toBe('1.2.840.113549')
    expect(oidOf(read('0603883703'))).toBe('2.999.3')
    for (const hex of ['0600', '06022a80', '06032a8001']) expect(() => oidOf(read(hex))).toThrow(DerError)
    const time = (tag: string, text: string) =>
      timeOf(read(`${tag}${text.length.toString(16).padStart(2, '0')}${Buffer.from(text).toString('hex')}`))
    expect(time('18', '20260310183314.5Z')).toBe(Date.parse('2026-03-10T18:33:14.500Z'))
    expect(time('17', '491231235959Z')).toBe(Date.parse('2049-12-31T23:59:59Z'))
    expect(time('17', '500101000000Z')).toBe(Date.parse('1950-01-01T00:00:00Z'))
    for (const text of ['20260230000000Z', '20260310183314.50Z', '20260310183314', '2026031018331Z', '20260310243314Z'])
      expect(() => time('18', text), text).toThrow(DerError)
  })
})
