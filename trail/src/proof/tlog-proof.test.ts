import { describe, expect, it } from 'vitest'
import { cosigned, WITNESSES } from '../../test/sample-registry.ts'
import { LOG, makeTrail, OPEN, readNode, seeded, seededKey, signedCheckpoint } from '../../test/sample-trail.ts'
import type { FormatError } from '../format-error.ts'
import { makePolicy } from '../note/policy.ts'
import { proveInclusion } from '../tree/tree.ts'
import { sha256, verifyEd25519 } from '../web.ts'
import { formatTlogProof, parseTlogProof, type TlogProof, verifyTlogProof } from './tlog-proof.ts'

const trail = makeTrail(Array.from({ length: 9 }, (_, seq) => (seq === 0 ? { control: OPEN } : {})))
const checkpoint = await cosigned(await signedCheckpoint(trail))
const proofOf = async (index: number): Promise<TlogProof> => ({
  index,
  proof: await proveInclusion(sha256, readNode(trail), index, 9),
  checkpoint,
})
const policy = (quorum: number, vkey = LOG.vkey) =>
  makePolicy(sha256, { logs: [vkey], witnesses: WITNESSES.map((witness) => witness.vkey), quorum })
const verify = (proof: TlogProof, leaf = trail.leaves[proof.index]!, under = policy(2)) =>
  verifyTlogProof(sha256, verifyEd25519, proof, leaf, under)

describe('tlog-proof', () => {
  it('has the form of the specification', async () => {
    const lines = formatTlogProof(await proofOf(8)).split('\n')
    expect(lines.slice(0, 2)).toEqual(['c2sp.org/tlog-proof@v1', 'index 8'])
    expect(lines[3]).toBe('')
    expect(formatTlogProof({ ...(await proofOf(8)), extra: Uint8Array.of(1, 2) })).toMatch(/^.*\nextra AQI=\nindex 8\n/)
  })

  it('parses what it formats', async () => {
    for (const index of [0, 4, 8]) {
      const proof = await proofOf(index)
      expect(parseTlogProof(formatTlogProof(proof))).toEqual(proof)
      const withExtra = { ...proof, extra: seeded('extra', 7) }
      expect(parseTlogProof(new TextEncoder().encode(formatTlogProof(withExtra)))).toEqual(withExtra)
    }
  })

  it('holds for every entry', async () => {
    for (const index of trail.leaves.keys())
      expect(await verify(await proofOf(index))).toMatchObject({ outcome: 'held', checkpoint: { size: 9 } })
  })

  it('says who cosigned', async () => {
    const held = await verify(await proofOf(3))
    expect(held.outcome === 'held' && held.cosigned.map(({ name }) => name)).toEqual(['w1', 'w2'])
  })

  it('of another entry, index, size, log or quorum is refused', async () => {
    const proof = await proofOf(3)
    const code = (refused: Awaited<ReturnType<typeof verify>>) => (refused.outcome === 'held' ? 'held' : refused.code)
    expect(code(await verify(proof, trail.leaves[4]!))).toBe('inclusion')
    expect(code(await verify({ ...proof, index: 4 }, trail.leaves[3]!))).toBe('inclusion')
    expect(code(await verify({ ...proof, index: 9 }, trail.leaves[3]!))).toBe('inclusion')
    expect(code(await verify({ ...proof, proof: proof.proof.slice(1) }))).toBe('inclusion')
    expect(code(await verify({ ...proof, checkpoint: await signedCheckpoint(trail, 8) }, undefined, policy(0)))).toBe(
      'inclusion',
    )
    expect(code(await verify(proof, undefined, policy(2, seededKey('log.example/other').vkey)))).toBe('log')
    expect(code(await verify({ ...proof, checkpoint: await signedCheckpoint(trail) }))).toBe('quorum')
    const forged = checkpoint.replace('\n9\n', '\n8\n')
    expect(code(await verify({ ...proof, checkpoint: forged }))).toBe('signature')
  })
})

const good = formatTlogProof(await proofOf(3))
const withExtra = formatTlogProof({ ...(await proofOf(3)), extra: seeded('extra', 8) })
describe('malformed tlog-proof', () => {
  it.each<[string, string, FormatError['code']]>([
    ['nothing', '', 'malformed'],
    ['another version', good.replace('@v1', '@v2'), 'unknown_version'],
    ['another file', good.replace('proof', 'prove'), 'malformed'],
    ['no index', good.replace(/index 3\n/, ''), 'malformed'],
    ['a leading zero', good.replace('index 3', 'index 03'), 'malformed'],
    ['an index of 2^53 + 1', good.replace('index 3', 'index 9007199254740993'), 'malformed'],
    ['an empty extra', good.replace('index', 'extra \nindex'), 'malformed'],
    ['extra twice', withExtra.replace(/(extra .*\n)/, '$1$1'), 'malformed'],
    ['extra behind index', good.replace('index 3\n', 'index 3\nextra AAAA\n'), 'malformed'],
    ['loose base64 in extra', withExtra.replace(/(extra .*)=\n/, '$1\n'), 'malformed'],
    ['a short hash', good.replace(/=\n/, '\n'), 'malformed'],
    ['64 hashes', good.replace(/(index 3\n)(.*\n)/, (_, index, hash) => index + hash.repeat(61)), 'malformed'],
    ['no empty line', good.replace('\n\n', '\n'), 'malformed'],
    ['no checkpoint', good.slice(0, good.indexOf('\n\n') + 2), 'malformed'],
    ['a checkpoint without signature', good.slice(0, good.indexOf('—')), 'malformed'],
    ['a carriage return', good.replaceAll('\n', '\r\n'), 'malformed'],
    ['no last newline', good.slice(0, -1), 'malformed'],
    ['too much', good + 'x'.repeat(1_200_000), 'too_large'],
  ])('%s is refused', (_, text, code) => {
    expect(text).not.toBe(good)
    expect(() => parseTlogProof(text)).toThrow(expect.objectContaining({ name: 'FormatError', code }))
  })

  it('bytes that are no UTF-8 are refused', () => {
    expect(() => parseTlogProof(Uint8Array.of(0xff, 0x0a))).toThrow(expect.objectContaining({ code: 'malformed' }))
  })
})
