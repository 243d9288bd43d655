import { describe, expect, it } from 'vitest'
import { type Control, decodeManifest, encodeManifest, PackError, type Payload, packTiles } from '../src/index.ts'
import { firstOf, packOf, verified, without } from './sample-pack.ts'
import {
  LOG,
  makeTrail,
  manifestOf,
  OPEN,
  ORIGIN,
  planOf,
  rootOf,
  type SampleTrail,
  SLOT,
  seededKey,
  signedCheckpoint,
  trailId,
} from './sample-trail.ts'

describe('a pack of a whole trail', () => {
  it.each([1, 2, 255, 256, 257, 700])('of %i entries holds', async (size) => {
    const trail = makeTrail(planOf(size))
    const result = await verified(await packOf(trail))
    expect(result.findings).toEqual([])
    expect(result.outcome).toBe('held')
    expect(result.assurance).toBe('tamper-detecting only')
    expect(result.verdicts).toMatchObject({ consistency: 'unchecked', anchors: 'unchecked', inclusion: 'held' })
  })

  it('is anchored by a pinned key or a kept checkpoint', async () => {
    const trail = makeTrail(planOf(300))
    const bytes = await packOf(trail)
    expect(await verified(bytes, { vkeys: [LOG.key] })).toMatchObject({ outcome: 'held', assurance: 'anchored' })
    for (const size of [0, 1, 255, 256, 257, 300]) {
      const kept = [{ size, root: rootOf(trail, size) }]
      expect(await verified(bytes, { kept }), String(size)).toMatchObject({ outcome: 'held', assurance: 'anchored' })
    }
  })

  it('fails for another key, origin or history', async () => {
    const trail = makeTrail(planOf(300))
    const bytes = await packOf(trail)
    const other = seededKey(ORIGIN, 'another key')
    expect(firstOf(await verified(bytes, { vkeys: [other.key] }))).toBe('signature not_signed undefined')
    expect((await verified(bytes, { vkeys: [other.key] })).outcome).toBe('tampered')
    expect(firstOf(await verified(bytes, { origin: `else.example/${'0'.repeat(32)}` }))).toBe(
      'signature wrong_origin undefined',
    )
    const kept = [200, 256, 290].map((size) => ({ size, root: rootOf(trail, size) }))
    expect(await verified(bytes, { kept })).toMatchObject({ outcome: 'held', verdicts: { consistency: 'held' } })
    for (const [at, one] of kept.entries()) {
      const rewritten = await verified(bytes, { kept: kept.with(at, { ...one, root: rootOf(trail, 199) }) })
      expect(rewritten).toMatchObject({ outcome: 'tampered', verdicts: { consistency: 'failed', anchors: 'failed' } })
    }
    expect((await verified(bytes, { kept: [{ size: 301, root: rootOf(trail) }] })).outcome).toBe('unchecked')
    const forged = await packOf(trail, {}, { checkpoint: await signedCheckpoint(trail, 300, other.signer) })
    expect((await verified(forged, { vkeys: [LOG.key] })).outcome).toBe('tampered')
    const notIts = await packOf(trail, {}, { checkpoint: await signedCheckpoint(trail, 299) })
    expect((await verified(notIts)).outcome).toBe('tampered')
  })
})

describe('a pack of a part of a trail', () => {
  it.each<[number, [number, number][]]>([
    [300, [[0, 10]]],
    [300, [[290, 300]]],
    [256, [[0, 3]]],
    [
      1000,
      [
        [300, 301],
        [600, 900],
      ],
    ],
    [1024, [[300, 301]]],
    [1025, [[300, 301]]],
  ])('of %i entries, %j, holds', async (size, pairs) => {
    const trail = makeTrail(planOf(size))
    const ranges = pairs.map(([from, to]) => ({ from, to }))
    const result = await verified(await packOf(trail, { ranges }))
    expect(result.findings).toEqual([])
    expect(result.outcome).toBe('held')
  })

  it('holds over three levels of tiles, and names the subtree when a bundle is not the one in the tree', async () => {
    const size = 256 * 256 + 256 * 3 + 5
    const leaf = makeTrail(planOf(260))
    // A long trail costs seconds to make; repeated leaves give the same tree shape, the walk sees only real bundles.
    const trail: SampleTrail = {
      ...leaf,
      leaves: Array.from({ length: size }, (_, n) => leaf.leaves[n] ?? leaf.leaves[1]!),
    }
    const ranges = [{ from: 0, to: 9 }]
    const good = await verified(await packOf(trail, { ranges }))
    expect(good.findings).toEqual([])
    expect(packTiles(size, [{ from: 0, to: 1 }]).map((tile) => `${tile.level}/${tile.index}/${tile.width}`)).toEqual([
      '0/259/5',
      '1/0/256',
      '1/1/3',
      '2/0/1',
    ])
    const changed = { ...trail, bytes: trail.bytes.with(200, trail.bytes[201]!) }
    const bad = await verified(await packOf(changed, { ranges }))
    expect(bad.findings.map((finding) => finding.code)).toContain('subtree_changed')
  })

  it('cannot show an older root it does not cover', async () => {
    const trail = makeTrail(planOf(700))
    const bytes = await packOf(trail, { ranges: [{ from: 600, to: 700 }] })
    const result = await verified(bytes, { kept: [{ size: 300, root: rootOf(trail, 300) }] })
    expect(result).toMatchObject({ outcome: 'unchecked', verdicts: { consistency: 'unchecked' } })
  })
})

