// Reads events by their places, under row-level security: whatever found the places, this decides what a tenant gets.
import type { Queryable } from '../store/database.ts'
import type { EventRow, Reader } from './row.ts'
import { type Span, spanOf, type Trail } from './spans.ts'

/** The hash before the first entry that a truncation left: the last one of the hash tile before. */
const fromTile = (seq: string) => `case when ${seq} % 256 = 0 then (select substring(t.hashes from 8161 for 32)
         from affidavit.tiles t where t.trail = $1 and t.level = 0 and t.index = ${seq} / 256 - 1) end`

/** The operator's part is a column that only operator_reader may name. */
const columns = (operator: boolean) => `e.seq, e.sealed_at, e.occurred_at, e.facts_salt, e.category, e.outcome, e.flags,
  e.facts_commitment, e.hash, e.facts, e.personal, e.confidential, e.control, ${operator ? 'e.operator' : 'null::bytea'} as operator`

/** Rows, and the number where reading ended before all were read; null: it did not. */
export interface Rows {
  readonly rows: EventRow[]
  readonly next: number | null
}

/**
 * The rows of the given sequence numbers, each with the hash of the entry before it, in the order of the numbers. What
 * is not there (any more), or is another tenant's, is left out. Each number is one probe of one day's index of places.
 *
 * @param most bytes of payload: the row with which they are passed is the last
 */
export async function readRows(
  session: Queryable,
  reader: Reader,
  trail: Trail,
  spans: readonly Span[],
  seqs: readonly number[],
  most = Number.MAX_SAFE_INTEGER,
): Promise<Rows> {
  const places = placesOf(spans, seqs)
  if (places.seqs.length === 0) return { rows: [], next: null }
  const { rows } = await session.query<EventRow & { readonly following: number | null }>(
    {
      name: reader.operator ? 'rows of operators' : 'rows',
      text: `select r.* from (select e.*, coalesce(p.hash, ${fromTile('e.seq')}) as previous,
       case when e.facts is null and e.control is null
         then (select a.action from affidavit.actions a where a.number = e.action_number) end as action,
       lead(e.seq) over (order by u.n) as following, u.n,
       sum(coalesce(octet_length(e.facts), 0) + coalesce(octet_length(e.confidential), 0))
         over (order by u.n rows between unbounded preceding and 1 preceding) as before
     from unnest($2::bigint[], $3::date[], $4::date[], $5::date[]) with ordinality as u (seq, first_day, last_day, previous_day, n)
     cross join lateral (
       select ${columns(reader.operator)}, e.action as action_number from affidavit.events e
       where e.trail = $1 and e.tenant = $6 and e.seq = u.seq and e.day >= u.first_day and e.day <= u.last_day
         and e.day >= $7::date and e.day <= $8::date limit 1) e
     left join lateral (
       select p.hash from affidavit.events p
       where p.trail = $1 and p.tenant = $6 and p.seq = u.seq - 1 and p.day >= u.previous_day and p.day <= u.last_day
         and p.day >= $7::date and p.day <= $8::date limit 1) p on true) r
     where coalesce(r.before, 0) <= $9 order by r.n`,
    },
    [
      trail.number,
      places.seqs,
      places.firstDays,
      places.lastDays,
      places.previousDays,
      reader.tenant.number,
      places.earliest,
      places.latest,
      most,
    ],
  )
  return { rows, next: rows.at(-1)?.following ?? null }
}

/**
 * The rows of numbers without a gap, ascending, as entries need them: of payloads only what is committed to. One walk along
 * the days' indexes of places instead of two probes for each number. Entry bundles are read like this.
 */
export async function readRun(
  session: Queryable,
  reader: Reader,
  trail: Trail,
  spans: readonly Span[],
  seqs: readonly number[],
): Promise<EventRow[]> {
  const { seqs: stored, earliest, latest } = placesOf(spans, seqs)
  if (stored.length === 0) return []
  const { rows } = await session.query<EventRow>(
    {
      name: reader.operator ? 'run of operators' : 'run',
      text: `select r.*, coalesce(r.before, ${fromTile('r.seq')}) as previous
     from (
       select e.seq, e.sealed_at, e.occurred_at, null::text as facts_salt, e.category, e.outcome, e.flags,
         e.facts_commitment, e.hash, null::text as facts, e.personal, substring(e.confidential for 32) as confidential,
         e.control, ${reader.operator ? 'substring(e.operator for 32)' : 'null::bytea'} as operator, null::text as action,
         case when lag(e.seq) over w = e.seq - 1 then lag(e.hash) over w end as before
       from affidavit.events e
       where e.trail = $1 and e.tenant = $2 and e.seq >= $3::bigint - 1 and e.seq < $4 and e.day >= $5::date and e.day <= $6::date
       window w as (order by e.seq)) r
     where r.seq >= $3 order by r.seq`,
    },
    [trail.number, reader.tenant.number, seqs[0], seqs.at(-1)! + 1, earliest, latest],
  )
  return rows
}

/** In which day or days each number and its predecessor lie. */
export function placesOf(spans: readonly Span[], seqs: readonly number[]) {
  const places = {
    seqs: [] as number[],
    firstDays: [] as string[],
    lastDays: [] as string[],
    previousDays: [] as string[],
    earliest: '9999-12-31',
    latest: '0001-01-01',
  }
  for (const seq of seqs) {
    const span = spanOf(spans, seq)
    if (span === undefined) continue
    const previousDay = spanOf(spans, seq - 1)?.firstDay ?? span.firstDay
    places.seqs.push(seq)
    places.firstDays.push(span.firstDay)
    places.lastDays.push(span.lastDay)
    places.previousDays.push(previousDay)
    if (previousDay < places.earliest) places.earliest = previousDay
    if (span.lastDay > places.latest) places.latest = span.lastDay
  }
  return places
}
