// Copies of anchors in a pack: the newest registry checkpoint under an RFC 3161 timestamp, and the timestamp. They are
// for other programs, such as `openssl ts`; the pack's verifier lists them.
import { listPublic, readPublic } from '../anchor/placed.ts'
import type { Queryable } from '../store/database.ts'

/** Enough to find a timestamp among copies in buckets. */
const looked = 50

/** Paths of the copies to bring along, of a registry no larger than `size`; none where there is no timestamp. */
export async function anchorPaths(store: Queryable, size: number): Promise<string[]> {
  const copies = await listPublic(store, { epoch: undefined, before: undefined, limit: looked })
  const newest = copies.find((copy) => copy.hasToken && copy.size <= size)
  return newest === undefined ? [] : [`anchors/${newest.id}.checkpoint`, `anchors/${newest.id}.tsr`]
}

/** The bytes of a copy by its path; undefined for a path that names none. */
export async function readAnchor(store: Queryable, path: string): Promise<Uint8Array | undefined> {
  const match = /^anchors\/([1-9][0-9]{0,14})\.(checkpoint|tsr)$/.exec(path)
  if (match === null) return undefined
  const copy = await readPublic(store, Number(match[1]))
  if (copy === undefined) return undefined
  return match[2] === 'tsr' ? (copy.token ?? undefined) : Buffer.from(copy.note)
}
