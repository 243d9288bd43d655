// The tenants of a deployment, as requests need them: trail, policy, state and opened keys under one id. A tenant is
// made whole or not at all (affidavit.create_tenant), with its trail and its wrapped keys.
//
// What a process holds is at most `most_stale_ms` old: a tenant that is closed, or whose policy changes, changes for
// every server within that time. In use, one small query every few seconds asks which tenants changed since the last
// one, and only those are read again: what is held stays good however rarely it is asked for.
import { randomBytes } from 'node:crypto'
import type { Queryable } from '../store/database.ts'
import { Gathered } from '../store/gathered.ts'
import { completePolicy, type Policy, type PolicyInput } from './policy.ts'

/**
 * The operator's own tenant: failed logins before a tenant is known, and the operator's administration. No customer may
 * be called so.
 */
export const OPERATOR_TENANT = '_operator'

export interface TenantTrail {
  readonly number: number
  /** 32 lower-case hex digits. */
  readonly id: string
  readonly tenant: number
  readonly shard: number
  /** Place in the tenant's chain of trails, from 0. */
  readonly ordinal: number
}

export interface Tenant<Keys> {
  readonly number: number
  readonly id: string
  readonly name: string | null
  readonly operator: boolean
  readonly state: 'open' | 'closed'
  readonly policy: Policy
  /** The newest one: where events go. */
  readonly trail: TenantTrail
  /** Id of the first trail, which names the tenant's keys for good. */
  readonly keyring: string
  readonly keys: Keys
}

/** Makes and opens a tenant's keys; keys/ has the one there is. */
export interface Chest<Keys> {
  make(keyring: string): Promise<{ data: Buffer; index: Buffer }>
  open(keyring: string, rows: readonly { kind: 'data' | 'index'; generation: number; wrapped: Buffer }[]): Promise<Keys>
  /** What a deleted tenant has: keys that open nothing. */
  gone(): Keys
}

export class TenantRefused extends Error {
  override readonly name = 'TenantRefused'
  readonly code: 'tenant_id_invalid' | 'tenant_id_reserved' | 'tenant_name_invalid'

  constructor(code: TenantRefused['code'], message: string) {
    super(message)
    this.code = code
  }
}

export interface TenantsOptions<Keys> {
  /** Pool of the role `keeper`. */
  keeper: Queryable
  chest: Chest<Keys>
  now?: () => number
  /** Most tenants held in memory. */
  capacity?: number
}

const refresh_ms = 5_000
/** A change that commits later than this after it was stamped is seen late; statements end sooner (store/database.ts). */
const longest_commit = '30 seconds'
export const most_stale_ms = 10_000
/** How far back the first look goes: to before anything that is held was read. */
const first_look_ms = 5 * 60_000
const default_capacity = 10_000
/** Tenants of one query. */
const page = 2_000
const SHARDS = 16
const MAX_NAME = 128
/** Another tenant was given the slot meanwhile. */
const slot_taken = 'AF011'

interface Row {
  number: number
  id: string
  name: string | null
  operator: boolean
  state: 'open' | 'closed'
  policy: PolicyInput
  trail: number
  trail_id: string
  /** Microseconds since 1970. */
  changed: number
  shard: number
  ordinal: number
  keyring: string
  /** Null, like the three after it, for a deleted tenant. */
  generations: string
  kinds: ('data' | 'index')[] | null
  key_generations: number[]
  wrapped: Buffer[]
}

interface Held<Keys> {
  readonly tenant: Tenant<Keys>
  /** Which wrapped keys the opened ones came from. */
  readonly generations: string
  /** Column `changed_at`, microseconds since 1970. */
  readonly changed: number
  readonly read_ms: number
}

const select = `
  select t.number, t.id, t.name, t.operator, t.state, t.policy, r.number as trail, r.id as trail_id, r.shard, r.ordinal,
    (extract(epoch from t.changed_at) * 1000000)::bigint as changed, f.id as keyring, k.generations, k.kinds, k.key_generations, k.wrapped
  from affidavit.tenants t
    join lateral (select * from affidavit.trails where tenant = t.number order by ordinal desc limit 1) r on true
    join lateral (select id from affidavit.trails where tenant = t.number order by ordinal limit 1) f on true
    join lateral (
      select string_agg(kind || generation, ' ' order by kind, generation) as generations,
        array_agg(kind order by kind, generation) as kinds,
        array_agg(generation order by kind, generation) as key_generations,
        array_agg(wrapped order by kind, generation) as wrapped
      from keeper.tenant_keys where tenant = t.number
    ) k on true`

export class Tenants<Keys> {
  readonly #keeper: Queryable
  readonly #chest: Chest<Keys>
  readonly #now: () => number
  readonly #capacity: number
  readonly #held = new Map<string, Held<Keys>>()
  readonly #unknown = new Gathered<string, Tenant<Keys> | undefined>((ids) => this.#readById(ids), page)
  #checking = false
  /** When it was last found out which tenants had changed. */
  #checked_ms = Number.NEGATIVE_INFINITY
  /** The database's clock at that time, less the longest that a change may take to commit. */
  #since: number | null = null

