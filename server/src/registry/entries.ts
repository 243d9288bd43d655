// The entries that an epoch object carries: of every trail that changed, from the size that the epoch before has to the
// new one. PostgreSQL packs them; here they only pass through.
import type { Queryable } from '../store/database.ts'
import { type PackedEntries, record_sql } from '../store/epoch-object.ts'

/** Entries of one query, and so of one frame at most. */
const piece_entries = 4_096
const piece_trails = 512

export interface EntryRange {
  /** The trail's place in the object. */
  readonly place: number
  /** Its number. */
  readonly trail: number
  readonly from: number
  readonly to: number
}

/** Every range in order and whole, or as far as it is stored. */
export async function* packedEntries(db: Queryable, ranges: Iterable<EntryRange>): AsyncGenerator<PackedEntries> {
  for (const pieces of cut(ranges)) yield* readPieces(db, pieces)
}

/** Groups of ranges that one query may read, in order; a long range is cut. */
function* cut(ranges: Iterable<EntryRange>): Generator<EntryRange[]> {
  let group: EntryRange[] = []
  let entries = 0
  for (const range of ranges) {
    for (let from = range.from; from < range.to; ) {
      const to = Math.min(range.to, from + piece_entries - entries)
      group.push({ ...range, from, to })
      entries += to - from
      from = to
      if (entries < piece_entries && group.length < piece_trails) continue
      yield group
      group = []
      entries = 0
    }
  }
  if (group.length > 0) yield group
}

async function* readPieces(db: Queryable, pieces: readonly EntryRange[]): AsyncGenerator<PackedEntries> {
  const columns = [
    pieces.map(({ place }) => place),
    pieces.map(({ trail }) => trail),
    pieces.map(({ from }) => from),
    pieces.map(({ to }) => to),
  ]
  const { rows: days } = await db.query<{ day: string }>(
    {
      name: 'registry days',
      text: `select distinct d.day from unnest($1::int[], $2::int[], $3::bigint[], $4::bigint[]) as u (place, trail, first, last)
        join affidavit.days d on d.trail = u.trail and d.last_seq >= u.first and d.first_seq < u.last order by d.day`,
    },
    columns,
  )
  for (const { day } of days) {
    // The day is a value of the text: the planner then sees one partition.
    const { rows } = await db.query<{ place: number; first: number; count: number; records: Buffer }>(
      `select u.place, min(e.seq) as first, count(*)::int as count, string_agg(${record_sql}, ''::bytea order by e.seq) as records
        from unnest($1::int[], $2::int[], $3::bigint[], $4::bigint[]) as u (place, trail, first, last)
          join affidavit.events e on e.trail = u.trail and e.seq >= u.first and e.seq < u.last
        where e.day = '${day}' group by u.place order by u.place`,
      columns,
    )
    yield* rows
  }
}

/** Key ids of subjects, 16 bytes each. */
export async function readKeyIds(db: Queryable, subjects: readonly number[]): Promise<Map<number, Buffer>> {
  const { rows } = await db.query<{ number: number; key: Buffer }>(
    {
      name: 'registry key ids',
      text: 'select number, uuid_send(key_id) as key from affidavit.subjects where number = any($1::bigint[])',
    },
    [subjects],
  )
  return new Map(rows.map(({ number, key }) => [number, key]))
}
