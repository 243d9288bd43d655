// A pin of the first log key serves for packs and accusations made after two rotations; a forged succession serves nobody.
import { describe, expect, it } from 'vitest'
import {
  type Accusation,
  FormatError,
  followSuccession,
  formatAccusation,
  formatSuccession,
  parseAccusation,
  parseSuccession,
  REGISTRY_MEMBERS,
  SUCCESSION_MEMBER,
  type Successor,
  type VerifierKey,
  type VerifyOptions,
  verifyAccusation,
  verifyEd25519,
} from '../src/index.ts'
import { damage, manyAsync } from './damage.ts'
import { nodeSha256 } from './node-hash.ts'
import { checkpointBy, rotatedAccusation, SECOND, signerUnder, successionMembers, THIRD } from './packed-succession.ts'
import { codesOf, packWith, verified } from './sample-pack.ts'
import { makeSuccessor, REGISTRY } from './sample-registry.ts'
import { ascii, LOG, makeTrail, OPEN, seededKey } from './sample-trail.ts'

const SIZE = 300
const plan = Array.from({ length: SIZE }, (_, seq) => (seq === 0 ? { control: OPEN } : {}))
const trail = makeTrail(plan)
const other = makeTrail(plan, new Map([[40, '{"id":"never happened"}']]))
const THIEF = seededKey(REGISTRY, 'thief')

async function check(members: ReadonlyMap<string, string>, by: typeof LOG, options: Partial<VerifyOptions> = {}) {
  const checkpoint = await checkpointBy(trail, by)
  const result = await verified(await packWith(trail, members, {}, { checkpoint }), options)
  return { ...result, codes: codesOf(result) }
}

const forged = async (): Promise<readonly [Successor, Successor]> => [
  await makeSuccessor(SECOND.vkey, THIEF.signer),
  await makeSuccessor(THIRD.vkey, signerUnder(REGISTRY, SECOND)),
]
const stolenLater = async (): Promise<readonly [Successor, Successor]> => [
  await makeSuccessor(SECOND.vkey),
  await makeSuccessor(THIRD.vkey, THIEF.signer),
]

describe('a pack made after two rotations', () => {
  const sizes = { size: 250, packed: SIZE }

  it.each([
    ['the first', LOG.key, 'through 2 successions'],
    ['the second', SECOND.key, 'through a succession'],
    ['the third', THIRD.key, ''],
  ])('holds for whoever pinned %s key', async (_name, pin: VerifierKey, told) => {
    const result = await check(await successionMembers(trail, sizes), THIRD, { vkeys: [pin] })
    expect(result).toMatchObject({ outcome: 'held', assurance: 'anchored', findings: [] })
    expect(result.notes.join()).toContain(told)
    expect(result.notes.join()).not.toContain('not checked')
  })

  it('holds without a pin, and not without the succession', async () => {
    const members = await successionMembers(trail, sizes)
    const unpinned = await check(members, LOG)
    expect(unpinned).toMatchObject({ outcome: 'held', assurance: 'tamper-detecting only' })
    members.delete(SUCCESSION_MEMBER)
    const result = await check(members, THIRD, { vkeys: [LOG.key] })
    expect(result.outcome).toBe('tampered')
    expect(result.codes).toEqual(
      expect.arrayContaining(['signature not_signed', 'anchors registry_not_signed', 'anchors anchor_contradicts']),
    )
  })

  it('does not hold when the first succession was signed by somebody else', async () => {
    const result = await check(await successionMembers(trail, { ...sizes, successors: await forged() }), THIRD, {
      vkeys: [LOG.key],
    })
    expect(result.outcome).toBe('tampered')
    expect(result.codes).toContain('signature not_signed')
  })

  it('does not hold when a later one was, or when the registry is signed by another than the last', async () => {
    const later = await check(await successionMembers(trail, { ...sizes, successors: await stolenLater() }), THIRD, {
      vkeys: [LOG.key],
    })
    expect(later.codes).toContain('signature false_successor')
    const old = await check(await successionMembers(trail, { ...sizes, last: SECOND }), THIRD, { vkeys: [LOG.key] })
    expect(old.outcome).toBe('tampered')
    expect(old.codes).toContain('signature succession_not_signed')
  })

  it('does not hold when the entries do not stand in the log, or stand under another checkpoint', async () => {
    const members = await successionMembers(trail, sizes)
    const text = members.get(SUCCESSION_MEMBER)!
    const moved = new Map(members).set(SUCCESSION_MEMBER, text.replace('index 1\n', 'index 2\n'))
    expect((await check(moved, THIRD, { vkeys: [LOG.key] })).codes).toContain('signature succession_inclusion')
    const elsewhere = (await successionMembers(other, sizes)).get(SUCCESSION_MEMBER)!
    const swapped = new Map(members).set(SUCCESSION_MEMBER, elsewhere)
    expect((await check(swapped, THIRD, { vkeys: [LOG.key] })).codes).toContain('signature other_checkpoint')
    const broken = new Map(members).set(SUCCESSION_MEMBER, text.replace('affidavit/1', 'affidavit/2'))
    await expect(check(broken, THIRD, { vkeys: [LOG.key] })).rejects.toMatchObject({ code: 'unknown_version' })
    expect(members.has(REGISTRY_MEMBERS.proof)).toBe(true)
  })
})

describe('an accusation made after two rotations', () => {
  const judge = (accusation: Accusation, keys: readonly VerifierKey[]) =>
    verifyAccusation(nodeSha256, verifyEd25519, parseAccusation(formatAccusation(accusation)), keys)

  it('convicts for whoever pinned the first key, and needs the succession for it', async () => {
    const accusation = await rotatedAccusation(trail, other, 40)
    expect(await judge(accusation, [LOG.key])).toMatchObject({ outcome: 'proven', seq: 40 })
    const { succession: _, ...bare } = accusation
    expect(await judge(bare as Accusation, [LOG.key])).toMatchObject({ outcome: 'unchecked', code: 'unknown_key' })
  })

  it('proves nothing by a forged succession', async () => {
    const first = await rotatedAccusation(trail, other, 40, { successors: await forged() })
    expect(await judge(first, [LOG.key])).toMatchObject({ outcome: 'unchecked', code: 'unknown_key' })
    const later = await rotatedAccusation(trail, other, 40, { successors: await stolenLater() })
    expect(await judge(later, [LOG.key])).toMatchObject({ outcome: 'refuted', code: 'bad_succession' })
  })
})

describe('the file of a succession', () => {
  it('has one spelling, and damage leads to no key that nobody named', async () => {
    const { succession } = await rotatedAccusation(trail, other, 40)
    const text = formatSuccession(succession!)
    expect(formatSuccession(parseSuccession(text))).toBe(text)
    const known = [LOG, SECOND, THIRD].map(({ key }) => Buffer.from(key.publicKey).toString('hex'))
    await manyAsync(process.env.AFFIDAVIT_LONG === '1' ? 20_000 : 400, async (dice) => {
      const bytes = damage(ascii.encode(text), dice)
      try {
        const parsed = parseSuccession(bytes)
        expect(formatSuccession(parsed)).toBe(new TextDecoder().decode(bytes))
        const followed = await followSuccession(nodeSha256, verifyEd25519, parsed, [LOG.key])
        if (followed.outcome === 'refused') return
        for (const { publicKey } of followed.keys) expect(known).toContain(Buffer.from(publicKey).toString('hex'))
      } catch (error) {
        expect(error).toBeInstanceOf(FormatError)
      }
    })
  })
})
