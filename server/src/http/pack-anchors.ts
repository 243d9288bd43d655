// Anchors in a pack: the newest registry checkpoint under an RFC 3161 timestamp, the timestamp, and what that checkpoint
// binds of the pack's trail, so that whoever trusts the authority knows since when the trail has been what it is.
import { anchorPaths as pathsOf } from '@affidavit/trail'
import { listPublic, readPublic } from '../anchor/placed.ts'
import type { RegistryReader } from '../registry/read.ts'
import type { RegistryThread } from '../registry/thread.ts'
import type { Queryable } from '../store/database.ts'

/** Enough to find a timestamp among copies in buckets. */
const looked = 50

/** What ties one tenant's head to a checkpoint of the registry. */
export interface BoundHead {
  /** Leaf index of the epoch's entry in the registry log, and the entry. */
  readonly index: number
  readonly entry: string
  readonly slotProof: string
  /** The registry's checkpoint. */
  readonly checkpoint: string
  readonly inclusion: readonly Uint8Array[]
}

export interface StampedCopy {
  readonly id: number
  /** Undefined where the trail is in no epoch under it, or that epoch's slots are not kept any more. */
  readonly bound: BoundHead | undefined
}

export interface StampedParts {
  /** Role reader. */
  readonly store: Queryable
  readonly registry: RegistryReader
  readonly thread: Pick<RegistryThread, 'slotProof'>
}

/** The timestamp to bring along, of a registry no larger than `size`: the one that a begun pack has, else the newest. */
export async function stampedCopy(
  { store, registry, thread }: StampedParts,
  tenant: number,
  size: number,
  begun: number | undefined,
): Promise<StampedCopy | undefined> {
  const before = begun === undefined ? undefined : begun + 1
  const copies = await listPublic(store, { epoch: undefined, before, limit: begun === undefined ? looked : 1 })
  const copy = copies.find((one) => one.hasToken && one.size <= size)
  if (copy === undefined || (begun !== undefined && copy.id !== begun)) return undefined
  const { id, epoch } = copy
  const [stored, entry] = await Promise.all([readPublic(store, id), registry.epochEntry(epoch)])
  if (stored === undefined || entry === undefined || entry.index >= copy.size) return { id, bound: undefined }
  const proof = await thread.slotProof(tenant, epoch)
  if (proof.kind !== 'proof') return { id, bound: undefined }
  const inclusion = await registry.inclusion(entry.index, copy.size)
  return { id, bound: { ...entry, slotProof: proof.text, checkpoint: stored.note, inclusion } }
}

/** The number of the timestamp in a pack that is to be continued, from the request that says so. */
export function stampIn(body: Uint8Array): number | undefined {
  const match = /anchors\/([1-9][0-9]{0,14})\.tsr/.exec(
    Buffer.from(body.buffer, body.byteOffset, body.length).toString('latin1'),
  )
  return match === null ? undefined : Number(match[1])
}

/** Paths of what is stored of a copy. */
export function storedPaths(id: number): string[] {
  const { checkpoint, token } = pathsOf(id)
  return [checkpoint, token]
}

/** The bytes of a copy by its path; undefined for a path that names none. */
export async function readAnchor(store: Queryable, path: string): Promise<Uint8Array | undefined> {
  const match = /^anchors\/([1-9][0-9]{0,14})\.(checkpoint|tsr)$/.exec(path)
  if (match === null) return undefined
  const copy = await readPublic(store, Number(match[1]))
  if (copy === undefined) return undefined
  return match[2] === 'tsr' ? (copy.token ?? undefined) : Buffer.from(copy.note)
}
