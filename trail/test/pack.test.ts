import { describe, expect, it } from 'vitest'
import {
  type Control,
  decodeManifest,
  encodeManifest,
  type Manifest,
  PackError,
  PackReader,
  type PackSource,
  type Payload,
  packTiles,
  type Verification,
  type VerifyOptions,
  verifyEd25519,
  verifyPack,
  writePack,
} from '../src/index.ts'
import { nodeSha256 } from './node-hash.ts'
import {
  collect,
  fileOf,
  LOG,
  makeTrail,
  manifestOf,
  OPEN,
  ORIGIN,
  type Planned,
  rootOf,
  type SampleTrail,
  SLOT,
  SUBJECTS,
  seededKey,
  signedCheckpoint,
  sourceOf,
  trailId,
} from './sample-trail.ts'

/** `size` entries: the open entry, events, and the control entries given by seq. */
function plan(size: number, controls: Record<number, Control> = {}, days: Record<number, number> = {}): Planned[] {
  let late = 0
  return Array.from({ length: size }, (_, seq) => {
    late = (days[seq] ?? late / 1440) * 1440
    const control = seq === 0 ? OPEN : controls[seq]
    return { minutes: seq + late, ...(control && { control }) }
  })
}

async function pack(trail: SampleTrail, manifest: Partial<Manifest> = {}, source: Partial<PackSource> = {}) {
  const whole = manifestOf(trail, manifest)
  return collect(writePack(nodeSha256, whole, await sourceOf(trail, whole, source)))
}

async function check(bytes: Uint8Array, options: Partial<VerifyOptions> = {}): Promise<Verification> {
  const reader = await PackReader.open(nodeSha256, fileOf(bytes))
  return verifyPack(reader, { hash: nodeSha256, verify: verifyEd25519, ...options })
}

/** The first finding as `verdict code seq`. */
function first({ findings }: Verification): string {
  const [finding] = findings
  return finding === undefined ? 'none' : `${finding.verdict} ${finding.code} ${finding.seq}`
}

const without = (payload: Payload, ...parts: (keyof Payload)[]): Payload =>
  Object.fromEntries(
    Object.entries(payload).filter(([key]) => !parts.includes(key as keyof Payload)),
  ) as unknown as Payload

