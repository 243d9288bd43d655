// The registry's SQL, besides the entries that an epoch object carries (entries.ts).
import type { Queryable } from '../store/database.ts'
import { type EdgeTile, edgeOf } from './log.ts'

/** How far the registry is. Times in milliseconds since 1970. */
export interface RegistryState {
  /** Null before the first epoch, unless a registry was lost. */
  readonly origin: string | null
  /** Number of the newest epoch, also of a registry that was lost; 0: none yet. */
  readonly epoch: number
  /** Entries of the registry log; 0: it has not begun. */
  readonly size: number
  /** Time of the newest epoch. */
  readonly at: number | null
  /** The database's clock. */
  readonly now: number
  readonly depth: number
  /** Slots in use. */
  readonly used: number
}

export async function readState(db: Queryable): Promise<RegistryState> {
  const { rows } = await db.query<{ [K in keyof RegistryState]: RegistryState[K] }>({
    name: 'registry state',
    text: `select r.origin, r.epoch, r.size, r.at, clock_timestamp() as now, s.used,
        greatest(s.depth, (select depth from affidavit.registry_epochs where number = r.epoch)) as depth
      from affidavit.registry r cross join affidavit.slot_space s`,
  })
  return rows[0]!
}

/** When the oldest entry was sealed that is in no checkpoint yet, milliseconds since 1970; null: there is none. */
export async function readOldestUnnotarized(db: Queryable): Promise<number | null> {
  const { rows } = await db.query<{ at: number | null }>({
    name: 'registry lag',
    text: `select min(e.sealed_at) as at from affidavit.shards s
      join affidavit.cursors c on c.name = 'notary' and c.shard = s.shard and c.position < s.position
      join lateral (select sealed_at from affidavit.events
        where shard = s.shard and position = c.position and day >= c.day limit 1) e on true`,
  })
  return rows[0]!.at
}

/** A slot as it is in the newest epoch, beside what its trail has now. */
export interface SlotChange {
  readonly slot: number
  /** Number and id (32 hex digits) of the trail. */
  readonly number: number
  readonly trail: string
  readonly before: number
  /** Of the trail's newest checkpoint. Null: it has none. */
  readonly size: number | null
  readonly root: Buffer | null
  readonly note: string | null
  readonly tenant: string
  readonly operator: boolean
  readonly name: string | null
  readonly policy: object
  readonly ordinal: number
  readonly shard: number
}

/** Changes of one page. */
const changes_page = 5_000

/**
 * Slots whose trail is not where the newest epoch left it, in the order of slots, in pages: at first, or after a day
 * without epochs, these may be all there are.
 */
export async function* readChanges(db: Queryable): AsyncGenerator<SlotChange[]> {
  const { rows: changed } = await db.query<{ trails: number[] }>({
    name: 'registry changed',
    text: `select coalesce(array_agg(s.trail order by s.slot), '{}') as trails
      from affidavit.slots s left join affidavit.notarized n on n.trail = s.trail
      where s.tombstone_at is null and coalesce(n.size, 0) <> s.size`,
  })
  const { trails } = changed[0]!
  for (let at = 0; at < trails.length; at += changes_page) {
    const { rows } = await db.query<{ [K in keyof SlotChange]: SlotChange[K] }>(
      {
        name: 'registry changes',
        text: `select s.slot, s.trail as number, replace(t.id::text, '-', '') as trail, s.size as before, n.size, n.root, n.note,
            o.id as tenant, o.operator, o.name, o.policy, t.ordinal, t.shard
          from unnest($1::int[]) as c (trail) join affidavit.slots s on s.trail = c.trail
            join affidavit.trails t on t.number = c.trail join affidavit.tenants o on o.number = s.tenant
            left join affidavit.notarized n on n.trail = c.trail
          where s.tombstone_at is null and coalesce(n.size, 0) <> s.size order by s.slot`,
      },
      [trails.slice(at, at + changes_page)],
    )
    yield rows
  }
}

/** Which of these trails are notarized up to the size given at least, and if exactly so, with the root given. */
export async function fits(
  db: Queryable,
  heads: readonly { trail: string; size: number; root: Buffer }[],
): Promise<boolean> {
  const { rows } = await db.query<{ fitting: number }>(
    `select count(*)::int as fitting from unnest($1::uuid[], $2::bigint[], $3::bytea[]) as u (trail, size, root)
      join affidavit.trails t on t.id = u.trail join affidavit.notarized n on n.trail = t.number
      where n.size > u.size or (n.size = u.size and n.root = u.root)`,
    [heads.map(({ trail }) => trail), heads.map(({ size }) => size), heads.map(({ root }) => root)],
  )
  return rows[0]!.fitting === heads.length
}

export interface StoredBody {
  readonly slot: number
  /** 32 hex digits. */
  readonly trail: string
  readonly size: number
  readonly root: Buffer
}

/** Slots of one page of bodies. */
const bodies_page = 5_000

/** What every slot in use holds in an epoch, in pages. */
export async function* readBodies(db: Queryable, epoch: number): AsyncGenerator<StoredBody[]> {
  for (let after = -1, more = true; more; ) {
    const { rows } = await db.query<{ [K in keyof StoredBody]: StoredBody[K] }>(
      `select s.slot, replace(b.trail_id::text, '-', '') as trail, b.size, b.root
        from (select slot from affidavit.slots where slot > $2 order by slot limit ${bodies_page}) s left join lateral (
          select trail_id, size, root from affidavit.slot_bodies
          where slot = s.slot and epoch <= $1 order by epoch desc limit 1) b on true order by s.slot`,
      [epoch, after],
    )
    yield rows.filter(({ trail }) => trail !== null)
    after = rows.at(-1)?.slot ?? after
    more = rows.length === bodies_page
  }
}

