// Moves buckets from generations that are to be destroyed to the next one. A bucket that lost a key gets a new key of
// its own, and its people's keys are wrapped anew: the old row of a destroyed key then opens under nothing that is left.
// Every other bucket keeps its key and is only wrapped anew: one row for 1,024 people.
//
// Any number of servers may do this at once, and stop anywhere: a bucket is replaced only if it is still the one that
// was read (keeper.rewrap_bucket).
import { randomBytes } from 'node:crypto'
import type { Queryable } from '../store/database.ts'
import { KEY_BYTES, open, seal } from './aead.ts'
import { bucketPlace, subjectPlace } from './buckets.ts'
import type { KeyProvider } from './provider.ts'
import { KeyUnusable } from './unusable.ts'

export interface RewrapOptions {
  /** Pool of the role `keeper`. */
  readonly keeper: Queryable
  readonly provider: KeyProvider
  /** Its rotation is under way, and new buckets stand under `next` already. */
  readonly tenant: { readonly number: number; readonly keyring: string }
  readonly next: number
}

/** Buckets of one tenant that were moved: only wrapped anew, or given a new key. */
export interface Rewrapped {
  moved: number
  renewed: number
}

interface BucketRow {
  readonly number: number
  readonly generation: number
  readonly wrapped: Buffer
  readonly destroyed: boolean
}

const page = 64

/**
 * Moves every bucket of the retiring generations.
 *
 * @throws KeyUnusable, StoreUnavailable; repeat it, it goes on where it stopped
 */
export async function rewrapBuckets(options: RewrapOptions): Promise<Rewrapped> {
  const done = { moved: 0, renewed: 0 }
  for (;;) {
    const { rows } = await options.keeper.query<BucketRow>(
      'select number, generation, wrapped, destroyed from keeper.retiring_buckets($1, $2)',
      [options.tenant.number, page],
    )
    if (rows.length === 0) return done
    for (const row of rows) {
      const isMoved = await unlessOutrun(options, row, row.destroyed ? renew : move)
      if (isMoved) done[row.destroyed ? 'renewed' : 'moved']++
    }
  }
}

/** Another server may have been faster: what was read of the bucket then no longer fits its keys, and is read again. */
async function unlessOutrun(
  options: RewrapOptions,
  row: BucketRow,
  work: (options: RewrapOptions, row: BucketRow) => Promise<boolean>,
): Promise<boolean> {
  try {
    return await work(options, row)
  } catch (error) {
    if (!(error instanceof KeyUnusable)) throw error
    const { rows } = await options.keeper.query<{ wrapped: Buffer }>(
      'select wrapped from keeper.buckets where number = $1',
      [row.number],
    )
    if (rows[0]?.wrapped.equals(row.wrapped)) throw error
    return false
  }
}

async function move(options: RewrapOptions, row: BucketRow): Promise<boolean> {
  const key = await unwrap(options, row)
  return replace(options, row, await wrap(options, key), null, null)
}

/** A new bucket key, and all keys of the bucket under it, in one transaction. */
async function renew(options: RewrapOptions, row: BucketRow): Promise<boolean> {
  const { keeper, tenant } = options
  const { rows } = await keeper.query<{ subject: number; wrapped: Buffer }>(
    'select subject, wrapped from keeper.subject_keys where bucket = $1 and tenant = $2 order by subject',
    [row.number, tenant.number],
  )
  const before = await unwrap(options, row)
  const after = randomBytes(KEY_BYTES)
  const keys = rows.map(({ subject, wrapped }) => {
    const where = subjectPlace(tenant, subject)
    return seal(after, where, open(before, where, wrapped))
  })
  return replace(
    options,
    row,
    await wrap(options, after),
    rows.map(({ subject }) => subject),
    keys,
  )
}

const unwrap = ({ provider, tenant }: RewrapOptions, { generation, wrapped }: BucketRow) =>
  provider.unwrap(tenant.keyring, generation, bucketPlace(tenant, generation), wrapped)

const wrap = ({ provider, tenant, next }: RewrapOptions, key: Uint8Array) =>
  provider.wrap(tenant.keyring, next, bucketPlace(tenant, next), key)

async function replace(
  { keeper, next }: RewrapOptions,
  row: BucketRow,
  wrapped: Buffer,
  subjects: number[] | null,
  keys: Buffer[] | null,
): Promise<boolean> {
  try {
    const { rows } = await keeper.query<{ done: boolean }>(
      'select keeper.rewrap_bucket($1, $2, $3, $4, $5, $6) as done',
      [row.number, row.wrapped, next, wrapped, subjects, keys],
    )
    return rows[0]!.done
  } catch (error) {
    // A key of the bucket was destroyed at this moment: it is read again.
    if ((error as { code?: string }).code === '40001') return false
    throw error
  }
}
