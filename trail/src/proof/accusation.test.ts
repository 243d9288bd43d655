import { describe, expect, it } from 'vitest'
import {
  forkAccusation,
  headOf,
  leafAccusation,
  makeEpoch,
  REGISTRY_KEY,
  receiptOf,
  SampleLog,
  seededWitness,
} from '../../test/sample-registry.ts'
import { LOG, makeTrail, OPEN, ORIGIN, readNode, rootOf, seeded, seededKey } from '../../test/sample-trail.ts'
import { FormatError } from '../format-error.ts'
import { formatCheckpoint } from '../note/checkpoint.ts'
import { type NoteSigner, signNote, vkeyUnder } from '../note/note.ts'
import { registryOrigin } from '../registry/registry.ts'
import { proveConsistency, proveInclusion } from '../tree/tree.ts'
import { type AccusationFlaw, verifyAccusation } from '../verify/accusation.ts'
import { sha256, verifyEd25519 } from '../web.ts'
import {
  type Accusation,
  type EpochHead,
  formatAccusation,
  type Head,
  isAccusation,
  parseAccusation,
} from './accusation.ts'

const plan = Array.from({ length: 9 }, (_, seq) => (seq === 0 ? { control: OPEN } : {}))
const trail = makeTrail(plan)
/** Entry 4 and all after it are others. */
const rewritten = makeTrail(plan, new Map([[4, '{"action":"rewritten"}']]))

/** Epoch 2 lies 3 minutes after entry 6 and binds only 5 entries. */
const honest = makeEpoch(1, 5, trail, 5)
const short = makeEpoch(2, 9, trail, 5)
const head = await headOf([honest, short], 1)
const shortOfRewritten = await headOf([honest, makeEpoch(2, 9, rewritten, 9)], 1)

type Receipts = Extract<Accusation, { kind: 'leaf' }>
type Forks = Extract<Accusation, { kind: 'fork' }>
type Missing = Extract<Accusation, { kind: 'missing' }>
const leaf = (await leafAccusation(trail, rewritten, 6)) as Receipts
const fork = (await forkAccusation(trail, rewritten, 6)) as Forks
const saidNote = (fork.said as { checkpoint: string }).checkpoint
const missing: Missing = { kind: 'missing', receipt: await receiptOf(trail, 5, 6), head }

const judge = (accusation: Accusation, keys = [LOG.key]) => verifyAccusation(sha256, verifyEd25519, accusation, keys)
async function flaw(accusation: Accusation, keys = [LOG.key]): Promise<AccusationFlaw | 'proven'> {
  const verdict = await judge(accusation, keys)
  return verdict.outcome === 'proven' ? 'proven' : verdict.code
}
const signed = (text: string, signer: NoteSigner = LOG.signer) => signNote(text, [signer])

describe('accusation', () => {
  it('of another leaf, a missing entry, a fork is proven', async () => {
    expect(await judge(leaf)).toMatchObject({ outcome: 'proven', origin: ORIGIN, seq: 6 })
    expect(await judge(missing)).toMatchObject({ outcome: 'proven', origin: ORIGIN, seq: 5 })
    expect(await judge(fork)).toMatchObject({ outcome: 'proven', origin: ORIGIN })
    for (const size of [1, 4, 5, 8, 9]) {
      const accusation = await forkAccusation(trail, rewritten, size)
      expect(await flaw(accusation), `size ${size}`).toBe(size > 4 ? 'proven' : 'no_contradiction')
    }
  })

  it('is proven with what an epoch binds instead of a signed checkpoint', async () => {
    expect(await flaw({ ...leaf, head: shortOfRewritten })).toBe('proven')
    expect(await flaw({ ...fork, head: shortOfRewritten })).toBe('proven')
  })

  it('is proven by two epochs: one that binds another history than what is signed, one that binds less', async () => {
    const bound = await headOf([honest, makeEpoch(2, 9, trail, 6)], 1)
    expect(await judge({ ...fork, said: bound })).toMatchObject({ outcome: 'proven', origin: ORIGIN })
    const epochs = [makeEpoch(1, 9, trail, 9), makeEpoch(2, 10, trail, 5), makeEpoch(3, 11, trail, 9)]
    const [full, shrunk, again] = await Promise.all([0, 1, 2].map((index) => headOf(epochs, index)))
    const accusation: Accusation = { kind: 'shrunk', said: full!, head: shrunk! }
    expect(await judge(accusation)).toMatchObject({ outcome: 'proven', origin: ORIGIN, seq: 5 })
    expect(parseAccusation(formatAccusation(accusation))).toEqual(accusation)
    expect(await flaw({ ...accusation, head: again! })).toBe('no_contradiction')
    expect(await flaw({ kind: 'shrunk', said: shrunk!, head: full! })).toBe('not_covered')
    expect(await flaw({ kind: 'shrunk', said: full!, head: full! })).toBe('not_covered')
    const wrong = { ...shrunk!, slot: { ...shrunk!.slot, body: shrunk!.slot.body.replace('\n5\n', '\n4\n') } }
    expect(await flaw({ ...accusation, head: wrong })).toBe('bad_head')
  })

  it('is proven by a pin of any log of the deployment, and by no other key', async () => {
    for (const accusation of [leaf, missing, fork]) {
      expect(await flaw(accusation, [REGISTRY_KEY])).toBe('proven')
      for (const key of [
        seededKey(ORIGIN, 'other').key,
        vkeyUnder(sha256, LOG.key, 'other.example/registry'),
        vkeyUnder(sha256, LOG.key, 'log.example/somebody'),
        { ...LOG.key, type: 4 },
        seededWitness(ORIGIN).key,
      ])
        expect(await judge(accusation, [key])).toMatchObject({ outcome: 'unchecked', code: 'unknown_key' })
      expect(await flaw(accusation, [])).toBe('unknown_key')
    }
  })

  it('parses what it formats', async () => {
    const all: Accusation[] = [leaf, missing, fork, { ...leaf, head: shortOfRewritten }, { ...fork, head, proof: [] }]
    for (const accusation of all) {
      const text = formatAccusation(accusation)
      expect(parseAccusation(text)).toEqual(accusation)
      expect(parseAccusation(new TextEncoder().encode(text))).toEqual(accusation)
      expect([isAccusation(text), isAccusation(new TextEncoder().encode(text))]).toEqual([true, true])
    }
    expect(isAccusation('affidavit/2 accusation\n')).toBe(true)
    expect(isAccusation('affidavit/1 slot\n')).toBe(false)
  })
})

