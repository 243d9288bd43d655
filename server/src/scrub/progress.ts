// What the scrub keeps in the database: its place, so that a restart goes on, and its findings, by which trails stop.
import { CompactRange } from '@affidavit/trail'
import type { Queryable } from '../store/database.ts'
import { sha256 } from '../store/sha256.ts'
import type { Mismatch } from './mismatch.ts'

/** Where the scrub is. */
export interface Place {
  readonly round: number
  /** Trails up to this number are done; `seq` entries of the one after it. */
  readonly trail: number
  readonly seq: number
  readonly range: CompactRange
  readonly previous: Buffer | null
  readonly checked: number
  readonly total: number
  readonly startedAt: number | null
  readonly finishedAt: number | null
}

export async function readPlace(db: Queryable): Promise<Place> {
  const { rows } = await db.query<Omit<Place, 'range'> & { range: Buffer }>(
    `select round, trail, seq, range, previous, checked, total, started_at as "startedAt", finished_at as "finishedAt"
      from affidavit.scrub`,
  )
  const row = rows[0]!
  return { ...row, range: CompactRange.fromBytes(sha256, row.seq, row.range) }
}

/** @returns how many entries the round will read, about */
export async function beginRound(db: Queryable): Promise<number> {
  const { rows } = await db.query<{ total: number }>(
    `update affidavit.scrub set round = round + 1, trail = 0, seq = 0, range = '', previous = null, checked = 0,
        total = (select coalesce(sum(size), 0) from affidavit.notarized), started_at = clock_timestamp() returning total`,
  )
  return rows[0]!.total
}

/** Gives up the round that is under way: the next one begins with the first trail. */
export async function beginAnew(db: Queryable): Promise<void> {
  await db.query('update affidavit.scrub set started_at = null')
}

export async function endRound(db: Queryable): Promise<void> {
  await db.query('update affidavit.scrub set started_at = null, finished_at = clock_timestamp()')
}

/** The place within a trail after a page. A crash of the database may lose the last ones: then they are read again. */
export async function keepPlace(
  db: Queryable,
  place: { trail: number; range: CompactRange; previous: Buffer | null; checked: number },
): Promise<void> {
  await db.query(
    `update affidavit.scrub set trail = $1, seq = $2, range = $3, previous = $4, checked = checked + $5
      returning set_config('synchronous_commit', 'off', true)`,
    [place.trail, place.range.size, Buffer.from(place.range.toBytes()), place.previous, place.checked],
  )
}

/** The next trail that has a checkpoint, and its tenant; undefined after the last. */
export async function nextTrail(db: Queryable, after: number): Promise<{ trail: number; tenant: number } | undefined> {
  const { rows } = await db.query<{ trail: number; tenant: number }>(
    `select t.number as trail, t.tenant from affidavit.trails t join affidavit.notarized n on n.trail = t.number
      where t.number > $1 order by t.number limit 1`,
    [after],
  )
  return rows[0]
}

export interface Announced {
  readonly seq: number
  readonly sealedAt: string
  readonly control: string
}

/** The control entries of a trail, in order. */
export async function readControls(db: Queryable, trail: number): Promise<Announced[]> {
  const { rows } = await db.query<{ seq: number; sealed_at: number; control: string }>(
    'select seq, sealed_at, control from affidavit.events where trail = $1 and control is not null order by seq',
    [trail],
  )
  return rows.map(({ seq, sealed_at, control }) => ({ seq, sealedAt: new Date(sealed_at).toISOString(), control }))
}

/** Level-0 tiles of the entries below `size`, in order: what is left of truncated entries. */
export async function readFirstTiles(db: Queryable, trail: number, size: number): Promise<Buffer[]> {
  const { rows } = await db.query<{ hashes: Buffer }>(
    'select hashes from affidavit.tiles where trail = $1 and level = 0 and index < $2 order by index',
    [trail, size / 256],
  )
  return rows.map(({ hashes }) => hashes)
}

/** Keeps what was not known. @returns the new ones */
export async function keepFindings(db: Queryable, trail: number, mismatches: readonly Mismatch[]): Promise<Mismatch[]> {
  if (mismatches.length === 0) return []
  const { rows } = await db.query<{ seq: number | null; what: string; print: string }>(
    `insert into affidavit.scrub_findings (trail, seq, what, message, print)
      select $1, * from unnest($2::bigint[], $3::text[], $4::text[], $5::text[])
      on conflict do nothing returning seq, what, print`,
    [
      trail,
      mismatches.map(({ seq }) => seq),
      mismatches.map(({ what }) => what),
      mismatches.map(({ message }) => message),
      mismatches.map(({ print }) => print),
    ],
  )
  const kept = new Set(rows.map(({ seq, what, print }) => `${seq} ${what} ${print}`))
  return mismatches.filter(({ seq, what, print }) => kept.has(`${seq} ${what} ${print}`))
}
