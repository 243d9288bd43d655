// Row-level security alone: with every condition of ours gone, a reader of one tenant gets no row of another's, from any
// table, column or function that its role may use. What the role may use is read from the catalog, so that a table or a
// function that is added later is covered, or fails here.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { freshDatabase, type TestDatabase } from './database.ts'
import { Api } from './http-api.ts'
import { type StartedServer, startedServer } from './started-server.ts'

const roles = ['reader', 'operator_reader'] as const
const secret = 'bravosecret'

let database: TestDatabase
let server: StartedServer
const numbers = new Map<string, number>()
/** Texts that stand in bravo's rows only: ids, and the hex of its hashes and keys. */
let marks: string[]

beforeAll(async () => {
  database = await freshDatabase()
  server = await startedServer(database.url)
  const operator = await Api.of(server.url, server.key)
  for (const tenant of ['alpha', 'bravo']) {
    await operator.put(`/v1/tenants/${tenant}`, { name: tenant === 'bravo' ? secret : 'plain' })
    const mark = tenant === 'bravo' ? secret : 'plain'
    const events = Array.from({ length: 300 }, (_, n) => ({
      tenant,
      id: `${mark}-${n}`,
      action: `${mark}.done`,
      actor: { id: `${mark}-actor`, email: `${mark}@example.com` },
      targets: [{ type: 'user', id: `${mark}-target`, name: mark }],
      context: { session_id: `${mark}-session`, request_id: mark },
      metadata: { mark },
    }))
    await operator.post('/v1/events/batch', events)
    while ((await operator.get(`/v1/trails/${tenant}`)).body.size < 301)
      await new Promise((wait) => setTimeout(wait, 30))
  }
  const { rows } = await database.superuser.query('select number, id from affidavit.tenants')
  for (const { number, id } of rows) numbers.set(id, Number(number))
  const { body } = await operator.get('/v1/events?tenant=bravo&limit=1000&control=true')
  const hashes = body.data.map(({ hash }: { hash: string }) => hash)
  const { trail } = (await operator.get('/v1/trails/bravo')).body
  const dashed = trail.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
  marks = [secret, Buffer.from(secret).toString('hex'), trail, dashed, ...hashes]
})
afterAll(async () => {
  await server?.stop()
  await database?.drop()
})

interface Readable {
  name: string
  columns: string[]
  tenant: string | null
}

/** Tables and views in which the role may read at least one column. */
async function readable(role: string): Promise<Readable[]> {
  const { rows } = await database.superuser.query<{ name: string; columns: string[] }>(
    `select format('%I.%I', n.nspname, c.relname) as name, array_agg(a.attname::text order by a.attnum) as columns
     from pg_class c join pg_namespace n on n.oid = c.relnamespace
       join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
     where n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast') and c.relkind in ('r', 'p', 'v', 'm', 'f')
       and has_schema_privilege($1, n.oid, 'usage') and has_column_privilege($1, c.oid, a.attnum, 'select')
     group by 1 order by 1`,
    [role],
  )
  return rows.map(({ name, columns }) => ({
    name,
    columns,
    tenant: name === 'affidavit.tenants' ? 'number' : columns.includes('tenant') ? 'tenant' : null,
  }))
}

