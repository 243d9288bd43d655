// The notary's SQL. A batch comes back as one row per trail and day with its leaf hashes in one value: the database
// groups more cheaply than thousands of rows cross the wire.
//
// What reads events names its days as values, and is planned anew each time: the planner then sees one or two partitions
// and neither locks nor considers the others. All other statements stay prepared.

import { ArrayParameter, oid } from '../store/binary.ts'
import type { Queryable } from '../store/database.ts'
import type { Extended, Notarized, TileGrowth } from './extend.ts'

const cursor_name = 'notary'

/** How far one shard is sealed and visited. */
export interface ShardProgress {
  readonly shard: number
  /** First position not yet visited. */
  readonly position: number
  /** Positions below this are sealed and visible. */
  readonly sealed: number
}

/** A shard as seen from outside. */
export interface ShardState extends ShardProgress {
  /** All is visited, but the cursor still names an earlier day than it may. */
  readonly dayBehind: boolean
}

/** Today (UTC) as it was ten minutes ago: no batch under way can carry an earlier time. */
const settled_day = `((clock_timestamp() - interval '10 minutes') at time zone 'UTC')::date`

/** What is to be visited next, as the locked cursor says. */
export interface Place extends ShardProgress {
  /** No event from `position` on was sealed before this day. */
  readonly day: string
  /** No event below `sealed` was sealed after this day. */
  readonly sealedDay: string
  /** No batch under way was sealed before this day. */
  readonly settledDay: string
}

/** The events of one trail and day in a batch. */
export interface Run {
  readonly trail: number
  readonly tenant: number
  readonly day: string
  readonly events: number
  readonly firstSeq: number
  readonly lastSeq: number
  /** As PostgreSQL prints them. */
  readonly occurredFrom: string
  readonly occurredTo: string
  /** Every hash has 32 bytes. */
  readonly whole: boolean
  /** In the order of seq. */
  readonly hashes: Buffer
}

export interface KnownTrail extends Notarized {
  readonly number: number
  /** 32 lower-case hex digits. */
  readonly id: string
}

export interface SignedTrail {
  readonly trail: number
  readonly id: string
  readonly extended: Extended
  readonly note: string
}

export async function readShards(db: Queryable): Promise<ShardState[]> {
  const { rows } = await db.query<{ [K in keyof ShardState]: ShardState[K] }>(
    {
      name: 'notary shards',
      text: `select s.shard, c.position, s.position as sealed, c.position = s.position and c.day < ${settled_day} as "dayBehind"
      from affidavit.cursors c join affidavit.shards s using (shard)
      where c.name = $1 order by s.shard`,
    },
    [cursor_name],
  )
  return rows
}

/** Locks the shard's cursor until the transaction ends; undefined while another notary holds it. */
export async function lockCursor(db: Queryable, shard: number): Promise<Place | undefined> {
  const { rows } = await db.query<{ [K in keyof Place]: Place[K] }>(
    {
      name: 'notary lock',
      text: `select s.shard, c.position, c.day, s.position as sealed, (s.sealed_at at time zone 'UTC')::date as "sealedDay",
        ${settled_day} as "settledDay"
      from affidavit.cursors c join affidavit.shards s using (shard)
      where c.name = $1 and c.shard = $2 for update of c skip locked`,
    },
    [cursor_name, shard],
  )
  return rows[0]
}

/** The events at positions [from, until) sealed on the days given (inclusive), by trail and day. */
export async function readRuns(
  db: Queryable,
  shard: number,
  from: number,
  until: number,
  days: { from: string; to: string },
): Promise<Run[]> {
  const { rows } = await db.query<{ [K in keyof Run]: Run[K] }>(
    `select trail, tenant, day, count(*)::int as events, min(seq) as "firstSeq", max(seq) as "lastSeq",
        min(occurred_at)::text as "occurredFrom", max(occurred_at)::text as "occurredTo",
        bool_and(octet_length(hash) = 32) as whole, string_agg(hash, ''::bytea order by seq) as hashes
      from affidavit.events
      where shard = $1 and position >= $2 and position < $3 and day >= $4 and day <= $5
      group by trail, tenant, day order by trail, day`,
    [shard, from, until, days.from, days.to],
  )
  return rows
}

