// What was placed elsewhere, as everybody may see it: verifiers compare it with what they are served.
import type { Queryable } from '../store/database.ts'

export interface PublicCopy {
  readonly id: number
  readonly anchor: string
  readonly kind: 'bucket' | 'timestamp'
  readonly origin: string
  readonly epoch: number
  readonly size: number
  readonly at_ms: number
  readonly hasToken: boolean
  readonly details: Readonly<Record<string, string | null>>
}

const columns = `id, anchor, kind, origin, epoch, size, at as at_ms, token is not null as "hasToken", details`

/**
 * Public copies, newest first.
 * @param store role reader, whose row-level security leaves only these
 * @param epoch only those of this epoch
 * @param kind only those of this kind
 * @param before only those with a smaller id
 */
export async function listPublic(
  store: Queryable,
  asked: { epoch: number | undefined; kind: string | undefined; before: number | undefined; limit: number },
): Promise<PublicCopy[]> {
  const { rows } = await store.query<PublicCopy & { id: number }>(
    `select ${columns} from affidavit.anchored
       where public and ($1::bigint is null or epoch = $1) and ($2::text is null or kind = $2)
         and ($3::bigint is null or id < $3) order by id desc limit $4`,
    [asked.epoch ?? null, asked.kind ?? null, asked.before ?? null, asked.limit],
  )
  return rows
}

/**
 * The newest public copy under a timestamp, of a registry no larger than `size`, with the bytes that were stamped.
 * @param id only this one
 */
export async function newestStamped(
  store: Queryable,
  { size, id }: { size: number; id: number | undefined },
): Promise<(PublicCopy & { readonly note: string }) | undefined> {
  const { rows } = await store.query<PublicCopy & { note: string }>(
    `select ${columns}, note from affidavit.anchored
       where public and token is not null and size <= $1 and ($2::bigint is null or id = $2) order by id desc limit 1`,
    [size, id ?? null],
  )
  return rows[0]
}

/** The exact bytes that were anchored, and the RFC 3161 response over them where there is one. */
export async function readPublic(
  store: Queryable,
  id: number,
): Promise<{ note: string; token: Buffer | null } | undefined> {
  const { rows } = await store.query<{ note: string; token: Buffer | null }>(
    'select note, token from affidavit.anchored where id = $1 and public',
    [id],
  )
  return rows[0]
}
