// What packs and live verifiers read, against the entries: contents open the commitments, whatever the size of events.
import { inflateRawSync } from 'node:zlib'
import { commit, decodeBundle, decodeContent, decodeEntry, type Payload, type SaltedPart } from '@affidavit/trail'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { dayMs, type SealedDays, sealedDays } from '../../test/sealed-days.ts'
import { watchedPersonas } from '../../test/watched-personas.ts'
import { sha256 } from '../store/sha256.ts'
import { ContentRun } from './content-run.ts'
import { EntryRun } from './entry-run.ts'
import type { Reader } from './row.ts'
import type { RunSource } from './run.ts'
import { readTrails } from './spans.ts'

let world: SealedDays

beforeAll(async () => {
  world = await sealedDays()
})
afterAll(() => world.drop())

const event = (i: number, note = 'small') => ({
  action: 'user.updated',
  actor: { id: `u${i % 7}`, name: `Name ${i % 7}`, email: `n${i % 7}@example.com` },
  context: i % 2 === 0 ? { session_id: `s${i}` } : { ip: '203.0.113.9' },
  metadata: { salary: i, note },
})
const events = (from: number, to: number, note?: string) =>
  Array.from({ length: to - from }, (_, i) => event(from + i, note))

async function sourceOf(id: string, sealed: readonly (readonly object[])[], operator: boolean): Promise<RunSource> {
  const tenant = await world.tenant(id, { confidential: ['/metadata/salary'] })
  for (const [n, some] of sealed.entries()) await world.seal(id, Date.now() - (sealed.length - 1 - n) * dayMs, some)
  const reader: Reader = { tenant, operator, confidential: true }
  const { store } = world.database
  const trails = await store
    .pool('reader')
    .asTenant(tenant.number, (session) => readTrails(session, reader.tenant.number))
  return { store, reader, trail: trails[0]! }
}

async function contentsOf(source: RunSource, from: number, to: number): Promise<string> {
  const pieces: Uint8Array[] = []
  for await (const piece of new ContentRun(source, world.personas).pieces(from, to)) pieces.push(piece)
  return Buffer.concat(pieces).toString('utf8')
}

const payloadsOf = (text: string): Payload[] => text.trimEnd().split('\n').map(decodeContent)

const opens = (kind: 'facts' | 'confidential' | 'operator' | 'personal', { salt, content }: SaltedPart) =>
  Buffer.from(commit(sha256, kind, Buffer.from(salt, 'base64'), content)).toString('base64')

test.each([false, true])('contents open to what the entries commit to (operator: %s)', async (operator) => {
  const source = await sourceOf(`days-${operator}`, [events(0, 300), events(300, 640)], operator)
  const entries = new EntryRun(source)
  const bundles = [await entries.take(0, 640), await entries.take(256, 640), await entries.take(512, 640)]
  const decoded = bundles.flatMap((bundle) => decodeBundle(bundle)!.map((bytes) => decodeEntry(bytes)))
  expect(decoded.map(({ seq }) => seq)).toEqual(Array.from({ length: 640 }, (_, seq) => seq))
  const payloads = payloadsOf(await contentsOf(source, 5, 640))
  expect(payloads).toHaveLength(635)
  for (const { seq, facts, confidential, operator: own, personal } of payloads) {
    const entry = decoded[seq]!
    expect(opens('facts', facts!)).toBe(entry.facts)
    expect(opens('confidential', confidential!)).toBe(entry.confidential)
    expect(own && opens('operator', own)).toBe(operator ? entry.operator : undefined)
    expect(personal!.map((line) => opens('personal', line))).toEqual(entry.personal.map((line) => line.commitment))
  }
})

