/**
 * The Merkle tree of RFC 6962 §2.1 over leaf hashes: proofs and their verification. A node is named by (level, index)
 * and covers the leaves [index · 2^level, (index + 1) · 2^level). Sizes go up to 2^53 − 1; JavaScript's bit operators
 * would cut them to 32 bits, so everything here divides.
 */
import { equalBytes } from '../bytes.ts'
import { HASH_BYTES, type Hash, hashInto } from '../hash.ts'

/** Half open: `from` is in, `to` is not. */
export interface Range {
  readonly from: number
  readonly to: number
}

export interface NodeId {
  readonly level: number
  readonly index: number
}

/** Hash of a complete subtree. */
export type ReadNode = (level: number, index: number) => Uint8Array | Promise<Uint8Array>

/** SHA-256(0x00 ‖ data): the hash of an entry, and what the next entry calls its previous hash. */
export function leafHash(hash: Hash, data: Uint8Array): Uint8Array {
  if (data.length >= prefixed.length) prefixed = new Uint8Array(data.length + 1)
  prefixed.set(data, 1)
  return hash(prefixed.subarray(0, data.length + 1))
}

/** Reused for every leaf, with the 0x00 in front: a fresh array costs more than the hash. */
let prefixed = new Uint8Array(65_536)

/** Reused for every node: a verifier hashes as many nodes as leaves. */
const pair = new Uint8Array(1 + 2 * HASH_BYTES)
pair[0] = 1

/** SHA-256(0x01 ‖ left ‖ right). */
export function nodeHash(hash: Hash, left: Uint8Array, right: Uint8Array): Uint8Array {
  pair.set(left, 1)
  pair.set(right, 1 + HASH_BYTES)
  return hash(pair)
}

/** The root of the tree without leaves: SHA-256 of nothing. */
export function emptyRoot(hash: Hash): Uint8Array {
  return hash(new Uint8Array(0))
}

/** The root over leaf hashes, each of 32 bytes. */
export function treeRoot(hash: Hash, leaves: readonly Uint8Array[]): Uint8Array {
  if (leaves.length === 0) return emptyRoot(hash)
  let level = leaves
  while (level.length > 1) {
    const above: Uint8Array[] = []
    for (let i = 0; i + 1 < level.length; i += 2) above.push(nodeHash(hash, level[i]!, level[i + 1]!))
    // A left-over node rises unchanged: the same tree as RFC 6962's split at the largest power of two.
    if (level.length % 2 === 1) above.push(level[level.length - 1]!)
    level = above
  }
  return level[0]!
}

/** A pair ready to be hashed: 0x01 ‖ left ‖ right. */
const PAIR_BYTES = 1 + 2 * HASH_BYTES
/** 128 pairs one after another: each level of a tile is hashed into the pairs of the level above, in the same place. */
const pairs = new Uint8Array(128 * PAIR_BYTES)
const pairViews = Array.from({ length: 128 }, (_, i) => pairs.subarray(i * PAIR_BYTES, (i + 1) * PAIR_BYTES))
for (const view of pairViews) view[0] = 1

/** Where the `i`th hash of a level stands in the pairs. */
function placeInPairs(i: number): number {
  return (i >> 1) * PAIR_BYTES + 1 + (i & 1) * HASH_BYTES
}

/** `treeRoot` over at most 256 hashes that stand one after another: a tile. */
export function tileRoot(hash: Hash, tile: Uint8Array): Uint8Array {
  const count = tile.length / HASH_BYTES
  if (count === 0) return emptyRoot(hash)
  if (count > 256) throw new RangeError(`a tile of ${count} hashes`)
  for (let i = 0; i < count; i += 2) pairs.set(tile.subarray(i * HASH_BYTES, (i + 2) * HASH_BYTES), placeInPairs(i))
  for (let width = count; width > 1; width = Math.ceil(width / 2)) {
    const whole = width >> 1
    for (let i = 0; i < whole; i++) hashInto(hash, pairViews[i]!, pairs, placeInPairs(i))
    // A left-over hash rises unchanged.
    if (width % 2 === 1) {
      const from = placeInPairs(width - 1)
      pairs.copyWithin(placeInPairs(whole), from, from + HASH_BYTES)
    }
  }
  return pairs.slice(1, 1 + HASH_BYTES)
}

/** The complete subtrees that a range consists of, from left to right; `from` must be a multiple of what it splits to. */
export function nodesOf(range: Range): NodeId[] {
  const nodes: NodeId[] = []
  let from = range.from
  while (from < range.to) {
    let level = 0
    let width = 1
    while (from % (width * 2) === 0 && from + width * 2 <= range.to) {
      width *= 2
      level++
    }
    nodes.push({ level, index: from / width })
    from += width
  }
  return nodes
}

/** Hash over a range that hangs together in the tree (as proofs name them). */
export async function rangeHash(hash: Hash, read: ReadNode, range: Range): Promise<Uint8Array> {
  const hashes = await Promise.all(nodesOf(range).map((node) => read(node.level, node.index)))
  return joinPeaks(hash, hashes)
}

