// Subject keys at rest. A bucket key wraps up to 1,024 of them and is wrapped by a generation of the tenant's
// subject-wrap key: to destroy one person's key for good, its bucket is re-wrapped without it and the old generation
// destroyed, and no other bucket is touched.
//
// Everything goes by batch, in a fixed number of round trips. A key counts from the moment its row is committed: who
// loses a race, or dies before, leaves a subject without a key, which gets one here at its next use.
import { randomBytes } from 'node:crypto'
import type { Queryable } from '../store/database.ts'
import { KEY_BYTES, kept, open, place, seal } from './aead.ts'
import type { KeyProvider } from './provider.ts'
import { SubjectKey } from './subject-key.ts'
import type { TenantKeys } from './tenant-keys.ts'
import { KeyUnusable } from './unusable.ts'

export const BUCKET_SUBJECTS = 1_024

/** What this folder needs to know of a tenant; `Tenant` of tenants/ is one. */
export interface KeyTenant {
  readonly number: number
  /** Id of its first trail, 32 hex digits: names its keys. */
  readonly keyring: string
  readonly keys: TenantKeys
  readonly trail: { readonly shard: number }
}

export interface WantedKey {
  readonly tenant: KeyTenant
  readonly subject: number
}

/** A subject's wrapped key with its bucket, as rows have them. */
export interface WrappedSubjectKey {
  subject: number
  wrapped: Buffer
  bucket: number
  generation: number
  bucket_wrapped: Buffer
}

/** A bucket that takes new keys. `left` is this process's own guess; the database decides. */
interface OpenBucket {
  readonly number: number
  readonly generation: number
  readonly wrapped: Buffer
  readonly key: Buffer
  left: number
}

interface Placed extends WantedKey {
  readonly bucket: OpenBucket
  readonly key: Buffer
}

const bucket_cache_entries = 4_096
const open_bucket_entries = 4_096
/** As many as Node has threads for files, which others need too. */
const wrapped_at_once = 4
/** Each attempt can only fail because another process got ahead, so there is always progress. */
const max_attempts = 8

export class Buckets {
  readonly #keeper: Queryable
  readonly #provider: KeyProvider
  /** Unwrapped bucket keys; a re-wrapped bucket has other bytes and is opened anew. */
  readonly #keys = new Map<number, { wrapped: Buffer; key: Buffer }>()
  /** By tenant number. */
  readonly #open = new Map<number, OpenBucket>()

  constructor(keeper: Queryable, provider: KeyProvider) {
    this.#keeper = keeper
    this.#provider = provider
  }

  /**
   * The keys of subjects, made where there are none. A subject that is absent from the result was erased meanwhile.
   *
   * @throws KeyUnusable, StoreUnavailable
   */
  async keysOf(wanted: readonly WantedKey[]): Promise<Map<number, SubjectKey>> {
    const keys = new Map<number, SubjectKey>()
    let missing = wanted
    for (let attempt = 1; missing.length > 0 && attempt <= max_attempts; attempt++) {
      await this.#read(missing, keys, attempt === max_attempts)
      missing = missing.filter(({ subject }) => !keys.has(subject))
      if (missing.length > 0) await this.#add(missing, keys)
      missing = missing.filter(({ subject }) => !keys.has(subject))
    }
    return keys
  }

  /** @throws KeyUnusable */
  async unwrap(tenant: KeyTenant, row: WrappedSubjectKey): Promise<SubjectKey> {
    const bucketKey = await this.#bucketKey(tenant, row)
    return SubjectKey.of(tenant.keyring, row.subject, open(bucketKey, subjectPlace(tenant, row.subject), row.wrapped))
  }

