// A hundred thousand tenants at once: made as the server makes them, keys included, but in a few statements.
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { openKeyFolder } from '@affidavit/server/keys/key-folder.ts'
import { KeyChest } from '@affidavit/server/keys/tenant-keys.ts'
import { depthFor } from '@affidavit/trail'
import pg from 'pg'
import { random } from './events.ts'
import type { BenchServer } from './server.ts'

const piece = 10_000
const shards = 16

/** Tenants `tenant_0` … `tenant_<count − 1>`, each with a slot, and no entry yet. The server may be running. */
export async function makeTenants({ login, dataDir }: BenchServer, count: number): Promise<void> {
  const provider = await openKeyFolder({ folder: join(dataDir, 'keys'), mayCreateRoot: false })
  const chest = new KeyChest(provider)
  const client = new pg.Client(login)
  await client.connect()
  const { rows } = await client.query<{ slot: number }>('select slot from affidavit.slots')
  const slots = draw(count, 2 ** depthFor(count + rows.length), new Set(rows.map(({ slot }) => slot)))
  for (let from = 0; from < count; from += piece) {
    const made = []
    for (let n = from; n < Math.min(count, from + piece); n++) {
      const trail = randomBytes(16)
      trail.writeUInt32BE(slots[n]!)
      made.push({ n, trail: trail.toString('hex'), slot: slots[n]!, ...(await chest.make(trail.toString('hex'))) })
    }
    await client.query(
      `with given as (select * from unnest($1::text[], $2::uuid[], $3::int[], $4::bytea[], $5::bytea[]) as u (id, trail, slot, data, index)),
        tenant as (insert into affidavit.tenants (id) select id from given returning number, id),
        trail as (insert into affidavit.trails (id, tenant, shard)
          select g.trail, t.number, g.slot % ${shards} from given g join tenant t using (id) returning number, tenant),
        head as (insert into affidavit.heads (trail) select number from trail),
        slot as (insert into affidavit.slots (slot, tenant, trail)
          select g.slot, t.number, r.number from given g join tenant t using (id) join trail r on r.tenant = t.number)
      insert into keeper.tenant_keys (tenant, kind, generation, wrapped)
        select t.number, k.kind, 0, k.wrapped from given g join tenant t using (id),
          lateral (values ('data', g.data), ('index', g.index)) as k (kind, wrapped)`,
      [
        made.map(({ n }) => `tenant_${n}`),
        made.map(({ trail }) => trail),
        made.map(({ slot }) => slot),
        made.map(({ data }) => data),
        made.map(({ index }) => index),
      ],
    )
  }
  await client.query(
    'update affidavit.slot_space set used = used + $1, depth = greatest(depth, affidavit.slot_depth(used + $1))',
    [count],
  )
  await client.query(
    'analyze affidavit.tenants, affidavit.trails, affidavit.heads, affidavit.slots, keeper.tenant_keys',
  )
  await client.end()
}

function draw(count: number, space: number, taken: Set<number>): number[] {
  const next = random(5)
  const slots: number[] = []
  while (slots.length < count) {
    const slot = Math.floor(next() * space)
    if (taken.has(slot)) continue
    taken.add(slot)
    slots.push(slot)
  }
  return slots
}
