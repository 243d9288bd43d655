/**
 * The frontier of a growing tree: the complete subtrees of leaves [0, size), enough to append and to give the root,
 * in at most 53 hashes. The notary keeps one per trail; the verifier keeps one per run.
 */
import { concatBytes } from '../bytes.ts'
import { HASH_BYTES, type Hash } from '../hash.ts'
import { joinPeaks, nodeHash } from './tree.ts'

export class CompactRange {
  private readonly hash: Hash
  private leaves = 0
  /** Largest subtree first: one for each set bit of the size. */
  private peaks: Uint8Array[] = []

  constructor(hash: Hash) {
    this.hash = hash
  }

  /** Restores what `toBytes` gave. Throws RangeError when the bytes do not fit the size. */
  static fromBytes(hash: Hash, size: number, bytes: Uint8Array): CompactRange {
    if (!Number.isSafeInteger(size) || size < 0) throw new RangeError(`not a tree size: ${size}`)
    const range = new CompactRange(hash)
    range.leaves = size
    if (bytes.length !== setBits(size) * HASH_BYTES) throw new RangeError(`${bytes.length} bytes for size ${size}`)
    for (let at = 0; at < bytes.length; at += HASH_BYTES) range.peaks.push(bytes.slice(at, at + HASH_BYTES))
    return range
  }

  get size(): number {
    return this.leaves
  }

  /** Appends one leaf hash. The range keeps the array: do not change it afterwards. */
  append(leaf: Uint8Array): void {
    this.appendSubtree(0, leaf)
  }

  /** Appends a complete subtree of 2^level leaves. Throws RangeError unless the size is a multiple of 2^level. */
  appendSubtree(level: number, root: Uint8Array): void {
    const width = 2 ** level
    if (this.leaves % width !== 0) throw new RangeError(`size ${this.leaves} is not a multiple of 2^${level}`)
    if (!Number.isSafeInteger(this.leaves + width)) throw new RangeError('the tree is full')
    let joined = root
    for (let left = this.leaves / width; left % 2 === 1; left = (left - 1) / 2) {
      joined = nodeHash(this.hash, this.peaks.pop()!, joined)
    }
    this.peaks.push(joined)
    this.leaves += width
  }

  root(): Uint8Array {
    return joinPeaks(this.hash, this.peaks)
  }

  /** The subtree hashes one after the other, largest subtree first. */
  toBytes(): Uint8Array {
    return concatBytes(this.peaks)
  }

  clone(): CompactRange {
    const copy = new CompactRange(this.hash)
    copy.leaves = this.leaves
    copy.peaks = this.peaks.slice()
    return copy
  }
}

function setBits(size: number): number {
  let bits = 0
  for (let rest = size; rest > 0; rest = Math.floor(rest / 2)) bits += rest % 2
  return bits
}