  constructor(options: TenantsOptions<Keys>) {
    this.#keeper = options.keeper
    this.#chest = options.chest
    this.#now = options.now ?? Date.now
    this.#capacity = options.capacity ?? default_capacity
  }

  /** From memory, if it is known to be fresh enough. Asks what changed when that is getting old. */
  peek(id: string): Tenant<Keys> | undefined {
    const held = this.#held.get(id)
    if (held === undefined) return undefined
    const age_ms = this.#now() - Math.max(held.read_ms, this.#checked_ms)
    if (age_ms >= refresh_ms) {
      if (age_ms >= most_stale_ms) return undefined
      this.#checkSoon()
    }
    return held.tenant
  }

  /**
   * All at once; ids that no tenant has are absent from the result.
   *
   * @throws KeyUnusable, StoreUnavailable
   */
  async load(ids: Iterable<string>): Promise<Map<string, Tenant<Keys>>> {
    const found = new Map<string, Tenant<Keys>>()
    const unknown: string[] = []
    for (const id of new Set(ids)) {
      const tenant = this.peek(id)
      if (tenant) found.set(id, tenant)
      else if (isTenantId(id)) unknown.push(id)
    }
    if (unknown.length > 0)
      for (const tenant of await this.#unknown.ask(unknown)) if (tenant !== undefined) found.set(tenant.id, tenant)
    return found
  }

  /** @throws KeyUnusable, StoreUnavailable */
  async get(id: string): Promise<Tenant<Keys> | undefined> {
    return this.peek(id) ?? (await this.load([id])).get(id)
  }

  /** By number, past the cache: for API keys and followers, which know tenants by number. */
  async byNumber(numbers: readonly number[]): Promise<Map<number, Tenant<Keys>>> {
    const tenants = await this.#read('where t.number = any ($1)', [numbers])
    return new Map(tenants.map((tenant) => [tenant.number, tenant]))
  }

  /** In the order of their ids. @param after id of the last one of the page before */
  async list(page: { after?: string; limit: number }): Promise<Tenant<Keys>[]> {
    return this.#read('where t.id > $1 order by t.id limit $2', [page.after ?? '', page.limit])
  }

  /**
   * Makes a tenant, or returns the one that has this id. The caller seals the trail's first entry.
   *
   * @throws TenantRefused, KeyUnusable, StoreUnavailable
   */
  async create(
    id: string,
    options: { name?: string | null } = {},
  ): Promise<{ tenant: Tenant<Keys>; created: boolean }> {
    if (id === OPERATOR_TENANT)
      throw new TenantRefused('tenant_id_reserved', `${OPERATOR_TENANT} is the operator's own trail.`)
    if (!isTenantId(id))
      throw new TenantRefused(
        'tenant_id_invalid',
        'A tenant id has 1 to 64 characters of A–Z a–z 0–9 . _ - and is not . or ..',
      )
    return this.#create(id, checkName(options.name ?? null), false)
  }

  /** The operator's own tenant, made at first start. */
  async operator(): Promise<{ tenant: Tenant<Keys>; created: boolean }> {
    const tenant = await this.get(OPERATOR_TENANT)
    return tenant ? { tenant, created: false } : this.#create(OPERATOR_TENANT, null, true)
  }

  /** Undefined: no such tenant. What is left out stays as it is. The caller seals the `policy` control entry. */
  async update(id: string, change: { name?: string; policy?: PolicyInput }): Promise<Tenant<Keys> | undefined> {
    if (change.name !== undefined) checkName(change.name)
    const { rows } = await this.#keeper.query<{ found: boolean }>(
      'select affidavit.update_tenant($1, $2, $3) as found',
      [id, change.name ?? null, change.policy === undefined ? null : JSON.stringify(change.policy)],
    )
    if (!rows[0]!.found) return undefined
    return (await this.#read('where t.id = $1', [id]))[0]
  }

  async #create(
    id: string,
    name: string | null,
    operator: boolean,
  ): Promise<{ tenant: Tenant<Keys>; created: boolean }> {
    const keyring = await this.#createRows(id, name, operator)
    const tenant = (await this.#read('where t.id = $1', [id]))[0]
    if (tenant === undefined) throw new Error(`tenant ${id} vanished while it was made`)
    return { tenant, created: tenant.keyring === keyring }
  }

  /** @returns id of the trail that a new tenant has */
  async #createRows(id: string, name: string | null, operator: boolean): Promise<string> {
    for (;;) {
      const trailId = await this.#newTrailId()
      const keyring = trailId.toString('hex')
      const { data, index } = await this.#chest.make(keyring)
      try {
        await this.#keeper.query('select affidavit.create_tenant($1, $2, $3, $4, $5::smallint, $6, $7)', [
          id,
          name,
          operator,
          keyring,
          shardOf(trailId),
          data,
          index,
        ])
        return keyring
      } catch (error) {
        if ((error as { code?: string }).code !== slot_taken) throw error
      }
    }
  }

  /** A trail's id begins with its tenant's slot in the registry (docs/spec/registry.md); the rest is random. */
  async #newTrailId(): Promise<Buffer> {
    const { rows } = await this.#keeper.query<{ slot: number }>('select affidavit.free_slot() as slot')
    const trailId = randomBytes(16)
    trailId.writeUInt32BE(rows[0]!.slot)
    return trailId
  }

  async #readById(ids: readonly string[]): Promise<(Tenant<Keys> | undefined)[]> {
    const read = await this.#read('where t.id = any ($1)', [[...new Set(ids)]])
    const tenants = new Map(read.map((tenant) => [tenant.id, tenant]))
    return ids.map((id) => tenants.get(id))
  }

  async #read(where: string, values: unknown[]): Promise<Tenant<Keys>[]> {
    const read_ms = this.#now()
    const { rows } = await this.#keeper.query<Row>(`${select} ${where}`, values)
    const tenants: Tenant<Keys>[] = []
    for (const row of rows) {
      const tenant = await this.#tenant(row)
      tenants.push(tenant)
      this.#hold(row.id, { tenant, generations: row.generations, changed: row.changed, read_ms })
    }
    return tenants
  }

  async #tenant(row: Row): Promise<Tenant<Keys>> {
    const { number, id, name, operator, state, policy, shard, ordinal } = row
    const keyring = row.keyring.replaceAll('-', '')
    const trail = { number: row.trail, id: row.trail_id.replaceAll('-', ''), tenant: number, shard, ordinal }
    const held = this.#held.get(id)
    const keys = held?.generations === row.generations ? held.tenant.keys : await this.#openKeys(row, keyring)
    return { number, id, name, operator, state, policy: completePolicy(policy), trail, keyring, keys }
  }

  async #openKeys(row: Row, keyring: string): Promise<Keys> {
    if (row.state === 'closed' && row.kinds === null) return this.#chest.gone()
    const rows = (row.kinds ?? []).map((kind, at) => ({
      kind,
      generation: row.key_generations[at]!,
      wrapped: row.wrapped[at]!,
    }))
    return this.#chest.open(keyring, rows)
  }

  /** The least recently read one makes room. */
  #hold(id: string, held: Held<Keys>): void {
    this.#held.delete(id)
    if (this.#held.size >= this.#capacity) this.#held.delete(this.#held.keys().next().value!)
    this.#held.set(id, held)
  }

  #checkSoon(): void {
    if (this.#checking) return
    this.#checking = true
    setImmediate(() => void this.#check().finally(() => (this.#checking = false)))
  }

  /** Reads again those of the held tenants that changed after `since`, some at a time: very many may be new. */
  async #readChanged(since: number): Promise<void> {
    for (let after = { changed: since * 1_000, number: 0 }, more = true; more; ) {
      const { rows } = await this.#keeper.query<{ id: string; changed: number; number: number }>(
        `select id, number, (extract(epoch from changed_at) * 1000000)::bigint as changed from affidavit.tenants
           where changed_at >= $1::timestamptz and (changed_at, number) > ($1::timestamptz, $2)
           order by changed_at, number limit ${page}`,
        [microsecondsToIso(after.changed), after.number],
      )
      const concerned = rows.flatMap(({ id, changed }) => {
        const held = this.#held.get(id)
        return held === undefined || held.changed === changed ? [] : [id]
      })
      if (concerned.length > 0) await this.#read('where t.id = any ($1)', [concerned])
      more = rows.length === page
      after = rows.at(-1) ?? after
    }
  }

  /** A failure needs no word here: what was not checked gets too old, and who then asks for it learns why. */
  async #check(): Promise<void> {
    const now_ms = this.#now()
    try {
      const { rows } = await this.#keeper.query<{ since: number }>(
        `select clock_timestamp() - interval '${longest_commit}' as since`,
      )
      const { since } = rows[0]!
      await this.#readChanged(this.#since ?? since - first_look_ms)
      this.#since = since
      this.#checked_ms = now_ms
    } catch {
      // See above.
    }
  }
}

/** With all six digits that PostgreSQL keeps. */
const microsecondsToIso = (time: number) =>
  `${new Date(Math.floor(time / 1_000)).toISOString().slice(0, -1)}${String(time % 1_000).padStart(3, '0')}Z`

/** Not `.` or `..`: an id is a segment of addresses. */
export const isTenantId = (id: string) => /^(?!\.{1,2}$)[A-Za-z0-9._-]{1,64}$/.test(id)

/** Trail ids end in random bytes, so four bits of the last spread evenly. Stored at creation, never computed again. */
export const shardOf = (trailId: Buffer) => trailId[15]! % SHARDS

function checkName(name: string | null): string | null {
  if (name !== null && (name.length < 1 || name.length > MAX_NAME || !isPlainText(name)))
    throw new TenantRefused('tenant_name_invalid', `A name has 1 to ${MAX_NAME} characters and no control characters.`)
  return name
}

/** No control characters, no lone surrogates: PostgreSQL and people can both read it. */
export const isPlainText = (text: string) => !/\p{Cc}/u.test(text) && text.isWellFormed()
