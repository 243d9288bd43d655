// What a pack brings besides its trail: single proofs and the registry's, each broken in the ways that matter.
import { describe, expect, it } from 'vitest'
import { makePolicy, PackError, REGISTRY_MEMBERS, type VerifyOptions } from '../src/index.ts'
import { nodeSha256 } from './node-hash.ts'
import { proofMembers, REGISTRY_VKEY, registryMembers, sampleWitness, WITNESSES } from './packed-registry.ts'
import { codesOf, packWith, verified } from './sample-pack.ts'
import { LOG, makeTrail, OPEN, type SampleTrail } from './sample-trail.ts'

const SIZE = 600
const plan = Array.from({ length: SIZE }, (_, seq) => (seq === 0 ? { control: OPEN } : {}))
const trail = makeTrail(plan)
/** The same trail up to entry 400, then another. */
const fork = makeTrail(plan, new Map([[400, '{"id":"never happened"}']]))

const packed = (members: ReadonlyMap<string, string>, of: SampleTrail = trail, ranges = [{ from: 0, to: SIZE }]) =>
  packWith(of, members, { ranges })

/** The sample's witnesses cosigned before most of its entries. */
const check = (bytes: Uint8Array, options: Partial<VerifyOptions> = {}) =>
  verified(bytes, { maxAgeMs: 30 * 86_400_000, ...options })

const policyOf = (quorum: number, witnesses = WITNESSES) =>
  makePolicy(nodeSha256, { logs: [REGISTRY_VKEY], witnesses: witnesses.map(({ vkey }) => vkey), quorum })

describe('the registry in a pack', () => {
  it.each([
    ['older than the pack', 500, [{ from: 0, to: SIZE }]],
    ['as old as the pack', SIZE, [{ from: 0, to: SIZE }]],
    ['of a part of a trail', 500, [{ from: 300, to: 310 }]],
  ])('%s agrees, and is an anchor through witnesses of the verifier only', async (_name, size, ranges) => {
    const bytes = await packed(await registryMembers(trail, { size, packed: SIZE }), trail, ranges)
    const alone = await check(bytes)
    expect(alone).toMatchObject({ outcome: 'held', assurance: 'tamper-detecting only', findings: [] })
    expect(alone.notes.join()).toContain(`holds this trail at ${size}`)
    expect(alone.notes.join()).not.toContain('not checked')
    expect(await check(bytes, { vkeys: [LOG.key] })).toMatchObject({ outcome: 'held', assurance: 'anchored' })
    const witnessed = await check(bytes, { policy: policyOf(2) })
    expect(witnessed).toMatchObject({ outcome: 'held', assurance: 'anchored', verdicts: { anchors: 'held' } })
    expect(witnessed.notes.join()).toContain('cosigned by w1 at 2026-')
  })

  it('shows a fork: the slot holds another history than the pack', async () => {
    const bytes = await packed(await registryMembers(trail, { size: 500, packed: SIZE }), fork)
    const result = await check(bytes, { policy: policyOf(2) })
    expect(result.outcome).toBe('tampered')
    expect(codesOf(result)).toEqual(['consistency registry_fork'])
    expect(result.firstWrong).toBe(499)
  })

  it('is unchecked with too few witnesses, none, or without the registry', async () => {
    const one = await packed(
      await registryMembers(trail, { size: 500, packed: SIZE, witnesses: WITNESSES.slice(0, 1) }),
    )
    expect(await check(one, { policy: policyOf(1) })).toMatchObject({ outcome: 'held', assurance: 'anchored' })
    expect(codesOf(await check(one, { policy: policyOf(2) }))).toEqual(['anchors no_quorum'])
    const strangers = policyOf(1, [sampleWitness('eve.example/witness')])
    expect(await check(one, { policy: strangers })).toMatchObject({ outcome: 'unchecked' })
    const without = await check(await packed(new Map()), { policy: policyOf(1) })
    expect(without).toMatchObject({ outcome: 'unchecked', verdicts: { anchors: 'unchecked' } })
    expect(codesOf(without)).toEqual(['anchors no_registry'])
  })

  it.each<[string, string, (members: Map<string, string>) => void]>([
    [
      'another epoch',
      'anchors registry_inclusion',
      (m) => edit(m, 'epoch', (text) => text.replace('epoch 8', 'epoch 9')),
    ],
    ['another slot blind', 'anchors slot_proof', (m) => edit(m, 'slot', (text) => text.replace(/blind ./, 'blind Z'))],
    ['another slot', 'anchors slot_proof', (m) => edit(m, 'slot', (text) => text.replace(/slot \d+/, 'slot 3'))],
    ['another body', 'anchors slot_proof', (m) => edit(m, 'slot', (text) => text.replace('\n500\n', '\n499\n'))],
    [
      'another consistency proof',
      'consistency registry_fork',
      (m) => edit(m, 'consistency', (text) => text.split('\n').toSpliced(3, 1).join('\n')),
    ],
    [
      'another registry',
      'anchors other_registry',
      (m) => edit(m, 'proof', (text) => text.replace('log.example/registry\n', 'else.example/registry\n')),
    ],
    [
      'another registry checkpoint',
      'anchors registry_signature',
      (m) => edit(m, 'proof', (text) => text.replace('log.example/registry\n3\n', 'log.example/registry\n4\n')),
    ],
    ['no key', 'anchors registry_not_signed', (m) => edit(m, 'vkeys', () => '')],
  ])('%s fails', async (_name, code, change) => {
    const members = await registryMembers(trail, { size: 500, packed: SIZE })
    change(members)
    const result = await check(await packed(members))
    expect(result.outcome).toBe('tampered')
    expect(codesOf(result)).toContain(code)
  })

  it.each<[string, string, (members: Map<string, string>) => void]>([
    ['no epoch', 'malformed', (m) => edit(m, 'epoch', () => 'nonsense\n')],
    ['an epoch of a later format', 'unknown_version', (m) => edit(m, 'epoch', (t) => t.replace('/1', '/2'))],
    ['no proof', 'malformed', (m) => edit(m, 'proof', () => 'nonsense\n')],
    ['half a slot proof', 'malformed', (m) => edit(m, 'slot', (text) => text.slice(0, 60))],
    ['hashes without end', 'malformed', (m) => edit(m, 'consistency', (text) => text.repeat(9))],
    ['no consistency proof', 'members', (m) => m.delete(REGISTRY_MEMBERS.consistency)],
    ['a consistency proof of other sizes', 'malformed', (m) => edit(m, 'consistency', (t) => t.replace('500', '499'))],
    ['no slot proof', 'members', (m) => m.delete(REGISTRY_MEMBERS.slot)],
  ])('%s could not be checked', async (_name, code, change) => {
    const members = await registryMembers(trail, { size: 500, packed: SIZE })
    change(members)
    const error = await check(await packed(members)).catch((caught: unknown) => caught)
    expect(error).toBeInstanceOf(PackError)
    expect((error as PackError).code).toBe(code)
  })
})

