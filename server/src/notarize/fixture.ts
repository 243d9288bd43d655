// What the notary's tests need: trails, sealed rows with random leaf hashes, and an examination of everything the notary
// stored against trees rebuilt from the hash column by the trail package.
import { createPrivateKey } from 'node:crypto'
import {
  CompactRange,
  parseCheckpoint,
  parseVkey,
  TILE_WIDTH,
  treeRoot,
  verifyEd25519,
  verifyNote,
} from '@affidavit/trail'
import type pg from 'pg'
import { type LogKey, logKey, trailName } from '../keys/log-key.ts'
import { sha256 } from '../store/sha256.ts'

export const testLogName = 'log.example/audit'
/** The Ed25519 key of RFC 8032 §7.1 test 1. */
export const testLogKeyPem = `-----BEGIN PRIVATE KEY-----
${Buffer.from(
  '302e020100300506032b6570042204209d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60',
  'hex',
).toString('base64')}
-----END PRIVATE KEY-----
`
export const testLogKey: LogKey = logKey(createPrivateKey(testLogKeyPem))

/** @returns trail numbers; trail i lies in shard i modulo `shards` */
export async function makeTrails(superuser: pg.Client, count: number, shards: number): Promise<number[]> {
  const { rows } = await superuser.query<{ number: number }>(
    `with made as (insert into affidavit.tenants (id) select 'tenant-' || gen_random_uuid() from generate_series(1, $1) returning number),
      trail as (insert into affidavit.trails (id, tenant, shard)
        select gen_random_uuid(), number, (row_number() over (order by number) - 1) % $2 from made returning number),
      head as (insert into affidavit.heads (trail) select number from trail)
    select number from trail order by number`,
    [count, shards],
  )
  await superuser.query(`select affidavit.create_partitions((clock_timestamp() at time zone 'UTC')::date - 3, 5)`)
  return rows.map(({ number }) => number)
}

/** Seals one event per number given, in this order, in one transaction per shard. */
export async function seal(client: pg.Client, trails: readonly number[], options: { daysAgo?: number } = {}) {
  const { rows } = await client.query<{ shard: number }>(
    'select distinct shard from affidavit.trails where number = any($1::int[]) order by shard',
    [trails],
  )
  for (const { shard } of rows) {
    await client.query('begin')
    await client.query('select from affidavit.shards where shard = $1 for update', [shard])
    await client.query(
      `with picked as (
        select t.number as trail, t.tenant, u.n,
            h.size + row_number() over (partition by t.number order by u.n) - 1 as seq,
            s.position + row_number() over (order by u.n) - 1 as position,
            clock_timestamp() - make_interval(days => $3) as at
          from unnest($1::int[]) with ordinality as u (trail, n) join affidavit.trails t on t.number = u.trail
            join affidavit.heads h on h.trail = t.number join affidavit.shards s on s.shard = t.shard
          where t.shard = $2),
      stored as (insert into affidavit.events (seq, position, sealed_at, occurred_at, trail, tenant, day, shard, category,
          outcome, flags, facts_commitment, hash, facts)
        select seq, position, at, at - random() * interval '2 days', trail, tenant, (at at time zone 'UTC')::date, $2, 1, 0, 0,
          sha256('facts'), sha256(uuid_send(gen_random_uuid())), repeat('x', 400) from picked),
      headed as (update affidavit.heads h set size = p.size, hash = sha256('')
        from (select trail, max(seq) + 1 as size from picked group by trail) p where h.trail = p.trail)
      update affidavit.shards set position = position + (select count(*) from picked), sealed_at = (select max(at) from picked)
        where shard = $2`,
      [trails, shard, options.daysAgo ?? 0],
    )
    await client.query('commit')
  }
}

export interface Examined {
  readonly trail: number
  readonly size: number
  readonly sealed: number
}

