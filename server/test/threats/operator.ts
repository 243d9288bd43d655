// The hostile operator: a database superuser with every trigger off, who has all private keys, the key folder and the
// server's own code, and so can make anything anew that is derived from what was changed.
import { join } from 'node:path'
import {
  CompactRange,
  decodeRegistryEntry,
  encodeEntry,
  encodeRegistryEntry,
  formatCheckpoint,
  leafHash,
  NO_PREVIOUS,
  signNote,
  TILE_WIDTH,
  treeRoot,
} from '@affidavit/trail'
import type pg from 'pg'
import { openRegistrySecret } from '../../src/keys/registry-key.ts'
import { LogEdge } from '../../src/registry/log.ts'
import { SlotBlinds } from '../../src/registry/slots.ts'
import { type EntryColumns, entryOfRow, sealedPart } from '../../src/store/event-row.ts'
import { sha256 } from '../../src/store/sha256.ts'
import { keysOf, type Stopped, TENANT } from './deployment.ts'

/** Does something with every right there is; the server may run meanwhile. */
export function attack(
  stopped: Pick<Stopped, 'database'>,
  work: (superuser: pg.Client, trail: number) => Promise<unknown>,
): Promise<void> {
  return stopped.database.as(async (superuser) => {
    await superuser.query('set session_replication_role = replica')
    const { rows } = await superuser.query<{ number: number }>(
      `select t.number from affidavit.trails t join affidavit.tenants o on o.number = t.tenant
         where o.id = $1 order by t.ordinal desc limit 1`,
      [TENANT],
    )
    await work(superuser, rows[0]!.number)
  })
}

const renumber = (trail: number, from: number, by: number) =>
  `update affidavit.events set seq = -1 - seq where trail = ${trail} and seq >= ${from};
   update affidavit.events set seq = -1 - seq + ${by} where trail = ${trail} and seq < 0;
   update affidavit.heads set size = size + ${by} where trail = ${trail};`

/** What can be done to entries; nothing that is derived from them is touched. */
export const changes = {
  edit: (trail: number, seq: number) =>
    `update affidavit.events set facts = replace(facts, 'doc_', 'dog_') where trail = ${trail} and seq = ${seq}`,
  remove: (trail: number, seq: number) =>
    `delete from affidavit.events where trail = ${trail} and seq = ${seq}; ${renumber(trail, seq + 1, -1)}`,
  reorder: (trail: number, seq: number) =>
    `update affidavit.events set seq = -seq where trail = ${trail} and seq in (${seq}, ${seq + 1});
     update affidavit.events set seq = ${2 * seq + 1} + seq where trail = ${trail} and seq < 0`,
  insert: (trail: number, seq: number) =>
    `${renumber(trail, seq, 1)}
     insert into affidavit.events select (jsonb_populate_record(e, '{"seq": ${seq}, "position": 1000000}')).*
       from affidavit.events e where trail = ${trail} and seq = ${seq - 1}`,
}

interface Row extends EntryColumns {
  readonly operator: Buffer | null
  readonly facts: string | null
  readonly facts_salt: string | null
}

/** Chains, tiles and signs the trail anew from its rows, with the log's real key. */
export async function signTrailAnew(stopped: Stopped): Promise<void> {
  const { logKey, logName } = await keysOf(stopped.database, stopped.folder)
  await attack(stopped, async (superuser, trail) => {
    const id = await idOf(superuser, trail)
    const leaves = await chainAnew(superuser, trail, id)
    await tileAnew(superuser, trail, leaves)
    const range = new CompactRange(sha256)
    for (const leaf of leaves) range.append(leaf)
    const origin = `${logName}/${id}`
    const note = await signNote(formatCheckpoint(origin, leaves.length, range.root()), [logKey.signer(origin)])
    await superuser.query(
      'update affidavit.notarized set size = $2, root = $3, range = $4, note = $5 where trail = $1',
      [trail, leaves.length, range.root(), range.toBytes(), note],
    )
    await superuser.query('update affidavit.heads set size = $2, hash = $3 where trail = $1', [
      trail,
      leaves.length,
      leaves.at(-1),
    ])
    await superuser.query('delete from affidavit.days where trail = $1', [trail])
    await superuser.query(
      `insert into affidavit.days (trail, tenant, day, first_seq, last_seq, occurred_from, occurred_to, events)
         select trail, tenant, day, min(seq), max(seq), min(occurred_at), max(occurred_at), count(*)
           from affidavit.events where trail = $1 group by trail, tenant, day`,
      [trail],
    )
  })
}

