// Explained absence on a running server, both ways, and chains of trails: what is gone must have been announced, what was
// announced must be gone.
import { type Control, type Payload, toBase64 } from '@affidavit/trail'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { makeTrail, OPEN, type Planned, rootOf, type SampleTrail, SUBJECTS } from '../../trail/test/sample-trail.ts'
import { checkChain, type Link } from '../src/verify/brought/chain.ts'
import type { Kept } from '../src/verify/brought/kept.ts'
import { type Told, verified } from './command-line.ts'
import { ENTRY_MINUTES, honestTrail, makeEpochs, makePlan, SampleServer, TENANT } from './sample-server.ts'

let server: SampleServer
beforeEach(async () => {
  server = await SampleServer.start({ trail: honestTrail(3), epochs: [] })
})
afterEach(() => server.stop())

const ask = (): Promise<Told> => verified([server.url, '--tenant', TENANT, '--key', 'k', '--max-age', '9999d'])
const codes = ({ findings }: Told) => findings.map(({ verdict, code, seq }) => `${verdict} ${code} ${seq ?? ''}`.trim())

/** A trail of forty entries with one control entry, whose payloads are as `change` leaves them. */
function trailWith(control: Control | undefined, change: (payload: Payload) => Payload, at = 30): SampleTrail {
  const plan = makePlan(
    40,
    new Map<number, Planned>(control === undefined ? [] : [[at, { control, minutes: at * 30 }]]),
  )
  const trail = makeTrail(plan)
  return { ...trail, payloads: trail.payloads.map(change) }
}

async function show(trail: SampleTrail): Promise<Told> {
  server.shown = { trail, epochs: makeEpochs(2, () => trail) }
  return ask()
}

const gone = (payload: Payload): Payload => ({ seq: payload.seq })
const without = (seqs: readonly number[]) => (payload: Payload) =>
  seqs.includes(payload.seq) ? gone(payload) : payload
const as = (payload: Payload) => payload

describe('payloads', () => {
  test('missing without a control entry', async () => {
    const told = await show(trailWith(undefined, without([7])))
    expect(codes(told)).toContain('absence unexplained 7')
    expect(told).toMatchObject({ outcome: 'tampered', exit_code: 1, first_wrong: 7 })
  })

  test('redacted and gone holds; redacted and still served does not', async () => {
    expect(await show(trailWith({ kind: 'redact', seqs: [7, 9] }, without([7, 9])))).toMatchObject({ outcome: 'held' })
    const told = await show(trailWith({ kind: 'redact', seqs: [7, 9] }, without([7])))
    expect(codes(told)).toEqual(['absence still_there 9'])
    expect(told.exit_code).toBe(1)
  })

  test('one person erased: their lines are gone, everybody else is still there', async () => {
    const [ada] = SUBJECTS
    const control: Control = { kind: 'erase', subjects: [ada!] }
    const { entries } = trailWith(control, as)
    const erased = ({ personal = [], ...rest }: Payload): Payload => {
      const left = personal.filter(({ n }) => entries[rest.seq]!.personal[n]!.key !== ada)
      return { ...rest, ...(left.length > 0 && { personal: left }) }
    }
    expect(await show(trailWith(control, erased))).toMatchObject({ outcome: 'held' })
    expect(codes(await show(trailWith(control, as)))).toContain('absence still_there 2')
    expect(codes(await show(trailWith(undefined, erased)))).toContain('absence unexplained 2')
  })

  test('pruned before its time is over', async () => {
    // Entries are events of six categories in turn; 30 days are promised, and the prune comes after fifteen hours.
    const category = 'mutation'
    const { entries } = trailWith(undefined, as)
    const seqs = entries
      .filter(({ seq, body }) => 'event' in body && body.event === category && seq < 20)
      .map(({ seq }) => seq)
    const told = await show(trailWith({ kind: 'prune', category, before: 20 }, without(seqs)))
    expect(codes(told)).toEqual(seqs.map((seq) => `absence pruned_early ${seq}`))
    expect(told.exit_code).toBe(1)
  })
})

