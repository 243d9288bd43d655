// The growing edge of one trail's tree, cut where tiles are cut. A compact range (RFC 6962 subtrees of leaves [0, size))
// knows the root, but once two full tiles have merged it no longer knows the hash of the newer one, which the tile above
// needs. So the size is taken as a number with base 256: one compact range per digit, over the hashes of that tile level
// that do not fill a tile yet. All peaks together, largest first, are exactly the peaks of the plain compact range.
import { CompactRange, concatBytes, emptyRoot, joinPeaks, TILE_WIDTH } from '@affidavit/trail'
import { sha256 } from '../store/sha256.ts'

const hash_bytes = 32

/** Called for each hash that a tile of level ≥ 1 gains: node `index` of that tile level. */
export type OnNode = (level: number, index: number, hash: Uint8Array) => void

export class Frontier {
  /** Lowest tile level first. */
  readonly #digits: CompactRange[] = []
  #size = 0

  /**
   * @param bytes the peaks, largest subtree first; empty for size 0
   * @throws RangeError when the bytes do not fit the size
   */
  static restore(size: number, bytes: Uint8Array): Frontier {
    if (!Number.isSafeInteger(size) || size < 0) throw new RangeError(`not a tree size: ${size}`)
    const frontier = new Frontier()
    frontier.#size = size
    let end = bytes.length
    for (let rest = size; rest > 0; rest = Math.floor(rest / TILE_WIDTH)) {
      const digit = rest % TILE_WIDTH
      const start = end - peaks(digit) * hash_bytes
      if (start < 0) throw new RangeError(`${bytes.length} bytes for size ${size}`)
      frontier.#digits.push(CompactRange.fromBytes(sha256, digit, bytes.subarray(start, end)))
      end = start
    }
    if (end !== 0) throw new RangeError(`${bytes.length} bytes for size ${size}`)
    return frontier
  }

  get size(): number {
    return this.#size
  }

  /** Appends one leaf hash; keeps the array. */
  append(leaf: Uint8Array, onNode: OnNode): void {
    this.#size++
    let hash = leaf
    let index = this.#size
    for (let level = 0; ; level++) {
      if (level === this.#digits.length) this.#digits.push(new CompactRange(sha256))
      const digit = this.#digits[level]!
      digit.append(hash)
      if (digit.size < TILE_WIDTH) return
      hash = digit.root()
      index /= TILE_WIDTH
      this.#digits[level] = new CompactRange(sha256)
      onNode(level + 1, index - 1, hash)
    }
  }

  /** The peaks one after the other, largest subtree first: what `restore` and the plain compact range take. */
  toBytes(): Uint8Array {
    return concatBytes(this.#digits.toReversed().map((digit) => digit.toBytes()))
  }

  root(): Uint8Array {
    if (this.#size === 0) return emptyRoot(sha256)
    const bytes = this.toBytes()
    const hashes: Uint8Array[] = []
    for (let at = 0; at < bytes.length; at += hash_bytes) hashes.push(bytes.subarray(at, at + hash_bytes))
    return joinPeaks(sha256, hashes)
  }
}

/** Bits set in a digit below 256: how many subtrees it consists of. */
function peaks(digit: number): number {
  let count = 0
  for (let rest = digit; rest > 0; rest >>= 1) count += rest & 1
  return count
}
