// Timestamps in packs, by a real authority: an anchor under certificates of the verifier, and nothing else under them.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { hasOpenssl, startTimestampAuthority, type TimestampAuthority } from '../../server/test/timestamp-authority.ts'
import { anchorPaths, PackError, parseCertificates, type VerifyOptions, webCertificateCrypto } from '../src/index.ts'
import { registryMembers } from './packed-registry.ts'
import { timestampMembers } from './packed-timestamp.ts'
import { codesOf, packWith, verified } from './sample-pack.ts'
import { LOG, makeTrail, OPEN, type SampleTrail } from './sample-trail.ts'
import { stamped } from './timestamps.ts'

const SIZE = 300
const plan = Array.from({ length: SIZE }, (_, seq) => (seq === 0 ? { control: OPEN } : {}))
const trail = makeTrail(plan)
const fork = makeTrail(plan, new Map([[40, '{"id":"never happened"}']]))
/** Its last entries are sealed in a year to come. */
const future = makeTrail(plan.map((planned, seq) => (seq < 200 ? planned : { ...planned, minutes: seq + 30_000_000 })))

type Members = Map<string, Uint8Array>

async function check(members: Members, options: Partial<VerifyOptions> = {}, of: SampleTrail = trail) {
  const result = await verified(await packWith(of, members), options)
  return { ...result, codes: codesOf(result) }
}

