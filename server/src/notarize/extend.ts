// What one batch of sealed events does to one trail's tree. Pure: the same leaves give the same tiles and the same root,
// however they are cut into batches.
import { TILE_WIDTH } from '@affidavit/trail'
import { Frontier } from './frontier.ts'

const hash_bytes = 32

/** A trail as notarized so far. */
export interface Notarized {
  readonly size: number
  /** Peaks of the compact range, largest first. */
  readonly range: Uint8Array
}

/**
 * Hashes that a tile gains. Level 0 comes whole (offset 0, 256 hashes); tiles above grow as the tiles under them
 * complete.
 */
export interface TileGrowth {
  readonly level: number
  readonly index: number
  /** Hashes the tile held before. */
  readonly offset: number
  readonly hashes: Buffer
}

export interface Extended {
  readonly size: number
  readonly root: Uint8Array
  readonly range: Uint8Array
  readonly tiles: readonly TileGrowth[]
}

/** Leaves that a batch needs besides its own: the beginning of the tile that it completes. Null: none. */
export function leadingLeaves(size: number, count: number): { from: number; to: number } | null {
  const from = size - (size % TILE_WIDTH)
  return from < size && size + count >= from + TILE_WIDTH ? { from, to: size } : null
}

/**
 * @param leaves leaf hashes of entries size, size + 1, … one after the other
 * @param leading those that `leadingLeaves` names; may be empty when it names none
 */
export function extend(before: Notarized, leaves: Buffer, leading: Buffer): Extended {
  const frontier = Frontier.restore(before.size, before.range)
  const growth = new Map<string, { level: number; index: number; offset: number; hashes: Uint8Array[] }>()
  const onNode = (level: number, node: number, hash: Uint8Array) => {
    const index = Math.floor(node / TILE_WIDTH)
    const key = `${level} ${index}`
    const tile = growth.get(key)
    if (tile === undefined) growth.set(key, { level, index, offset: node % TILE_WIDTH, hashes: [hash] })
    else tile.hashes.push(hash)
  }
  for (let at = 0; at < leaves.length; at += hash_bytes) frontier.append(leaves.subarray(at, at + hash_bytes), onNode)
  const above = [...growth.values()].map((tile) => ({ ...tile, hashes: Buffer.concat(tile.hashes) }))
  return {
    size: frontier.size,
    root: frontier.root(),
    range: frontier.toBytes(),
    tiles: [...fullTiles(before.size, leaves, leading), ...above],
  }
}

/** The level-0 tiles that are full now and were not before. */
function fullTiles(size: number, leaves: Buffer, leading: Buffer): TileGrowth[] {
  const first = Math.floor(size / TILE_WIDTH)
  const end = Math.floor((size + leaves.length / hash_bytes) / TILE_WIDTH)
  const tiles: TileGrowth[] = []
  for (let index = first; index < end; index++) {
    const from = (index * TILE_WIDTH - size) * hash_bytes
    const own = leaves.subarray(Math.max(from, 0), from + TILE_WIDTH * hash_bytes)
    const hashes = from < 0 ? Buffer.concat([leading, own]) : own
    if (hashes.length !== TILE_WIDTH * hash_bytes) throw new Error(`tile ${index} has ${hashes.length} bytes`)
    tiles.push({ level: 0, index, offset: 0, hashes })
  }
  return tiles
}
