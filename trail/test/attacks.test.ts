// What a hostile operator, who holds every key, may try in a pack so that verifiers answer "held", and in an accusation so
// that an honest log is convicted.
import { expect, it } from 'vitest'
import {
  type Control,
  decodeEntries,
  formatSuccession,
  type Manifest,
  makePolicy,
  type Payload,
  parseTlogProof,
  REGISTRY_MEMBERS,
  SUCCESSION_MEMBER,
  type Verification,
  verifyAccusation,
  verifyEd25519,
  vkeyUnder,
} from '../src/index.ts'
import { nodeSha256 } from './node-hash.ts'
import { registryMembers, WITNESSES } from './packed-registry.ts'
import { codesOf, packOf, packWith, verified } from './sample-pack.ts'
import { headOf, makeEpoch, REGISTRY, REGISTRY_SIGNER, SampleLog } from './sample-registry.ts'
import { LOG, makeTrail, OPEN, planOf, type SampleTrail, SLOT, SUBJECTS, seededKey, trailId } from './sample-trail.ts'

/** Its entries from `lateFrom` on are sealed a hundred days later. */
const trailOf = (size: number, controls: Readonly<Record<number, Control>> = {}, lateFrom = size): SampleTrail =>
  makeTrail(planOf(size, controls, { [lateFrom]: 100 }))

/** A pack in which some payloads are missing. */
const lacking = (trail: SampleTrail, gone: readonly number[], manifest: Partial<Manifest> = {}) =>
  packOf(trail, manifest, {
    content: (seqs) => seqs.map((seq): Payload => (gone.includes(seq) ? { seq } : trail.payloads[seq]!)),
  })

/** The outcome, and the kinds of findings. */
const told = (verification: Verification) => [verification.outcome, ...new Set(codesOf(verification))]

const whole = trailOf(300)
const witnesses = WITNESSES.map(({ vkey }) => vkey)

it('a pin by another trail is not stretched over this one by a succession in which nothing follows', async () => {
  const members = await registryMembers(whole, { size: 300, packed: 300 })
  const { checkpoint } = parseTlogProof(members.get(REGISTRY_MEMBERS.proof)!)
  members.set(SUCCESSION_MEMBER, formatSuccession({ checkpoint, successors: [] }))
  const bytes = await packWith(whole, members)
  const pinned = (name: string) => verified(bytes, { vkeys: [vkeyUnder(nodeSha256, LOG.key, name)] })
  expect(told(await pinned(`log.example/${trailId('mine', SLOT + 1)}`))).toContain('signature not_signed')
  expect(told(await pinned(`else.example/${trailId('mine', SLOT)}`))).toContain('signature not_signed')
  // The registry's key and one of the same slot are of this log.
  expect(told(await pinned(REGISTRY))).toEqual(['held'])
  expect(told(await pinned(`log.example/${trailId('before', SLOT)}`))).toEqual(['held'])
})

it('a policy that names another log is not met by witnesses that cosign this one, too', async () => {
  const bytes = await packWith(whole, await registryMembers(whole, { size: 300, packed: 300 }))
  const policy = makePolicy(nodeSha256, { logs: [seededKey('acme.example/registry').vkey], witnesses })
  expect(told(await verified(bytes, { policy, maxAgeMs: 1e12 }))).toContain('signature not_signed')
})

it('witnesses vouch for what they saw, not for what was sealed a hundred days later', async () => {
  const late = trailOf(300, {}, 20)
  const bytes = await packWith(late, await registryMembers(late, { size: 15, packed: 300 }))
  const policy = makePolicy(nodeSha256, { logs: [], witnesses })
  expect(told(await verified(bytes, { policy, maxAgeMs: 5 * 86_400_000 }))).toEqual(['unchecked', 'anchors stale_view'])
  expect(told(await verified(bytes, { policy, maxAgeMs: 200 * 86_400_000 }))).toEqual(['held'])
})

it.each<[string, Readonly<Record<number, Control>>]>([
  ['a prune before the time is up', { 700: { kind: 'prune', category: 'data_access', before: 699 } }],
  [
    'a redaction under a hold',
    { 5: { kind: 'hold', hold: '0'.repeat(32), scope: 'trail' }, 700: { kind: 'redact', seqs: [501] } },
  ],
])('%s is not excused by leaving out the beginning of the trail', async (_name, controls) => {
  const trail = trailOf(720, controls)
  const isGone = (seq: number) =>
    controls[700]!.kind === 'redact' ? seq === 501 : seq < 699 && trail.payloads[seq] !== undefined && seq % 6 === 3
  const gone = trail.entries.map(({ seq }) => seq).filter((seq) => seq > 0 && isGone(seq))
  expect((await verified(await lacking(trail, gone))).outcome).toBe('tampered')
  const part = await verified(await lacking(trail, gone, { ranges: [{ from: 300, to: 720 }] }))
  expect(told(part)).toEqual(['unchecked', 'absence no_opening'])
  expect(part.notes.join()).toMatch(/gone as announced: \d+ by (prune|redact).*only the whole trail/)
})