describe('truncation', () => {
  /** Six hundred entries, of which the first 256 are not served. */
  const trailOf = (control: Control | undefined) => {
    const changes = new Map<number, Planned>(control === undefined ? [] : [[590, { control, minutes: 590 * 30 }]])
    return makeTrail(makePlan(600, changes))
  }
  const cut = (below: number) => {
    server.instead = async (path, honest) => {
      const bundle = /\/tile\/entries\/(\d+)/.exec(path)
      if (bundle !== null && !path.includes('registry') && Number(bundle[1]) * 256 < below)
        return { status: 404, body: '{}' }
      const content = /content\?from=(\d+)/.exec(path)
      return content !== null && Number(content[1]) < below ? { status: 404, body: '{}' } : honest()
    }
  }
  const truncate: Control = { kind: 'truncate', size: 256 }

  test('announced, and only the hashes are left: holds, and says so', async () => {
    cut(256)
    const told = await show(trailOf(truncate))
    expect(told.findings).toEqual([])
    expect(told.outcome).toBe('held')
    expect(told.notes.join()).toContain('entries below 256 are truncated')
  })

  test('what is gone behind it is counted, and that a hold may have been truncated is told', async () => {
    cut(256)
    const controls: [number, Control][] = [
      [588, { kind: 'state', part: 1, parts: 1, restated: [OPEN] }],
      [589, truncate],
      [590, { kind: 'redact', seqs: [300] }],
    ]
    const at = (seq: number) => seq * ENTRY_MINUTES
    const trail = makeTrail(
      makePlan(600, new Map(controls.map(([seq, control]) => [seq, { control, minutes: at(seq) }]))),
    )
    const payloads = trail.payloads.with(300, { seq: 300 })
    const { outcome, notes } = await show({ ...trail, payloads })
    expect(outcome).toBe('held')
    expect(notes).toContain('payloads and personal lines that are gone as announced: 1 by redact')
    expect(notes).toContain('only the whole trail shows whether a hold forbade it')
  })

  test('not announced, or further than announced', async () => {
    cut(256)
    expect(codes(await show(trailOf(undefined)))).toContain('completeness entry_not_served 0')
    cut(512)
    expect(codes(await show(trailOf(truncate)))).toContain('completeness entry_not_served 256')
  })

  test('announced, but still served', async () => {
    expect(codes(await show(trailOf(truncate)))).toContain('absence still_there 0')
  })
})

describe('chains of trails', () => {
  const trail = honestTrail(20)
  const old = `log.example/${'a'.repeat(32)}`
  const link = (origin: string, more: Partial<Link> = {}): Link => ({
    origin,
    size: 20,
    root: rootOf(trail),
    announcements: [],
    ...more,
  })
  const continues = (size: number, root: Uint8Array): Link['announcements'] => [
    { seq: 1, sealedAt: '', control: { kind: 'continues', trail: 'a'.repeat(32), size, root: toBase64(root) } },
  ]
  const kept = (size: number): Kept => ({
    origin: old,
    size,
    root: rootOf(trail, size),
    extensions: [],
    label: 'k',
    note: '',
  })
  const next = (size: number, root = rootOf(trail, size)) =>
    link(`log.example/${'b'.repeat(32)}`, { announcements: continues(size, root) })
  const told = (links: readonly Link[], known: readonly Kept[] = []) => {
    const { findings, notes } = checkChain(links, (origin) => (origin === old ? known : []))
    return [...findings.map(({ state, code }) => `${state} ${code}`), ...notes.map((note) => `note: ${note}`)]
  }

  test('goes on exactly where the one before ended', () => {
    expect(told([link(old), next(20)])).toEqual([])
    expect(told([link(old)])).toEqual([])
  })

  test('is not continued, continued as another, or shorter or longer than it was', () => {
    expect(told([link(old), link(`log.example/${'b'.repeat(32)}`)])).toEqual(['failed not_continued'])
    expect(told([link(`log.example/${'c'.repeat(32)}`), next(20)])).toEqual(['failed other_continued'])
    expect(told([link(old), next(20, rootOf(trail, 3))])).toEqual(['failed other_continued'])
    expect(told([link(old), next(15)])).toEqual(['failed entries_lost'])
    expect(told([link(old, { size: 10, root: rootOf(trail, 10) }), next(20)])).toEqual(['failed entries_lost'])
  })

  test('the old one is gone: a note, unless something of it was kept', () => {
    const lost = link(old, { size: undefined, root: undefined })
    expect(told([lost, next(20)])[0]).toMatch(/^note: .* not served any more$/)
    expect(told([next(20)])[0]).toMatch(/^note: .* continues .* at 20 entries/)
    expect(told([lost, next(20)], [kept(20)])[0]).toMatch(/^note: .* as it was kept$/)
    expect(told([lost, next(20)], [kept(12)])).toEqual(['unchecked earlier_not_served'])
    expect(told([lost, next(15)], [kept(20)])).toEqual(['failed entries_lost'])
  })
})