describe('a pack of a whole trail', () => {
  it.each([1, 2, 255, 256, 257, 700])('of %i entries holds', async (size) => {
    const trail = makeTrail(plan(size))
    const result = await check(await pack(trail))
    expect(result.findings).toEqual([])
    expect(result.outcome).toBe('held')
    expect(result.assurance).toBe('tamper-detecting only')
    expect(result.verdicts).toMatchObject({ consistency: 'unchecked', anchors: 'unchecked', inclusion: 'held' })
  })

  it('is anchored by a pinned key or a kept checkpoint', async () => {
    const trail = makeTrail(plan(300))
    const bytes = await pack(trail)
    expect(await check(bytes, { vkeys: [LOG.key] })).toMatchObject({ outcome: 'held', assurance: 'anchored' })
    for (const size of [0, 1, 255, 256, 257, 300]) {
      const kept = { size, root: rootOf(trail, size) }
      expect(await check(bytes, { kept }), String(size)).toMatchObject({ outcome: 'held', assurance: 'anchored' })
    }
  })

  it('fails for another key, origin or history', async () => {
    const trail = makeTrail(plan(300))
    const bytes = await pack(trail)
    const other = seededKey(ORIGIN, 'another key')
    expect(first(await check(bytes, { vkeys: [other.key] }))).toBe('signature not_signed undefined')
    expect((await check(bytes, { vkeys: [other.key] })).outcome).toBe('tampered')
    expect(first(await check(bytes, { origin: `else.example/${'0'.repeat(32)}` }))).toBe(
      'signature wrong_origin undefined',
    )
    const kept = { size: 200, root: rootOf(trail, 199) }
    const rewritten = await check(bytes, { kept })
    expect(rewritten).toMatchObject({ outcome: 'tampered', verdicts: { consistency: 'failed', anchors: 'failed' } })
    expect((await check(bytes, { kept: { size: 301, root: rootOf(trail) } })).outcome).toBe('unchecked')
    const forged = await pack(trail, {}, { checkpoint: await signedCheckpoint(trail, 300, other.signer) })
    expect((await check(forged, { vkeys: [LOG.key] })).outcome).toBe('tampered')
    const notIts = await pack(trail, {}, { checkpoint: await signedCheckpoint(trail, 299) })
    expect((await check(notIts)).outcome).toBe('tampered')
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
    const trail = makeTrail(plan(size))
    const ranges = pairs.map(([from, to]) => ({ from, to }))
    const result = await check(await pack(trail, { ranges }))
    expect(result.findings).toEqual([])
    expect(result.outcome).toBe('held')
  })

  it('holds over three levels of tiles, and names the subtree when a bundle is not the one in the tree', async () => {
    const size = 256 * 256 + 256 * 3 + 5
    const leaf = makeTrail(plan(260))
    // A long trail costs seconds to make; repeated leaves give the same tree shape, the walk sees only real bundles.
    const trail: SampleTrail = {
      ...leaf,
      leaves: Array.from({ length: size }, (_, n) => leaf.leaves[n] ?? leaf.leaves[1]!),
    }
    const ranges = [{ from: 0, to: 9 }]
    const good = await check(await pack(trail, { ranges }))
    expect(good.findings).toEqual([])
    expect(packTiles(size, [{ from: 0, to: 1 }]).map((tile) => `${tile.level}/${tile.index}/${tile.width}`)).toEqual([
      '0/259/5',
      '1/0/256',
      '1/1/3',
      '2/0/1',
    ])
    const changed = { ...trail, bytes: trail.bytes.with(200, trail.bytes[201]!) }
    const bad = await check(await pack(changed, { ranges }))
    expect(bad.findings.map((finding) => finding.code)).toContain('subtree_changed')
  })

  it('cannot show an older root it does not cover', async () => {
    const trail = makeTrail(plan(700))
    const bytes = await pack(trail, { ranges: [{ from: 600, to: 700 }] })
    const result = await check(bytes, { kept: { size: 300, root: rootOf(trail, 300) } })
    expect(result).toMatchObject({ outcome: 'unchecked', verdicts: { consistency: 'unchecked' } })
  })
})