describe('an honest log is never convicted', () => {
  const own = async (size: number): Promise<Head> => ({
    checkpoint: await signed(formatCheckpoint(ORIGIN, size, rootOf(trail, size))),
  })

  it('by its own history', async () => {
    expect(await flaw(await leafAccusation(trail, trail, 6))).toBe('no_contradiction')
    for (const size of [1, 6, 9]) expect(await flaw(await forkAccusation(trail, trail, size))).toBe('no_contradiction')
  })

  it('by an epoch that reaches the receipt, or came too early to', async () => {
    const reaching = await headOf([honest, makeEpoch(2, 9, trail, 7)], 1)
    expect(await flaw({ ...missing, head: reaching })).toBe('no_contradiction')
    // Entry 6 was sealed at minute 6: an epoch of minute 8 has two minutes of merge delay.
    const early = await headOf([honest, makeEpoch(2, 8, trail, 5)], 1)
    expect(await flaw({ ...missing, head: early })).toBe('not_covered')
  })

  it('by a wrong proof, or one that shows another entry', async () => {
    expect(await flaw({ ...leaf, head: await own(9) })).toBe('bad_proof')
    expect(await flaw({ ...leaf, head: await own(6) })).toBe('not_covered')
    expect(await flaw({ ...leaf, leaf: seeded('x', 32) })).toBe('bad_proof')
    const other = await proveInclusion(sha256, readNode(trail), 5, 9)
    expect(await flaw({ ...leaf, head: await own(9), leaf: trail.leaves[5]!, proof: other })).toBe('bad_proof')
    expect(await flaw({ ...fork, prefix: seeded('x', 32) })).toBe('bad_proof')
    expect(await flaw({ ...fork, head: await own(9) })).toBe('bad_proof')
    expect(await flaw({ ...fork, head: await own(5) })).toBe('not_covered')
    const empty = await signed(formatCheckpoint(ORIGIN, 0, rootOf(trail, 0)))
    expect(await flaw({ ...fork, said: { checkpoint: empty } })).toBe('not_covered')
  })

  it('by any prefix of the accuser that is not the true one', async () => {
    const head = await own(9)
    for (const size of [1, 2, 4, 8]) {
      const checkpoint = await signed(formatCheckpoint(ORIGIN, size, rootOf(trail, size)))
      const proof = await proveConsistency(sha256, readNode(trail), size, 9)
      for (const prefix of [seeded('x', 32), rootOf(trail, 3), proof[0]!])
        expect(await flaw({ kind: 'fork', said: { checkpoint }, head, prefix, proof })).toBe('bad_proof')
    }
  })

  it('by statements about different trails or registries', async () => {
    const otherTrail = 'log.example/000000650000000000000000000000aa'
    const signer = { ...LOG.signer, name: otherTrail, id: vkeyUnder(sha256, LOG.key, otherTrail).id }
    const other = { checkpoint: await signed(formatCheckpoint(otherTrail, 9, rootOf(rewritten)), signer) }
    expect(await flaw({ ...leaf, head: other })).toBe('unknown_key')
    expect(await flaw({ ...fork, head: other })).toBe('other_log')
    const tree = new SampleLog([honest.entry, short.entry], signer)
    expect(await flaw({ ...missing, head: { ...head, registry: await tree.proof(1) } })).toBe('other_log')
    const foreign = registryOrigin('other.example')
    const foreignKey = vkeyUnder(sha256, LOG.key, foreign)
    const foreignLog = new SampleLog([honest.entry, short.entry], { ...LOG.signer, name: foreign, id: foreignKey.id })
    const foreignHead = { ...head, registry: await foreignLog.proof(1) }
    expect(await flaw({ ...missing, head: foreignHead }, [LOG.key, foreignKey])).toBe('other_log')
  })

  it('by a head whose slot, epoch or signature is not what it says', async () => {
    const change = (changes: Partial<EpochHead>) => flaw({ ...missing, head: { ...head, ...changes } })
    expect(await change({ entry: { ...short.entry, time: '2027-01-01T00:00:00.000Z' } })).toBe('bad_head')
    expect(await change({ slot: { ...head.slot, body: head.slot.body.replace('\n5\n', '\n2\n') } })).toBe('bad_head')
    expect(await change({ slot: { ...head.slot, index: 0 } })).toBe('bad_head')
    expect(await change({ registry: { ...head.registry, proof: [] } })).toBe('bad_head')
    expect(await change({ entry: honest.entry })).toBe('bad_head')
    const forged = { ...head.registry, checkpoint: head.registry.checkpoint.replace('\n2\n', '\n3\n') }
    expect(await change({ registry: forged })).toBe('bad_signature')
  })

  it('by a receipt or checkpoint that it did not sign, or that is none', async () => {
    expect(await flaw({ ...leaf, receipt: leaf.receipt.replace('entries 6', 'entries 5') })).toBe('bad_signature')
    expect(await flaw({ ...fork, said: { checkpoint: saidNote.replace('\n6\n', '\n5\n') } })).toBe('bad_signature')
    const stranger = await signed(formatCheckpoint(ORIGIN, 6, rootOf(trail, 6)), seededKey('stranger').signer)
    expect(await flaw({ ...fork, said: { checkpoint: stranger } })).toBe('unknown_key')
    expect(await flaw({ ...fork, said: { checkpoint: await signed(`${ORIGIN}\nno checkpoint\n`) } })).toBe('malformed')
    expect(await flaw({ ...leaf, receipt: saidNote })).toBe('malformed')
    const otherTrail = leaf.receipt
      .slice(0, leaf.receipt.indexOf('\n\n') + 1)
      .replace(/trail .*/, `trail ${'a'.repeat(32)}`)
    expect(await flaw({ ...leaf, receipt: await signed(otherTrail) })).toBe('other_log')
  })
})

