// Everything that binds one tenant's head to the registry checkpoint that is served now: for packs, which are checked
// offline.
import { formatSuccession } from '@affidavit/trail'
import type { RegistryReader } from './read.ts'
import type { RegistryThread } from './thread.ts'

export interface SlotEvidence {
  readonly epoch: number
  /** Leaf index of the epoch's entry in the registry log, and its bytes as hashed. */
  readonly index: number
  readonly entry: string
  /** `formatSlotProof`. */
  readonly slotProof: string
  /** The registry checkpoint with cosignatures, and its size. */
  readonly checkpoint: string
  readonly size: number
  /** RFC 6962 audit path of the entry in the log at that size. */
  readonly inclusion: readonly Uint8Array[]
  /** `formatSuccession` under that checkpoint; null where the log key has no successor. */
  readonly succession: string | null
}

/** Undefined before the tenant's first epoch. @throws StoreUnavailable, RegistryUnavailable */
export async function slotEvidence(
  registry: RegistryReader,
  thread: Pick<RegistryThread, 'slotProof'>,
  tenant: number,
): Promise<SlotEvidence | undefined> {
  const checkpoint = await registry.checkpoint()
  if (checkpoint === undefined) return undefined
  const { epoch, size, note } = checkpoint
  const [proof, entry] = await Promise.all([thread.slotProof(tenant, epoch), registry.epochEntry(epoch)])
  if (proof.kind !== 'proof' || entry === undefined) return undefined
  const [inclusion, successors] = await Promise.all([registry.inclusion(entry.index, size), registry.successors(size)])
  const succession = successors.length === 0 ? null : formatSuccession({ checkpoint: note, successors })
  return { epoch, ...entry, slotProof: proof.text, checkpoint: note, size, inclusion, succession }
}