async function idOf(superuser: pg.Client, trail: number): Promise<string> {
  const { rows } = await superuser.query<{ id: string }>(
    `select replace(id::text, '-', '') as id from affidavit.trails where number = $1`,
    [trail],
  )
  return rows[0]!.id
}

/** @returns all leaf hashes; commitments of facts are made anew, too */
async function chainAnew(superuser: pg.Client, trail: number, id: string): Promise<Buffer[]> {
  await superuser.query(
    `update affidavit.events set facts_commitment =
         sha256(E'affidavit/1 facts\\n'::bytea || decode(replace(facts_salt::text, '-', ''), 'hex') || convert_to(facts, 'UTF8'))
       where trail = $1 and control is null and facts is not null`,
    [trail],
  )
  const { rows } = await superuser.query<Row & pg.QueryResultRow>(
    `select seq, sealed_at, category, facts_commitment, personal, confidential, operator, control
       from affidavit.events where trail = $1 order by seq`,
    [trail],
  )
  const keyIds = await keyIdsOf(superuser)
  const leaves: Buffer[] = []
  for (const row of rows) {
    const previous = leaves.at(-1)?.toString('base64') ?? NO_PREVIOUS
    const operator = row.operator === null ? undefined : sealedPart(row.operator).commitment.toString('base64')
    const entry = entryOfRow(id, row, previous, keyIds, operator)
    leaves.push(Buffer.from(leafHash(sha256, Buffer.from(encodeEntry(entry), 'latin1'))))
  }
  await superuser.query(
    `update affidavit.events e set hash = n.hash from unnest($2::bigint[], $3::bytea[]) as n (seq, hash)
       where e.trail = $1 and e.seq = n.seq`,
    [trail, rows.map(({ seq }) => seq), leaves],
  )
  return leaves
}

async function keyIdsOf(superuser: pg.Client): Promise<Map<number, string>> {
  const { rows } = await superuser.query<{ number: number; key_id: string }>(
    'select number, key_id from affidavit.subjects',
  )
  return new Map(rows.map((row) => [row.number, row.key_id.replaceAll('-', '')]))
}

/** Full tiles only: what is partial is answered from the hashes of the events. */
async function tileAnew(superuser: pg.Client, trail: number, leaves: readonly Uint8Array[]): Promise<void> {
  const tiles = Array.from({ length: Math.floor(leaves.length / TILE_WIDTH) }, (_, n) =>
    leaves.slice(n * TILE_WIDTH, (n + 1) * TILE_WIDTH),
  )
  await superuser.query('delete from affidavit.tiles where trail = $1', [trail])
  const insert = (level: number, index: number, hashes: readonly Uint8Array[]) =>
    superuser.query('insert into affidavit.tiles (trail, level, index, hashes) values ($1, $2, $3, $4)', [
      trail,
      level,
      index,
      Buffer.concat(hashes),
    ])
  for (const [index, hashes] of tiles.entries()) await insert(0, index, hashes)
  if (tiles.length > 0)
    await insert(
      1,
      0,
      tiles.map((hashes) => treeRoot(sha256, hashes)),
    )
}

/**
 * Writes the whole registry anew, as if the trail had always been what it is now: every slot tree, every entry, every
 * tile and every checkpoint, with the real secret and the real key. The witnesses' cosignatures are of no use any more.
 */
