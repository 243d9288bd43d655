// When entries were sealed, and which entries were sealed within a time: sealing times never decrease along a trail, so
// a search by halves finds the place in some thirty probes, each of one day's index of places.
import type { Queryable } from '../store/database.ts'
import type { Reader } from './row.ts'
import { type Span, spanOf, type Trail } from './spans.ts'

export interface TimedTrail {
  readonly session: Queryable
  readonly reader: Reader
  readonly trail: Trail
  readonly spans: readonly Span[]
}

/** Milliseconds since 1970; undefined for an entry that is not stored any more. */
export async function sealedAt(
  { session, reader, trail, spans }: TimedTrail,
  seq: number,
): Promise<number | undefined> {
  const span = spanOf(spans, seq)
  if (span === undefined) return undefined
  const { rows } = await session.query<{ sealed_at: number }>(
    {
      name: 'sealed at',
      text: `select sealed_at from affidavit.events
        where trail = $1 and tenant = $2 and seq = $3 and day >= $4::date and day <= $5::date limit 1`,
    },
    [trail.number, reader.tenant.number, seq, span.firstDay, span.lastDay],
  )
  return rows[0]?.sealed_at
}

/** The first entry before `end` that was sealed at `time` (ms since 1970) or later; `end` when there is none. */
export async function firstSealedFrom(timed: TimedTrail, time: number, end: number): Promise<number> {
  let [low, high] = [timed.spans[0]?.low ?? 0, end]
  while (low < high) {
    const middle = Math.floor((low + high) / 2)
    const sealed = await sealedAt(timed, middle)
    // What is not stored any more is older than what is.
    if (sealed === undefined || sealed < time) low = middle + 1
    else high = middle
  }
  return low
}
