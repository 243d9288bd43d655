// What is gone from a pack: explained by control entries that the rules allowed, or a finding; and what is still there.
import { describe, expect, it } from 'vitest'
import type { Control } from '../src/index.ts'
import { firstOf, packOf, verified, without } from './sample-pack.ts'
import { makeTrail, OPEN, planOf, type SampleTrail, SUBJECTS } from './sample-trail.ts'

describe('explained absence', () => {
  const gone = (trail: SampleTrail, seqs: readonly number[]) =>
    packOf({ ...trail, payloads: trail.payloads.map((p) => (seqs.includes(p.seq) ? { seq: p.seq } : p)) })

  it('redacted: gone is right, still there after a day is not', async () => {
    const trail = makeTrail(planOf(20, { 15: { kind: 'redact', seqs: [3, 4] } }, { 19: 2 }))
    expect((await verified(await gone(trail, [3, 4]))).outcome).toBe('held')
    expect(firstOf(await verified(await gone(trail, [3])))).toBe('absence still_there 4')
    expect(firstOf(await verified(await gone(trail, [3, 4, 5])))).toBe('absence unexplained 5')
    const soon = makeTrail(planOf(20, { 15: { kind: 'redact', seqs: [3, 4] } }))
    expect((await verified(await gone(soon, [3]))).outcome).toBe('held')
  })

  it('erased: personal lines of that subject, and nothing else', async () => {
    const trail = makeTrail(planOf(20, { 15: { kind: 'erase', subjects: [SUBJECTS[1]!] } }, { 19: 2 }))
    const payloads = trail.payloads.map((payload) => {
      const personal = payload.personal?.filter(({ n }) => trail.entries[payload.seq]!.personal[n]!.key !== SUBJECTS[1])
      return personal?.length ? { ...payload, personal } : without(payload, 'personal')
    })
    expect((await verified(await packOf({ ...trail, payloads }))).outcome).toBe('held')
    expect(firstOf(await verified(await packOf(trail)))).toBe('absence still_there 1')
    expect(firstOf(await verified(await gone(trail, [1])))).toBe('absence unexplained 1')
  })

  it('pruned: the category, before the seq, when its time had come', async () => {
    const controls: Record<number, Control> = { 30: { kind: 'prune', category: 'mutation', before: 20 } }
    const ripe = makeTrail(planOf(40, controls, { 30: 31, 39: 40 }))
    const category = (trail: SampleTrail) =>
      trail.entries.flatMap(({ seq, body }) => ('event' in body && body.event === 'mutation' ? [seq] : []))
    const mutations = category(ripe)
    expect(mutations).toEqual([2, 8, 14, 20, 26, 32, 38])
    expect((await verified(await gone(ripe, [2, 8, 14]))).outcome).toBe('held')
    expect(firstOf(await verified(await gone(ripe, [2, 14])))).toBe('absence still_there 8')
    expect(firstOf(await verified(await gone(ripe, [2, 8, 14, 20])))).toBe('absence unexplained 20')
    const early = makeTrail(planOf(40, controls, { 30: 29, 39: 40 }))
    expect(firstOf(await verified(await gone(early, [2, 8, 14])))).toBe('absence pruned_early 2')
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
      const trail = makeTrail(planOf(40, { 3: control, 30: prune }, { 30: prunedAfterDays }))
      return firstOf(await verified(await gone(trail, [2, 8, 14])))
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
    const trail = makeTrail(planOf(40, controls, { 39: 3 }))
    expect(firstOf(await verified(await gone(trail, [3, 4])))).toBe('absence unexplained 3')
    expect((await verified(await gone(trail, [4]))).outcome).toBe('held')
    const released = makeTrail(planOf(40, { ...controls, 22: controls[23]!, 23: controls[22]! }, { 39: 3 }))
    expect((await verified(await gone(released, [3, 4]))).outcome).toBe('held')
    const subject = makeTrail(
      planOf(40, { ...controls, 21: { kind: 'hold', hold, scope: 'subjects', subjects: [SUBJECTS[1]!] } }),
    )
    expect(firstOf(await verified(await gone(subject, [3, 4])))).toBe('absence unexplained 4')
  })

  it('lost and deleted payloads', async () => {
    const lost = makeTrail(planOf(20, { 15: { kind: 'lost', from: 3, to: 5 } }, { 19: 2 }))
    expect((await verified(await gone(lost, [3, 4]))).outcome).toBe('held')
    expect((await verified(await gone(lost, [3]))).outcome).toBe('held')
    const deleted = makeTrail(planOf(20, { 19: { kind: 'close', reason: 'deleted' } }))
    expect(
      (
        await verified(
          await gone(
            deleted,
            Array.from({ length: 20 }, (_, n) => n),
          ),
        )
      ).outcome,
    ).toBe('held')
  })

  it('withheld parts are named and asked for nowhere', async () => {
    const trail = makeTrail(planOf(20))
    const payloads = trail.payloads.map((payload) => without(payload, 'operator'))
    const result = await verified(await packOf({ ...trail, payloads }, { withheld: ['operator'] }))
    expect(result.outcome).toBe('held')
    expect(result.notes.join()).toContain('operator')
    expect((await verified(await packOf({ ...trail, payloads }))).outcome).toBe('tampered')
  })

  it('a truncated trail is read from its restated announcements', async () => {
    const controls: Record<number, Control> = {
      400: { kind: 'state', part: 1, parts: 1, restated: [OPEN, { kind: 'redact', seqs: [300] }] },
      401: { kind: 'truncate', size: 256 },
    }
    const trail = makeTrail(planOf(500, controls))
    const ranges = [{ from: 256, to: 500 }]
    const payloads = trail.payloads.map((payload) => (payload.seq === 300 ? { seq: 300 } : payload))
    expect((await verified(await packOf({ ...trail, payloads }, { ranges }))).outcome).toBe('held')
    // Where the trail's beginning is there, a restatement that nothing was restated from explains nothing.
    expect((await verified(await packOf({ ...trail, payloads }))).outcome).toBe('tampered')
  })
})

