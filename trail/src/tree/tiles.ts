/**
 * Tiles and entry bundles of C2SP tlog-tiles: the static form in which any log client reads a trail. A tile at tile
 * level L holds up to 256 node hashes of tree level 8·L; a bundle holds the entries under a level-0 tile.
 */
import { HASH_BYTES, type Hash } from '../hash.ts'
import { type ReadNode, treeRoot } from './tree.ts'

export const TILE_WIDTH = 256
/** 256^7 > 2^53: levels above exist in the format and stay empty here. */
const MAX_LEVEL = 63

export interface TileId {
  readonly level: number | 'entries'
  readonly index: number
  /** 256 for a full tile. */
  readonly width: number
}

/** How many hashes (or entries) tile `index` at `level` holds in a tree of `size`: 0 when there is no such tile. */
export function tileWidth(level: number | 'entries', index: number, size: number): number {
  const nodes = Math.floor(size / TILE_WIDTH ** (level === 'entries' ? 0 : level))
  return Math.max(0, Math.min(TILE_WIDTH, nodes - index * TILE_WIDTH))
}

/** `tile/<L>/<N>[.p/<W>]`, `tile/entries/<N>[.p/<W>]`. */
export function tilePath(tile: TileId): string {
  const partial = tile.width === TILE_WIDTH ? '' : `.p/${tile.width}`
  return `tile/${tile.level}/${tileNumber(tile.index)}${partial}`
}

/** N in groups of three digits, all but the last with an x in front: 1234067 is `x001/x234/067`. */
export function tileNumber(index: number): string {
  let text = String(index % 1000).padStart(3, '0')
  for (let rest = Math.floor(index / 1000); rest > 0; rest = Math.floor(rest / 1000)) {
    text = `x${String(rest % 1000).padStart(3, '0')}/${text}`
  }
  return text
}

const TILE_PATH = /^tile\/(entries|0|[1-9][0-9]?)\/((?:x[0-9]{3}\/)*[0-9]{3})(?:\.p\/([1-9][0-9]{0,2}))?$/

/** Strict inverse of `tilePath`; undefined for any other path. */
export function parseTilePath(path: string): TileId | undefined {
  const match = TILE_PATH.exec(path)
  if (match === null) return undefined
  const level = match[1] === 'entries' ? 'entries' : Number(match[1])
  const index = Number(match[2]!.replace(/[x/]/g, ''))
  const width = match[3] === undefined ? TILE_WIDTH : Number(match[3])
  const tile: TileId = { level, index, width }
  if (level !== 'entries' && level > MAX_LEVEL) return undefined
  return Number.isSafeInteger(index) && tilePath(tile) === path ? tile : undefined
}

/** Entries as a bundle: for each, its length as uint16 big-endian, then its bytes. Throws RangeError over 65,535. */
export function encodeBundle(entries: readonly Uint8Array[]): Uint8Array {
  const bundle = new Uint8Array(entries.reduce((sum, entry) => sum + 2 + entry.length, 0))
  let at = 0
  for (const entry of entries) {
    if (entry.length > 0xffff) throw new RangeError(`an entry of ${entry.length} bytes does not fit a bundle`)
    bundle[at] = entry.length >> 8
    bundle[at + 1] = entry.length & 0xff
    bundle.set(entry, at + 2)
    at += 2 + entry.length
  }
  return bundle
}

/** The entries of a bundle as views into it, or undefined when it ends inside one or holds more than 256. */
export function decodeBundle(bundle: Uint8Array): Uint8Array[] | undefined {
  const entries: Uint8Array[] = []
  let at = 0
  while (at < bundle.length) {
    if (at + 2 > bundle.length || entries.length === TILE_WIDTH) return undefined
    const end = at + 2 + bundle[at]! * 256 + bundle[at + 1]!
    if (end > bundle.length) return undefined
    entries.push(bundle.subarray(at + 2, end))
    at = end
  }
  return entries
}

/** The hashes of a tile as views into it, or undefined when it is no whole number of hashes from 1 to 256. */
export function decodeTile(tile: Uint8Array): Uint8Array[] | undefined {
  const width = tile.length / HASH_BYTES
  if (!Number.isInteger(width) || width < 1 || width > TILE_WIDTH) return undefined
  return Array.from({ length: width }, (_, at) => tile.subarray(at * HASH_BYTES, (at + 1) * HASH_BYTES))
}

/** Where the node (level, index) lives: `count` hashes from `offset` on in tile (level, index). */
export interface TileSpan {
  readonly level: number
  readonly index: number
  readonly offset: number
  readonly count: number
}

/** The tile that answers for a node: a node between tile levels is the root over 2, 4 … 128 hashes of the tile below. */
export function tileSpan(level: number, index: number): TileSpan {
  const count = 2 ** (level % 8)
  const first = index * count
  return {
    level: Math.floor(level / 8),
    index: Math.floor(first / TILE_WIDTH),
    offset: first % TILE_WIDTH,
    count,
  }
}

/** Reads a tile's bytes; `width` is what the tile holds at the tree's size. */
export type ReadTile = (level: number, index: number, width: number) => Uint8Array | Promise<Uint8Array>

/** A node reader over the tiles of a tree of `size`. Rejects when a tile is shorter than asked. */
export function readNodeFromTiles(hash: Hash, size: number, read: ReadTile): ReadNode {
  return async (level, index) => {
    const span = tileSpan(level, index)
    const width = tileWidth(span.level, span.index, size)
    if (span.offset + span.count > width) throw new RangeError(`node ${level}/${index} is not in a tree of ${size}`)
    const hashes = decodeTile(await read(span.level, span.index, width))
    if (hashes === undefined || hashes.length < width) throw new RangeError('tile is too short')
    return treeRoot(hash, hashes.slice(span.offset, span.offset + span.count))
  }
}