describe('malformed accusation', () => {
  const [good, epochal, forked] = [leaf, missing, fork].map(formatAccusation) as [string, string, string]
  it.each<[string, string, FormatError['code']]>([
    ['nothing', '', 'malformed'],
    ['another version', good.replace('/1', '/2'), 'unknown_version'],
    ['another kind', good.replace('kind leaf', 'kind lie'), 'malformed'],
    ['the kind of another', good.replace('kind leaf', 'kind fork'), 'malformed'],
    ['a receipt for a checkpoint', forked.replace('kind fork', 'kind leaf'), 'malformed'],
    ['a count too small', good.replace('receipt 7', 'receipt 6'), 'malformed'],
    ['a count too large', good.replace('receipt 7', 'receipt 8'), 'malformed'],
    ['a count beyond the end', good.replace('receipt 7', 'receipt 70000'), 'malformed'],
    ['a huge count', good.replace('receipt 7', 'receipt 9007199254740991'), 'malformed'],
    ['a count of nothing', good.replace('receipt 7', 'receipt 0'), 'malformed'],
    ['64 hashes', good.replace(/proof \d+/, 'proof 64'), 'malformed'],
    ['a hash too few', good.replace(/proof \d+/, 'proof 1'), 'malformed'],
    ['no leaf', good.replace(/leaf .*\nproof/, 'proof'), 'malformed'],
    ['something behind', `${good}x\n`, 'malformed'],
    ['an empty line behind', `${epochal}\n`, 'malformed'],
    ['an epoch that is none', epochal.replace('depth 8\nslots', 'depth 3\nslots'), 'malformed'],
    ['a slot proof that is none', epochal.replace('blind ', 'blond '), 'malformed'],
    ['a log proof that is none', epochal.replace('c2sp.org', 'c2sp.com'), 'malformed'],
    ['a newer log proof', epochal.replace('proof@v1', 'proof@v2'), 'unknown_version'],
    ['no epoch for a missing entry', epochal.replace(/slot \d+\naffidavit[\s\S]*/, ''), 'malformed'],
    ['a carriage return', good.replaceAll('\n', '\r\n'), 'malformed'],
    ['no last newline', good.slice(0, -1), 'malformed'],
    ['too much', good + 'x'.repeat(3_500_000), 'too_large'],
  ])('%s is refused', (_, text, code) => {
    expect([good, epochal, forked]).not.toContain(text)
    expect(() => parseAccusation(text)).toThrow(expect.objectContaining({ name: 'FormatError', code }))
  })

  it('bytes that are no UTF-8 are refused', () => {
    expect(() => parseAccusation(Uint8Array.of(0xff, 0x0a))).toThrow(FormatError)
  })
})