describe('contents checked on the walk and after it', () => {
  it('are each judged once, and gaps in the light of what is announced later', async () => {
    const trail = makeTrail(planOf(700, { 311: { kind: 'redact', seqs: [5, 310] } }, { 699: 3 }))
    const payloads = trail.payloads.map((payload) => {
      if (payload.seq === 5 || payload.seq === 310) return { seq: payload.seq }
      if (payload.seq === 20 || payload.seq === 620) return without(payload, 'facts')
      if (payload.seq !== 10 && payload.seq !== 610) return payload
      return { ...payload, facts: { ...payload.facts!, content: '{}' } }
    })
    const { findings } = await verified(await packOf({ ...trail, payloads }))
    expect(findings.map(({ code, seq }) => `${code} ${seq}`)).toEqual([
      'content_changed 10',
      'content_changed 610',
      'unexplained 20',
      'unexplained 620',
    ])
    const explained = trail.payloads.map((payload) => ([5, 310].includes(payload.seq) ? { seq: payload.seq } : payload))
    expect((await verified(await packOf({ ...trail, payloads: explained }))).outcome).toBe('held')
    const served = await verified(await packOf(trail))
    expect(served.findings.map(({ code, seq }) => `${code} ${seq}`)).toContain('still_there 5')
  })
})

describe('markers of personal lines', () => {
  /** Seals facts that name personal line n in entry 2, which has lines 0 and 1. */
  const naming = async (content: string) => {
    const facts = new Map([[2, content]])
    return verified(await packOf(makeTrail(planOf(5), facts)))
  }

  it('must name a line that the entry has', async () => {
    expect((await naming('{"actor":{"name":{"$personal":1}}}')).outcome).toBe('held')
    for (const named of ['{"$personal":2}', '{ "$personal": 2 }', '{"$personal":"0"}', '{"$p\\u0065rsonal":99}']) {
      const result = await naming(`{"actor":{"name":${named}}}`)
      expect(firstOf(result), named).toBe('content no_such_person 2')
      expect(result.outcome).toBe('tampered')
    }
  })
})
