// The slot tree of one epoch. Built whole once, when the epoch is made; of it only the root and the crown are kept: the
// nodes that cover 256 slots each. A slot's proof later is its block of 256 computed again from bodies and secret, and
// the crown above it. At 100,000 trails a whole tree is 16 MB, its crown 32 KB.
import { type HmacKey, hmacKey, nodeHash, SlotTree, slotBlind, slotLeaf } from '@affidavit/trail'
import { sha256 } from '../store/sha256.ts'

const hash_bytes = 32
const block_height = 8
/** Slots under one node of the crown. */
export const block_slots = 2 ** block_height

/** Checkpoint text of each slot in use. */
export type Bodies = ReadonlyMap<number, Uint8Array>

export class SlotBlinds {
  readonly #secret: HmacKey

  /** @param secret 32 bytes */
  constructor(secret: Uint8Array) {
    this.#secret = hmacKey(sha256, secret)
  }

  /** About 3 µs per slot, without a pause. */
  tree(epoch: number, depth: number, bodies: Bodies): { root: Uint8Array; crown: Uint8Array } {
    const tree = SlotTree.build(sha256, { secret: this.#secret, epoch, depth, bodies })
    return { root: tree.root, crown: tree.level(block_height) }
  }

  /**
   * @param bodies of the slots of the block that `slot` lies in
   * @returns sibling hashes from the leaf upward, and the root that they lead to
   */
  path(
    epoch: number,
    slot: number,
    bodies: Bodies,
    crown: Uint8Array,
  ): { blind: Uint8Array; path: Uint8Array[]; root: Uint8Array } {
    const first = slot - (slot % block_slots)
    const leaves = Array.from({ length: block_slots }, (_, n) => {
      const body = bodies.get(first + n)
      const blind = slotBlind(sha256, this.#secret, epoch, first + n)
      return body === undefined ? blind : slotLeaf(sha256, blind, body)
    })
    const below = climb(leaves, slot - first)
    const nodes = Array.from({ length: crown.length / hash_bytes }, (_, n) =>
      crown.subarray(n * hash_bytes, (n + 1) * hash_bytes),
    )
    nodes[first / block_slots] = below.root
    const above = climb(nodes, first / block_slots)
    return {
      blind: slotBlind(sha256, this.#secret, epoch, slot),
      path: [...below.path, ...above.path],
      root: above.root,
    }
  }
}

/** From one of 2^n hashes to their root, with the siblings met. */
function climb(hashes: readonly Uint8Array[], from: number): { path: Uint8Array[]; root: Uint8Array } {
  const path: Uint8Array[] = []
  let level = hashes
  for (let at = from; level.length > 1; at = Math.floor(at / 2)) {
    path.push(level[at % 2 === 0 ? at + 1 : at - 1]!)
    level = Array.from({ length: level.length / 2 }, (_, n) => nodeHash(sha256, level[2 * n]!, level[2 * n + 1]!))
  }
  return { path, root: level[0]! }
}
