// What a hostile operator, who holds every key, may try in a pack: each attack once answered "held". And an accusation of
// an honest log that once convicted it.
import { expect, it } from 'vitest'
import {
  type Control,
  formatSuccession,
  type Manifest,
  makePolicy,
  PackReader,
  type PackSource,
  type Payload,
  parseTlogProof,
  REGISTRY_MEMBERS,
  SUCCESSION_MEMBER,
  type Verification,
  type VerifyOptions,
  verifyAccusation,
  verifyEd25519,
  verifyPack,
  vkeyUnder,
  writePack,
} from '../src/index.ts'
import { nodeSha256 } from './node-hash.ts'
import { registryMembers, WITNESSES } from './packed-registry.ts'
import { headOf, makeEpoch, REGISTRY, REGISTRY_SIGNER, SampleLog } from './sample-registry.ts'
import {
  ascii,
  collect,
  fileOf,
  LOG,
  makeTrail,
  manifestOf,
  OPEN,
  type SampleTrail,
  SLOT,
  seededKey,
  sourceOf,
  trailId,
} from './sample-trail.ts'

function trailOf(size: number, controls: Readonly<Record<number, Control>> = {}, lateFrom = size): SampleTrail {
  return makeTrail(
    Array.from({ length: size }, (_, seq) => {
      const control = seq === 0 ? OPEN : controls[seq]
      return { minutes: seq + (seq < lateFrom ? 0 : 144_000), ...(control && { control }) }
    }),
  )
}

async function pack(trail: SampleTrail, manifest: Partial<Manifest> = {}, source: Partial<PackSource> = {}) {
  const whole = manifestOf(trail, manifest)
  return collect(writePack(nodeSha256, whole, await sourceOf(trail, whole, source)))
}

const packed = (trail: SampleTrail, members: ReadonlyMap<string, string>) =>
  pack(trail, { optional: [...members.keys()] }, { optional: async (path) => ascii.encode(members.get(path)!) })

/** A pack in which some payloads are missing. */
const lacking = (trail: SampleTrail, gone: readonly number[], manifest: Partial<Manifest> = {}) =>
  pack(trail, manifest, {
    content: (seqs) => seqs.map((seq): Payload => (gone.includes(seq) ? { seq } : trail.payloads[seq]!)),
  })

async function check(bytes: Uint8Array, options: Partial<VerifyOptions> = {}): Promise<Verification> {
  const reader = await PackReader.open(nodeSha256, fileOf(bytes))
  return verifyPack(reader, { hash: nodeSha256, verify: verifyEd25519, ...options })
}

const codes = ({ outcome, findings }: Verification) => [
  outcome,
  ...new Set(findings.map(({ verdict, code }) => `${verdict} ${code}`)),
]

const whole = trailOf(300)
const witnesses = WITNESSES.map(({ vkey }) => vkey)

it('a pin by another trail is not stretched over this one by a succession in which nothing follows', async () => {
  const members = await registryMembers(whole, { size: 300, packed: 300 })
  const { checkpoint } = parseTlogProof(members.get(REGISTRY_MEMBERS.proof)!)
  members.set(SUCCESSION_MEMBER, formatSuccession({ checkpoint, successors: [] }))
  const bytes = await packed(whole, members)
  const pinned = (name: string) => check(bytes, { vkeys: [vkeyUnder(nodeSha256, LOG.key, name)] })
  expect(codes(await pinned(`log.example/${trailId('mine', SLOT + 1)}`))).toContain('signature not_signed')
  expect(codes(await pinned(`else.example/${trailId('mine', SLOT)}`))).toContain('signature not_signed')
  // The registry's key and one of the same slot are of this log.
  expect(codes(await pinned(REGISTRY))).toEqual(['held'])
  expect(codes(await pinned(`log.example/${trailId('before', SLOT)}`))).toEqual(['held'])
})

it('a policy that names another log is not met by witnesses that cosign this one, too', async () => {
  const bytes = await packed(whole, await registryMembers(whole, { size: 300, packed: 300 }))
  const policy = makePolicy(nodeSha256, { logs: [seededKey('acme.example/registry').vkey], witnesses })
  expect(codes(await check(bytes, { policy, maxAgeMs: 1e12 }))).toContain('signature not_signed')
})

it('witnesses vouch for what they saw, not for what was sealed a hundred days later', async () => {
  const late = trailOf(300, {}, 20)
  const bytes = await packed(late, await registryMembers(late, { size: 15, packed: 300 }))
  const policy = makePolicy(nodeSha256, { logs: [], witnesses })
  expect(codes(await check(bytes, { policy, maxAgeMs: 5 * 86_400_000 }))).toEqual(['unchecked', 'anchors stale_view'])
  expect(codes(await check(bytes, { policy, maxAgeMs: 200 * 86_400_000 }))).toEqual(['held'])
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
  expect((await check(await lacking(trail, gone))).outcome).toBe('tampered')
  const part = await check(await lacking(trail, gone, { ranges: [{ from: 300, to: 720 }] }))
  expect(codes(part)).toEqual(['unchecked', 'absence no_opening'])
  expect(part.notes.join()).toMatch(/gone as announced: \d+ by (prune|redact).*only the whole trail/)
})

it('what was restated excuses nothing where nothing was truncated', async () => {
  const trail = trailOf(600, {
    590: { kind: 'state', part: 1, parts: 1, restated: [OPEN, { kind: 'redact', seqs: [500] }] },
  })
  const part = await lacking(trail, [500], { ranges: [{ from: 300, to: 600 }] })
  expect(codes(await check(part))).toEqual(['tampered', 'absence unexplained'])
})

it.each<[string, Control]>([
  ['redacted', { kind: 'redact', seqs: [200] }],
  ['lost', { kind: 'lost', from: 100, to: Number.MAX_SAFE_INTEGER }],
])('nothing can be announced as %s before it is sealed', async (_name, control) => {
  expect(codes(await check(await lacking(trailOf(300, { 5: control }), [200])))).toEqual([
    'tampered',
    'absence unexplained',
  ])
})

it('a trail does not continue one of another slot', async () => {
  const continues = (slot: number): Control => ({
    kind: 'continues',
    trail: trailId('before', slot),
    size: 5,
    root: Buffer.alloc(32).toString('base64'),
  })
  expect(codes(await check(await pack(trailOf(9, { 1: continues(SLOT) }))))).toEqual(['held'])
  expect(codes(await check(await pack(trailOf(9, { 1: continues(SLOT + 1) }))))).toEqual([
    'tampered',
    'chain other_slot',
  ])
})

it('a registry that counts anew after a loss has not shrunk', async () => {
  const head = await headOf([makeEpoch(900, 900, whole, 50)], 0)
  const later = makeEpoch(10, 2000, whole, 100)
  const name = `${REGISTRY}.1`
  const { id } = vkeyUnder(nodeSha256, LOG.key, name)
  const registry = await new SampleLog([later.entry], { ...REGISTRY_SIGNER, name, id }).proof(0)
  const said = { ...(await headOf([later], 0)), registry }
  const verdict = await verifyAccusation(nodeSha256, verifyEd25519, { kind: 'shrunk', said, head }, [LOG.key])
  expect(verdict).toMatchObject({ outcome: 'refuted', code: 'other_log' })
})
