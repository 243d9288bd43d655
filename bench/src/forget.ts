// Forgetting: one person with many events, from the approval to its answer; and the daily key batch over a large tenant,
// which has to touch the generations of those concerned and nothing else.
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import pg from 'pg'
import { opening } from '../../server/src/assembly/opening.ts'
import { ordersOf } from '../../server/src/assembly/orders.ts'
import { Rotation } from '../../server/src/erase/rotation.ts'
import { seal } from '../../server/src/keys/aead.ts'
import { bucketPlace, subjectPlace } from '../../server/src/keys/buckets.ts'
import { openKeys } from '../../server/src/keys/open-keys.ts'
import type { KeyProvider } from '../../server/src/keys/provider.ts'
import { KeyChest, type TenantKeys } from '../../server/src/keys/tenant-keys.ts'
import { controlEntry } from '../../server/src/seal/control.ts'
import { Sealer } from '../../server/src/seal/sealer.ts'
import { openDatabase } from '../../server/src/store/database.ts'
import { openFolderObjects } from '../../server/src/store/folder-objects.ts'
import { silent } from '../../server/src/store/log.ts'
import { type Tenant, Tenants } from '../../server/src/tenants/tenants.ts'
import { Load } from './client.ts'
import { figure, report } from './report.ts'
import { type BenchServer, serverFlags, startBenchServer } from './server.ts'

export interface ForgetOptions {
  readonly folder: string
  /** Events of the one person. */
  readonly events: number
  /** People of the large tenant. */
  readonly people: number
  readonly runs: number
}

const perBucket = 1_024
const bucketsPerGeneration = 16
/** Erased on one day, spread evenly. */
const erased = 20

interface Rotator {
  readonly provider: KeyProvider
  readonly rotation: Rotation
  tenant(): Promise<Tenant<TenantKeys>>
  stop(): Promise<void>
}

/** The server's own rotation, in this process, so that it can be timed. */
async function rotator({ login, dataDir }: BenchServer): Promise<Rotator> {
  const database = openDatabase({ login, log: silent })
  const keeper = database.pool('keeper')
  const keys = await openKeys({ keeper, folder: join(dataDir, 'keys') })
  const { provider } = keys
  const chest = new KeyChest(provider)
  const tenants = new Tenants<TenantKeys>({ keeper, chest })
  const sealer = await Sealer.open({
    pool: database.pool('sealer'),
    log: silent,
    connections: 1,
    opening: (trail, epoch) => opening(keys, trail, epoch, null),
  })
  const retention = database.pool('retention')
  const objects = await openFolderObjects(join(dataDir, 'objects'))
  const rotation = new Rotation({
    keeper,
    retention,
    tenants,
    provider,
    chest,
    objects,
    orders: ordersOf(keys, objects, retention),
    announce: async ({ trail }, control, facts) => {
      const [outcome] = await sealer.submit([
        controlEntry(trail, sealer.keyEpoch(trail.shard), control, facts, Date.now()),
      ])
      if (outcome?.kind !== 'sealed') throw new Error(`not sealed: ${outcome?.kind}`)
      return outcome.seq
    },
    log: silent,
  })
  return {
    provider,
    rotation,
    tenant: async () => (await tenants.get('large'))!,
    stop: async () => {
      await sealer.drain()
      await database.end()
    },
  }
}

export async function forget(options: ForgetOptions): Promise<void> {
  const server = await startBenchServer(options.folder, serverFlags)
  try {
    await measure(server, options)
  } finally {
    await server.stop()
  }
}