  async #bucketKey(tenant: KeyTenant, row: Omit<WrappedSubjectKey, 'subject' | 'wrapped'>): Promise<Buffer> {
    const cached = this.#keys.get(row.bucket)
    if (cached?.wrapped.equals(row.bucket_wrapped)) return cached.key
    const where = bucketPlace(tenant, row.generation)
    const key = kept(await this.#provider.unwrap(tenant.keyring, row.generation, where, row.bucket_wrapped))
    remember(this.#keys, row.bucket, { wrapped: kept(row.bucket_wrapped), key }, bucket_cache_entries)
    return key
  }

  async #read(wanted: readonly WantedKey[], into: Map<number, SubjectKey>, last: boolean): Promise<void> {
    const { rows } = await this.#keeper.query<WrappedSubjectKey>(
      `select k.subject, k.wrapped, b.number as bucket, b.generation, b.wrapped as bucket_wrapped
       from keeper.subject_keys k join keeper.buckets b on b.number = k.bucket and b.tenant = k.tenant
       where k.subject = any ($1)`,
      [wanted.map(({ subject }) => subject)],
    )
    const tenants = new Map(wanted.map(({ tenant, subject }) => [subject, tenant]))
    const read = async (row: WrappedSubjectKey) => {
      try {
        into.set(row.subject, await this.unwrap(tenants.get(row.subject)!, row))
      } catch (error) {
        // The row was read before a rotation re-wrapped its bucket and opened after: the next reading sees the new one.
        if (last || !(error instanceof KeyUnusable) || error.code !== 'key_destroyed') throw error
      }
    }
    // At the same time: each generation that is not open yet may have to be asked for.
    await Promise.all(rows.map(read))
  }

  /** Stores new keys for subjects without one, and puts those that were stored into `into`. */
  async #add(missing: readonly WantedKey[], into: Map<number, SubjectKey>): Promise<void> {
    const placed = await this.#place(missing)
    if (placed.length === 0) return
    const counts = new Map<OpenBucket, number>()
    for (const { bucket } of placed) counts.set(bucket, (counts.get(bucket) ?? 0) + 1)
    const buckets = [...counts.keys()]
    const { rows } = await this.#keeper.query<{ subject: number }>(
      'select keeper.add_subject_keys($1, $2, $3, $4, $5, $6, $7) as subject',
      [
        buckets.map(({ number }) => number),
        buckets.map(({ wrapped }) => wrapped),
        [...counts.values()],
        placed.map(({ subject }) => subject),
        placed.map(({ tenant }) => tenant.number),
        placed.map(({ bucket }) => bucket.number),
        placed.map(({ tenant, subject, bucket, key }) => seal(bucket.key, subjectPlace(tenant, subject), key)),
      ],
    )
    const stored = new Set(rows.map(({ subject }) => subject))
    for (const { tenant, subject, bucket, key } of placed) {
      if (stored.has(subject)) into.set(subject, SubjectKey.of(tenant.keyring, subject, key))
      else if (this.#open.get(tenant.number) === bucket) this.#open.delete(tenant.number) // full, or re-wrapped
    }
  }

  /** Gives every subject a place in a bucket; those for whom a rotation got in the way are left out. */
  async #place(missing: readonly WantedKey[]): Promise<Placed[]> {
    // By number: a batch that runs on while the tenant is read anew holds two objects of one tenant.
    const byTenant = Map.groupBy(missing, ({ tenant }) => tenant.number)
    const generations = await this.#findOpen([...byTenant.values()].map(([first]) => first!.tenant))
    const fresh = await this.#makeBuckets(byTenant, generations)
    const placed: Placed[] = []
    for (const [tenant, subjects] of byTenant) {
      const room = [this.#open.get(tenant), ...(fresh.get(tenant) ?? [])].filter((bucket) => bucket !== undefined)
      for (const wanted of subjects) {
        const bucket = room.find(({ left }) => left > 0)
        if (bucket === undefined) break
        bucket.left--
        placed.push({ ...wanted, bucket, key: randomBytes(KEY_BYTES) })
      }
      const open = room.findLast(({ left }) => left > 0)
      if (open) remember(this.#open, tenant, open, open_bucket_entries)
    }
    return placed
  }

  /** Makes sure that `#open` holds a bucket for each tenant that has one. Returns their current generations. */
  async #findOpen(tenants: readonly KeyTenant[]): Promise<Map<number, number>> {
    const generations = new Map<number, number>()
    const unknown = new Map<number, KeyTenant>()
    for (const tenant of tenants) {
      const open = this.#open.get(tenant.number)
      if (open !== undefined && open.left > 0) generations.set(tenant.number, open.generation)
      else {
        this.#open.delete(tenant.number)
        unknown.set(tenant.number, tenant)
      }
    }
    if (unknown.size === 0) return generations
    const { rows } = await this.#keeper.query<{
      tenant: number
      generation: number
      number: number | null
      subjects: number
      wrapped: Buffer
    }>('select tenant, generation, number, subjects, wrapped from keeper.open_buckets($1)', [[...unknown.keys()]])
    for (const { tenant: tenantNumber, generation, number, subjects, wrapped } of rows) {
      const tenant = unknown.get(tenantNumber)!
      generations.set(tenantNumber, generation)
      if (number === null) continue
      const key = await this.#bucketKey(tenant, { bucket: number, generation, bucket_wrapped: wrapped })
      const bucket = { number, generation, wrapped: kept(wrapped), key, left: BUCKET_SUBJECTS - subjects }
      remember(this.#open, tenantNumber, bucket, open_bucket_entries)
    }
    return generations
  }

  /** Makes the buckets that are needed beyond the open ones, in one round trip. */
  async #makeBuckets(
    byTenant: ReadonlyMap<number, readonly WantedKey[]>,
    generations: ReadonlyMap<number, number>,
  ): Promise<Map<number, OpenBucket[]>> {
    const wanted: { tenant: KeyTenant; generation: number; key: Buffer }[] = []
    for (const [number, subjects] of byTenant) {
      const beyond = subjects.length - (this.#open.get(number)?.left ?? 0)
      const generation = generations.get(number)!
      const { tenant } = subjects[0]!
      for (let rest = beyond; rest > 0; rest -= BUCKET_SUBJECTS)
        wanted.push({ tenant, generation, key: randomBytes(KEY_BYTES) })
    }
    const made = await this.#wrapBuckets(wanted)
    const fresh = new Map<number, OpenBucket[]>()
    if (made.length === 0) return fresh
    const { rows } = await this.#keeper.query<{ number: number; wrapped: Buffer }>(
      'select number, wrapped from keeper.add_buckets($1, $2, $3)',
      [
        made.map(({ tenant }) => tenant.number),
        made.map(({ generation }) => generation),
        made.map(({ wrapped }) => wrapped),
      ],
    )
    const numbers = new Map(rows.map(({ number, wrapped }) => [wrapped.toString('latin1'), number]))
    for (const { tenant, generation, key, wrapped } of made) {
      const number = numbers.get(wrapped.toString('latin1'))
      if (number === undefined) continue // the tenant's generation moved on at this moment
      const bucket = { number, generation, wrapped: kept(wrapped), key: kept(key), left: BUCKET_SUBJECTS }
      fresh.set(tenant.number, [...(fresh.get(tenant.number) ?? []), bucket])
    }
    return fresh
  }

  /** Some at a time: a tenant's first bucket waits for the file of its first generation. */
  async #wrapBuckets<Wanted extends { tenant: KeyTenant; generation: number; key: Buffer }>(
    wanted: readonly Wanted[],
  ): Promise<(Wanted & { wrapped: Buffer })[]> {
    const made: (Wanted & { wrapped: Buffer })[] = []
    for (let at = 0; at < wanted.length; at += wrapped_at_once) {
      const wrap = async (one: Wanted) => ({
        ...one,
        wrapped: await this.#wrapBucket(one.tenant, one.generation, one.key),
      })
      made.push(...(await Promise.all(wanted.slice(at, at + wrapped_at_once).map(wrap))))
    }
    return made
  }

  async #wrapBucket(tenant: KeyTenant, generation: number, key: Buffer): Promise<Buffer> {
    const wrap = () => this.#provider.wrap(tenant.keyring, generation, bucketPlace(tenant, generation), key)
    try {
      return await wrap()
    } catch (error) {
      // A tenant's first person: generation 0 is made on the way. Later ones are made by a rotation.
      if (!(error instanceof KeyUnusable) || error.code !== 'key_missing' || generation !== 0) throw error
      await this.#provider.createGeneration(tenant.keyring, 0)
      return wrap()
    }
  }
}

type Keyring = Pick<KeyTenant, 'keyring'>

/** Where a bucket's key and a subject's key are bound to. */
export const bucketPlace = ({ keyring }: Keyring, generation: number) => place('buckets.wrapped', keyring, generation)
export const subjectPlace = ({ keyring }: Keyring, subject: number) => place('subject_keys.wrapped', keyring, subject)

function remember<Value>(map: Map<number, Value>, key: number, value: Value, limit: number): void {
  if (map.size >= limit && !map.has(key)) map.delete(map.keys().next().value!)
  map.set(key, value)
}