describe.skipIf(!hasOpenssl)('a timestamp in a pack', () => {
  let authority: TimestampAuthority
  let other: TimestampAuthority
  beforeAll(async () => {
    authority = await startTimestampAuthority()
    other = await startTimestampAuthority({ keys: 'P-384' })
  }, 30_000)
  afterAll(() => Promise.all([authority.stop(), other.stop()]))

  const paths = anchorPaths(7)
  const membersOf = (of = trail, size = 250) => timestampMembers(of, { n: 7, size, packed: SIZE, authority })
  const trusting = (...authorities: TimestampAuthority[]) => ({
    vkeys: [LOG.key],
    timestamps: {
      crypto: webCertificateCrypto,
      trusted: authorities.flatMap(({ ca }) => parseCertificates(ca)),
    },
  })

  it('is an anchor for whoever trusts its authority', async () => {
    const result = await check(await membersOf(), trusting(authority))
    expect(result).toMatchObject({
      outcome: 'held',
      assurance: 'anchored',
      verdicts: { anchors: 'held' },
      findings: [],
    })
    const [anchor] = result.anchors
    expect(anchor).toMatchObject({
      kind: 'timestamp',
      path: 'anchors/7.tsr',
      authority: 'Test tsa',
      accuracyMs: 1000,
      epoch: 8,
      entries: 250,
    })
    expect(Math.abs(Date.parse(anchor!.time) - Date.now())).toBeLessThan(120_000)
    expect(result.notes.join()).toContain('Test tsa vouches that the first 250 entries were there at 20')
    expect(result.notes.join()).not.toContain('not checked')
    const both = await check(await membersOf(), trusting(other, authority))
    expect(both).toMatchObject({ outcome: 'held', assurance: 'anchored' })
    // Without a pinned key: the authority alone is outside.
    const registry = await registryMembers(trail, { size: 280, packed: SIZE })
    const members: Members = await membersOf()
    for (const [path, text] of registry) members.set(path, new TextEncoder().encode(text))
    const { timestamps } = trusting(authority)
    expect(await check(members, { timestamps })).toMatchObject({ outcome: 'held', assurance: 'anchored', findings: [] })
    expect(await check(members)).toMatchObject({ outcome: 'held', assurance: 'tamper-detecting only' })
  })

  it('is present, not checked, without a certificate', async () => {
    const result = await check(await membersOf())
    expect(result).toMatchObject({ outcome: 'held', assurance: 'tamper-detecting only', anchors: [] })
    expect(result.notes.join()).toContain('anchors/7.tsr is present, not checked: give its authority')
    expect(result.notes.join()).not.toContain('present but not checked')
  })

  it('of another authority than the one trusted leaves the question open; so does none at all', async () => {
    const elsewhere = await check(await membersOf(), trusting(other))
    expect(elsewhere).toMatchObject({ outcome: 'unchecked', assurance: 'tamper-detecting only' })
    expect(elsewhere.codes).toEqual(['anchors timestamp_untrusted'])
    const none = await check(new Map(), trusting(authority))
    expect(none).toMatchObject({ outcome: 'unchecked', codes: ['anchors no_timestamp'] })
  })

  it('that is bound to nothing of this trail is no anchor', async () => {
    const members = await membersOf()
    for (const path of [paths.epoch, paths.proof, paths.slot, paths.consistency]) members.delete(path)
    expect((await check(members, trusting(authority))).codes).toEqual(['anchors timestamp_unbound'])
    members.delete(paths.checkpoint)
    await expect(check(members, trusting(authority))).rejects.toThrow(PackError)
  })

  it.each<[string, string, (members: Members) => Promise<unknown> | unknown]>([
    [
      'of other bytes',
      'anchors timestamp_other_document',
      async (m) => m.set(paths.token, await stamped(authority, 'x')),
    ],
    ['broken', 'anchors timestamp_malformed', (m) => m.set(paths.token, Uint8Array.of(0x30, 3, 2, 1, 0))],
    ['no token', 'anchors timestamp_malformed', (m) => m.set(paths.token, new Uint8Array(0))],
    [
      'with a broken signature',
      'anchors timestamp_bad_signature',
      (m) => m.set(paths.token, m.get(paths.token)!.with(-1, m.get(paths.token)!.at(-1)! ^ 1)),
    ],
    [
      'signed by another purpose',
      'anchors timestamp_bad_purpose',
      async (m) => m.set(paths.token, new Uint8Array(await authority.resign(m.get(paths.token)!, 'server', true))),
    ],
    [
      'over the checkpoint of another log',
      'anchors other_registry',
      async (m) => {
        const note = new TextEncoder().encode(textOf(m, paths.checkpoint).replaceAll('log.example', 'else.example'))
        m.set(paths.checkpoint, note).set(paths.token, await stamped(authority, note))
      },
    ],
    [
      'beside another proof',
      'anchors other_checkpoint',
      async (m) => {
        const { proof } = await registryProof(200)
        m.set(paths.proof, proof)
      },
    ],
    [
      'beside another epoch',
      'anchors registry_inclusion',
      (m) => m.set(paths.epoch, new TextEncoder().encode(textOf(m, paths.epoch).replace('epoch 8', 'epoch 9'))),
    ],
  ])('%s is evidence', async (_name, code, change) => {
    const members = await membersOf()
    await change(members)
    const result = await check(members, trusting(authority))
    expect(result.outcome).toBe('tampered')
    expect(result.codes).toEqual([code])
  })

  it('over a registry that holds another history shows the fork', async () => {
    const result = await check(await membersOf(), trusting(authority), fork)
    expect(result.outcome).toBe('tampered')
    expect(result.codes).toEqual(['consistency registry_fork'])
    expect(result.firstWrong).toBe(249)
  })

  it('shows that entries under it were not sealed when they say', async () => {
    const result = await check(await membersOf(future), trusting(authority), future)
    expect(result.outcome).toBe('tampered')
    expect(result.codes).toEqual(['time sealed_after_timestamp'])
    expect(result.firstWrong).toBe(249)
    // Entries behind the stamped checkpoint may be as young as they like.
    expect(await check(await membersOf(future, 200), trusting(authority), future)).toMatchObject({ outcome: 'held' })
  })

  it('never holds with a byte of its token changed, and never crashes', async () => {
    const members = await membersOf()
    const token = members.get(paths.token)!
    const last = token.length - 1
    for (let at = 0; at < 16; at++) {
      const place = at < 8 ? 9 + at * 31 : last - (at - 8) * 17
      const broken = new Map(members).set(paths.token, token.with(place, token[place]! ^ 0x10))
      const result = await check(broken, trusting(authority))
      expect([place, result.outcome]).not.toEqual([place, 'held'])
    }
  })
})

const textOf = (members: Members, path: string) => new TextDecoder().decode(members.get(path)!)

/** The proof of an epoch that binds so many entries. */
async function registryProof(size: number): Promise<{ proof: Uint8Array }> {
  const members = await registryMembers(trail, { size, packed: SIZE })
  return { proof: new TextEncoder().encode(members.get('registry/epoch.tlog-proof')!) }
}
