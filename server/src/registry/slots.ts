// The slot tree of one epoch. Built once, when the epoch is made, block by block, so that neither its 16 MB (at 100,000
// trails) nor the second that it takes are ever needed at once; kept are the root and the crown: the nodes that cover 256
// slots each, 32 KB. A slot's proof later is its block of 256 computed again from bodies and secret, and the crown above.
import { type HmacKey, hmacKey, SlotTree, slotBlind } from '@affidavit/trail'
import { sha256 } from '../store/sha256.ts'

const hash_bytes = 32
const block_height = 8
/** Slots under one node of the crown. */
export const block_slots = 2 ** block_height
/** Blocks built without a pause: some 10 ms. */
const blocks_at_once = 12

/** Checkpoint text of each slot in use; a Map is one. */
export interface Bodies {
  get(slot: number): Uint8Array | undefined
}

const pause = () => new Promise<void>((resolve) => setImmediate(resolve))

export class SlotBlinds {
  readonly #secret: HmacKey

  /** @param secret 32 bytes */
  constructor(secret: Uint8Array) {
    this.#secret = hmacKey(sha256, secret)
  }

  /** About 3 µs per slot; others get their turn in between. The bodies must stay as they are meanwhile. */
  async tree(epoch: number, depth: number, bodies: Bodies): Promise<{ root: Uint8Array; crown: Uint8Array }> {
    const crown = new Uint8Array(2 ** (depth - block_height) * hash_bytes)
    for (let block = 0; block * hash_bytes < crown.length; block++) {
      if (block > 0 && block % blocks_at_once === 0) await pause()
      crown.set(this.#block(epoch, block, bodies).root, block * hash_bytes)
    }
    return { root: SlotTree.over(sha256, crown).root, crown }
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
    const block = Math.floor(slot / block_slots)
    const below = this.#block(epoch, block, bodies)
    const nodes = new Uint8Array(crown)
    nodes.set(below.root, block * hash_bytes)
    const above = SlotTree.over(sha256, nodes)
    return {
      blind: slotBlind(sha256, this.#secret, epoch, slot),
      path: [...below.path(slot % block_slots), ...above.path(block)],
      root: above.root,
    }
  }

  #block(epoch: number, block: number, bodies: Bodies): SlotTree {
    const first = block * block_slots
    const own: [number, Uint8Array][] = []
    for (let slot = first; slot < first + block_slots; slot++) {
      const body = bodies.get(slot)
      if (body !== undefined) own.push([slot, body])
    }
    return SlotTree.build(sha256, { secret: this.#secret, epoch, depth: block_height, bodies: own, first })
  }
}
