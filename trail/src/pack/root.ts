/**
 * The root of a trail from a part of its bundles and the hash tiles beside them. Holds little: what a whole tile lies
 * under becomes one hash of the level above as soon as it is complete.
 */
import { equalBytes } from '../bytes.ts'
import { HASH_BYTES, type Hash } from '../hash.ts'
import { CompactRange } from '../tree/compact-range.ts'
import { decodeTile, TILE_WIDTH, type TileId, tileWidth } from '../tree/tiles.ts'
import { tileRoot } from '../tree/tree.ts'
import type { Findings } from '../walk/verdict.ts'
import type { WalkedBundle } from '../walk/walk.ts'

export class PackRoot {
  private readonly hash: Hash
  private readonly size: number
  private readonly findings: Findings
  /** By tile level: hashes recomputed from below, or of the right edge, that are not yet in a hash above them. */
  private readonly levels: Map<number, Uint8Array>[] = []
  /** By tile level: the run of hashes that has grown from the beginning of a tile. */
  private readonly runs: { first: number; tile: Uint8Array; count: number }[] = []
  private edge: readonly Uint8Array[] = []

  constructor(hash: Hash, size: number, findings: Findings) {
    this.hash = hash
    this.size = size
    this.findings = findings
    for (let level = 0; TILE_WIDTH ** level <= size; level++) {
      this.levels.push(new Map())
      this.runs.push({ first: 0, tile: new Uint8Array(TILE_WIDTH * HASH_BYTES), count: 0 })
    }
  }

  /** The leaf hashes of a bundle, bundles in ascending order; full ones become one hash a level up. */
  bundle(index: number, walked: WalkedBundle): void {
    if (walked.tile.length === TILE_WIDTH * HASH_BYTES) this.know(1, index, tileRoot(this.hash, walked.tile))
    else this.edge = walked.leaves
  }

  /** Takes a hash; 256 of them in a row that make a tile become one of the level above. */
  private know(level: number, index: number, hash: Uint8Array): void {
    const run = this.runs[level]
    if (run === undefined) return
    if (index % TILE_WIDTH === 0) {
      this.settle(level)
      run.first = index
    } else if (run.count === 0 || index !== run.first + run.count) {
      this.settle(level)
      this.levels[level]!.set(index, hash)
      return
    }
    run.tile.set(hash, run.count * HASH_BYTES)
    run.count++
    if (run.count < TILE_WIDTH) return
    run.count = 0
    this.know(level + 1, run.first / TILE_WIDTH, tileRoot(this.hash, run.tile))
  }

  /** What is in the run stays as single hashes: no whole tile will come of it. */
  private settle(level: number): void {
    const run = this.runs[level]!
    for (let at = 0; at < run.count; at++) {
      this.levels[level]!.set(run.first + at, run.tile.slice(at * HASH_BYTES, (at + 1) * HASH_BYTES))
    }
    run.count = 0
  }

  /** A hash tile; tiles come level by level, ascending. What was recomputed below must stand in it. */
  tile(tile: TileId, bytes: Uint8Array): void {
    const hashes = decodeTile(bytes)
    const level = tile.level as number
    if (hashes?.length !== tile.width) {
      this.findings.fail('inclusion', 'tile_width', `tile ${level}/${tile.index} does not hold ${tile.width} hashes`)
      return
    }
    if (level === 0) {
      this.edge = hashes
      return
    }
    for (let below = 1; below <= level; below++) this.settle(below)
    const known = this.levels[level]!
    hashes.forEach((hash, at) => {
      const index = tile.index * TILE_WIDTH + at
      const own = known.get(index)
      if (own !== undefined && !equalBytes(own, hash)) {
        const seq = index * TILE_WIDTH ** level
        const end = seq + TILE_WIDTH ** level - 1
        this.findings.fail('inclusion', 'subtree_changed', `entries ${seq} to ${end} are not those in the tree`, seq)
      }
      if (tile.width === TILE_WIDTH) known.delete(index)
      else known.set(index, own ?? hash)
    })
    // Where the tile was recomputed differently the finding is made; the tree above is held against the tile.
    if (tile.width === TILE_WIDTH) this.levels[level + 1]?.set(tile.index, tileRoot(this.hash, bytes))
  }

  /** The root at the pack's size, or undefined when hashes are missing. */
  root(): Uint8Array | undefined {
    const range = new CompactRange(this.hash)
    for (let level = this.levels.length - 1; level > 0; level--) {
      this.settle(level)
      const index = Math.floor(this.size / TILE_WIDTH ** (level + 1))
      const width = tileWidth(level, index, this.size)
      for (let at = 0; at < width; at++) {
        const hash = this.levels[level]!.get(index * TILE_WIDTH + at)
        if (hash === undefined) return undefined
        range.appendSubtree(8 * level, hash)
      }
    }
    if (this.edge.length !== this.size % TILE_WIDTH) return undefined
    for (const leaf of this.edge) range.append(leaf)
    return range.root()
  }
}

/** The roots of the first so many leaves, for a few sizes, as long as the leaves come without a gap. */
export class OlderRoots {
  private readonly hash: Hash
  private readonly sizes: ReadonlySet<number>
  private readonly largest: number
  private readonly range: CompactRange
  private readonly roots = new Map<number, Uint8Array>()

  constructor(hash: Hash, sizes: Iterable<number>) {
    this.hash = hash
    this.sizes = new Set(sizes)
    this.largest = Math.max(0, ...this.sizes)
    this.range = new CompactRange(hash)
    if (this.sizes.has(0)) this.roots.set(0, this.range.root())
  }

  bundle(walked: WalkedBundle): void {
    const { first, width, tile } = walked
    if (first !== this.range.size || first >= this.largest) return
    for (const size of this.sizes) {
      if (size <= first || size > first + width) continue
      const range = this.range.clone()
      for (const leaf of walked.leaves.slice(0, size - first)) range.append(leaf)
      this.roots.set(size, range.root())
    }
    if (width === TILE_WIDTH) this.range.appendSubtree(8, tileRoot(this.hash, tile))
    else for (const leaf of walked.leaves) this.range.append(leaf)
  }

  /** Undefined where the leaves did not reach. */
  at(size: number): Uint8Array | undefined {
    return this.roots.get(size)
  }
}
