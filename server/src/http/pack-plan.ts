// What goes into a pack: which entries were asked for (by seq, by time, by id, by a search), and the manifest that
// follows from them.
import {
  bundlesOf,
  decodeManifest,
  joinRanges,
  type Manifest,
  PackError,
  type Range,
  TILE_WIDTH,
  USUAL_LIMIT,
} from '@affidavit/trail'
import { parseFilter } from '../filter/parameters.ts'
import { parseTime } from '../filter/time.ts'
import { type Events, findId } from '../query/events.ts'
import type { Reader } from '../query/row.ts'
import { firstSealedFrom, sealedAt, type TimedTrail } from '../query/sealed-times.ts'
import { readControlSeqs, readSpans, removesSince } from '../query/spans.ts'
import type { Notarized } from '../query/tiles.ts'
import type { Database } from '../store/database.ts'
import { notNotarized, type OpenedTrail, openTrail, withheldFrom } from './opened-trail.ts'
import type { Call } from './operation.ts'
import { decoded } from './parameters.ts'
import { refuse } from './refused.ts'

/** Events that a set may have: each brings the 256 entries around it along. */
const mostEvents = 10_000
/** Sets up to this size get a proof file for each event. */
export const mostProofs = 256
const pageSize = 1000

export interface PackedTrail extends OpenedTrail {
  readonly notarized: Notarized
}

/** What was chosen, and how, for the cover page. */
export interface Chosen {
  readonly ranges: readonly Range[]
  readonly how: string
  /** Whether single events were asked for. */
  readonly isSet: boolean
}

/** @throws Refused `not_found`, `not_notarized` */
export async function openPacked(store: Database, reader: Reader, trailId: string | null): Promise<PackedTrail> {
  const { notarized, ...opened } = await openTrail(store, reader, trailId)
  if (notarized === undefined) throw notNotarized()
  return { ...opened, notarized }
}

/**
 * A pack explains what it lacks by entries under its own checkpoint. What was removed since then, it could not explain.
 * @param size of the pack's checkpoint
 * @throws Refused `pack_outdated`
 */
export async function refuseOutdated(store: Database, { reader, trail }: PackedTrail, size: number): Promise<void> {
  const removes = await store
    .pool('reader')
    .asTenant(reader.tenant.number, (session) => removesSince(session, trail, size))
  if (removes) throw refuse('pack_outdated', 'Something was removed from the trail since this pack was begun.')
}

/** The entries that the query parameters name. @throws Refused `invalid_parameter`, `not_found` */
export async function choose(
  store: Database,
  events: Events,
  packed: PackedTrail,
  query: Call['query'],
): Promise<Chosen> {
  const named = ['from', 'to'].some((name) => query.has(name))
  const timed = ['sealed_from', 'sealed_to'].some((name) => query.has(name))
  const ways = [named, timed, query.has('event'), query.has('query')].filter(Boolean)
  if (ways.length > 1)
    throw refuse('invalid_parameter', 'Choose by from and to, by sealed_from and sealed_to, by event, or by query.')
  if (timed) return byTime(store, packed, query)
  if (query.has('event')) return ofSeqs(packed, await byIds(store, packed, query), 'events named by their ids')
  if (query.has('query')) {
    const search = query.get('query')!
    return ofSeqs(packed, await bySearch(events, packed, search), `events found by ${search}`)
  }
  return bySeq(packed, query, named)
}

function bySeq({ notarized: { size }, minimum }: PackedTrail, query: Call['query'], named: boolean): Chosen {
  const from = Number(query.get('from') ?? minimum)
  const to = Number(query.get('to') ?? size)
  if (from < minimum || from >= to || to > size)
    throw refuse(
      'invalid_parameter',
      `from and to must lie within the entries ${minimum} to ${size} under the newest checkpoint, from before to.`,
    )
  return { ranges: [{ from, to }], how: named ? `entries ${from} to ${to - 1}` : 'all entries', isSet: false }
}

async function byTime(store: Database, packed: PackedTrail, query: Call['query']): Promise<Chosen> {
  const [since, until] = [timeOf(query, 'sealed_from'), timeOf(query, 'sealed_to')]
  const { size } = packed.notarized
  const [from, to] = await timedTrail(store, packed, async (timed) => [
    since === undefined ? packed.minimum : await firstSealedFrom(timed, since, size),
    until === undefined ? size : await firstSealedFrom(timed, until, size),
  ])
  if (from! >= to!) throw refuse('not_found', 'No entry was sealed in this time.')
  const told = (time: number | undefined) => (time === undefined ? '…' : new Date(time).toISOString())
  const range = { from: Math.max(from!, packed.minimum), to: to! }
  return { ranges: [range], how: `entries sealed from ${told(since)} to before ${told(until)}`, isSet: false }
}

function timeOf(query: Call['query'], name: string): number | undefined {
  const text = query.get(name)
  if (text === null) return undefined
  const time = parseTime(text)
  if (time === undefined) throw refuse('invalid_parameter', `${name} is no ISO 8601 date or time.`)
  return time
}

