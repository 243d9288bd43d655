// The recovery's SQL, as the role `keeper`: it makes tenants and their keys, and may put back what an epoch vouches for.
import type { Entry } from '@affidavit/trail'
import { CATEGORIES, encodeControl } from '@affidavit/trail'
import type { Queryable } from '../store/database.ts'

export interface Behind {
  /** Newest epoch of the registry in this database; 0: none. */
  readonly epoch: number
  /** Entries of the registry log; 0: it has not begun. */
  readonly size: number
  /** A recovery that was cut off, or null. */
  readonly unfinished: number | null
}

export async function readBehind(db: Queryable): Promise<Behind> {
  const { rows } = await db.query<{ epoch: number; size: number; unfinished: number | null }>(
    `select epoch, size, (select max(number) from affidavit.recoveries where finished_at is null) as unfinished
      from affidavit.registry`,
  )
  return rows[0]!
}

export async function beginRecovery(db: Queryable, epoch: number): Promise<number> {
  const { rows } = await db.query<{ number: number }>(
    'insert into affidavit.recoveries (from_epoch) values ($1) returning number',
    [epoch],
  )
  return rows[0]!.number
}

export async function noteEpoch(db: Queryable, number: number, epoch: number, entries: number): Promise<void> {
  await db.query('update affidavit.recoveries set to_epoch = $2, entries = greatest(entries, $3) where number = $1', [
    number,
    epoch,
    entries,
  ])
}

export async function endRecovery(db: Queryable, number: number): Promise<void> {
  await db.query('update affidavit.recoveries set finished_at = clock_timestamp() where number <= $1', [number])
}

export interface ReplayedTrail {
  readonly number: number
  readonly tenant: number
  readonly tenantId: string
  readonly size: number
  /** Leaf hash of entry size − 1. */
  readonly hash: Buffer | null
  readonly notarized: number
  readonly range: Buffer
}

/** @param trail 32 hex digits */
export async function openTrail(db: Queryable, trail: string): Promise<ReplayedTrail | undefined> {
  const { rows } = await db.query<ReplayedTrail & Record<string, unknown>>(
    `select t.number, t.tenant, n.id as "tenantId", h.size, h.hash, coalesce(z.size, 0) as notarized, coalesce(z.range, '') as range
      from affidavit.trails t join affidavit.tenants n on n.number = t.tenant join affidavit.heads h on h.trail = t.number
        left join affidavit.notarized z on z.trail = t.number where t.id = $1`,
    [trail],
  )
  return rows[0]
}

/** Of an entry that was truncated its tile still tells. */
export async function readLeaf(db: Queryable, trail: number, seq: number): Promise<Buffer | undefined> {
  const { rows } = await db.query<{ hash: Buffer | null }>(
    `select coalesce((select hash from affidavit.events where trail = $1 and seq = $2),
      (select substring(hashes from ($2::bigint % 256 * 32)::int + 1 for 32) from affidavit.tiles
        where trail = $1 and level = 0 and index = $2::bigint / 256)) as hash`,
    [trail, seq],
  )
  return rows[0]!.hash ?? undefined
}

interface Missing {
  readonly entry: Entry
  readonly hash: Buffer
}

/** Rows of one call: a few hundred kilobytes. */
const rows_at_once = 1_000

export async function insertEntries(
  db: Queryable,
  trail: ReplayedTrail,
  from: number,
  missing: readonly Missing[],
): Promise<void> {
  for (let at = 0; at < missing.length; at += rows_at_once)
    await insertSome(db, trail, from + at, missing.slice(at, at + rows_at_once))
}

async function insertSome(
  db: Queryable,
  trail: ReplayedTrail,
  from: number,
  missing: readonly Missing[],
): Promise<void> {
  const numbers = await subjectsOf(db, trail.tenant, missing)
  const bytes = (base64: string | undefined) => (base64 === undefined ? null : Buffer.from(base64, 'base64'))
  const entries = missing.map(({ entry }) => entry)
  await db.query('select affidavit.replay_entries($1, $2, $3, $4::smallint[], $5, $6, $7, $8, $9, $10)', [
    trail.number,
    from,
    entries.map(({ sealedAt }) => sealedAt),
    entries.map(({ body }) => ('event' in body ? CATEGORIES.indexOf(body.event) + 1 : 0)),
    entries.map(({ facts }) => bytes(facts)),
    missing.map(({ hash }) => hash),
    entries.map((entry) => personalColumn(entry, numbers)),
    entries.map(({ confidential }) => bytes(confidential)),
    entries.map(({ operator }) => bytes(operator)),
    entries.map(({ body }) => ('control' in body ? encodeControl(body.control) : null)),
  ])
}

async function subjectsOf(db: Queryable, tenant: number, missing: readonly Missing[]): Promise<Map<string, number>> {
  const keys = new Set(missing.flatMap(({ entry }) => entry.personal.map(({ key }) => key)))
  if (keys.size === 0) return new Map()
  const { rows } = await db.query<{ key_id: string; number: number }>(
    'select key_id, number from affidavit.replay_subjects($1, $2::uuid[])',
    [tenant, [...keys]],
  )
  return new Map(rows.map(({ key_id, number }) => [key_id.replaceAll('-', ''), number]))
}

const line_bytes = 48

/** Subject, no persona, commitment: what the person's values were is gone. */
function personalColumn({ personal }: Entry, numbers: ReadonlyMap<string, number>): Buffer | null {
  if (personal.length === 0) return null
  const column = Buffer.alloc(personal.length * line_bytes)
  for (const [n, { key, commitment }] of personal.entries()) {
    column.writeBigInt64BE(BigInt(numbers.get(key)!), n * line_bytes)
    column.write(commitment, n * line_bytes + 16, 'base64')
  }
  return column
}

export interface LostRange {
  readonly trail: number
  readonly tenant: number
  readonly first: number
  readonly until: number
}

/** Ranges of entries whose loss is still to be sealed. */
export async function readLost(db: Queryable): Promise<LostRange[]> {
  const { rows } = await db.query<LostRange & Record<string, unknown>>(
    `select l.trail, t.tenant, l.first, l.until from affidavit.lost l join affidavit.trails t on t.number = l.trail
      where not l.sealed order by l.trail, l.first`,
  )
  return rows
}

export async function noteLost(db: Queryable, { trail, first }: LostRange): Promise<void> {
  await db.query('update affidavit.lost set sealed = true where trail = $1 and first = $2', [trail, first])
}

/** Whether the trail says already that the range is lost: a start that was killed between sealing and noting. */
export async function isLostSealed(db: Queryable, { trail, first, until }: LostRange): Promise<boolean> {
  const { rows } = await db.query<{ sealed: boolean }>(
    'select exists (select from affidavit.events where trail = $1 and control = $2) as sealed',
    [trail, `lost ${first} ${until}`],
  )
  return rows[0]!.sealed
}