/** @throws Error that names the first thing which differs from what the leaf hashes say */
export async function examine(client: pg.Client): Promise<Examined[]> {
  // One statement, one snapshot: notaries may be at work.
  const { rows } = await client.query<{
    trail: number
    id: string
    size: number
    root: Buffer
    range: Buffer
    note: string
    tiles: Record<string, string>
    hashes: Buffer
  }>(
    `select n.trail, replace(t.id::text, '-', '') as id, n.size, n.root, n.range, n.note,
      (select coalesce(jsonb_object_agg(level || '/' || index, encode(hashes, 'hex')), '{}') from affidavit.tiles i
        where i.trail = n.trail) as tiles,
      (select string_agg(hash, ''::bytea order by seq) from affidavit.events e where e.trail = n.trail) as hashes
    from affidavit.notarized n join affidavit.trails t on t.number = n.trail order by n.trail`,
  )
  const examined: Examined[] = []
  for (const row of rows) {
    const leaves = Array.from({ length: row.size }, (_, n) => row.hashes.subarray(n * 32, n * 32 + 32))
    same(row.trail, 'root', row.root, treeRoot(sha256, leaves))
    const range = new CompactRange(sha256)
    for (const leaf of leaves) range.append(leaf)
    same(row.trail, 'range', row.range, range.toBytes())
    const expected = tilesOf(leaves)
    for (const [name, tile] of expected)
      same(row.trail, `tile ${name}`, Buffer.from(row.tiles[name] ?? '', 'hex'), tile)
    if (Object.keys(row.tiles).length !== expected.size) throw new Error(`trail ${row.trail} has tiles beyond its size`)
    await checkNote(row)
    examined.push({ trail: row.trail, size: row.size, sealed: row.hashes.length / 32 })
  }
  await examineDays(client)
  return examined
}

function same(trail: number, what: string, stored: Uint8Array, computed: Uint8Array): void {
  if (!Buffer.from(stored).equals(computed)) throw new Error(`${what} of trail ${trail} differs`)
}

/** Full tiles of level 0, all hashes of the levels above. */
function tilesOf(leaves: readonly Uint8Array[]): Map<string, Buffer> {
  const tiles = new Map<string, Buffer>()
  let level = 0
  for (let hashes = leaves; hashes.length >= TILE_WIDTH || (level > 0 && hashes.length > 0); level++) {
    const above: Uint8Array[] = []
    for (let at = 0; at < hashes.length; at += TILE_WIDTH) {
      const tile = hashes.slice(at, at + TILE_WIDTH)
      if (level > 0 || tile.length === TILE_WIDTH) tiles.set(`${level}/${at / TILE_WIDTH}`, Buffer.concat(tile))
      if (tile.length === TILE_WIDTH) above.push(treeRoot(sha256, tile))
    }
    hashes = above
  }
  return tiles
}

async function checkNote(row: { trail: number; id: string; size: number; root: Buffer; note: string }): Promise<void> {
  const name = trailName(testLogName, row.id)
  const { text, verified } = await verifyNote(verifyEd25519, row.note, [parseVkey(sha256, testLogKey.vkey(name))])
  const checkpoint = parseCheckpoint(text)
  if (verified.length !== 1 || checkpoint.origin !== name || checkpoint.size !== row.size)
    throw new Error(`the checkpoint of trail ${row.trail} is not its own`)
  same(row.trail, 'checkpoint', checkpoint.root, row.root)
}

async function examineDays(client: pg.Client): Promise<void> {
  const { rows } = await client.query(
    `with computed as (
      select e.trail, e.tenant, e.day, min(seq), max(seq), min(occurred_at), max(occurred_at), count(*)
        from affidavit.events e join affidavit.notarized n on n.trail = e.trail and e.seq < n.size
        group by e.trail, e.tenant, e.day)
    (table computed except table affidavit.days) union all (table affidavit.days except table computed)`,
  )
  if (rows.length > 0) throw new Error(`days differ: ${JSON.stringify(rows[0])}`)
}
