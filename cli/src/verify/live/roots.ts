/** Roots and tiles recomputed from leaf hashes as they come: of the whole trail, and at the sizes somebody kept. */
import { CompactRange, type Hash, TILE_WIDTH, type TileId, treeRoot } from '@affidavit/trail'

export class Roots {
  private readonly hash: Hash
  private readonly range: CompactRange
  private readonly kept = new Map<number, Uint8Array>()
  private readonly sizes: readonly number[]
  /** Node hashes per tile level from 1 on: 1/256 of the leaves and less. */
  private readonly levels: Uint8Array[][] = [[]]
  private isWhole = true

  /** @param sizes tree sizes whose roots are wanted, too */
  constructor(hash: Hash, sizes: readonly number[]) {
    this.hash = hash
    this.sizes = sizes
    this.range = new CompactRange(hash)
    if (sizes.includes(0)) this.kept.set(0, this.range.root())
  }

  /** The next leaves: 256, or fewer at the end of the trail. */
  append(leaves: readonly Uint8Array[]): void {
    if (!this.isWhole) return
    const first = this.range.size
    for (const size of this.sizes) {
      if (first < size && size <= first + leaves.length)
        this.kept.set(size, this.rootAfter(leaves.slice(0, size - first)))
    }
    if (leaves.length === TILE_WIDTH) this.subtree(1, treeRoot(this.hash, leaves))
    else for (const leaf of leaves) this.range.append(leaf)
  }

  /** Leaves are missing here: no root beyond this place can be known. */
  gap(): void {
    this.isWhole = false
  }

  private rootAfter(leaves: readonly Uint8Array[]): Uint8Array {
    const range = this.range.clone()
    for (const leaf of leaves) range.append(leaf)
    return range.root()
  }

  private subtree(level: number, root: Uint8Array): void {
    if (level === 1) this.range.appendSubtree(8, root)
    this.levels[level] ??= []
    const row = this.levels[level]
    row.push(root)
    if (row.length % TILE_WIDTH === 0) this.subtree(level + 1, treeRoot(this.hash, row.slice(-TILE_WIDTH)))
  }

  /** The root over everything appended, or undefined after a gap. */
  root(): Uint8Array | undefined {
    return this.isWhole ? this.range.root() : undefined
  }

  /** The root at one of the sizes asked for, or undefined where it was not reached without a gap. */
  rootAt(size: number): Uint8Array | undefined {
    return this.kept.get(size)
  }

  /** Hash tiles above the leaves, as they must be. */
  *tiles(): Generator<TileId & { readonly level: number; readonly hashes: readonly Uint8Array[] }> {
    for (const [level, row] of this.levels.entries()) {
      for (let at = 0; at < row.length; at += TILE_WIDTH) {
        const hashes = row.slice(at, at + TILE_WIDTH)
        yield { level, index: at / TILE_WIDTH, width: hashes.length, hashes }
      }
    }
  }
}