describe('tampering', () => {
  const good = makeTrail(plan(600))
  const bytesOf = (text: string) => new TextEncoder().encode(text)
  const textOf = (seq: number) => new TextDecoder().decode(good.bytes[seq])

  /** Packs changed entries under the checkpoint of the true trail. */
  const withBytes = (bytes: Uint8Array[]) => pack({ ...good, bytes }, { size: 600 })
  const withPayload = (seq: number, payload: Payload) => pack({ ...good, payloads: good.payloads.with(seq, payload) })

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
    const result = await check(await make())
    expect(result.findings.map(({ verdict, code, seq }) => `${verdict} ${code} ${seq}`)).toContain(expected)
    if (!expected.endsWith('undefined')) expect(result.firstWrong).toBe(Number(expected.split(' ')[2]))
    expect(result.outcome).toBe('tampered')
  })

  it('a rewritten and resigned trail is caught by a kept checkpoint only', async () => {
    const rewritten = makeTrail(plan(600, { 400: { kind: 'policy', about: 'capture', version: 2 } }))
    const bytes = await pack(rewritten)
    expect((await check(bytes, { vkeys: [LOG.key] })).outcome).toBe('held')
    const result = await check(bytes, { vkeys: [LOG.key], kept: { size: 500, root: rootOf(good, 500) } })
    expect(first(result)).toBe('consistency history_rewritten undefined')
  })

  it('times that run backwards', async () => {
    const result = await check(await pack(makeTrail(plan(5).with(3, { minutes: 0 }))))
    expect(first(result)).toBe('time time_backwards 3')
  })

  it('entries after close, a second open, no open, a late continues', async () => {
    const close: Control = { kind: 'close', reason: 'continued' }
    expect(first(await check(await pack(makeTrail(plan(9, { 7: close })))))).toBe('chain after_close 8')
    expect(first(await check(await pack(makeTrail(plan(9, { 5: OPEN })))))).toBe('chain misplaced_open 5')
    expect(first(await check(await pack(makeTrail(plan(9).with(0, {})))))).toBe('chain no_open 0')
    const continues: Control = {
      kind: 'continues',
      trail: trailId('before', SLOT),
      size: 5,
      root: good.entries[1]!.previous,
    }
    expect(first(await check(await pack(makeTrail(plan(9, { 5: continues })))))).toBe('chain misplaced_continues 5')
    expect((await check(await pack(makeTrail(plan(9, { 1: continues }))))).outcome).toBe('held')
  })

  it('says unchecked, not held, to an entry of a newer kind', async () => {
    const trail = makeTrail(plan(9, { 4: { kind: 'levitate' } as unknown as Control }))
    const text = (seq: number) => new TextDecoder().decode(trail.bytes[seq])
    expect(text(4)).toContain('control undefined')
    const changed = makeTrail(plan(9))
    const result = await check(
      await pack(
        { ...changed, bytes: changed.bytes.with(8, bytesOf(text(8).replace(/event .*/, 'event gardening'))) },
        { size: 9 },
      ),
    )
    expect(result.findings.map((finding) => `${finding.verdict} ${finding.state}`)).toContain('chain unchecked')
    expect(result.outcome).not.toBe('held')
  })
})