export async function readTrails(db: Queryable, trails: readonly number[]): Promise<Map<number, KnownTrail>> {
  if (trails.length === 0) return new Map()
  const { rows } = await db.query<{ number: number; id: string; size: number; range: Buffer }>(
    {
      name: 'notary trails',
      text: `select t.number, replace(t.id::text, '-', '') as id, coalesce(n.size, 0) as size, coalesce(n.range, '') as range
      from affidavit.trails t left join affidavit.notarized n on n.trail = t.number where t.number = any($1::int[])`,
    },
    [trails],
  )
  return new Map(rows.map((row) => [row.number, { ...row, tail: null }]))
}

export interface LeafRange {
  readonly trail: number
  readonly from: number
  /** Not in it. */
  readonly to: number
}

/** Leaf hashes of notarized entries, one after the other; a trail of which any is missing is absent. */
export async function readLeaves(db: Queryable, ranges: readonly LeafRange[]): Promise<Map<number, Buffer>> {
  if (ranges.length === 0) return new Map()
  const places = await db.query<LeafRange & { day: string }>(
    {
      name: 'notary leading',
      text: `select u.trail, d.day, greatest(u.first, d.first_seq) as from, least(u.last, d.last_seq + 1) as to
      from unnest($1::int[], $2::bigint[], $3::bigint[]) as u (trail, first, last)
        join affidavit.days d on d.trail = u.trail and d.last_seq >= u.first and d.first_seq < u.last
      order by d.day`,
    },
    [ranges.map(({ trail }) => trail), ranges.map(({ from }) => from), ranges.map(({ to }) => to)],
  )
  const leaves = new Map<number, Buffer>()
  for (const [day, parts] of Map.groupBy(places.rows, (place) => place.day)) {
    const { rows } = await db.query<{ trail: number; hashes: Buffer }>(
      `select e.trail, string_agg(e.hash, ''::bytea order by e.seq) as hashes
        from unnest($1::int[], $2::bigint[], $3::bigint[]) as u (trail, first, last)
          join affidavit.events e on e.trail = u.trail and e.seq >= u.first and e.seq < u.last
        where e.day = $4 group by e.trail`,
      [parts.map(({ trail }) => trail), parts.map(({ from }) => from), parts.map(({ to }) => to), day],
    )
    for (const { trail, hashes } of rows) {
      const earlier = leaves.get(trail)
      leaves.set(trail, earlier === undefined ? hashes : Buffer.concat([earlier, hashes]))
    }
  }
  for (const { trail, from, to } of ranges) if (leaves.get(trail)?.length !== (to - from) * 32) leaves.delete(trail)
  return leaves
}

interface TrailTile extends TileGrowth {
  readonly trail: number
}

/**
 * Stores what tiles gained.
 * @returns trails of which a tile is not as the notary left it: already there, missing, or of another length
 */
export async function writeTiles(db: Queryable, trails: readonly SignedTrail[]): Promise<number[]> {
  const all: TrailTile[] = trails.flatMap(({ trail, extended }) => extended.tiles.map((tile) => ({ ...tile, trail })))
  const begun = all.filter(({ offset }) => offset === 0)
  const grown = all.filter(({ offset }) => offset > 0)
  const inserted = await insertTiles(db, begun)
  const updated = await growTiles(db, grown)
  const name = ({ trail, level, index }: Pick<TrailTile, 'trail' | 'level' | 'index'>) => `${trail} ${level} ${index}`
  const written = new Set([...inserted, ...updated].map(name))
  return [...new Set(all.filter((tile) => !written.has(name(tile))).map(({ trail }) => trail))]
}

type TileName = { trail: number; level: number; index: number }

async function insertTiles(db: Queryable, tiles: readonly TrailTile[]): Promise<TileName[]> {
  if (tiles.length === 0) return []
  const { rows } = await db.query<TileName>(
    {
      name: 'notary tiles',
      text: `insert into affidavit.tiles (trail, level, index, hashes)
      select * from unnest($1::int[], $2::smallint[], $3::bigint[], $4::bytea[])
      on conflict do nothing returning trail, level, index`,
    },
    [...tileColumns(tiles), byteas(tiles.map(({ hashes }) => hashes))],
  )
  return rows
}

