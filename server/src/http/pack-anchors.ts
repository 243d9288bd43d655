// Anchors in a pack: the newest registry checkpoint under an RFC 3161 timestamp, the timestamp, and what that checkpoint
// binds of the pack's trail, so that whoever trusts the authority knows since when the trail has been what it is.
import { anchorPaths as pathsOf } from '@affidavit/trail'
import { newestStamped, type PublicCopy, readPublic } from '../anchor/placed.ts'
import type { RegistryReader } from '../registry/read.ts'
import type { RegistryThread } from '../registry/thread.ts'
import type { Queryable } from '../store/database.ts'

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
  /** Undefined where the trail is in no epoch under it whose slots are kept. */
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
  const copy = await newestStamped(store, { size, id: begun })
  if (copy === undefined) return undefined
  const { id, note } = copy
  const shown = await shownEpoch(registry, thread, tenant, copy)
  if (shown === undefined) return { id, bound: undefined }
  const inclusion = await registry.inclusion(shown.index, copy.size)
  return { id, bound: { ...shown, checkpoint: note, inclusion } }
}

/**
 * The newest epoch under the stamped checkpoint whose slots are still shown: its own, or, once those are gone after some
 * days, the last one of the day before.
 */
async function shownEpoch(
  registry: RegistryReader,
  thread: StampedParts['thread'],
  tenant: number,
  { epoch, size }: PublicCopy,
): Promise<Pick<BoundHead, 'index' | 'entry' | 'slotProof'> | undefined> {
  const own = await thread.slotProof(tenant, epoch)
  const audit = own.kind === 'expired' ? await registry.auditEpochBefore(epoch) : undefined
  const proof = audit === undefined ? own : await thread.slotProof(tenant, audit)
  if (proof.kind !== 'proof') return undefined
  const entry = await registry.epochEntry(proof.epoch)
  return entry === undefined || entry.index >= size ? undefined : { ...entry, slotProof: proof.text }
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
