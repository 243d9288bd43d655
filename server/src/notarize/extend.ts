// What one batch of sealed events does to one trail's tree. Pure: the same leaves give the same tiles and the same root,
// however they are cut into batches.
import { TILE_WIDTH } from '@affidavit/trail'
import { kept } from '../keys/aead.ts'
import { Frontier } from './frontier.ts'

const hash_bytes = 32

/** A trail as notarized so far. */
export interface Notarized {
  readonly size: number
  /** Peaks of the compact range, largest first. */
  readonly range: Uint8Array
  /** Leaf hashes of the unfinished level-0 tile, where they are at hand. */
  readonly tail: Buffer | null
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
  readonly tail: Buffer | null
  readonly tiles: readonly TileGrowth[]
}

/** Leaves to be read besides a batch's own: the beginning of the tile that it completes. Null: none. */
export function leadingLeaves({ size, tail }: Notarized, count: number): { from: number; to: number } | null {
  const from = size - (size % TILE_WIDTH)
  return tail === null && from < size && size + count >= from + TILE_WIDTH ? { from, to: size } : null
}

/**
 * @param leaves leaf hashes of entries size, size + 1, … one after the other
 * @param leading those that `leadingLeaves` names; null when it names none
 */
export function extend(before: Notarized, leaves: Buffer, leading: Buffer | null): Extended {
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
  const tail = before.size % TILE_WIDTH === 0 ? Buffer.alloc(0) : (before.tail ?? leading)
  return {
    size: frontier.size,
    root: frontier.root(),
    range: frontier.toBytes(),
    tail: unfinished(before.size, leaves, tail),
    tiles: [...fullTiles(before.size, leaves, tail ?? Buffer.alloc(0)), ...above],
  }
}

/** The tail after the batch, in memory of its own: what it is cut from is large and not to be kept alive. */
function unfinished(size: number, leaves: Buffer, tail: Buffer | null): Buffer | null {
  const end = size + leaves.length / hash_bytes
  const from = end - (end % TILE_WIDTH) - size
  if (from >= 0) return kept(leaves.subarray(from * hash_bytes))
  return tail && kept(Buffer.concat([tail, leaves]))
}

/** The level-0 tiles that are full now and were not before. */
function fullTiles(size: number, leaves: Buffer, tail: Buffer): TileGrowth[] {
  const first = Math.floor(size / TILE_WIDTH)
  const end = Math.floor((size + leaves.length / hash_bytes) / TILE_WIDTH)
  const tiles: TileGrowth[] = []
  for (let index = first; index < end; index++) {
    const from = (index * TILE_WIDTH - size) * hash_bytes
    const own = leaves.subarray(Math.max(from, 0), from + TILE_WIDTH * hash_bytes)
    const hashes = from < 0 ? Buffer.concat([tail, own]) : own
    if (hashes.length !== TILE_WIDTH * hash_bytes) throw new Error(`tile ${index} has ${hashes.length} bytes`)
    tiles.push({ level: 0, index, offset: 0, hashes })
  }
  return tiles
}
