// Which days hold which part of a trail. The notary keeps the table `days`, a little behind the sealers, so what it does
// not know yet is one more span that reaches to the head.
import type { Queryable } from '../store/database.ts'

/** A part of a trail, consecutive in seq. */
export interface Span {
  /** Sequence numbers from `low` to before `high`. */
  readonly low: number
  readonly high: number
  /** YYYY-MM-DD; more than one day only in the part that the notary has not seen. */
  readonly firstDay: string
  readonly lastDay: string
  /** The terms of all its days are indexed. */
  readonly closed: boolean
  /** occurred_at of its events, in ms; unbounded where not known. */
  readonly occurredFrom: number
  readonly occurredTo: number
}

export interface Trail {
  readonly number: number
  /** 32 lower-case hex digits. */
  readonly id: string
  readonly ordinal: number
  /** Events sealed. */
  readonly size: number
}

export interface SpannedTrail extends Trail {
  /** In order of seq, from 0 to the trail's size, without those that retention dropped. */
  readonly spans: readonly Span[]
}

/** The tenant's chain of trails, oldest first. The session must be the tenant's. */
export async function readTrails(session: Queryable, tenant: number): Promise<Trail[]> {
  const { rows } = await session.query<{ number: number; id: string; ordinal: number; size: number }>(
    {
      name: 'trails',
      text: `select t.number, t.id, t.ordinal, h.size from affidavit.trails t join affidavit.heads h on h.trail = t.number
        where t.tenant = $1 order by t.ordinal`,
    },
    [tenant],
  )
  return rows.map((row) => ({ ...row, id: row.id.replaceAll('-', '') }))
}

interface DayRow extends Record<string, unknown> {
  trail: number
  day: string
  first_seq: number
  last_seq: number
  occurred_from: number
  occurred_to: number
  closed: boolean
}

interface TrailRow extends Record<string, unknown> {
  number: number
  id: string
  ordinal: number
  size: number
  /** Day before the trail was made; and today, a minute ahead, for a sealer may be a second ahead of this clock. */
  first_day: string
  today: string
}

/** The session's tenant's chain with all spans, oldest first, in one round trip. One trail only, if its number is given. */
export async function readChain(session: Queryable, trail: number | null = null): Promise<SpannedTrail[]> {
  const [{ rows: trails }, { rows: days }] = await Promise.all([
    session.query<TrailRow>(
      {
        name: 'chain',
        text: `select t.number, t.id, t.ordinal, h.size, (t.created_at at time zone 'UTC')::date - 1 as first_day,
            ((clock_timestamp() + interval '1 minute') at time zone 'UTC')::date as today
          from affidavit.trails t join affidavit.heads h on h.trail = t.number
          where t.tenant = affidavit.current_tenant() and ($1::int is null or t.number = $1) order by t.ordinal`,
      },
      [trail],
    ),
    session.query<DayRow>(
      {
        name: 'days',
        text: `select d.trail, d.day, d.first_seq, d.last_seq, d.occurred_from, d.occurred_to, e.closed_at is not null as closed
          from affidavit.days d join affidavit.trails t on t.number = d.trail left join affidavit.event_days e on e.day = d.day
          where t.tenant = affidavit.current_tenant() and ($1::int is null or t.number = $1) order by d.trail, d.day`,
      },
      [trail],
    ),
  ])
  const byTrail = Map.groupBy(days, (row) => row.trail)
  return trails.map((row) => ({
    number: row.number,
    id: row.id.replaceAll('-', ''),
    ordinal: row.ordinal,
    size: row.size,
    spans: spansOf(row, byTrail.get(row.number) ?? []),
  }))
}

/** The spans of one trail of the session's tenant. */
export async function readSpans(session: Queryable, trail: Trail): Promise<readonly Span[]> {
  const [found] = await readChain(session, trail.number)
  if (found === undefined) throw new Error(`trail ${trail.number} is not the tenant's`)
  return found.spans
}

function spansOf(trail: TrailRow, days: readonly DayRow[]): Span[] {
  const spans: Span[] = days.map((row) => ({
    low: row.first_seq,
    high: Math.min(row.last_seq + 1, trail.size),
    firstDay: row.day,
    lastDay: row.day,
    closed: row.closed,
    occurredFrom: row.occurred_from,
    occurredTo: row.occurred_to,
  }))
  const known = spans.at(-1)
  const low = known?.high ?? 0
  if (low >= trail.size) return spans
  const firstDay = known?.lastDay ?? trail.first_day
  spans.push({
    low,
    high: trail.size,
    firstDay,
    lastDay: firstDay.localeCompare(trail.today) > 0 ? firstDay : trail.today,
    closed: false,
    occurredFrom: Number.NEGATIVE_INFINITY,
    occurredTo: Number.POSITIVE_INFINITY,
  })
  return spans
}

/** The span that holds a sequence number, by binary search; undefined for one that is not stored any more. */
export function spanOf(spans: readonly Span[], seq: number): Span | undefined {
  let from = 0
  let to = spans.length
  while (from < to) {
    const middle = (from + to) >> 1
    const span = spans[middle] as Span
    if (seq < span.low) to = middle
    else if (seq >= span.high) from = middle + 1
    else return span
  }
  return undefined
}

/** Control entries below `size`, ascending: few, and what explains every absence. */
export async function readControlSeqs(session: Queryable, trail: Trail, size: number): Promise<number[]> {
  const { rows } = await session.query<{ seq: number }>(
    'select seq from affidavit.events where trail = $1 and seq < $2 and control is not null order by seq',
    [trail.number, size],
  )
  return rows.map(({ seq }) => seq)
}

/** Whether anything was removed from the trail, or may have been, by an entry from `size` on: payloads read since may lack it. */
export async function removesSince(session: Queryable, trail: Trail, size: number): Promise<boolean> {
  const { rows } = await session.query<{ removes: boolean }>(
    `select exists (select from affidavit.events where trail = $1 and seq >= $2 and control is not null
       and control ~ '^(erase|redact|prune|truncate|lost|close)( |$)') as removes`,
    [trail.number, size],
  )
  return rows[0]!.removes
}
