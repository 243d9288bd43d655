// One page of a trail as it is stored, with everything that it is judged by, read in one snapshot. Rows are looked for by
// trail and seq alone: the table of days, which searches go by, is under suspicion itself.
import { TILE_WIDTH } from '@affidavit/trail'
import { type PersonaReading, type Personas, rowsRead } from '../keys/personas.ts'
import type { TenantKeys } from '../keys/tenant-keys.ts'
import type { Pool, Queryable } from '../store/database.ts'
import { linesOf } from '../store/event-row.ts'
import type { Tenant } from '../tenants/tenants.ts'

/** A trail, and how far it was notarized when the page was read. */
export interface ScrubbedTrail {
  readonly number: number
  /** 32 hex digits. */
  readonly id: string
  readonly tenant: number
  readonly shard: number
  /** Entries sealed; the end of the chain. */
  readonly headSize: number
  readonly headHash: Buffer | null
  /** Entries under the checkpoint, and the checkpoint. */
  readonly size: number
  readonly root: Buffer
  readonly range: Buffer
  readonly note: string
  /** Positions of the shard that were given out. */
  readonly shardPosition: number
}

export interface ScrubRow extends Record<string, unknown> {
  readonly seq: number
  readonly position: number
  readonly sealed_at: number
  readonly occurred_at: number
  /** bigint as text. */
  readonly actor: string | null
  readonly facts_salt: string | null
  readonly tenant: number
  readonly action: number | null
  readonly day: string
  readonly shard: number
  readonly category: number
  readonly outcome: number
  readonly flags: number
  readonly facts_commitment: Buffer
  readonly hash: Buffer
  readonly facts: string | null
  readonly personal: Buffer | null
  readonly confidential: Buffer | null
  readonly operator: Buffer | null
  readonly control: string | null
  readonly terms: readonly number[] | null
}

export interface StoredSubject {
  readonly keyId: string
  /** Hex. */
  readonly token: string
  readonly idToken: string | null
  readonly erased: boolean
}

export interface StoredDay {
  readonly first: number
  readonly last: number
  readonly from: number
  readonly to: number
}

export interface StoredTile {
  readonly level: number
  readonly index: number
  readonly hashes: Buffer
}

export interface Page {
  readonly trail: ScrubbedTrail
  readonly rows: readonly ScrubRow[]
  readonly subjects: ReadonlyMap<number, StoredSubject>
  readonly people: ReadonlyMap<number, PersonaReading>
  /** Search tokens by persona. */
  readonly tokens: ReadonlyMap<number, ReadonlySet<string>>
  readonly actions: ReadonlyMap<number, { tenant: number; action: string }>
  readonly days: ReadonlyMap<string, StoredDay>
  readonly tiles: readonly StoredTile[]
  /**
   * Places of ids: `<id token, hex>` → `<seq>` of this trail. Weeks (Mondays) of which there is no table any more are not in
   * `weeks`.
   */
  readonly ids: ReadonlyMap<string, ReadonlySet<number>>
  readonly weeks: ReadonlySet<string>
}

export interface PageParts {
  readonly pool: Pool
  readonly personas: Personas
}

/** Bytes of payload, and of people, with which a page ends: others need the thread's memory, too. */
const page_bytes = 8 * 1024 * 1024

/**
 * A page ends with a tile, or before, where rows or people are large.
 *
 * @param most rows
 * @returns undefined when the trail is gone
 */
export async function readPage(
  parts: PageParts,
  tenant: Tenant<TenantKeys>,
  trail: number,
  from: number,
  most: number,
): Promise<Page | undefined> {
  const read = await parts.pool.transaction(async (session) => {
    await session.query('set transaction isolation level repeatable read read only')
    const found = await readTrail(session, trail)
    if (found === undefined) return undefined
    const rows = await readTileRows(session, found, from, most)
    const lines = rows.flatMap((row) => linesOf(row.personal))
    const subjects = new Set(lines.map(({ subject }) => subject))
    for (const { actor } of rows) if (actor !== null) subjects.add(Number(actor))
    const personas = [...new Set(lines.map(({ persona }) => persona))]
    return {
      trail: found,
      rows,
      personas,
      subjects: await readSubjects(session, tenant.number, [...subjects]),
      tokens: await readTokens(session, tenant.number, personas),
      actions: await readActions(session, [...new Set(rows.flatMap(({ action }) => action ?? []))]),
      days: await readDays(session, trail, [...new Set(rows.map(({ day }) => day))]),
      tiles: await readTiles(session, trail, from, Math.min(from + most, found.size)),
      ...(await readIds(session, tenant, trail, rows)),
    }
  })
  if (read === undefined) return undefined
  const { personas, rows, ...page } = read
  const people = personas.length === 0 ? new Map() : await parts.personas.open(tenant, personas, page_bytes)
  return { ...page, rows: rows.slice(0, rowsRead(rows, people)), people }
}

async function readTrail(session: Queryable, trail: number): Promise<ScrubbedTrail | undefined> {
  const { rows } = await session.query<Record<keyof ScrubbedTrail, never>>(
    `select t.number, replace(t.id::text, '-', '') as id, t.tenant, t.shard, h.size as "headSize", h.hash as "headHash",
        coalesce(n.size, 0) as size, coalesce(n.root, '') as root, coalesce(n.range, '') as range, coalesce(n.note, '') as note,
        s.position as "shardPosition"
      from affidavit.trails t join affidavit.heads h on h.trail = t.number join affidavit.shards s using (shard)
        left join affidavit.notarized n on n.trail = t.number where t.number = $1`,
    [trail],
  )
  return rows[0] as ScrubbedTrail | undefined
}