async function measure(server: BenchServer, { events, people, runs }: ForgetOptions): Promise<void> {
  const load = new Load(server.url, server.key, 8)
  const sql = new pg.Client(server.login)
  sql.on('error', () => {}) // its server stops first where a run fails
  await sql.connect()
  const second = JSON.parse(await post(load, '/v1/keys', { name: 'Second', scopes: ['forget:approve'] })).key as string
  const officer = new Load(server.url, second, 1)
  const oneByOne: number[] = []
  let touched = 0
  for (let run = 0; run < runs; run++) {
    await record(load, run, events)
    const asked = JSON.parse(
      await post(load, '/v1/erasures', {
        tenant: 'bench',
        subject: { type: 'user', id: `person-${run}` },
        reason: 'r',
      }),
    )
    const before = await changes(sql)
    const start = performance.now()
    const { state } = JSON.parse(await post(officer, `/v1/approvals/${asked.id}`, { decision: 'approve' }))
    oneByOne.push(performance.now() - start)
    if (state !== 'done') throw new Error(`the erasure is ${state}`)
    touched += (await changes(sql)) - before
  }
  const node = await rotator(server)
  const batch = await batches(server, node, sql, people, runs)
  const pages = await pagesOf(sql)
  await node.stop()
  await sql.end()
  load.close()
  officer.close()
  report(
    'forget',
    `
Erasure: a person with ${events.toLocaleString('en')} events and ${personasOf(events)} personas; the time of \`POST /v1/approvals/{id}\`, from the second
principal's word to the answer after the control entry is sealed, the key destroyed, personas and tokens deleted. Rows of
events changed by it are counted in PostgreSQL's statistics.

Daily batch: a tenant of ${people.toLocaleString('en')} people, ${perBucket} to a bucket, ${bucketsPerGeneration} buckets to a generation, ${erased} of them erased, spread
evenly. Rows and indexes are the schema's own; wrapped keys that the batch opens are real, the others random bytes of their
length. A batch makes a generation for each one concerned, gives the bucket that lost a key a new one, wraps its neighbours
anew, and destroys the old generation. What it touches depends on how many were erased, not on how many there are. Rows and
pages are PostgreSQL's own counts of keeper.subject_keys and keeper.buckets. Embedded PostgreSQL 18, fsync on, key folder on the same
disk; control entries are sealed by a lane.`,
    [
      figure('approval to answer, one person', 'ms', oneByOne, '< 1,000'),
      figure('rows of events changed', 'rows', [touched], '0'),
      figure(
        'daily batch',
        'ms',
        batch.map(({ ms }) => ms),
      ),
      figure(
        'buckets with a new key (1,024 keys each)',
        'buckets',
        batch.map(({ renewed }) => renewed),
        `${erased}`,
      ),
      figure(
        'buckets only wrapped anew',
        'buckets',
        batch.map(({ moved }) => moved),
        `≤ ${erased * 15}`,
      ),
      figure('buckets of the tenant', 'buckets', [Math.ceil(people / perBucket)]),
      figure(
        'rows of wrapped keys written',
        'rows',
        batch.map(({ rows }) => rows),
        `≤ ${(erased * (perBucket + bucketsPerGeneration)).toLocaleString('en')}`,
      ),
      figure('rows of wrapped keys', 'rows', [people]),
      figure(
        'pages of wrapped keys and their indexes looked at, each time counted',
        'pages',
        batch.map(({ pages: looked }) => looked),
      ),
      figure('pages of wrapped keys and their indexes', 'pages', [pages]),
    ],
  )
}

const post = (load: Load, path: string, body: object) =>
  load.post(path, Buffer.from(JSON.stringify(body)), 'application/json')
const personasOf = (events: number) => Math.min(events, 1_000)

async function record(load: Load, run: number, events: number): Promise<void> {
  for (let from = 0; from < events; from += 2_000) {
    const lines = Array.from({ length: Math.min(2_000, events - from) }, (_, i) =>
      JSON.stringify({
        tenant: 'bench',
        action: 'document.viewed',
        actor: { type: 'user', id: `person-${run}`, name: 'Ann Example', email: `ann-${run}@example.com` },
        context: { ip: `10.${run}.${((from + i) % 1_000) >> 8}.${((from + i) % 1_000) & 255}` },
        metadata: { n: from + i },
      }),
    )
    await load.post('/v1/events/batch', Buffer.from(lines.join('\n')), 'application/x-ndjson', {
      prefer: 'return=minimal',
    })
  }
}

/** Updates and deletions in partitions of events so far. */
async function changes(sql: pg.Client): Promise<number> {
  await sql.query('select pg_stat_force_next_flush()')
  await new Promise((resolve) => setTimeout(resolve, 1_500))
  const { rows } = await sql.query<{ n: string }>(
    `select coalesce(sum(n_tup_upd + n_tup_del), 0) as n from pg_stat_user_tables where relname ~ '^events_\\d{8}$'`,
  )
  return Number(rows[0]!.n)
}

async function batches(server: BenchServer, node: Rotator, sql: pg.Client, people: number, runs: number) {
  const load = new Load(server.url, server.key, 1)
  await post(load, '/v1/events', { tenant: 'large', action: 'a.b', actor: { id: 'x' } })
  load.close()
  const tenant = await node.tenant()
  const first = await populate(node, sql, people, runs)
  const results: { ms: number; moved: number; renewed: number; rows: number; pages: number }[] = []
  for (let run = 0; run < runs; run++) {
    for (let n = 0; n < erased; n++) {
      const subject = first + placeOfErased(run, n, people, runs)
      await sql.query(
        `with gone as (delete from keeper.subject_keys where subject = $1 returning tenant, bucket)
         insert into keeper.destroyed_keys (tenant, bucket) select tenant, bucket from gone`,
        [subject],
      )
    }
    const before = await touchedOf(sql)
    const start = performance.now()
    const rotated = await node.rotation.subjectKey(tenant)
    const ms = performance.now() - start
    const after = await touchedOf(sql)
    const { rows, pages } = { rows: after.rows - before.rows, pages: after.pages - before.pages }
    results.push({ ms, moved: rotated!.moved, renewed: rotated!.renewed, rows, pages })
  }
  return results
}