describe('explained absence', () => {
  const gone = (trail: SampleTrail, seqs: readonly number[]) =>
    pack({ ...trail, payloads: trail.payloads.map((p) => (seqs.includes(p.seq) ? { seq: p.seq } : p)) })

  it('redacted: gone is right, still there after a day is not', async () => {
    const trail = makeTrail(plan(20, { 15: { kind: 'redact', seqs: [3, 4] } }, { 19: 2 }))
    expect((await check(await gone(trail, [3, 4]))).outcome).toBe('held')
    expect(first(await check(await gone(trail, [3])))).toBe('absence still_there 4')
    expect(first(await check(await gone(trail, [3, 4, 5])))).toBe('absence unexplained 5')
    const soon = makeTrail(plan(20, { 15: { kind: 'redact', seqs: [3, 4] } }))
    expect((await check(await gone(soon, [3]))).outcome).toBe('held')
  })

  it('erased: personal lines of that subject, and nothing else', async () => {
    const trail = makeTrail(plan(20, { 15: { kind: 'erase', subjects: [SUBJECTS[1]!] } }, { 19: 2 }))
    const payloads = trail.payloads.map((payload) => {
      const personal = payload.personal?.filter(({ n }) => trail.entries[payload.seq]!.personal[n]!.key !== SUBJECTS[1])
      return personal?.length ? { ...payload, personal } : without(payload, 'personal')
    })
    expect((await check(await pack({ ...trail, payloads }))).outcome).toBe('held')
    expect(first(await check(await pack(trail)))).toBe('absence still_there 1')
    expect(first(await check(await gone(trail, [1])))).toBe('absence unexplained 1')
  })

  it('pruned: the category, before the seq, when its time had come', async () => {
    const controls: Record<number, Control> = { 30: { kind: 'prune', category: 'mutation', before: 20 } }
    const ripe = makeTrail(plan(40, controls, { 30: 31, 39: 40 }))
    const category = (trail: SampleTrail) =>
      trail.entries.flatMap(({ seq, body }) => ('event' in body && body.event === 'mutation' ? [seq] : []))
    const mutations = category(ripe)
    expect(mutations).toEqual([2, 8, 14, 20, 26, 32, 38])
    expect((await check(await gone(ripe, [2, 8, 14]))).outcome).toBe('held')
    expect(first(await check(await gone(ripe, [2, 14])))).toBe('absence still_there 8')
    expect(first(await check(await gone(ripe, [2, 8, 14, 20])))).toBe('absence unexplained 20')
    const early = makeTrail(plan(40, controls, { 30: 29, 39: 40 }))
    expect(first(await check(await gone(early, [2, 8, 14])))).toBe('absence pruned_early 2')
  })

  it('a policy shortens retention for later events at once, for earlier ones after thirty days', async () => {
    const prune: Control = { kind: 'prune', category: 'mutation', before: 20 }
    const policy = (from: string): Control => ({
      kind: 'policy',
      about: 'retention',
      category: 'all',
      retention: 1,
      from,
    })
    const at = (days: number) => new Date(Date.UTC(2026, 2, 10, 20) + days * 86_400_000).toISOString()
    const attempt = async (control: Control, prunedAfterDays: number) => {
      const trail = makeTrail(plan(40, { 3: control, 30: prune }, { 30: prunedAfterDays }))
      return first(await check(await gone(trail, [2, 8, 14])))
    }
    expect(await attempt(policy('new'), 2)).toBe('absence pruned_early 2')
    expect(await attempt(policy('new'), 31)).toBe('none')
    expect(await attempt({ ...policy('new'), retention: 60 } as Control, 31)).toBe('absence pruned_early 8')
    expect(await attempt({ ...policy('new'), retention: 'forever' } as Control, 31)).toBe('absence pruned_early 8')
    expect(await attempt(policy(at(2)), 3)).toBe('absence pruned_early 2')
    expect(await attempt(policy(at(30)), 31)).toBe('none')
  })

  it('a hold keeps everything it covers until its release', async () => {
    const hold = '1'.repeat(32)
    const controls: Record<number, Control> = {
      21: { kind: 'hold', hold, scope: 'entries', from: 3, to: 4 },
      22: { kind: 'redact', seqs: [3, 4] },
      23: { kind: 'release', hold },
    }
    const trail = makeTrail(plan(40, controls, { 39: 3 }))
    expect(first(await check(await gone(trail, [3, 4])))).toBe('absence unexplained 3')
    expect((await check(await gone(trail, [4]))).outcome).toBe('held')
    const released = makeTrail(plan(40, { ...controls, 22: controls[23]!, 23: controls[22]! }, { 39: 3 }))
    expect((await check(await gone(released, [3, 4]))).outcome).toBe('held')
    const subject = makeTrail(
      plan(40, { ...controls, 21: { kind: 'hold', hold, scope: 'subjects', subjects: [SUBJECTS[1]!] } }),
    )
    expect(first(await check(await gone(subject, [3, 4])))).toBe('absence unexplained 4')
  })

  it('lost and deleted payloads', async () => {
    const lost = makeTrail(plan(20, { 15: { kind: 'lost', from: 3, to: 5 } }, { 19: 2 }))
    expect((await check(await gone(lost, [3, 4]))).outcome).toBe('held')
    expect((await check(await gone(lost, [3]))).outcome).toBe('held')
    const deleted = makeTrail(plan(20, { 19: { kind: 'close', reason: 'deleted' } }))
    expect(
      (
        await check(
          await gone(
            deleted,
            Array.from({ length: 20 }, (_, n) => n),
          ),
        )
      ).outcome,
    ).toBe('held')
  })

  it('withheld parts are named and asked for nowhere', async () => {
    const trail = makeTrail(plan(20))
    const payloads = trail.payloads.map((payload) => without(payload, 'operator'))
    const result = await check(await pack({ ...trail, payloads }, { withheld: ['operator'] }))
    expect(result.outcome).toBe('held')
    expect(result.notes.join()).toContain('operator')
    expect((await check(await pack({ ...trail, payloads }))).outcome).toBe('tampered')
  })

  it('a truncated trail is read from its restated announcements', async () => {
    const controls: Record<number, Control> = {
      400: { kind: 'state', part: 1, parts: 1, restated: [OPEN, { kind: 'redact', seqs: [300] }] },
      401: { kind: 'truncate', size: 256 },
    }
    const trail = makeTrail(plan(500, controls))
    const ranges = [{ from: 256, to: 500 }]
    const payloads = trail.payloads.map((payload) => (payload.seq === 300 ? { seq: 300 } : payload))
    expect((await check(await pack({ ...trail, payloads }, { ranges }))).outcome).toBe('held')
    // Where the trail's beginning is there, a restatement that nothing was restated from explains nothing.
    expect((await check(await pack({ ...trail, payloads }))).outcome).toBe('tampered')
  })
})

