// GET /v1/events: pages of a tenant's events in the order of sealing, and single events by id.
//
// Cursors. Descending, `next` is null once the oldest event was visited. Ascending, `next` is given whenever the walk
// got any further, also past events that the filter did not want, and null when there was nothing new: whoever polls
// keeps the last cursor that was not null and asks again with it. Within a trail sequence numbers have no gaps, events
// become visible in their order, and one request reads one snapshot, so polling neither misses nor repeats an event.
import { compileFilter } from '../filter/closure.ts'
import type { Filter, Page } from '../filter/filter.ts'
import type { Personas } from '../keys/personas.ts'
import type { Database, Pool, Queryable } from '../store/database.ts'
import { type CursorScope, decodeCursor, encodeCursor, type Place } from './cursor.ts'
import { readRows } from './read.ts'
import { resolve } from './resolve.ts'
import { openPeople, openRow, type Reader, type ShownEvent, show } from './row.ts'
import { readChain, readSpans, readTrails, type SpannedTrail, type Trail } from './spans.ts'
import { type Search, walkTrail } from './walk.ts'

export interface EventPage {
  readonly data: ShownEvent[]
  readonly next: string | null
}

export type Listing = ({ readonly kind: 'page' } & EventPage) | { readonly kind: 'invalid_cursor' }

export class Events {
  readonly #store: Database
  readonly #personas: Personas

  constructor(options: { store: Database; personas: Personas }) {
    this.#store = options.store
    this.#personas = options.personas
  }

  /** @throws StoreUnavailable, KeyUnusable */
  async list(reader: Reader, filter: Filter, page: Page): Promise<Listing> {
    const scope: CursorScope = { termKey: reader.tenant.keys.termKey, filter, order: page.order }
    const start = page.after === null ? null : decodeCursor(scope, page.after)
    if (start === undefined) return { kind: 'invalid_cursor' }
    return poolFor(this.#store, reader).asTenant(reader.tenant.number, async (session) => {
      const [chain, resolution] = await Promise.all([
        readChain(session),
        resolve(session, reader.tenant.number, reader.tenant.keys, filter),
      ])
      const search: Search = {
        session,
        reader,
        personas: this.#personas,
        resolution,
        matches: compileFilter(filter),
        order: page.order,
        limit: page.limit,
        found: [],
        spent: { scannedRows: 0, candidates: 0, characters: 0, started_ms: performance.now() },
      }
      const next = await walkChain(search, chain, start)
      return {
        kind: 'page',
        data: search.found.map(({ trail, event }) => show(reader, trail, event)),
        next: next === null ? null : encodeCursor(scope, next),
      }
    })
  }

  /** The tenant's newest event with this id. @throws StoreUnavailable, KeyUnusable */
  async byId(reader: Reader, id: string): Promise<ShownEvent | undefined> {
    return poolFor(this.#store, reader).asTenant(reader.tenant.number, async (session) => {
      const place = await findId(session, reader, id)
      if (place === undefined) return undefined
      const spans = await readSpans(session, place.trail)
      const { rows } = await readRows(session, reader, place.trail, spans, [place.seq])
      const people = await openPeople(this.#personas, reader, rows)
      const row = rows[0]
      return row === undefined ? undefined : show(reader, place.trail, openRow(row, people))
    })
  }
}

export function poolFor(store: Database, reader: Reader): Pool {
  return store.pool(reader.operator ? 'operator_reader' : 'reader')
}

/** Trail and number of the newest event with an id, through the table of ids; undefined when there is none. */
export async function findId(
  session: Queryable,
  reader: Reader,
  id: string,
): Promise<{ trail: Trail; seq: number } | undefined> {
  const { rows } = await session.query<{ trail: number; seq: number }>(
    {
      name: 'id',
      text: 'select trail, seq from affidavit.event_ids where id = $1::uuid order by day desc limit 1',
    },
    [reader.tenant.keys.idHex(id)],
  )
  const found = rows[0]
  if (found === undefined) return undefined
  const trail = (await readTrails(session, reader.tenant.number)).find(({ number }) => number === found.trail)
  return trail === undefined ? undefined : { trail, seq: found.seq }
}

/** Walks a tenant's trails one after the other. @returns where the next page begins, or null */
async function walkChain(search: Search, trails: SpannedTrail[], start: Place | null): Promise<Place | null> {
  const desc = search.order === 'desc'
  const chain = desc ? trails.toReversed() : trails
  let place = start
  for (const trail of chain) {
    if (start !== null && (desc ? trail.ordinal > start.ordinal : trail.ordinal < start.ordinal)) continue
    const from = start?.ordinal === trail.ordinal ? start.seq : desc ? trail.size : 0
    const { at, end } = await walkTrail(search, trail, from)
    place = { ordinal: trail.ordinal, seq: at }
    if (!end || search.found.length >= search.limit) break
  }
  if (place === null) return null
  if (desc) return isOldest(place, chain) ? null : place
  return place.ordinal === (start?.ordinal ?? 0) && place.seq === (start?.seq ?? 0) ? null : place
}

const isOldest = (place: Place, chain: readonly Trail[]) => place.seq === 0 && place.ordinal === chain.at(-1)?.ordinal