/** Which of the people is the n-th to be erased in a run: spread evenly, others in each run. */
const placeOfErased = (run: number, n: number, people: number, runs: number) =>
  Math.floor(((n + (run + 1) / (runs + 1)) * people) / erased)

/** Rows of wrapped keys written so far, and pages of their tables and indexes that were looked at, whether read or found. */
async function touchedOf(sql: pg.Client): Promise<{ rows: number; pages: number }> {
  await sql.query('select pg_stat_force_next_flush()')
  await new Promise((resolve) => setTimeout(resolve, 1_500))
  const { rows } = await sql.query<{ rows: number; pages: number }>(
    `select sum(n_tup_ins + n_tup_upd + n_tup_del)::float8 as rows,
       sum(heap_blks_read + heap_blks_hit + coalesce(idx_blks_read + idx_blks_hit, 0))::float8 as pages
     from pg_stat_user_tables join pg_statio_user_tables using (relid)
     where pg_stat_user_tables.relname in ('subject_keys', 'buckets')`,
  )
  return rows[0]!
}

/** Pages of the same tables and indexes. */
async function pagesOf(sql: pg.Client): Promise<number> {
  const { rows } = await sql.query<{ pages: number }>(
    `select sum(pg_total_relation_size(name::regclass) / 8192)::float8 as pages
       from unnest(array['keeper.subject_keys', 'keeper.buckets']) as name`,
  )
  return rows[0]!.pages
}

/**
 * People with wrapped keys, as if they had come with their events. Buckets are wrapped by the provider. Of the people only
 * those have keys that open anything whose bucket loses one; the others have as many random bytes, which nobody opens.
 *
 * @returns the number of the first
 */
async function populate(node: Rotator, sql: pg.Client, people: number, runs: number): Promise<number> {
  const tenant = await node.tenant()
  const first = 1_000_000 // far from the numbers that the server gives
  // Quickly: no queue of ten million checks of foreign keys, and tokens that ascend.
  await sql.query('set session_replication_role = replica')
  await sql.query(
    `insert into affidavit.subjects (number, tenant, token) overriding system value
       select n, $1, uuidv7() from generate_series($2::bigint, $2::bigint + $3::bigint - 1) as n`,
    [tenant.number, first, people],
  )
  const numbers: number[] = []
  const bucketKeys: Buffer[] = []
  for (let at = 0, bucket = 0; at < people; at += perBucket, bucket++) {
    const generation = Math.floor(bucket / bucketsPerGeneration)
    if (bucket % bucketsPerGeneration === 0) await node.provider.createGeneration(tenant.keyring, generation)
    const key = randomBytes(32)
    const wrapped = await node.provider.wrap(tenant.keyring, generation, bucketPlace(tenant, generation), key)
    const { rows } = await sql.query<{ number: string }>(
      'insert into keeper.buckets (tenant, generation, subjects, wrapped) values ($1, $2, $3, $4) returning number',
      [tenant.number, generation, Math.min(perBucket, people - at), wrapped],
    )
    numbers.push(Number(rows[0]!.number))
    bucketKeys.push(key)
  }
  await sql.query(
    `insert into keeper.generations (tenant, current, newest) values ($1, $2, $2)
       on conflict (tenant) do update set current = excluded.current, newest = excluded.newest`,
    [tenant.number, Math.floor((numbers.length - 1) / bucketsPerGeneration)],
  )
  // As long as a sealed key: nonce, 32 bytes, tag.
  await sql.query(
    `insert into keeper.subject_keys (subject, tenant, bucket, wrapped)
       select $2::bigint + n, $1, ($3::bigint[])[n / ${perBucket} + 1],
         substr(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) ||
           uuid_send(gen_random_uuid()), 1, 60)
       from generate_series(0, $4::int - 1) as n`,
    [tenant.number, first, numbers, people],
  )
  const concerned = new Set<number>()
  for (let run = 0; run < runs; run++)
    for (let n = 0; n < erased; n++) concerned.add(Math.floor(placeOfErased(run, n, people, runs) / perBucket))
  for (const bucket of concerned) {
    const from = first + bucket * perBucket
    const subjects = Array.from({ length: Math.min(perBucket, people - bucket * perBucket) }, (_, i) => from + i)
    const keys = subjects.map((subject) => seal(bucketKeys[bucket]!, subjectPlace(tenant, subject), randomBytes(32)))
    await sql.query(
      `update keeper.subject_keys k set wrapped = u.wrapped from unnest($1::bigint[], $2::bytea[]) as u (subject, wrapped)
         where k.subject = u.subject`,
      [subjects, keys],
    )
  }
  await sql.query('set session_replication_role = origin')
  await sql.query('vacuum analyze keeper.subject_keys')
  await sql.query('vacuum analyze keeper.buckets')
  return first
}
