// A deployment with events of several days, for tests of reading: the real way in (ingest, people, chain), and in the
// sealer's place a superuser who chooses the day. Days before today can be closed, as the server does.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { standardCatalog } from '../src/catalog/standard-actions.ts'
import { Ingest } from '../src/ingest/accept.ts'
import { ActionNumbers } from '../src/ingest/action-numbers.ts'
import { openKeys } from '../src/keys/open-keys.ts'
import { Personas } from '../src/keys/personas.ts'
import { Subjects } from '../src/keys/subjects.ts'
import { KeyChest, type TenantKeys } from '../src/keys/tenant-keys.ts'
import { chain, emptyHead, type Head, runs } from '../src/seal/chain.ts'
import type { Waiting } from '../src/seal/queue.ts'
import { sealParameters } from '../src/seal/rows.ts'
import { RowsParameter } from '../src/store/binary.ts'
import { rowType } from '../src/store/row-type.ts'
import type { Sealable, SealOutcome } from '../src/store/sealable.ts'
import { type Tenant, Tenants } from '../src/tenants/tenants.ts'
import { freshDatabase, type TestDatabase } from './database.ts'

export interface SealedDays {
  readonly database: TestDatabase
  /** Of the keys, for a server that is to take over. */
  readonly keysFolder: string
  readonly tenants: Tenants<TenantKeys>
  readonly personas: Personas
  tenant(id: string, policy?: object): Promise<Tenant<TenantKeys>>
  /** Seals events as one batch at a time given in ms; throws when one is refused. Returns their ids. */
  seal(tenant: string, at_ms: number, events: readonly object[]): Promise<string[]>
  /** Seals sealables that a test made itself, such as control entries. */
  sealRaw(at_ms: number, sealables: readonly Sealable[]): Promise<void>
  /** What the notary and the server's housekeeping do: the table `days`, and the closing of past days. */
  tidy(): Promise<void>
  drop(): Promise<void>
}

export const dayMs = 86_400_000
export const dayOf = (at_ms: number): string => new Date(at_ms).toISOString().slice(0, 10)

export async function sealedDays(): Promise<SealedDays> {
  const database = await freshDatabase()
  const folder = await mkdtemp(join(tmpdir(), 'affidavit-keys-'))
  const pool = (role: 'keeper' | 'ingest') => database.store.pool(role)
  const { provider } = await openKeys({ keeper: pool('keeper'), folder })
  const tenants = new Tenants<TenantKeys>({ keeper: pool('keeper'), chest: new KeyChest(provider) })
  const sealer = await openSealer(database)
  let now_ms = Date.now()
  const ingest = new Ingest({
    catalog: standardCatalog(),
    tenants,
    subjects: new Subjects({ ingest: pool('ingest'), keeper: pool('keeper'), provider }),
    actions: new ActionNumbers(pool('ingest')),
    seal: (sealables) => sealer(now_ms, sealables),
  })
  return {
    database,
    keysFolder: folder,
    tenants,
    personas: new Personas({ keeper: pool('keeper'), provider }),
    tenant: async (id, policy) => {
      await tenants.create(id)
      if (policy !== undefined) await tenants.update(id, { policy: policy as never })
      const tenant = await tenants.get(id)
      if (tenant === undefined) throw new Error(`no tenant ${id}`)
      return tenant
    },
    seal: async (tenant, at_ms, events) => {
      now_ms = at_ms
      const producer = { key: { id: 'k1', name: 'Test' }, tenant, mayCreateTenants: false, personal: [] }
      const items = events.map((value) => ({ ok: true as const, value }))
      const results = await ingest.accept(items, producer, at_ms)
      return results.map((result) => {
        if (!result.ok) throw new Error(JSON.stringify(result.problem))
        return result.id
      })
    },
    sealRaw: async (at_ms, sealables) => {
      await sealer(at_ms, sealables)
    },
    tidy: () => tidy(database),
    drop: async () => {
      await database.drop()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

type Seal = (at_ms: number, sealables: readonly Sealable[]) => Promise<SealOutcome[]>

async function openSealer({ superuser }: TestDatabase): Promise<Seal> {
  const encoder = new RowsParameter(await rowType(superuser, 'affidavit.sealed_row'))
  let position = 0
  return async (at_ms, sealables) => {
    const numbers = [...new Set(sealables.map(({ trail }) => trail.number))]
    const { rows } = await superuser.query<{ trail: number; size: number; hash: Buffer | null }>(
      'select trail, size, hash from affidavit.heads where trail = any($1::int[])',
      [numbers],
    )
    const heads = new Map<number, Head>(
      rows.map((row) => [
        row.trail,
        row.hash === null ? emptyHead : { size: row.size, hash: row.hash.toString('base64') },
      ]),
    )
    const batch = chain(
      sealables.map((sealable) => ({ sealable }) as Waiting),
      heads,
      at_ms,
    )
    const state = { position, fence: 0, keyEpoch: 0, sealedAtMs: at_ms }
    const parameters = sealParameters(encoder, [{ shard: 0, state, batch }])
    await superuser.query('select affidavit.create_day($1), affidavit.create_week(date_trunc($2, $1::date)::date)', [
      dayOf(at_ms),
      'week',
    ])
    await superuser.query(insert, [batch.sealedAt, dayOf(at_ms), parameters[10]])
    position += sealables.length
    for (const { trail, after } of batch.extensions) {
      const hash = Buffer.from(after.hash, 'base64')
      await superuser.query('update affidavit.heads set size = $2, hash = $3 where trail = $1', [
        trail.number,
        after.size,
        hash,
      ])
    }
    const byTrail = runs(batch)
    return batch.items.map(({ item, seq, hash, previous }) => {
      const run = byTrail.get(item.sealable.trail.number)!
      return { kind: 'sealed', seq, hash, previous, run } as SealOutcome
    })
  }
}

/** The statements of affidavit.seal, with the day left to the caller. */
const insert = `with r as materialized (select * from unnest($3::affidavit.sealed_row[])),
  ids as (
    insert into affidavit.event_ids (id, body, seq, trail, day)
      select id, body, seq, trail, $2::date from r where id is not null
  )
  insert into affidavit.events (seq, position, sealed_at, occurred_at, actor, facts_salt, trail, tenant, action,
      day, shard, category, outcome, flags, facts_commitment, hash, facts, personal, confidential, operator,
      control, terms)
    select seq, position, $1::timestamptz, occurred_at, actor, facts_salt, trail, tenant, action,
      $2::date, 0, category, outcome, flags, facts_commitment, hash, facts, personal, confidential, operator, control, terms
    from r`

async function tidy({ superuser }: TestDatabase): Promise<void> {
  await superuser.query(`insert into affidavit.days (trail, tenant, day, first_seq, last_seq, occurred_from, occurred_to, events)
    select trail, tenant, day, min(seq), max(seq), min(occurred_at), max(occurred_at), count(*)
    from affidavit.events group by trail, tenant, day
    on conflict (trail, day) do update set last_seq = excluded.last_seq, events = excluded.events,
      occurred_from = excluded.occurred_from, occurred_to = excluded.occurred_to`)
  const { rows } = await superuser.query<{ day: string }>(
    `select day from affidavit.event_days where closed_at is null and day < (now() at time zone 'UTC')::date order by day`,
  )
  for (const { day } of rows) await superuser.query('select affidavit.close_day($1)', [day])
  await superuser.query('analyze')
}