test('no row is read twice, wherever in a bundle the pages end', async () => {
  const source = await sourceOf('uneven', [events(0, 600, 'x'.repeat(8_000))], false)
  const asked: { from: number; to: number }[] = []
  class Counted extends ContentRun {
    protected override async page(from: number, to: number, only: readonly number[] | undefined) {
      const page = await super.page(from, to, only)
      asked.push({ from, to: page.to })
      return page
    }
  }
  const run = new Counted(source, world.personas)
  const bundles: Uint8Array[] = []
  for (const from of [0, 256, 512]) {
    const written = await run.take(from, 600)
    if ('parts' in written) throw new Error('no bundle is large')
    bundles.push(written)
  }
  expect(Buffer.concat(bundles).toString('utf8')).toBe(await contentsOf(source, 0, 600))
  expect(asked.some(({ to }) => to % 256 !== 0 && to > 256 && to < 600)).toBe(true)
  for (const [n, { from }] of asked.entries()) expect(from).toBe(asked[n - 1]?.to ?? 0)
  // Nor does a bundle begin in the middle for whoever asks for others meanwhile.
  const again = new Counted(source, world.personas)
  await again.take(0, 600)
  expect(await again.take(512, 600)).toEqual(bundles[2])
  expect(await again.take(256, 560)).toEqual(bundles[1])
})

test('events that are large through their people alone do not come together', async () => {
  // Each has some hundred bytes in its row, and 150 KB in a persona of its own; the last ones share one.
  const email = (i: number) => `${i < 80 ? i : 'shared'}@${'x'.repeat(150_000)}.example`
  const sealed = Array.from({ length: 100 }, (_, i) => ({
    action: 'user.updated',
    actor: { id: 'u' },
    metadata: { email: email(i) },
  }))
  const source = await sourceOf('people', [sealed.slice(0, 50), sealed.slice(50)], false)
  const { personas, largest } = watchedPersonas(world.personas)
  const asked: number[] = []
  class Counted extends ContentRun {
    protected override async page(from: number, to: number, only: readonly number[] | undefined) {
      const page = await super.page(from, to, only)
      asked.push(page.to - from)
      return page
    }
  }
  const pieces: Uint8Array[] = []
  for await (const piece of new Counted(source, personas).pieces(0, 100)) pieces.push(piece)
  const payloads = payloadsOf(Buffer.concat(pieces).toString('utf8'))
  expect(payloads.map(({ personal }) => JSON.parse(personal![0]!.content)[0][1])).toEqual(
    sealed.map((_, i) => email(i)),
  )
  expect(largest()).toBeLessThan(9e6)
  expect(Math.max(...asked)).toBeLessThan(50)
  const some = await new ContentRun(source, personas).some([1, 30, 70, 90])
  if ('parts' in some) throw new Error('four are not large')
  expect(payloadsOf(Buffer.from(some).toString('utf8'))).toEqual([1, 30, 70, 90].map((seq) => payloads[seq]))
})

test('where events are suddenly large pages end early, and what is large comes deflated', async () => {
  const large = '"äö\\"'.repeat(25_000)
  const sealed = [...events(0, 150), ...events(150, 190, large), ...events(190, 300)]
  const source = await sourceOf('large', [sealed], false)
  const text = await contentsOf(source, 0, 300)
  const payloads = payloadsOf(text)
  expect(payloads.map(({ seq }) => seq)).toEqual(Array.from({ length: 300 }, (_, seq) => seq))
  expect(payloads.map(({ facts }) => JSON.parse(facts!.content).metadata.note === large).lastIndexOf(true)).toBe(189)

  const run = new ContentRun(source, world.personas)
  const [first, second] = await Promise.all([run.take(0, 300), run.take(256, 300)])
  if (!('parts' in first) || 'parts' in second) throw new Error('only the first bundle is large')
  const inflated = inflateRawSync(Buffer.concat(first.parts))
  expect(Buffer.concat([inflated, second]).toString('utf8')).toBe(text)
  expect(first.size).toBe(inflated.length)
  expect(Buffer.from(first.digest)).toEqual(Buffer.from(sha256(Buffer.concat(first.parts))))
  // By their numbers, too large for one page.
  const seqs = payloads.map(({ seq }) => seq).filter((seq) => seq >= 128 && seq < 256 && seq !== 140)
  const some = await run.some(seqs)
  const lines = 'parts' in some ? inflateRawSync(Buffer.concat(some.parts)) : Buffer.from(some)
  expect(payloadsOf(lines.toString('utf8'))).toEqual(seqs.map((seq) => payloads[seq]))
})