async function byIds(store: Database, { reader, trail }: PackedTrail, query: Call['query']): Promise<number[]> {
  const ids = query.getAll('event').flatMap((value) => value.split(','))
  if (ids.length > mostEvents) throw refuse('invalid_parameter', `event names at most ${mostEvents} events.`)
  return store.pool('reader').asTenant(reader.tenant.number, async (session) => {
    const seqs: number[] = []
    for (const id of new Set(ids)) {
      const place = await findId(session, reader, id)
      if (place === undefined || place.trail.number !== trail.number)
        throw refuse('not_found', `This trail has no event ${id.slice(0, 64)}.`)
      seqs.push(place.seq)
    }
    return seqs
  })
}

/** `search` is what stands behind `?` of GET /v1/events. */
async function bySearch(events: Events, { reader, trail, notarized }: PackedTrail, search: string): Promise<number[]> {
  const parameters = new URLSearchParams(search)
  for (const name of ['order', 'limit', 'after', 'tenant']) parameters.delete(name)
  const parsed = parseFilter(decoded(parameters), reader.operator)
  if (!parsed.ok)
    throw refuse(parsed.problems[0]!.code, `query: ${parsed.problems[0]!.parameter}: ${parsed.problems[0]!.detail}`)
  const seqs: number[] = []
  for (let after: string | null = null; ; ) {
    const page = { order: 'asc', limit: pageSize, after } as const
    const listing = await events.list(reader, parsed.filter, page)
    if (listing.kind !== 'page') throw new Error('the search does not take its own cursor')
    for (const event of listing.data) if (event.trail === trail.id && event.seq < notarized.size) seqs.push(event.seq)
    if (seqs.length > mostEvents)
      throw refuse('invalid_parameter', `The query finds more than ${mostEvents} events: narrow it, or choose by time.`)
    if (listing.next === null || listing.next === after) break
    after = listing.next
  }
  return seqs
}

function ofSeqs({ notarized: { size } }: PackedTrail, seqs: readonly number[], how: string): Chosen {
  if (seqs.length === 0) throw refuse('not_found', 'No event of this trail was found.')
  if (seqs.some((seq) => seq >= size))
    throw refuse('not_notarized', 'An event waits for the next checkpoint.', undefined, { 'retry-after': '1' })
  return { ranges: joinRanges(seqs.map((seq) => ({ from: seq, to: seq + 1 }))), how, isSet: true }
}

/** The manifest but for the optional members. */
export async function planManifest(
  store: Database,
  origin: string,
  { reader, trail, notarized }: PackedTrail,
  ranges: readonly Range[],
): Promise<Manifest> {
  const controls = await store
    .pool('reader')
    .asTenant(reader.tenant.number, (session) => readControlSeqs(session, trail, notarized.size))
  return {
    trail: trail.id,
    origin,
    size: notarized.size,
    ranges,
    bundles: joinRanges([...bundlesOf(ranges), ...controls.map((seq) => bundleOf(seq))]),
    withheld: withheldFrom(reader),
    limit: USUAL_LIMIT,
    optional: [],
  }
}

const bundleOf = (seq: number) => ({ from: Math.floor(seq / TILE_WIDTH), to: Math.floor(seq / TILE_WIDTH) + 1 })

/** The manifest of a pack that was begun before, if this reader could get it. @throws Refused `invalid_request` */
export function begunManifest(text: string, origin: string, packed: PackedTrail): Manifest {
  const manifest = asManifest(text)
  const wrong = (why: string) => refuse('invalid_request', `This pack cannot be continued: ${why}. Begin it anew.`)
  if (manifest.origin !== origin) throw wrong('it is of another trail')
  if (manifest.size > packed.notarized.size) throw wrong('it is newer than the trail')
  if (manifest.bundles[0]!.from * TILE_WIDTH < packed.minimum) throw wrong('the first entries were truncated meanwhile')
  if (String(manifest.withheld) !== String(withheldFrom(packed.reader))) throw wrong('another key may read other parts')
  if (manifest.limit !== USUAL_LIMIT) throw wrong('it was made by another server')
  return manifest
}

function asManifest(text: string): Manifest {
  try {
    return decodeManifest(text)
  } catch (error) {
    if (!(error instanceof PackError)) throw error
    throw refuse('invalid_request', `The manifest cannot be read: ${error.message}.`)
  }
}

/** When the first and the last entry of ranges were sealed. */
export function sealedWithin(
  store: Database,
  packed: PackedTrail,
  ranges: readonly Range[],
): Promise<{ from: string; to: string } | undefined> {
  return timedTrail(store, packed, async (timed) => {
    const [from, to] = [await sealedAt(timed, ranges[0]!.from), await sealedAt(timed, ranges.at(-1)!.to - 1)]
    if (from === undefined || to === undefined) return undefined
    return { from: new Date(from).toISOString(), to: new Date(to).toISOString() }
  })
}

function timedTrail<T>(
  store: Database,
  { reader, trail }: PackedTrail,
  use: (timed: TimedTrail) => Promise<T>,
): Promise<T> {
  return store
    .pool('reader')
    .asTenant(reader.tenant.number, async (session) =>
      use({ session, reader, trail, spans: await readSpans(session, trail) }),
    )
}
