/**
 * The slot tree of an epoch: 2^depth leaves, one per slot. Every leaf is blinded anew in every epoch, so that sibling
 * hashes tell a trail's owner nothing about neighbours, not even whether they exist (docs/spec/registry.md).
 */
import { concatBytes } from '../bytes.ts'
import { HASH_BYTES, type Hash, type HmacKey, hashInto, hmac } from '../hash.ts'
import { leafHash, nodeHash } from '../tree/tree.ts'
import { MAX_DEPTH, MIN_DEPTH } from './registry.ts'

const utf8 = new TextEncoder()
const BLOCK_BYTES = 64

/** The smallest depth that leaves at least half of all slots empty. */
export function depthFor(slotsInUse: number): number {
  let depth = MIN_DEPTH
  while (2 ** depth < 2 * slotsInUse) depth++
  if (depth > MAX_DEPTH) throw new RangeError(`no room for ${slotsInUse} slots`)
  return depth
}

/** HMAC-SHA256(registry secret, epoch ‖ slot), both as uint64 big-endian. */
export function slotBlind(hash: Hash, secret: HmacKey, epoch: number, slot: number): Uint8Array {
  return hmac(hash, secret, place(epoch, slot))
}

function place(epoch: number, slot: number): Uint8Array {
  const message = new Uint8Array(16)
  const view = new DataView(message.buffer)
  view.setBigUint64(0, BigInt(epoch))
  view.setBigUint64(8, BigInt(slot))
  return message
}

/** Leaf hash of a slot whose trail has this checkpoint: SHA-256(0x00 ‖ blind ‖ note text). */
export function slotLeaf(hash: Hash, blind: Uint8Array, body: Uint8Array | string): Uint8Array {
  return leafHash(hash, concatBytes([blind, typeof body === 'string' ? utf8.encode(body) : body]))
}

/** The root that a leaf hash and its path (leaf upward) give at `slot`. */
export function slotRoot(hash: Hash, slot: number, leaf: Uint8Array, path: readonly Uint8Array[]): Uint8Array {
  let [at, root] = [slot, leaf]
  for (const sibling of path) {
    root = at % 2 === 1 ? nodeHash(hash, sibling, root) : nodeHash(hash, root, sibling)
    at = Math.floor(at / 2)
  }
  return root
}

export interface SlotTreePlan {
  readonly secret: HmacKey
  readonly epoch: number
  readonly depth: number
  /** Checkpoint note text of each slot in use, in any order. */
  readonly bodies: Iterable<readonly [slot: number, body: Uint8Array | string]>
  /** For a part of a larger tree: its first slot, a multiple of 2^depth. Default 0. */
  readonly first?: number
}

/**
 * All nodes of one epoch's slot tree, 2^(depth + 1) × 32 bytes. The leaf hash of an empty slot is its blind: nobody
 * without the secret can tell it from a hash or foresee it, and it can be computed again instead of being stored.
 */
export class SlotTree {
  readonly depth: number
  /** Level by level from the leaves up; the root is last. */
  private readonly levels: readonly Uint8Array[]

  private constructor(depth: number, levels: readonly Uint8Array[]) {
    this.depth = depth
    this.levels = levels
  }

  /**
   * About 3 µs per slot with a fast hash. Throws RangeError for a slot outside the tree, or one with two bodies. A part of
   * a larger tree counts its slots from its own first one when it is asked for paths.
   */
  static build(hash: Hash, { secret, epoch, depth, bodies, first = 0 }: SlotTreePlan): SlotTree {
    if (depth < MIN_DEPTH || depth > MAX_DEPTH) throw new RangeError(`not a slot tree's depth: ${depth}`)
    const slots = 2 ** depth
    if (first % slots !== 0 || first + slots > 2 ** MAX_DEPTH) throw new RangeError(`no tree of ${slots} at ${first}`)
    const leaves = new Uint8Array(slots * HASH_BYTES)
    fillBlinds(hash, secret, epoch, first, leaves)
    const taken = new Uint8Array(slots)
    for (const [slot, body] of bodies) {
      const at = slot - first
      if (!Number.isInteger(at) || at < 0 || at >= slots)
        throw new RangeError(`no slot ${slot} of ${slots} from ${first}`)
      if (taken[at] === 1) throw new RangeError(`slot ${slot} has two heads`)
      taken[at] = 1
      putLeaf(hash, leaves, at * HASH_BYTES, body)
    }
    return SlotTree.over(hash, leaves)
  }