describe('tampering', () => {
  const good = makeTrail(planOf(600))
  const bytesOf = (text: string) => new TextEncoder().encode(text)
  const textOf = (seq: number) => new TextDecoder().decode(good.bytes[seq])

  /** Packs changed entries under the checkpoint of the true trail. */
  const withBytes = (bytes: Uint8Array[]) => packOf({ ...good, bytes }, { size: 600 })
  const withPayload = (seq: number, payload: Payload) => packOf({ ...good, payloads: good.payloads.with(seq, payload) })

  it.each<[string, string, () => Promise<Uint8Array>]>([
    [
      'edited facts',
      'content content_changed 300',
      () =>
        withPayload(300, { ...good.payloads[300]!, facts: { ...good.payloads[300]!.facts!, content: '{"id":"x"}' } }),
    ],
    [
      'another salt',
      'content content_changed 300',
      () =>
        withPayload(300, {
          ...good.payloads[300]!,
          facts: { ...good.payloads[300]!.facts!, salt: good.payloads[1]!.facts!.salt },
        }),
    ],
    [
      'a loose salt',
      'content content_changed 300',
      () =>
        withPayload(300, { ...good.payloads[300]!, facts: { ...good.payloads[300]!.facts!, salt: '!'.repeat(24) } }),
    ],
    [
      'an edited persona',
      'content content_changed 301',
      () =>
        withPayload(301, {
          ...good.payloads[301]!,
          personal: [{ ...good.payloads[301]!.personal![0]!, content: '[]' }],
        }),
    ],
    [
      'a persona nobody sealed',
      'content not_committed 300',
      () => withPayload(300, { ...good.payloads[300]!, personal: good.payloads[301]!.personal! }),
    ],
    [
      'operator fields nobody sealed',
      'content not_committed 300',
      () => withPayload(300, { ...good.payloads[300]!, operator: good.payloads[2]!.operator! }),
    ],
    ['missing facts', 'absence unexplained 300', () => withPayload(300, without(good.payloads[300]!, 'facts'))],
    ['a missing persona', 'absence unexplained 301', () => withPayload(301, without(good.payloads[301]!, 'personal'))],
    [
      'missing confidential fields',
      'absence unexplained 303',
      () => withPayload(303, without(good.payloads[303]!, 'confidential')),
    ],
    [
      'an edited commitment',
      'chain broken_link 300',
      () =>
        withBytes(good.bytes.with(300, bytesOf(textOf(300).replace(/facts .*/, `facts ${good.entries[1]!.facts}`)))),
    ],
    [
      'an edited sealing time',
      'chain broken_link 300',
      () => withBytes(good.bytes.with(300, bytesOf(textOf(300).replace(/2026-.*Z/, good.entries[299]!.sealedAt)))),
    ],
    [
      'an edited previous hash',
      'chain broken_link 300',
      () =>
        withBytes(
          good.bytes.with(300, bytesOf(textOf(300).replace(good.entries[300]!.previous, good.entries[5]!.previous))),
        ),
    ],
    [
      'an edited last entry',
      'inclusion wrong_root undefined',
      () =>
        withBytes(good.bytes.with(599, bytesOf(textOf(599).replace(/facts .*/, `facts ${good.entries[1]!.facts}`)))),
    ],
    ['a deleted entry', 'chain wrong_seq 300', () => withBytes(good.bytes.toSpliced(300, 1).concat(good.bytes[599]!))],
    [
      'an inserted entry',
      'chain wrong_seq 301',
      () => withBytes(good.bytes.toSpliced(301, 0, good.bytes[300]!).slice(0, 600)),
    ],
    [
      'two swapped entries',
      'chain wrong_seq 300',
      () => withBytes(good.bytes.with(300, good.bytes[301]!).with(301, good.bytes[300]!)),
    ],
    [
      'an entry of another trail',
      'chain wrong_trail 300',
      () => withBytes(good.bytes.with(300, bytesOf(textOf(300).replace(/[0-9a-f]{32}/, 'f'.repeat(32))))),
    ],
    ['no entry', 'chain not_an_entry 300', () => withBytes(good.bytes.with(300, bytesOf('hello')))],
  ])('%s: %s', async (_, expected, make) => {
    const result = await verified(await make())
    expect(result.findings.map(({ verdict, code, seq }) => `${verdict} ${code} ${seq}`)).toContain(expected)
    if (!expected.endsWith('undefined')) expect(result.firstWrong).toBe(Number(expected.split(' ')[2]))
    expect(result.outcome).toBe('tampered')
  })

  it('a rewritten and resigned trail is caught by a kept checkpoint only', async () => {
    const rewritten = makeTrail(planOf(600, { 400: { kind: 'policy', about: 'capture', version: 2 } }))
    const bytes = await packOf(rewritten)
    expect((await verified(bytes, { vkeys: [LOG.key] })).outcome).toBe('held')
    const result = await verified(bytes, { vkeys: [LOG.key], kept: [{ size: 500, root: rootOf(good, 500) }] })
    expect(firstOf(result)).toBe('consistency history_rewritten undefined')
  })

  it('times that run backwards', async () => {
    const result = await verified(await packOf(makeTrail(planOf(5).with(3, { minutes: 0 }))))
    expect(firstOf(result)).toBe('time time_backwards 3')
  })

  it('entries after close, a second open, no open, a late continues', async () => {
    const close: Control = { kind: 'close', reason: 'continued' }
    expect(firstOf(await verified(await packOf(makeTrail(planOf(9, { 7: close })))))).toBe('chain after_close 8')
    expect(firstOf(await verified(await packOf(makeTrail(planOf(9, { 5: OPEN })))))).toBe('chain misplaced_open 5')
    expect(firstOf(await verified(await packOf(makeTrail(planOf(9).with(0, {})))))).toBe('chain no_open 0')
    const continues: Control = {
      kind: 'continues',
      trail: trailId('before', SLOT),
      size: 5,
      root: good.entries[1]!.previous,
    }
    expect(firstOf(await verified(await packOf(makeTrail(planOf(9, { 5: continues })))))).toBe(
      'chain misplaced_continues 5',
    )
    expect((await verified(await packOf(makeTrail(planOf(9, { 1: continues }))))).outcome).toBe('held')
  })

  it.each(['event gardening', 'control levitate height=3'])(
    'says unchecked, not held, to an entry of a newer kind: %s',
    async (body) => {
      const trail = makeTrail(planOf(9))
      const newer = new TextDecoder().decode(trail.bytes[8]).replace(/^event .*$/m, body)
      const result = await verified(await packOf({ ...trail, bytes: trail.bytes.with(8, bytesOf(newer)) }, { size: 9 }))
      expect(result.findings.map((finding) => `${finding.verdict} ${finding.state}`)).toContain('chain unchecked')
      expect(result.outcome).not.toBe('held')
    },
  )
})

