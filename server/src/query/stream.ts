// A trail's entries with their contents, one after the other, for packs and exports: pages by key, each in a snapshot of
// its own, so that a long reading holds no old snapshot. Sealed entries do not change between pages; payloads that are
// removed meanwhile are absent from the pages after, as they would be for a later reader.
import { TILE_WIDTH } from '@affidavit/trail'
import type { Personas } from '../keys/personas.ts'
import type { Database } from '../store/database.ts'
import { readEntries, type SealedEntry } from './entries.ts'
import { poolFor } from './events.ts'
import type { Reader } from './row.ts'
import { readSpans, type Trail } from './spans.ts'
import { range } from './tiles.ts'

export interface StreamOptions {
  store: Database
  personas: Personas
  reader: Reader
  trail: Trail
  /** Sequence numbers from `from` to before `to`. */
  from: number
  to: number
}

/** Characters of payload that one page should hold, whatever the size of events. */
const pageCharacters = 8 * 1024 * 1024
const leastPage = 16

/** Entries in order; those not stored any more are left out. @throws StoreUnavailable, KeyUnusable */
export async function* streamEntries(options: StreamOptions): AsyncGenerator<SealedEntry> {
  const { store, personas, reader, trail, to } = options
  let pageSize = TILE_WIDTH
  for (let low = options.from; low < to; ) {
    const seqs = range(low, Math.min(pageSize, to - low))
    const page = await poolFor(store, reader).asTenant(reader.tenant.number, async (session) => {
      const spans = await readSpans(session, trail)
      return readEntries(session, reader, personas, trail, spans, seqs)
    })
    yield* page
    low += seqs.length
    pageSize = Math.min(
      4 * TILE_WIDTH,
      Math.max(leastPage, Math.floor((pageCharacters * seqs.length) / (sizeOf(page) + 1))),
    )
  }
}

const sizeOf = (page: readonly SealedEntry[]) =>
  page.reduce(
    (sum, { content }) => sum + (content.facts?.content.length ?? 0) + (content.confidential?.content.length ?? 0),
    0,
  )