  /** The upper part of a tree, over node hashes (2^n of them, one after the other) that are known. */
  static over(hash: Hash, nodes: Uint8Array): SlotTree {
    const depth = Math.log2(nodes.length / HASH_BYTES)
    if (!Number.isInteger(depth) || depth > MAX_DEPTH) throw new RangeError(`no tree over ${nodes.length} bytes`)
    const levels: Uint8Array[] = [nodes]
    for (let below: Uint8Array = nodes; below.length > HASH_BYTES; ) {
      below = levelAbove(hash, below)
      levels.push(below)
    }
    return new SlotTree(depth, levels)
  }

  get root(): Uint8Array {
    return this.levels[this.depth]!.slice()
  }

  /** The node hashes `up` levels above the leaves, left to right: each covers 2^up slots. */
  level(up: number): Uint8Array {
    if (!Number.isInteger(up) || up < 0 || up > this.depth) throw new RangeError(`no level ${up}`)
    return this.levels[up]!.slice()
  }

  /** Sibling hashes from the leaf upward, `depth` of them. */
  path(slot: number): Uint8Array[] {
    if (!Number.isInteger(slot) || slot < 0 || slot >= 2 ** this.depth) throw new RangeError(`no slot ${slot}`)
    return Array.from({ length: this.depth }, (_, level) => {
      const at = Math.floor(slot / 2 ** level)
      const sibling = at % 2 === 0 ? at + 1 : at - 1
      return this.levels[level]!.slice(sibling * HASH_BYTES, (sibling + 1) * HASH_BYTES)
    })
  }
}

/** `hmac` of every slot's place, with one pair of buffers for all of them. */
function fillBlinds(hash: Hash, secret: HmacKey, epoch: number, first: number, leaves: Uint8Array): void {
  const inner = concatBytes([secret.inner, place(epoch, 0)])
  const outer = concatBytes([secret.outer, new Uint8Array(HASH_BYTES)])
  const view = new DataView(inner.buffer)
  for (let slot = first, at = 0; at < leaves.length; slot++, at += HASH_BYTES) {
    view.setUint32(BLOCK_BYTES + 12, slot)
    hashInto(hash, inner, outer, BLOCK_BYTES)
    hashInto(hash, outer, leaves, at)
  }
}

/** Reused for every leaf, 0x00 in front. */
let prefixed = new Uint8Array(1024)

/** Puts a trail's leaf in the place of the blind that stands there. */
function putLeaf(hash: Hash, leaves: Uint8Array, at: number, body: Uint8Array | string): void {
  const from = 1 + HASH_BYTES
  if (from + body.length * 3 > prefixed.length) prefixed = new Uint8Array(from + body.length * 3)
  prefixed.set(leaves.subarray(at, at + HASH_BYTES), 1)
  let length = body.length
  if (typeof body === 'string') length = utf8.encodeInto(body, prefixed.subarray(from)).written
  else prefixed.set(body, from)
  hashInto(hash, prefixed.subarray(0, from + length), leaves, at)
}

function levelAbove(hash: Hash, below: Uint8Array): Uint8Array {
  const level = new Uint8Array(below.length / 2)
  const pair = new Uint8Array(1 + 2 * HASH_BYTES)
  pair[0] = 1
  for (let at = 0; at < level.length; at += HASH_BYTES) {
    pair.set(below.subarray(2 * at, 2 * at + 2 * HASH_BYTES), 1)
    hashInto(hash, pair, level, at)
  }
  return level
}
