// What each role of the database cannot do, tried: by grants, by row-level security, by triggers on every partition. A
// superuser passes all of this (tamper.test.ts); it keeps a fault in our own code from reaching further than it should.
import type { QueryResultRow } from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Role } from '../src/store/database.ts'
import { freshDatabase, type TestDatabase } from './database.ts'
import { type ServerProcess, startProcess } from './server-process.ts'

let database: TestDatabase
let server: ServerProcess
let partition: string
let numbers: Map<string, number>

const roles: Role[] = [
  'owner',
  'ingest',
  'sealer',
  'notary',
  'follower',
  'scrub',
  'reader',
  'operator_reader',
  'keeper',
  'retention',
]
const denied = /permission denied/

beforeAll(async () => {
  database = await freshDatabase()
  server = await startProcess({ databaseUrl: database.url })
  const events = ['acme', 'globex'].flatMap((tenant) =>
    Array.from({ length: 5 }, (_, n) => ({
      tenant,
      action: 'user.login',
      actor: { type: 'user', id: `u${n}`, name: `Person ${n}` },
      context: { session_id: 'secret', ip: '10.0.0.1' },
    })),
  )
  const response = await fetch(`${server.url}/v1/events/batch`, {
    method: 'POST',
    headers: { authorization: `Bearer ${server.operatorKey}`, 'content-type': 'application/json' },
    body: JSON.stringify(events),
  })
  expect(await response.json()).toMatchObject({ accepted: 10 })
  const tenants = await database.superuser.query('select id, number from affidavit.tenants')
  numbers = new Map(tenants.rows.map(({ id, number }) => [id, number]))
  const found = await database.superuser.query('select tableoid::regclass::text as name from affidavit.events limit 1')
  partition = found.rows[0].name
  expect(await server.stop()).toBe(0)
})

afterAll(async () => {
  await server.remove()
  await database.drop()
})

const as = <Row extends QueryResultRow>(role: Role, sql: string) => database.store.pool(role).query<Row>(sql)
const asReader = async (role: Role, tenant: number, sql: string) =>
  (await database.store.pool(role).asTenant(tenant, (session) => session.query(sql))).rows

describe('sealed events', () => {
  const changes = (table: string) => [
    `update ${table} set facts = 'x'`,
    `update ${table} set hash = sha256(hash)`,
    `delete from ${table}`,
    `truncate ${table}`,
  ]

  const others = roles.filter((role) => role !== 'owner')

  test.each(others)('role %s changes none of them, neither in the table nor in a partition', async (role) => {
    for (const sql of [...changes('affidavit.events'), ...changes(partition)])
      await expect(as(role, sql), sql).rejects.toThrow(denied)
  })

  test('not even their owner changes them unannounced', async () => {
    for (const sql of changes('affidavit.events'))
      await expect(as('owner', sql), sql).rejects.toThrow(/cannot be changed/)
    await expect(as('owner', `truncate ${partition}`)).rejects.toThrow(/cannot be changed/)
    // Row-level security is forced, and a partition has no policy: in itself it shows no row to change.
    for (const sql of changes(partition).slice(0, 3)) expect((await as('owner', sql)).rowCount, sql).toBe(0)
  })

  test.each(others)('role %s can neither drop nor switch off what protects them', async (role) => {
    for (const sql of [
      `alter table ${partition} disable trigger all`,
      `drop trigger refuse_change on ${partition}`,
      `alter table affidavit.events detach partition ${partition}`,
      `drop table ${partition}`,
      `alter table ${partition} disable row level security`,
      `create policy all_rows on ${partition} using (true)`,
    ])
      await expect(as(role, sql), sql).rejects.toThrow(/must be owner|permission denied/)
  })

  test('the mark that guarded functions set opens nothing to anyone but their owner', async () => {
    for (const role of others)
      await expect(
        database.store.pool(role).transaction(async (session) => {
          await session.query(`select set_config('affidavit.guarded', 'removal', true)`)
          await session.query(`update ${partition} set facts = null`)
        }),
        role,
      ).rejects.toThrow(denied)
  })

  test('every partition has both triggers and forced row-level security', async () => {
    const { rows } = await database.superuser.query(`
      select c.relname, c.relrowsecurity and c.relforcerowsecurity as secure,
        (select count(*) from pg_trigger t where t.tgrelid = c.oid and t.tgname in ('refuse_change', 'refuse_truncate')
           and t.tgenabled = 'O') as triggers
      from pg_inherits i join pg_class c on c.oid = i.inhrelid where i.inhparent = 'affidavit.events'::regclass`)
    expect(rows.length).toBeGreaterThan(10)
    expect(rows.filter(({ secure, triggers }) => !secure || triggers !== 2)).toEqual([])
  })
})

describe('the sealer', () => {
  test.each(['facts', 'hash', 'personal', 'terms', 'seq'])('reads no %s of events', async (column) => {
    await expect(as('sealer', `select ${column} from affidavit.events`)).rejects.toThrow(denied)
  })

  test('moves heads and shards through its functions only', async () => {
    for (const sql of [
      `update affidavit.heads set size = 0`,
      `update affidavit.shards set position = 0`,
      `update affidavit.event_ids set seq = 0`,
      `delete from affidavit.event_ids`,
      `select content from affidavit.personas`,
      `select * from keeper.subject_keys`,
    ])
      await expect(as('sealer', sql), sql).rejects.toThrow(denied)
  })

  test('cannot put an event where the chain does not stand', async () => {
    const { rows } = await database.superuser.query(`select s.*, h.trail, h.size from affidavit.heads h
      join affidavit.trails t on t.number = h.trail join affidavit.shards s on s.shard = t.shard where h.size > 0 limit 1`)
    const { shard, fence, key_epoch, position, trail, size } = rows[0]
    const advance = (position: number, before: number, fenced = fence) =>
      `select affidavit.advance(array[${shard}]::smallint[], array[${position}]::bigint[], array[1],
         array[${fenced}]::bigint[], array[${key_epoch}]::bigint[], clock_timestamp(),
         array[${trail}], array[${before}]::bigint[], array[${before + 1}]::bigint[], array[sha256('x')])`
    await expect(as('sealer', advance(position - 1, size))).rejects.toMatchObject({ code: 'AF001' })
    await expect(as('sealer', advance(position, size - 1))).rejects.toMatchObject({ code: 'AF001' })
    await expect(as('sealer', advance(position, size, fence + 1))).rejects.toMatchObject({ code: 'AF001' })
  })
})

