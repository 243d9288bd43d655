/** The root of a trail from a part of its bundles and the hash tiles beside them. */
import { toBase64 } from './bytes.ts'
import { CompactRange } from './compact-range.ts'
import { HASH_BYTES, type Hash } from './hash.ts'
import { decodeTile, TILE_WIDTH, type TileId } from './tiles.ts'
import { tileRoot, treeRoot } from './tree.ts'
import type { Findings } from './verdict.ts'
import type { WalkedBundle } from './walk.ts'

export class PackRoot {
  private readonly hash: Hash
  private readonly size: number
  private readonly findings: Findings
  /** Hashes per tile level by index, as recomputed or, where nothing lies below them, as the tiles have them. */
  private readonly levels: Map<number, Uint8Array>[] = []
  private edge: readonly Uint8Array[] = []

  constructor(hash: Hash, size: number, findings: Findings) {
    this.hash = hash
    this.size = size
    this.findings = findings
    for (let level = 0; TILE_WIDTH ** level <= size; level++) this.levels.push(new Map())
  }

  /** The leaf hashes of a bundle; full ones become one hash a level up. */
  bundle(index: number, walked: WalkedBundle): void {
    if (walked.tile.length === TILE_WIDTH * HASH_BYTES) this.levels[1]?.set(index, tileRoot(this.hash, walked.tile))
    else this.edge = walked.leaves
  }

  /** A hash tile; tiles come level by level. What was recomputed below must stand in it. */
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
    this.fold(level)
    const known = this.levels[level]!
    hashes.forEach((hash, at) => {
      const index = tile.index * TILE_WIDTH + at
      const own = known.get(index)
      if (own === undefined) known.set(index, hash)
      else if (toBase64(own) !== toBase64(hash)) {
        const seq = index * TILE_WIDTH ** level
        const end = seq + TILE_WIDTH ** level - 1
        this.findings.fail('inclusion', 'subtree_changed', `entries ${seq} to ${end} are not those in the tree`, seq)
      }
    })
  }

  /** Complete tiles of the level below become one hash each at `level`. */
  private fold(level: number): void {
    if (level < 2) return
    this.fold(level - 1)
    const [below, here] = [this.levels[level - 1]!, this.levels[level]!]
    for (const index of below.keys()) {
      if (index % TILE_WIDTH !== 0 || here.has(index / TILE_WIDTH)) continue
      const hashes = this.row(below, index, TILE_WIDTH)
      if (hashes !== undefined) here.set(index / TILE_WIDTH, treeRoot(this.hash, hashes))
    }
  }

  private row(level: ReadonlyMap<number, Uint8Array>, first: number, width: number): Uint8Array[] | undefined {
    const hashes: Uint8Array[] = []
    for (let at = 0; at < width; at++) {
      const hash = level.get(first + at)
      if (hash === undefined) return undefined
      hashes.push(hash)
    }
    return hashes
  }

  /** The root at the pack's size, or undefined when hashes are missing. */
  root(): Uint8Array | undefined {
    const range = new CompactRange(this.hash)
    const top = this.levels.length - 1
    this.fold(top)
    for (let level = top; level > 0; level--) {
      const width = Math.floor(this.size / TILE_WIDTH ** level) % TILE_WIDTH
      const first = Math.floor(this.size / TILE_WIDTH ** (level + 1)) * TILE_WIDTH
      const hashes = this.row(this.levels[level]!, first, width)
      if (hashes === undefined) return undefined
      for (const hash of hashes) range.appendSubtree(8 * level, hash)
    }
    if (this.edge.length !== this.size % TILE_WIDTH) return undefined
    for (const leaf of this.edge) range.append(leaf)
    return range.root()
  }
}
