// The registry log as tiles: what one more entry does to the right edge of the tree. Pure. Every tile that is not full
// is stored as far as it goes, so the edge alone gives the root, and every partial tile is there to be served.
import { CompactRange, TILE_WIDTH, tileRoot } from '@affidavit/trail'
import { sha256 } from '../store/sha256.ts'

const hash_bytes = 32
/** A tile level is eight tree levels. */
const tile_height = 8

/** A tile that is not full, or has just become so. */
export interface EdgeTile {
  readonly level: number
  readonly index: number
  readonly hashes: Uint8Array
}

/** Places of the tiles that are not full at `size`, and how many hashes they hold; those with none are left out. */
export function edgeOf(size: number): { level: number; index: number; width: number }[] {
  const edge: { level: number; index: number; width: number }[] = []
  for (let level = 0, nodes = size; nodes > 0; level++, nodes = Math.floor(nodes / TILE_WIDTH)) {
    if (nodes % TILE_WIDTH > 0) edge.push({ level, index: Math.floor(nodes / TILE_WIDTH), width: nodes % TILE_WIDTH })
  }
  return edge
}

export class LogEdge {
  readonly #tiles = new Map<number, EdgeTile>()
  readonly #changed = new Map<string, EdgeTile>()
  #size: number

  /**
   * @param tiles exactly those that `edgeOf(size)` names
   * @throws Error when one is missing or has another width
   */
  constructor(size: number, tiles: readonly EdgeTile[]) {
    this.#size = size
    for (const { level, index, width } of edgeOf(size)) {
      const tile = tiles.find((one) => one.level === level && one.index === index)
      if (tile?.hashes.length !== width * hash_bytes)
        throw new Error(`tile ${level}/${index} of the registry log is not as it was written`)
      this.#tiles.set(level, tile)
    }
  }

  get size(): number {
    return this.#size
  }

  /** Tiles that `append` changed: to be stored in place of what is there. */
  get changed(): EdgeTile[] {
    return [...this.#changed.values()]
  }

  append(leaf: Uint8Array): void {
    let hash = leaf
    let node = this.#size++
    for (let level = 0; ; level++) {
      const before = this.#tiles.get(level)?.hashes ?? new Uint8Array(0)
      const tile = { level, index: Math.floor(node / TILE_WIDTH), hashes: Buffer.concat([before, hash]) }
      this.#changed.set(`${level}/${tile.index}`, tile)
      this.#tiles.set(level, tile)
      if (tile.hashes.length < TILE_WIDTH * hash_bytes) return
      this.#tiles.delete(level)
      hash = tileRoot(sha256, tile.hashes)
      node = tile.index
    }
  }

  root(): Uint8Array {
    const range = new CompactRange(sha256)
    const levels = [...this.#tiles.keys()].sort((a, b) => b - a)
    for (const level of levels) {
      const { hashes } = this.#tiles.get(level)!
      for (let at = 0; at < hashes.length; at += hash_bytes)
        range.appendSubtree(level * tile_height, hashes.subarray(at, at + hash_bytes))
    }
    return range.root()
  }
}