describe.each<Role>(['reader', 'operator_reader'])('role %s', (role) => {
  const tables = [
    'events',
    'event_ids',
    'subjects',
    'personas',
    'persona_tokens',
    'actions',
    'days',
    'trails',
    'tenants',
    'tiles',
    'notarized',
    'heads',
  ]
  const mine = { tenants: 'number', event_ids: null, tiles: null, notarized: null, heads: null } as Record<
    string,
    string | null
  >

  test('sees nothing of any tenant as long as nobody said which', async () => {
    for (const table of tables) {
      const { rows } = await as<{ n: number }>(role, `select count(*) as n from affidavit.${table}`)
      expect(rows[0]!.n, table).toBe(0)
    }
  })

  test('sees one tenant, and not a row of another, in any table or partition', async () => {
    const acme = numbers.get('acme')!
    for (const table of tables) {
      const column = table in mine ? mine[table] : 'tenant'
      const own =
        column === null
          ? `trail in (select number from affidavit.trails where tenant = ${acme})`
          : `${column} = ${acme}`
      const all = await asReader(role, acme, `select count(*) as n from affidavit.${table}`)
      const owned = await database.superuser.query(`select count(*) as n from affidavit.${table} where ${own}`)
      expect(all[0]!.n, table).toBe(owned.rows[0].n)
    }
    expect((await asReader(role, acme, `select count(*) as n from affidavit.events`))[0]!.n).toBe(6)
    expect(await asReader(role, acme, `select 1 from affidavit.events where tenant <> ${acme}`)).toEqual([])
    await expect(asReader(role, acme, `select seq from ${partition}`)).rejects.toThrow(denied)
  })

  test('finds through the search function in its own tenant only', async () => {
    const acme = numbers.get('acme')!
    const { rows } = await database.superuser.query(
      `select trail, terms[2]::text as term from affidavit.events where tenant = ${numbers.get('globex')} and cardinality(terms) > 1 limit 1`,
    )
    const find = (trail: number, term: string) => `select affidavit.find(${trail}, 0, 100, '2000-01-01', '2100-01-01',
      array[${term}]::int[], array[1], null, null, 100, true)`
    expect(await asReader(role, acme, find(rows[0].trail, rows[0].term))).toEqual([])
    expect(await asReader(role, numbers.get('globex')!, find(rows[0].trail, rows[0].term))).not.toEqual([])
    await expect(as(role, find(rows[0].trail, rows[0].term))).rejects.toMatchObject({ code: 'AF010' })
  })

  test('reads no keys, and writes nowhere', async () => {
    for (const sql of [
      'select * from keeper.tenant_keys',
      'select * from keeper.api_keys',
      'select keeper.open_personas(1, array[1]::bigint[], 1)',
      `insert into affidavit.actions (tenant, action) values (1, 'x')`,
      'update affidavit.tenants set name = null',
      'delete from affidavit.personas',
      `select affidavit.create_day('2030-01-01')`,
      'select affidavit.lock_shard(0::smallint)',
    ])
      await expect(as(role, sql), sql).rejects.toThrow(denied)
  })
})

test('the column of what only the operator sees is hidden from readers, not from operator readers', async () => {
  const acme = numbers.get('acme')!
  await expect(asReader('reader', acme, 'select operator from affidavit.events')).rejects.toThrow(denied)
  await expect(asReader('reader', acme, 'select * from affidavit.events')).rejects.toThrow(denied)
  const seen = await asReader(
    'operator_reader',
    acme,
    'select operator from affidavit.events where operator is not null',
  )
  expect(seen).toHaveLength(5)
  const globex = numbers.get('globex')!
  const trail = (await asReader('reader', globex, 'select number from affidavit.trails'))[0]!.number
  const commitments = `select * from affidavit.operator_commitments(${trail}, array[1, 2]::bigint[], '2000-01-01', '2100-01-01')`
  const own = await asReader('reader', globex, commitments)
  expect(own.map(({ commitment }) => commitment.length)).toEqual([32, 32])
  expect(await asReader('reader', acme, commitments)).toEqual([])
})

test.each(roles.filter((role) => role !== 'keeper' && role !== 'owner'))('role %s reads no keys', async (role) => {
  for (const table of ['tenant_keys', 'buckets', 'subject_keys', 'api_keys'])
    await expect(as(role, `select * from keeper.${table}`)).rejects.toThrow(denied)
})

test('retention removes nothing but through its functions', async () => {
  for (const sql of [
    'select seq from affidavit.events',
    `drop table ${partition}`,
    'delete from affidavit.event_days',
    `select affidavit.close_day((clock_timestamp() at time zone 'UTC')::date)`,
  ])
    await expect(as('retention', sql), sql).rejects.toThrow(/permission denied|must be owner|is not over/)
})
