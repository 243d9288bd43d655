/**
 * Proof that an epoch binds one head for one trail: what stands in its slot, the path to the slot tree's root, and which
 * entry of the registry log states that root (docs/spec/registry.md).
 */
import { equalBytes, toBase64 } from '../bytes.ts'
import type { Hash } from '../hash.ts'
import { parseCheckpoint } from '../note/checkpoint.ts'
import { NoteError } from '../note/note.ts'
import { hashLines, TextFile } from '../note/text-file.ts'
import { type Epoch, MAX_DEPTH, MIN_DEPTH, slotOf } from './registry.ts'
import { slotLeaf, slotRoot } from './slot-tree.ts'

const MAX_PROOF_BYTES = 16_384

export interface SlotProof {
  readonly epoch: number
  /** Leaf index of that epoch's entry in the registry log. */
  readonly index: number
  readonly slot: number
  readonly depth: number
  readonly blind: Uint8Array
  /** Sibling hashes from the leaf upward, `depth` of them. */
  readonly path: readonly Uint8Array[]
  /** The trail's checkpoint: a note's text without signatures. */
  readonly body: string
}

/** The text of the proof (docs/spec/registry.md). */
export function formatSlotProof({ epoch, index, slot, depth, blind, path, body }: SlotProof): string {
  return (
    `affidavit/1 slot\nepoch ${epoch}\nindex ${index}\nslot ${slot}\ndepth ${depth}\n` +
    `blind ${toBase64(blind)}\n${hashLines(path)}\n${body}`
  )
}

/** Strict. Throws FormatError. Nothing is proven before `checkSlotProof`. */
export function parseSlotProof(bytes: Uint8Array | string): SlotProof {
  const file = new TextFile(bytes, 'the slot proof', MAX_PROOF_BYTES)
  file.header('slot')
  const epoch = file.decimal('epoch', 9_999_999_999)
  const index = file.decimal('index')
  const slot = file.decimal('slot', 2 ** MAX_DEPTH - 1)
  const depth = file.decimal('depth', MAX_DEPTH)
  if (depth < MIN_DEPTH || slot >= 2 ** depth) throw file.malformed('names a slot outside its tree')
  const blind = file.hash('blind')
  const path = file.hashes(MAX_DEPTH)
  if (path.length !== depth) throw file.malformed('has not one hash per level')
  file.blank()
  const body = file.rest()
  try {
    if (parseCheckpoint(body).extensions.length > 0) throw file.malformed('holds a checkpoint with extensions')
  } catch (error) {
    if (error instanceof NoteError) throw file.malformed('holds no checkpoint')
    throw error
  }
  return { epoch, index, slot, depth, blind, path, body }
}

/** What does not fit: another epoch, depth, slot than the trail id binds, slot tree, or trail than expected. */
export type SlotProofFlaw = 'epoch' | 'depth' | 'slot' | 'origin' | 'root'

/**
 * Undefined when the proof holds under `entry`, which the caller must have proven to stand at `proof.index` of the
 * registry log. The slot must be the one that the trail id in the body's origin binds; `origin` is the trail expected.
 */
export function checkSlotProof(hash: Hash, proof: SlotProof, entry: Epoch, origin?: string): SlotProofFlaw | undefined {
  if (proof.epoch !== entry.epoch) return 'epoch'
  if (proof.depth !== entry.depth || proof.path.length !== entry.depth) return 'depth'
  const body = parseCheckpoint(proof.body)
  if (origin !== undefined && body.origin !== origin) return 'origin'
  const trail = body.origin.slice(body.origin.lastIndexOf('/') + 1)
  if (!/^[0-9a-f]{32}$/.test(trail) || slotOf(trail) !== proof.slot) return 'slot'
  const root = slotRoot(hash, proof.slot, slotLeaf(hash, proof.blind, proof.body), proof.path)
  return equalBytes(root, entry.slots) ? undefined : 'root'
}