it('what was restated excuses nothing where nothing was truncated', async () => {
  const trail = trailOf(600, {
    590: { kind: 'state', part: 1, parts: 1, restated: [OPEN, { kind: 'redact', seqs: [500] }] },
  })
  const part = await lacking(trail, [500], { ranges: [{ from: 300, to: 600 }] })
  expect(told(await verified(part))).toEqual(['tampered', 'absence unexplained'])
})

it.each<[string, Control]>([
  ['redacted', { kind: 'redact', seqs: [200] }],
  ['lost', { kind: 'lost', from: 100, to: Number.MAX_SAFE_INTEGER }],
])('nothing can be announced as %s before it is sealed', async (_name, control) => {
  expect(told(await verified(await lacking(trailOf(300, { 5: control }), [200])))).toEqual([
    'tampered',
    'absence unexplained',
  ])
})

it.each<[string, 'operator' | 'personal']>([
  ['values for the operator', 'operator'],
  ['people', 'personal'],
])('a prune before the time is up does not excuse missing %s beside facts that are there', async (_name, part) => {
  const trail = trailOf(300, { 200: { kind: 'prune', category: 'mutation', before: 150 } })
  const { [part]: _, ...rest } = trail.payloads[8]!
  const payloads = trail.payloads.with(8, rest)
  expect(told(await verified(await packOf({ ...trail, payloads })))).toEqual(['tampered', 'absence pruned_early'])
})

it('nor does it let an erased person stay', async () => {
  const subject = SUBJECTS[2]!
  const trail = trailOf(
    300,
    { 200: { kind: 'prune', category: 'mutation', before: 150 }, 201: { kind: 'erase', subjects: [subject] } },
    250,
  )
  const payloads = trail.payloads.map((payload): Payload => {
    const { personal = [], ...rest } = payload
    const left = personal.filter(({ n }) => trail.entries[payload.seq]!.personal[n]!.key !== subject)
    return left.length > 0 ? { ...rest, personal: left } : rest
  })
  expect(told(await verified(await packOf({ ...trail, payloads })))).toEqual(['held'])
  const kept = payloads.with(8, trail.payloads[8]!)
  expect(told(await verified(await packOf({ ...trail, payloads: kept })))).toEqual(['tampered', 'absence still_there'])
})

it('a member that must be small is not inflated when it is large', async () => {
  const bytes = await packOf(whole, {}, { vkeys: ['\n'.repeat(2 ** 23)] })
  expect(bytes.length).toBeLessThan(2 ** 18)
  await expect(verified(bytes)).rejects.toMatchObject({ name: 'PackError', code: 'too_large' })
})

it('millions of empty entries in one bundle are not looked at', () => {
  const bundle = new Uint8Array(2 ** 26)
  const { user } = process.threadCpuUsage()
  expect(decodeEntries(bundle, 0, 256)).toBeUndefined()
  expect(process.threadCpuUsage().user - user).toBeLessThan(500_000)
})

it('a trail does not continue one of another slot', async () => {
  const continues = (slot: number): Control => ({
    kind: 'continues',
    trail: trailId('before', slot),
    size: 5,
    root: Buffer.alloc(32).toString('base64'),
  })
  expect(told(await verified(await packOf(trailOf(9, { 1: continues(SLOT) }))))).toEqual(['held'])
  expect(told(await verified(await packOf(trailOf(9, { 1: continues(SLOT + 1) }))))).toEqual([
    'tampered',
    'chain other_slot',
  ])
})

it('a registry in the place of a lost one has not shrunk', async () => {
  const head = await headOf([makeEpoch(900, 900, whole, 50)], 0)
  const later = makeEpoch(10, 2000, whole, 100)
  const name = `${REGISTRY}.1`
  const { id } = vkeyUnder(nodeSha256, LOG.key, name)
  const registry = await new SampleLog([later.entry], { ...REGISTRY_SIGNER, name, id }).proof(0)
  const said = { ...(await headOf([later], 0)), registry }
  const verdict = await verifyAccusation(nodeSha256, verifyEd25519, { kind: 'shrunk', said, head }, [LOG.key])
  expect(verdict).toMatchObject({ outcome: 'refuted', code: 'other_log' })
})