async function growTiles(db: Queryable, tiles: readonly TrailTile[]): Promise<TileName[]> {
  if (tiles.length === 0) return []
  const { rows } = await db.query<TileName>(
    {
      name: 'notary growth',
      text: `update affidavit.tiles t set hashes = t.hashes || u.hashes
      from unnest($1::int[], $2::smallint[], $3::bigint[], $4::bytea[], $5::int[]) as u (trail, level, index, hashes, held)
      where t.trail = u.trail and t.level = u.level and t.index = u.index and octet_length(t.hashes) = u.held
      returning t.trail, t.level, t.index`,
    },
    [...tileColumns(tiles), byteas(tiles.map(({ hashes }) => hashes)), tiles.map(({ offset }) => offset * 32)],
  )
  return rows
}

const tileColumns = (tiles: readonly TrailTile[]) => [
  tiles.map(({ trail }) => trail),
  tiles.map(({ level }) => level),
  tiles.map(({ index }) => index),
]

/** @returns how many trails were still at the size they were read at */
export async function writeNotarized(db: Queryable, trails: readonly SignedTrail[]): Promise<number> {
  if (trails.length === 0) return 0
  const { rowCount } = await db.query(
    {
      name: 'notary checkpoints',
      text: `insert into affidavit.notarized as n (trail, size, root, range, note, signed_at)
      select u.trail, u.size, u.root, u.range, u.note, clock_timestamp()
        from unnest($1::int[], $2::bigint[], $3::bytea[], $4::bytea[], $5::text[]) as u (trail, size, root, range, note)
      on conflict (trail) do update
        set size = excluded.size, root = excluded.root, range = excluded.range, note = excluded.note,
          signed_at = excluded.signed_at
        where n.size < excluded.size`,
    },
    [
      trails.map(({ trail }) => trail),
      trails.map(({ extended }) => extended.size),
      byteas(trails.map(({ extended }) => extended.root)),
      byteas(trails.map(({ extended }) => extended.range)),
      trails.map(({ note }) => note),
    ],
  )
  return rowCount ?? 0
}

export async function writeDays(db: Queryable, runs: readonly Run[]): Promise<void> {
  if (runs.length === 0) return
  await db.query(
    {
      name: 'notary days',
      text: `insert into affidavit.days as d (trail, tenant, day, first_seq, last_seq, occurred_from, occurred_to, events)
      select * from unnest($1::int[], $2::int[], $3::date[], $4::bigint[], $5::bigint[], $6::timestamptz[],
        $7::timestamptz[], $8::bigint[])
      on conflict (trail, day) do update
        set last_seq = excluded.last_seq, occurred_from = least(d.occurred_from, excluded.occurred_from),
          occurred_to = greatest(d.occurred_to, excluded.occurred_to), events = d.events + excluded.events`,
    },
    [
      runs.map(({ trail }) => trail),
      runs.map(({ tenant }) => tenant),
      runs.map(({ day }) => day),
      runs.map(({ firstSeq }) => firstSeq),
      runs.map(({ lastSeq }) => lastSeq),
      runs.map(({ occurredFrom }) => occurredFrom),
      runs.map(({ occurredTo }) => occurredTo),
      runs.map(({ events }) => events),
    ],
  )
}

/** @returns whether the cursor still stood at `from` */
export async function moveCursor(
  db: Queryable,
  shard: number,
  from: number,
  to: number,
  day: string,
): Promise<boolean> {
  const { rowCount } = await db.query(
    {
      name: 'notary cursor',
      text: 'update affidavit.cursors set position = $4, day = $5 where name = $1 and shard = $2 and position = $3',
    },
    [cursor_name, shard, from, to, day],
  )
  return rowCount === 1
}

function byteas(values: readonly Uint8Array[]): Buffer {
  const parameter = new ArrayParameter(oid.bytea)
  for (const value of values) parameter.bytea(value)
  return parameter.finish()
}