describe('contents checked on the walk and after it', () => {
  it('are each judged once, and gaps in the light of what is announced later', async () => {
    const trail = makeTrail(plan(700, { 311: { kind: 'redact', seqs: [5, 310] } }, { 699: 3 }))
    const payloads = trail.payloads.map((payload) => {
      if (payload.seq === 5 || payload.seq === 310) return { seq: payload.seq }
      if (payload.seq === 20 || payload.seq === 620) return without(payload, 'facts')
      if (payload.seq !== 10 && payload.seq !== 610) return payload
      return { ...payload, facts: { ...payload.facts!, content: '{}' } }
    })
    const { findings } = await check(await pack({ ...trail, payloads }))
    expect(findings.map(({ code, seq }) => `${code} ${seq}`)).toEqual([
      'content_changed 10',
      'content_changed 610',
      'unexplained 20',
      'unexplained 620',
    ])
    const explained = trail.payloads.map((payload) => ([5, 310].includes(payload.seq) ? { seq: payload.seq } : payload))
    expect((await check(await pack({ ...trail, payloads: explained }))).outcome).toBe('held')
    const served = await check(await pack(trail))
    expect(served.findings.map(({ code, seq }) => `${code} ${seq}`)).toContain('still_there 5')
  })
})

describe('markers of personal lines', () => {
  /** Seals facts that name personal line n in entry 2, which has lines 0 and 1. */
  const naming = async (content: string) => {
    const facts = new Map([[2, content]])
    return check(await pack(makeTrail(plan(5), facts)))
  }

  it('must name a line that the entry has', async () => {
    expect((await naming('{"actor":{"name":{"$personal":1}}}')).outcome).toBe('held')
    for (const named of ['{"$personal":2}', '{ "$personal": 2 }', '{"$personal":"0"}', '{"$p\\u0065rsonal":99}']) {
      const result = await naming(`{"actor":{"name":${named}}}`)
      expect(first(result), named).toBe('content no_such_person 2')
      expect(result.outcome).toBe('tampered')
    }
  })
})

describe('a damaged file', () => {
  const trail = makeTrail(plan(3))

  async function outcome(bytes: Uint8Array): Promise<string> {
    try {
      return (await check(bytes)).outcome
    } catch (error) {
      if (error instanceof PackError) return error.code
      throw error
    }
  }

  it('never holds after a change of any one byte', async () => {
    const good = await pack(trail)
    expect(await outcome(good)).toBe('held')
    for (let at = 0; at < good.length; at++) {
      const changed = good.slice()
      changed[at]! ^= 1 << (at % 8)
      expect(await outcome(changed), `byte ${at} of ${good.length}`).not.toBe('held')
    }
  })

  it('is refused when cut or extended anywhere', async () => {
    const good = await pack(trail)
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
    expect(await pack(trail)).toEqual(await pack(trail))
    const optional = ['registry/epoch/7', 'cover/index.html']
    const bytes = await pack(trail, { optional }, { optional: async (path) => new TextEncoder().encode(path) })
    const result = await check(bytes)
    expect(result.outcome).toBe('held')
    expect(result.notes.join()).toContain('registry/epoch/7')
  })
})
