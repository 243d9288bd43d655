// The baseline of ingest: the same client library inserting the same rows, with the same indexes, straight into the same
// PostgreSQL, without hashing, chaining, people, HTTP or anything else of ours. Rows are copied from what the server
// sealed in this run and are encoded before the clock starts; each commit carries 1,000 of them.

import { RowsParameter } from '@affidavit/server/store/binary.ts'
import { rowType } from '@affidavit/server/store/row-type.ts'
import pg from 'pg'
import type { BenchServer } from './server.ts'

const rowsPerCommit = 1_000

interface Table {
  readonly name: string
  readonly ids: string
}

/** @returns rows per second for each number of connections, in order */
export async function insertRates(
  server: BenchServer,
  connections: readonly number[],
  commits: number,
): Promise<number[]> {
  const admin = new pg.Client(server.login)
  await admin.connect()
  const rates: number[] = []
  for (const count of connections) {
    const table = await makeTable(admin, count)
    const batches = await encodeBatches(admin, commits)
    rates.push(await insertAll(server, table, count, batches))
    await admin.query(`drop table affidavit.${table.name}, affidavit.${table.ids}`)
  }
  await admin.end()
  return rates
}

/** Today's partition again: same columns, same indexes, same trigger-free insert. */
async function makeTable(admin: pg.Client, count: number): Promise<Table> {
  const today = new Date().toISOString().slice(0, 10).replaceAll('-', '')
  const table = { name: `baseline_${count}`, ids: `baseline_ids_${count}` }
  const { rows } = await admin.query<{ week: string }>(
    `select to_char(date_trunc('week', now() at time zone 'UTC'), 'YYYYMMDD') as week`,
  )
  await admin.query(`create table affidavit.${table.name} (like affidavit.events_${today} including all)`)
  await admin.query(`create table affidavit.${table.ids} (like affidavit.event_ids_${rows[0]!.week} including all)`)
  return table
}

async function encodeBatches(admin: pg.Client, commits: number): Promise<Buffer[]> {
  const sealed = await admin.query({
    text: `select e.*, i.id as id_token, int8send(i.body) as body_token from affidavit.events e
       join affidavit.event_ids i on i.trail = e.trail and i.seq = e.seq and i.day = e.day
       where e.control is null order by e.day desc, e.shard, e.position limit $1`,
    values: [20_000],
  })
  const rows = new RowsParameter(await rowType(admin, 'affidavit.sealed_row'))
  const uuid = (text: string) => Buffer.from(text.replaceAll('-', ''), 'hex')
  const batches: Buffer[] = []
  let n = 0
  for (let commit = 0; commit < commits; commit++) {
    rows.reset()
    for (let i = 0; i < rowsPerCommit; i++, n++) {
      const row = sealed.rows[n % sealed.rows.length]
      // Places and ids must differ from round to round, as they do in life.
      const round = Math.floor(n / sealed.rows.length)
      const id = uuid(row.id_token)
      id.writeUInt32BE((id.readUInt32BE(0) + round * 2_654_435_761) >>> 0, 0)
      rows.row()
      rows.int8(Number(row.seq) + round * 10_000_000)
      rows.bytea(row.hash)
      rows.int8(Number(row.position) + round * 10_000_000)
      rows.uuid(row.facts_salt === null ? null : uuid(row.facts_salt))
      rows.uuid(id)
      rows.int8Latin1((row.body_token as Buffer).toString('latin1'))
      rows.timestamptz(row.occurred_at.getTime())
      rows.int8(row.actor === null ? null : Number(row.actor))
      rows.int4(row.trail)
      rows.int4(row.tenant)
      rows.int4(row.action)
      rows.int2(row.shard)
      rows.int2(row.category)
      rows.int2(row.outcome)
      rows.int2(row.flags)
      rows.bytea(row.facts_commitment)
      rows.text(row.facts)
      rows.bytea(row.personal)
      rows.bytea(row.confidential)
      rows.bytea(row.operator)
      rows.text(row.control)
      rows.int4Array(Int32Array.from(row.terms as number[]), row.terms.length)
    }
    batches.push(Buffer.from(rows.finish()))
  }
  return batches
}

async function insertAll(
  server: BenchServer,
  table: Table,
  connections: number,
  batches: readonly Buffer[],
): Promise<number> {
  const clients = await Promise.all(
    Array.from({ length: connections }, async () => {
      const client = new pg.Client(server.login)
      await client.connect()
      return client
    }),
  )
  const text = `with r as materialized (select * from unnest($1::affidavit.sealed_row[])),
      i as (insert into affidavit.${table.ids} (id, body, seq, trail, day)
        select id, body, seq, trail, current_date from r)
    insert into affidavit.${table.name} (seq, position, sealed_at, occurred_at, actor, facts_salt, trail, tenant, action, day, shard,
      category, outcome, flags, facts_commitment, hash, facts, personal, confidential, operator, control, terms)
    select seq, position, now(), occurred_at, actor, facts_salt, trail, tenant, action, current_date, shard, category,
      outcome, flags, facts_commitment, hash, facts, personal, confidential, operator, control, terms from r`
  let next = 0
  const start = performance.now()
  await Promise.all(
    clients.map(async (client) => {
      for (let n = next++; n < batches.length; n = next++) {
        await client.query({ name: 'insert', text, values: [batches[n]] })
      }
    }),
  )
  const seconds = (performance.now() - start) / 1000
  await Promise.all(clients.map((client) => client.end()))
  return (batches.length * rowsPerCommit) / seconds
}