describe.each(roles)('%s', (role) => {
  const asAlpha = <T>(
    work: (query: (text: string, values?: unknown[]) => Promise<Record<string, unknown>[]>) => Promise<T>,
  ) =>
    database.store
      .pool(role)
      .asTenant(numbers.get('alpha')!, (session) =>
        work(async (text, values) => (await session.query(text, values)).rows),
      )

  test('reads its own rows and none of another tenant, whatever it asks', async () => {
    const tables = await readable(`affidavit_${role}`)
    expect(tables.map(({ name }) => name)).toEqual(
      expect.arrayContaining([
        'affidavit.events',
        'affidavit.personas',
        'affidavit.trails',
        'affidavit.tiles',
        'affidavit.notarized',
      ]),
    )
    for (const { name, columns, tenant } of tables) {
      const list = columns.map((column) => `"${column}"::text`).join(', ')
      const dump = (await asAlpha((query) => query(`select concat_ws(' ', ${list}) as row from ${name}`)))
        .map(({ row }) => row)
        .join('\n')
      for (const mark of marks) expect(dump.includes(mark), `${name} shows ${mark}`).toBe(false)
      if (tenant === null) continue
      const tenants = await asAlpha((query) => query(`select distinct "${tenant}"::int as tenant from ${name}`))
      expect([name, tenants.map((row) => row.tenant)]).toEqual([
        name,
        tenants.length === 0 ? [] : [numbers.get('alpha')],
      ])
      const { rows } = await database.superuser.query(`select 1 from ${name} where "${tenant}" = $1 limit 1`, [
        numbers.get('bravo'),
      ])
      const mine = await database.superuser.query(`select 1 from ${name} where "${tenant}" = $1 limit 1`, [
        numbers.get('alpha'),
      ])
      // Where both have rows, an empty answer would prove nothing.
      if (rows.length > 0 && mine.rows.length > 0) expect([name, tenants.length]).toEqual([name, 1])
    }
  })

  test('finds bravo in no table even by its own columns', async () => {
    for (const { name, tenant } of await readable(`affidavit_${role}`)) {
      if (tenant === null) continue
      const rows = await asAlpha((query) =>
        query(`select 1 from ${name} where "${tenant}" = $1`, [numbers.get('bravo')]),
      )
      expect([name, rows]).toEqual([name, []])
    }
  })

  test('without a tenant reads no row of any', async () => {
    for (const { name, tenant } of await readable(`affidavit_${role}`)) {
      if (tenant === null) continue
      const { rows } = await database.store.pool(role).query(`select 1 from ${name} limit 1`)
      expect([name, rows]).toEqual([name, []])
    }
  })

  test('writes nothing, becomes nobody else, and has no function that leads around it', async () => {
    const { rows: writable } = await database.superuser.query(
      `select format('%I.%I', n.nspname, c.relname) as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
       where n.nspname in ('affidavit', 'keeper') and c.relkind in ('r', 'p')
         and has_table_privilege($1, c.oid, 'insert, update, delete, truncate')`,
      [`affidavit_${role}`],
    )
    expect(writable).toEqual([])
    const { rows: keeper } = await database.superuser.query(
      `select has_schema_privilege($1, 'keeper', 'usage') as can`,
      [`affidavit_${role}`],
    )
    expect(keeper[0].can).toBe(false)
    const { rows: memberships } = await database.superuser.query(
      `select r.rolname from pg_auth_members m join pg_roles r on r.oid = m.roleid join pg_roles u on u.oid = m.member where u.rolname = $1`,
      [`affidavit_${role}`],
    )
    expect(memberships).toEqual([])
    const { rows: bypass } = await database.superuser.query(
      `select rolsuper or rolbypassrls as can from pg_roles where rolname = $1`,
      [`affidavit_${role}`],
    )
    expect(bypass[0].can).toBe(false)
    const { rows: functions } = await database.superuser.query(
      `select p.proname::text as name from pg_proc p join pg_namespace n on n.oid = p.pronamespace
       where n.nspname in ('affidavit', 'keeper') and has_schema_privilege($1, n.oid, 'usage')
         and has_function_privilege($1, p.oid, 'execute') and p.prosecdef order by 1`,
      [`affidavit_${role}`],
    )
    expect(functions.map(({ name }) => name)).toEqual(['find', 'operator_commitments'])
  })

  test('the functions that see all tenants show only its own', async () => {
    const { rows } = await database.superuser.query('select number from affidavit.trails where tenant = $1', [
      numbers.get('bravo'),
    ])
    const trail = Number(rows[0].number)
    const seqs = [0, 1, 2, 3]
    const commitments = await asAlpha((query) =>
      query("select * from affidavit.operator_commitments($1, $2::bigint[], '2000-01-01', '9999-12-31')", [
        trail,
        seqs,
      ]),
    )
    expect(commitments).toEqual([])
    // `find` is held to its tenant in src/query/isolation.test.ts, with the arguments that searches give it.
  })
})
