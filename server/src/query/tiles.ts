// A trail in the static form of C2SP tlog-tiles: hashes as the notary wrote them, the last level-0 tile from the events'
// own hashes, entry bundles encoded from columns. Nothing beyond the notarized size is shown.
import { encodeBundle, HASH_BYTES, type ReadTile, TILE_WIDTH, type TileId, tileWidth } from '@affidavit/trail'
import type { Queryable } from '../store/database.ts'
import { readEntries } from './entries.ts'
import { placesOf } from './read.ts'
import type { Reader } from './row.ts'
import type { Span, Trail } from './spans.ts'

export interface Notarized {
  /** Entries that the checkpoint covers. */
  readonly size: number
  /** The signed checkpoint (C2SP signed note). */
  readonly note: string
}

/** The trail's checkpoint, or undefined before the first one. */
export async function readNotarized(session: Queryable, trail: Trail): Promise<Notarized | undefined> {
  const { rows } = await session.query<{ size: number; note: string }>(
    { name: 'notarized', text: 'select size, note from affidavit.notarized where trail = $1' },
    [trail.number],
  )
  return rows[0]
}

/** What the tiles of a trail are read from, within one snapshot. */
export interface TileSource {
  readonly session: Queryable
  readonly reader: Reader
  readonly trail: Trail
  readonly spans: readonly Span[]
  readonly notarized: Notarized
}

/**
 * The minimum index of a trail (C2SP tlog-tiles): entries below it were truncated. 0 if none were.
 */
export async function readMinimum(session: Queryable, trail: Trail): Promise<number> {
  const { rows } = await session.query<{ size: number }>('select size from affidavit.minimums where trail = $1', [
    trail.number,
  ])
  return rows[0]?.size ?? 0
}

/** The bytes of a tile or entry bundle, or undefined when the notarized trail has none of that width, or no more. */
export async function readTile(source: TileSource, tile: TileId): Promise<Uint8Array | undefined> {
  if (tile.width > tileWidth(tile.level, tile.index, source.notarized.size)) return undefined
  return tile.level === 'entries' ? readBundle(source, tile) : readHashes(source, tile.level, tile.index, tile.width)
}

/** Tiles of hashes for the trail package's proofs, which asks for all at once: each is read once, in one round trip. */
export function tileReader(source: TileSource): ReadTile {
  const tiles = new Map<string, Promise<Uint8Array>>()
  return (level, index, width) => {
    const name = `${level}/${index}`
    const known = tiles.get(name)
    if (known !== undefined) return known
    const bytes = readHashes(source, level, index, width)
    tiles.set(name, bytes)
    return bytes
  }
}

async function readHashes(source: TileSource, level: number, index: number, width: number): Promise<Uint8Array> {
  const { rows } = await source.session.query<{ hashes: Buffer }>(
    { name: 'tile', text: 'select hashes from affidavit.tiles where trail = $1 and level = $2 and index = $3' },
    [source.trail.number, level, index],
  )
  const stored = rows[0]?.hashes
  if (stored !== undefined && stored.length >= width * HASH_BYTES) return stored.subarray(0, width * HASH_BYTES)
  if (level > 0) throw new Error(`tile ${level}/${index} of trail ${source.trail.id} is missing`)
  return readLeaves(source, index * TILE_WIDTH, width)
}

async function readLeaves(
  { session, reader, trail, spans }: TileSource,
  low: number,
  width: number,
): Promise<Uint8Array> {
  const { earliest, latest } = placesOf(spans, range(low, width))
  const { rows } = await session.query<{ hash: Buffer }>(
    {
      name: 'leaves',
      text: `select hash from affidavit.events
        where trail = $1 and tenant = $2 and seq >= $3 and seq < $4 and day >= $5::date and day <= $6::date order by seq`,
    },
    [trail.number, reader.tenant.number, low, low + width, earliest, latest],
  )
  if (rows.length !== width) throw new Error(`trail ${trail.id} lacks leaves from ${low} to ${low + width}`)
  return Buffer.concat(rows.map((row) => row.hash))
}

async function readBundle(source: TileSource, { index, width }: TileId): Promise<Uint8Array | undefined> {
  const { session, reader, trail, spans } = source
  const seqs = range(index * TILE_WIDTH, width)
  const entries = await readEntries(session, reader, null, trail, spans, seqs)
  if (entries.length !== width) {
    if (index * TILE_WIDTH < (await readMinimum(session, trail))) return undefined
    throw new Error(`trail ${trail.id} lacks entries of bundle ${index}`)
  }
  return encodeBundle(entries.map((entry) => Buffer.from(entry.text, 'latin1')))
}

export const range = (low: number, count: number): number[] => Array.from({ length: count }, (_, i) => low + i)