export async function signRegistryAnew(stopped: Stopped): Promise<void> {
  const { provider, logKey, logName } = await keysOf(stopped.database, stopped.folder)
  const secret = await openRegistrySecret(join(stopped.folder, 'keys'), provider, false)
  await attack(stopped, async (superuser, trail) => {
    await bodiesAnew(superuser, trail)
    const blinds = new SlotBlinds(secret)
    const { rows: entries } = await superuser.query<{ index: number; kind: string; entry: string }>(
      'select index, kind, entry from affidavit.registry_entries order by index',
    )
    const { rows: heads } = await superuser.query<Head>(
      `select slot, epoch, size, root, replace(trail_id::text, '-', '') as trail
         from affidavit.slot_bodies order by epoch`,
    )
    const { rows: registry } = await superuser.query<{ origin: string }>('select origin from affidavit.registry')
    const { origin } = registry[0]!
    const bodies = new Map<number, Uint8Array>()
    const edge = new LogEdge(0, [])
    for (const { index, entry: text } of entries) {
      const entry = decodeRegistryEntry(text)
      if (entry.kind !== 'epoch') throw new Error('only epochs are expected in this registry')
      for (const { slot, epoch, size, root, trail: id } of heads)
        if (epoch === entry.epoch) bodies.set(slot, Buffer.from(formatCheckpoint(`${logName}/${id}`, size, root)))
      const { root: slots, crown } = await blinds.tree(entry.epoch, entry.depth, bodies)
      const forged = encodeRegistryEntry({ ...entry, slots })
      const hash = leafHash(sha256, Buffer.from(forged))
      edge.append(hash)
      const note = await signNote(formatCheckpoint(origin, edge.size, edge.root()), [logKey.signer(origin)])
      const { epoch } = entry
      await writeEpoch(superuser, {
        index,
        epoch,
        slots,
        crown,
        forged,
        hash,
        size: edge.size,
        root: edge.root(),
        note,
      })
    }
    for (const { level, index, hashes } of edge.changed)
      await superuser.query('update affidavit.registry_tiles set hashes = $3 where level = $1 and index = $2', [
        level,
        index,
        hashes,
      ])
    await superuser.query('delete from affidavit.registry_cosignatures')
  })
}

interface ForgedEpoch {
  readonly index: number
  readonly epoch: number
  readonly slots: Uint8Array
  readonly crown: Uint8Array
  /** Its entry in the log. */
  readonly forged: string
  readonly hash: Uint8Array
  /** Of the log. */
  readonly size: number
  readonly root: Uint8Array
  readonly note: string
}

async function writeEpoch(superuser: pg.Client, made: ForgedEpoch): Promise<void> {
  const { index, epoch, slots, crown, forged, hash, size, root, note } = made
  await superuser.query('update affidavit.registry_entries set entry = $2, hash = $3 where index = $1', [
    index,
    forged,
    hash,
  ])
  await superuser.query('update affidavit.registry_epochs set root = $2, crown = $3 where number = $1', [
    epoch,
    slots,
    crown,
  ])
  await superuser.query('update affidavit.registry_notes set root = $2, note = $3, quorum_at = null where size = $1', [
    size,
    root,
    note,
  ])
}

interface Head {
  readonly slot: number
  readonly epoch: number
  readonly size: number
  readonly root: Buffer
  readonly trail: string
}

/** What the epochs hold of the trail, from its hashes as they are now. */
async function bodiesAnew(superuser: pg.Client, trail: number): Promise<void> {
  const { rows } = await superuser.query<{ hash: Buffer }>(
    'select hash from affidavit.events where trail = $1 order by seq',
    [trail],
  )
  const leaves = rows.map(({ hash }) => hash)
  const { rows: bodies } = await superuser.query<{ slot: number; epoch: number; size: number }>(
    `select b.slot, b.epoch, b.size from affidavit.slot_bodies b join affidavit.slots s using (slot) where s.trail = $1`,
    [trail],
  )
  for (const { slot, epoch, size } of bodies) {
    const now = Math.min(size, leaves.length)
    await superuser.query('update affidavit.slot_bodies set size = $3, root = $4 where slot = $1 and epoch = $2', [
      slot,
      epoch,
      now,
      treeRoot(sha256, leaves.slice(0, now)),
    ])
  }
  await superuser.query('update affidavit.slots set size = least(size, $2) where trail = $1', [trail, leaves.length])
}