function edit(members: Map<string, string>, name: keyof typeof REGISTRY_MEMBERS, change: (text: string) => string) {
  const before = members.get(REGISTRY_MEMBERS[name])!
  const after = change(before)
  expect(after).not.toBe(before)
  members.set(REGISTRY_MEMBERS[name], after)
}

describe('single proofs in a pack', () => {
  const ranges = [7, 300, 599].map((seq) => ({ from: seq, to: seq + 1 }))

  it('hold for a set of events', async () => {
    const result = await check(await packed(await proofMembers(trail, [7, 300, 599]), trail, ranges))
    expect(result).toMatchObject({ outcome: 'held', findings: [] })
  })

  it('fail for another entry, another checkpoint, and an entry that is not there', async () => {
    const members = await proofMembers(trail, [7, 300])
    const [seven, other] = [...members.values()]
    const swapped = new Map([['proofs/7.tlog-proof', other!.replace('index 300', 'index 7')]])
    expect(codesOf(await check(await packed(swapped, trail, ranges)))).toEqual(['inclusion proof_fails'])
    const forked = await proofMembers(fork, [7])
    expect(codesOf(await check(await packed(forked, trail, ranges)))).toContain('inclusion other_checkpoint')
    const absent = await packed(new Map([['proofs/300.tlog-proof', other!]]), trail, [{ from: 7, to: 8 }])
    expect(codesOf(await check(absent))).toEqual(['completeness proof_without_entry'])
    const outside = new Map([['proofs/600.tlog-proof', seven!]])
    await expect(check(await packed(outside, trail, ranges))).rejects.toThrow(PackError)
  })
})