/** Joins subtree hashes of falling size from right to left. */
export function joinPeaks(hash: Hash, peaks: readonly Uint8Array[]): Uint8Array {
  if (peaks.length === 0) return emptyRoot(hash)
  let joined = peaks[peaks.length - 1]!
  for (let i = peaks.length - 2; i >= 0; i--) joined = nodeHash(hash, peaks[i]!, joined)
  return joined
}

function assertSize(size: number): void {
  if (!Number.isSafeInteger(size) || size < 0) throw new RangeError(`not a tree size: ${size}`)
}

/** The largest power of two below `n` (n ≥ 2). */
function split(n: number): number {
  let power = 1
  while (power * 2 < n) power *= 2
  return power
}

/** The ranges whose hashes prove leaf `index` in a tree of `size` leaves, in proof order (RFC 6962 §2.1.1). */
export function inclusionRanges(index: number, size: number): Range[] {
  assertSize(size)
  if (!Number.isSafeInteger(index) || index < 0 || index >= size) throw new RangeError(`no leaf ${index} of ${size}`)
  const ranges: Range[] = []
  let [from, to] = [0, size]
  while (to - from > 1) {
    const middle = from + split(to - from)
    if (index < middle) {
      ranges.push({ from: middle, to })
      to = middle
    } else {
      ranges.push({ from, to: middle })
      from = middle
    }
  }
  return ranges.reverse()
}

/** The ranges whose hashes prove that the tree of `older` leaves is a prefix of that of `newer` (RFC 6962 §2.1.2). */
export function consistencyRanges(older: number, newer: number): Range[] {
  assertSize(older)
  assertSize(newer)
  if (older === 0 || older > newer) throw new RangeError(`no consistency proof from ${older} to ${newer}`)
  const ranges: Range[] = []
  let [from, to] = [0, newer]
  let whole = true
  while (older !== to) {
    const middle = from + split(to - from)
    if (older <= middle) {
      ranges.push({ from: middle, to })
      to = middle
    } else {
      ranges.push({ from, to: middle })
      from = middle
      whole = false
    }
  }
  if (!whole) ranges.push({ from, to })
  return ranges.reverse()
}

/** Inclusion proof: sibling hashes from leaf to root. */
export function proveInclusion(hash: Hash, read: ReadNode, index: number, size: number): Promise<Uint8Array[]> {
  return Promise.all(inclusionRanges(index, size).map((range) => rangeHash(hash, read, range)))
}

/** Consistency proof between two sizes, 0 < older ≤ newer. */
export function proveConsistency(hash: Hash, read: ReadNode, older: number, newer: number): Promise<Uint8Array[]> {
  return Promise.all(consistencyRanges(older, newer).map((range) => rangeHash(hash, read, range)))
}

function isHash(bytes: Uint8Array): boolean {
  return bytes.length === HASH_BYTES
}

function isSize(size: number): boolean {
  return Number.isSafeInteger(size) && size >= 0
}

/** RFC 9162 §2.1.3.2. False for anything that is not exactly this leaf's proof under this root. */
export function verifyInclusion(
  hash: Hash,
  leaf: Uint8Array,
  index: number,
  size: number,
  proof: readonly Uint8Array[],
  root: Uint8Array,
): boolean {
  if (!isSize(index) || !isSize(size) || index >= size) return false
  if (!isHash(leaf) || !isHash(root) || !proof.every(isHash)) return false
  let [at, last] = [index, size - 1]
  let result = leaf
  for (const sibling of proof) {
    if (last === 0) return false
    if (at % 2 === 1 || at === last) {
      result = nodeHash(hash, sibling, result)
      while (at % 2 === 0 && at !== 0) {
        at /= 2
        last = Math.floor(last / 2)
      }
    } else result = nodeHash(hash, result, sibling)
    at = Math.floor(at / 2)
    last = Math.floor(last / 2)
  }
  return last === 0 && equalBytes(result, root)
}

/** RFC 9162 §2.1.4.2. A proof from size 0 would prove nothing and is refused. */
export function verifyConsistency(
  hash: Hash,
  older: number,
  newer: number,
  proof: readonly Uint8Array[],
  olderRoot: Uint8Array,
  newerRoot: Uint8Array,
): boolean {
  if (!isSize(older) || !isSize(newer) || older === 0 || older > newer) return false
  if (older === newer) return proof.length === 0 && equalBytes(olderRoot, newerRoot)
  if (!isHash(olderRoot) || !isHash(newerRoot) || !proof.every(isHash)) return false
  let [at, last] = [older - 1, newer - 1]
  while (at % 2 === 1) {
    at = (at - 1) / 2
    last = Math.floor(last / 2)
  }
  // A complete older tree is itself the first node of the path.
  const path = at === 0 ? [olderRoot, ...proof] : proof
  const first = path[0]
  if (first === undefined) return false
  let [old, now] = [first, first]
  for (const sibling of path.slice(1)) {
    if (last === 0) return false
    if (at % 2 === 1 || at === last) {
      old = nodeHash(hash, sibling, old)
      now = nodeHash(hash, sibling, now)
      while (at % 2 === 0 && at !== 0) {
        at /= 2
        last = Math.floor(last / 2)
      }
    } else now = nodeHash(hash, now, sibling)
    at = Math.floor(at / 2)
    last = Math.floor(last / 2)
  }
  return last === 0 && equalBytes(old, olderRoot) && equalBytes(now, newerRoot)
}