export async function readEdge(db: Queryable, size: number): Promise<EdgeTile[]> {
  const places = edgeOf(size)
  const { rows } = await db.query<{ level: number; index: number; hashes: Buffer }>(
    {
      name: 'registry edge',
      text: `select level, index, hashes from affidavit.registry_tiles
      where (level, index) in (select * from unnest($1::smallint[], $2::bigint[]))`,
    },
    [places.map(({ level }) => level), places.map(({ index }) => index)],
  )
  return rows
}

export async function readPending(db: Queryable): Promise<string[]> {
  const { rows } = await db.query<{ entry: string }>({
    name: 'registry pending',
    text: 'select entry from affidavit.registry_pending order by number',
  })
  return rows.map(({ entry }) => entry)
}

export interface LogEntry {
  readonly index: number
  readonly kind: 'epoch' | 'key' | 'continues'
  readonly text: string
  readonly hash: Uint8Array
}

/** The registry's next state. */
export interface EpochPlace {
  readonly origin: string
  readonly epoch: number
  /** Log size before and after. */
  readonly before: number
  readonly size: number
  /** `YYYY-MM-DDTHH:MM:SS.mmmZ`. */
  readonly time: string
  /** Public key that signs. */
  readonly logKey: Uint8Array
}

/** What an epoch adds. */
export interface EpochRows {
  readonly depth: number
  readonly slotRoot: Uint8Array
  readonly crown: Uint8Array
  readonly entries: readonly LogEntry[]
  readonly tiles: readonly EdgeTile[]
  readonly bodies: Iterable<StoredBody>
  /** Root of the log, and the signed checkpoint. */
  readonly root: Uint8Array
  readonly note: string
}

/** @returns false when the registry has moved meanwhile: nothing is to be committed then. Locks it until the commit. */
export async function moveRegistry(db: Queryable, place: EpochPlace): Promise<boolean> {
  const { origin, epoch, size, time, before, logKey } = place
  const { rowCount } = await db.query(
    `update affidavit.registry set origin = $1, epoch = $2, size = $3, at = $4, log_key = coalesce(log_key, $6)
      where epoch = $2 - 1 and size = $5 and (origin = $1 or origin is null)`,
    [origin, epoch, size, time, before, Buffer.from(logKey)],
  )
  return rowCount === 1
}

/** Everything of an epoch but the state row, which is moved before. */
export async function writeEpoch(db: Queryable, rows: EpochPlace & EpochRows): Promise<void> {
  const { epoch, entries, tiles, bodies } = rows
  await db.query(
    `insert into affidavit.registry_entries (index, kind, entry, hash)
      select * from unnest($1::bigint[], $2::text[], $3::text[], $4::bytea[])`,
    [
      entries.map(({ index }) => index),
      entries.map(({ kind }) => kind),
      entries.map(({ text }) => text),
      entries.map(({ hash }) => Buffer.from(hash)),
    ],
  )
  await db.query('delete from affidavit.registry_pending where entry = any($1)', [entries.map(({ text }) => text)])
  await db.query(
    `insert into affidavit.registry_tiles as t (level, index, hashes)
      select * from unnest($1::smallint[], $2::bigint[], $3::bytea[])
      on conflict (level, index) do update set hashes = excluded.hashes`,
    [tiles.map(({ level }) => level), tiles.map(({ index }) => index), tiles.map(({ hashes }) => Buffer.from(hashes))],
  )
  await db.query(
    `with before as (
        update affidavit.registry_epochs set audit = true
        where number = $1 - 1 and (at at time zone 'UTC')::date < ($3::timestamptz at time zone 'UTC')::date)
      insert into affidavit.registry_epochs (number, index, at, depth, root, crown) values ($1, $2, $3, $4, $5, $6)`,
    [epoch, entries.at(-1)!.index, rows.time, rows.depth, Buffer.from(rows.slotRoot), Buffer.from(rows.crown)],
  )
  await db.query('insert into affidavit.registry_notes (size, epoch, root, note) values ($1, $2, $3, $4)', [
    rows.size,
    epoch,
    Buffer.from(rows.root),
    rows.note,
  ])
  for (const some of inPages(bodies, bodies_page)) await writeBodies(db, epoch, some)
}

function* inPages<Item>(items: Iterable<Item>, size: number): Generator<Item[]> {
  let some: Item[] = []
  for (const item of items) {
    some.push(item)
    if (some.length < size) continue
    yield some
    some = []
  }
  if (some.length > 0) yield some
}

async function writeBodies(db: Queryable, epoch: number, bodies: readonly StoredBody[]): Promise<void> {
  await db.query(
    `with given as (
        select * from unnest($2::int[], $3::uuid[], $4::bigint[], $5::bytea[]) as u (slot, trail_id, size, root)),
      slot as (
        update affidavit.slots s set size = g.size from given g join affidavit.trails t on t.id = g.trail_id
        where s.slot = g.slot and s.trail = t.number)
      insert into affidavit.slot_bodies (slot, epoch, trail_id, size, root)
        select slot, $1, trail_id, size, root from given`,
    [
      epoch,
      bodies.map(({ slot }) => slot),
      bodies.map(({ trail }) => trail),
      bodies.map(({ size }) => size),
      bodies.map(({ root }) => root),
    ],
  )
}

/** @returns epochs gone through; as many as `limit`: there may be more */
export async function prune(db: Queryable, keepDays: number, limit: number): Promise<number> {
  const { rows } = await db.query<{ pruned: number }>(
    'select affidavit.prune_registry(make_interval(days => $1), $2) as pruned',
    [keepDays, limit],
  )
  return rows[0]!.pruned
}