describe('a damaged file', () => {
  const trail = makeTrail(planOf(3))

  async function outcome(bytes: Uint8Array): Promise<string> {
    try {
      return (await verified(bytes)).outcome
    } catch (error) {
      if (error instanceof PackError) return error.code
      throw error
    }
  }

  it('never holds after a change of any one byte', async () => {
    const good = await packOf(trail)
    expect(await outcome(good)).toBe('held')
    for (let at = 0; at < good.length; at++) {
      const changed = good.slice()
      changed[at]! ^= 1 << (at % 8)
      expect(await outcome(changed), `byte ${at} of ${good.length}`).not.toBe('held')
    }
  })

  it('is refused when cut or extended anywhere', async () => {
    const good = await packOf(trail)
    for (let length = 0; length < good.length; length += 7) {
      expect(await outcome(good.slice(0, length))).toMatch(/truncated|damaged/)
    }
    expect(await outcome(new Uint8Array([...good, 0]))).toMatch(/truncated|damaged/)
    expect(await outcome(new Uint8Array([0, ...good]))).toMatch(/truncated|damaged/)
  })

  it('knows only its own manifest spelling', () => {
    const text = encodeManifest(manifestOf(trail))
    expect(encodeManifest(decodeManifest(text))).toBe(text)
    const code = (changed: string) => {
      try {
        decodeManifest(changed)
        return 'accepted'
      } catch (error) {
        return (error as PackError).code
      }
    }
    expect(code(text.replace('pack/1', 'pack/2'))).toBe('unknown_version')
    expect(code(text.replace('{', '{ '))).toBe('malformed')
    expect(code(text.replace('"size":3', '"size":3,"size":3'))).toBe('malformed')
    expect(code(text.replace('[[0,3]]', '[[0,4]]'))).toBe('malformed')
    expect(code(text.replace('[[0,3]]', '[[0,2],[2,3]]'))).toBe('malformed')
    expect(code(text.replace('"bundles":[[0,1]]', '"bundles":[[1,2]]'))).toBe('malformed')
    expect(code(text.replace('"optional":[]', '"optional":["registry/../../etc/passwd"]'))).toBe('malformed')
    expect(code(text.replace('"optional":[]', '"optional":["/registry/a"]'))).toBe('malformed')
    expect(code(text.replace('"withheld":[]', '"withheld":["facts"]'))).toBe('malformed')
    expect(code('[]')).toBe('malformed')
    expect(code('{')).toBe('malformed')
  })

  it('writes the same bytes twice, and optional members at the end', async () => {
    expect(await packOf(trail)).toEqual(await packOf(trail))
    const optional = ['registry/epoch/7', 'cover/index.html']
    const bytes = await packOf(trail, { optional }, { optional: async (path) => new TextEncoder().encode(path) })
    const result = await verified(bytes)
    expect(result.outcome).toBe('held')
    expect(result.notes.join()).toContain('registry/epoch/7')
  })
})