/** The rows up to the end of a tile; where none of them is there any more, the next ones tell that. */
async function readTileRows(
  session: Queryable,
  { number, size }: ScrubbedTrail,
  from: number,
  most: number,
): Promise<ScrubRow[]> {
  const end = from - (from % TILE_WIDTH) + TILE_WIDTH
  const rows = await readRows(session, number, from, Math.min(end, size))
  return rows.length > 0 || end >= size ? rows : readRows(session, number, from, Math.min(from + most, size))
}

async function readRows(session: Queryable, trail: number, from: number, to: number): Promise<ScrubRow[]> {
  const { rows } = await session.query<ScrubRow>(
    `select e.* from (
        select seq, position, sealed_at, occurred_at, actor::text, facts_salt, tenant, action, day, shard,
          category, outcome, flags, facts_commitment, hash, facts, personal, confidential, operator, control, terms,
          sum(coalesce(octet_length(facts), 0) + coalesce(octet_length(confidential), 0) + coalesce(octet_length(operator), 0))
            over (order by seq rows between unbounded preceding and 1 preceding) as before
        from affidavit.events where trail = $1 and seq >= $2 and seq < $3) e
      where coalesce(e.before, 0) <= $4 order by e.seq`,
    [trail, from, to, page_bytes],
  )
  return rows
}

async function readSubjects(
  session: Queryable,
  tenant: number,
  numbers: readonly number[],
): Promise<Map<number, StoredSubject>> {
  const { rows } = await session.query<{ number: number } & StoredSubject>(
    `select number, replace(key_id::text, '-', '') as "keyId", replace(token::text, '-', '') as token, id_token::text as "idToken",
        erased_at is not null as erased
      from affidavit.subjects where tenant = $1 and number = any ($2::bigint[])`,
    [tenant, numbers],
  )
  return new Map(rows.map((row) => [row.number, row]))
}

async function readTokens(
  session: Queryable,
  tenant: number,
  personas: readonly number[],
): Promise<Map<number, Set<string>>> {
  const { rows } = await session.query<{ persona: number; tokens: string[] }>(
    `select persona, array_agg(token::text) as tokens from affidavit.persona_tokens
      where tenant = $1 and persona = any ($2::bigint[]) group by persona`,
    [tenant, personas],
  )
  return new Map(rows.map(({ persona, tokens }) => [persona, new Set(tokens)]))
}

async function readActions(
  session: Queryable,
  numbers: readonly number[],
): Promise<Map<number, { tenant: number; action: string }>> {
  const { rows } = await session.query<{ number: number; tenant: number; action: string }>(
    'select number, tenant, action from affidavit.actions where number = any ($1::int[])',
    [numbers],
  )
  return new Map(rows.map((row) => [row.number, row]))
}

async function readDays(session: Queryable, trail: number, days: readonly string[]): Promise<Map<string, StoredDay>> {
  const { rows } = await session.query<{ day: string } & StoredDay>(
    `select day, first_seq as first, last_seq as last, occurred_from as from, occurred_to as to
      from affidavit.days where trail = $1 and day = any ($2::date[])`,
    [trail, days],
  )
  return new Map(rows.map((row) => [row.day, row]))
}

/** The level-0 tiles that end within the page, and those above that hold their roots. */
async function readTiles(session: Queryable, trail: number, from: number, to: number): Promise<StoredTile[]> {
  const levels: number[] = []
  const lows: number[] = []
  const highs: number[] = []
  for (let level = 0, width = 256; width <= to * 256; level++, width *= 256) {
    levels.push(level)
    lows.push(Math.floor(from / width))
    highs.push(Math.floor(to / width))
  }
  const { rows } = await session.query<{ [K in keyof StoredTile]: StoredTile[K] }>(
    `select t.level, t.index, t.hashes from unnest($2::smallint[], $3::bigint[], $4::bigint[]) as u (level, low, high)
      join affidavit.tiles t on t.trail = $1 and t.level = u.level and t.index >= u.low and t.index <= u.high`,
    [trail, levels, lows, highs],
  )
  return rows
}

async function readIds(
  session: Queryable,
  tenant: Tenant<TenantKeys>,
  trail: number,
  rows: readonly ScrubRow[],
): Promise<Pick<Page, 'ids' | 'weeks'>> {
  const tokens = rows.flatMap((row) => idOf(row, tenant) ?? [])
  const [found, weeks] = [
    await session.query<{ id: string; seq: number }>(
      `select replace(id::text, '-', '') as id, seq from affidavit.event_ids
        where id = any ($1::uuid[]) and trail = $2`,
      [tokens, trail],
    ),
    await session.query<{ week: string }>(
      `select to_char(to_date(substr(c.relname, 11), 'YYYYMMDD'), 'YYYY-MM-DD') as week
        from pg_inherits i join pg_class c on c.oid = i.inhrelid where i.inhparent = 'affidavit.event_ids'::regclass`,
    ),
  ]
  const ids = new Map<string, Set<number>>()
  for (const { id, seq } of found.rows) ids.set(id, (ids.get(id) ?? new Set()).add(seq))
  return { ids, weeks: new Set(weeks.rows.map(({ week }) => week)) }
}

/** The token by which an event is found through its id, hex; undefined where its facts are gone. */
export function idOf(row: ScrubRow, tenant: Tenant<TenantKeys>): string | undefined {
  if (row.facts === null || row.control !== null) return undefined
  const { id } = parsed(row.facts) ?? {}
  return typeof id === 'string' ? tenant.keys.idHex(id) : undefined
}

/** Facts as an object; undefined where they are none (their commitment tells). */
export function parsed(facts: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(facts)
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined
  } catch {
    return undefined
  }
}
