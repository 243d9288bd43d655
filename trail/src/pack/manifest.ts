/** A pack's manifest and what follows from it: which members the pack must have, in which order. */
import { PackError } from '../pack-error.ts'
import { TILE_WIDTH, type TileId, tileNumber, tilePath, tileWidth } from '../tree/tiles.ts'
import type { Range } from '../tree/tree.ts'

export const PACK_FORMAT = 'affidavit-pack/1'

/** Parts of a payload that a pack may leave out on purpose, for readers who may not see them. */
export type Withheld = 'confidential' | 'operator' | 'personal'

const WITHHELD: readonly Withheld[] = ['confidential', 'operator', 'personal']

export interface Manifest {
  readonly trail: string
  readonly origin: string
  /** Size of the checkpoint. */
  readonly size: number
  /** Entries whose content the pack holds: ascending, apart from one another. */
  readonly ranges: readonly Range[]
  /** Bundle numbers the pack holds: those of `ranges`, and those of control entries that explain absences. */
  readonly bundles: readonly Range[]
  readonly withheld: readonly Withheld[]
  /** No member inflates to more bytes. */
  readonly limit: number
  /** Paths under registry/, anchors/, proofs/ or cover/, in this order at the end. */
  readonly optional: readonly string[]
}

/** The only spelling of a manifest (docs/spec/pack.md). */
export function encodeManifest(manifest: Manifest): string {
  const pairs = (ranges: readonly Range[]) => ranges.map(({ from, to }) => [from, to])
  return JSON.stringify({
    format: PACK_FORMAT,
    trail: manifest.trail,
    origin: manifest.origin,
    size: manifest.size,
    ranges: pairs(manifest.ranges),
    bundles: pairs(manifest.bundles),
    withheld: manifest.withheld,
    limit: manifest.limit,
    optional: manifest.optional,
  })
}

/** Strict: exactly what `encodeManifest` writes. Throws PackError. */
export function decodeManifest(text: string): Manifest {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw new PackError('malformed', 'the manifest is not JSON')
  }
  const format = isRecord(value) ? value.format : undefined
  if (typeof format !== 'string' || !format.startsWith('affidavit-pack/')) {
    throw new PackError('malformed', 'this is no Affidavit pack')
  }
  if (format !== PACK_FORMAT) throw new PackError('unknown_version', `pack format ${format.slice(0, 40)} is not known`)
  const manifest = readManifest(value as Record<string, unknown>)
  if (encodeManifest(manifest) !== text) throw new PackError('malformed', 'the manifest is not in its only form')
  return manifest
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function readManifest(value: Record<string, unknown>): Manifest {
  const { trail, origin, size, withheld, limit, optional } = value
  if (typeof trail !== 'string' || !/^[0-9a-f]{32}$/.test(trail)) throw new PackError('malformed', 'no trail id')
  if (typeof origin !== 'string' || !origin.endsWith(`/${trail}`)) throw new PackError('malformed', 'no origin')
  if (!isCount(size) || size === 0) throw new PackError('malformed', 'no size')
  if (!isCount(limit)) throw new PackError('malformed', 'no limit')
  if (!isStrings(withheld) || !WITHHELD.filter((part) => withheld.includes(part)).every((p, i) => withheld[i] === p)) {
    throw new PackError('malformed', 'withheld names unknown parts')
  }
  if (withheld.some((part) => !WITHHELD.includes(part as Withheld))) {
    throw new PackError('malformed', 'withheld names unknown parts')
  }
  if (!isStrings(optional) || !optional.every((path) => OPTIONAL_PATH.test(path))) {
    throw new PackError('malformed', 'optional members lie under registry/, anchors/, proofs/ or cover/')
  }
  if (new Set(optional).size !== optional.length) throw new PackError('malformed', 'an optional member is named twice')
  const ranges = readRanges(value.ranges, size)
  const bundles = readRanges(value.bundles, Math.ceil(size / TILE_WIDTH))
  for (const { from, to } of bundlesOf(ranges)) {
    const held = rangeFrom(bundles, from)
    if (held === undefined || from < held.from || held.to < to) {
      throw new PackError('malformed', 'the bundles do not cover the ranges')
    }
  }
  return { trail, origin, size, ranges, bundles, withheld: withheld as Withheld[], limit, optional }
}

const OPTIONAL_PATH =
  /^(?:registry|anchors|proofs|cover)\/[A-Za-z0-9_-][A-Za-z0-9._-]*(?:\/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$/

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 && !Object.is(value, -0)
}

function isStrings(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string')
}

function readRanges(value: unknown, end: number): Range[] {
  if (!Array.isArray(value) || value.length === 0) throw new PackError('malformed', 'the pack covers nothing')
  let last = -1
  return value.map((pair: unknown) => {
    const [from, to] = Array.isArray(pair) ? (pair as unknown[]) : []
    if (!isCount(from) || !isCount(to) || from >= to || to > end || from <= last) {
      throw new PackError('malformed', 'ranges are not ascending, apart and inside the trail')
    }
    last = to
    return { from, to }
  })
}

/** The bundle ranges under ranges of entries, joined where they touch. */
export function bundlesOf(ranges: readonly Range[]): Range[] {
  return joinRanges(
    ranges.map(({ from, to }) => ({ from: Math.floor(from / TILE_WIDTH), to: Math.ceil(to / TILE_WIDTH) })),
  )
}

/** Sorted, joined where they touch or overlap. */
export function joinRanges(ranges: readonly Range[]): Range[] {
  const joined: Range[] = []
  for (const range of [...ranges].sort((a, b) => a.from - b.from)) {
    const last = joined.at(-1)
    if (last !== undefined && range.from <= last.to) {
      joined[joined.length - 1] = { from: last.from, to: Math.max(last.to, range.to) }
    } else joined.push(range)
  }
  return joined
}

/**
 * The hash tiles with which the bundles give the root: on each level those under which only a part of the bundles is
 * there, and the partial one at the right edge. A pack of a whole trail has none.
 */
export function packTiles(size: number, bundles: readonly Range[]): TileId[] {
  const tiles: TileId[] = []
  const covered = (from: number, to: number) => {
    const range = rangeFrom(bundles, from)
    return range !== undefined && range.from <= from && to <= range.to
  }
  const touched = (from: number, to: number) => (rangeFrom(bundles, from)?.from ?? to) < to
  const edge = Math.floor(size / TILE_WIDTH)
  if (size % TILE_WIDTH !== 0 && !covered(edge, edge + 1)) {
    tiles.push({ level: 0, index: edge, width: size % TILE_WIDTH })
  }
  for (let level = 1; TILE_WIDTH ** level <= size; level++) {
    // Bundles under one tile of this level, and under one hash of it.
    const [span, step] = [TILE_WIDTH ** level, TILE_WIDTH ** (level - 1)]
    const last = Math.floor(size / TILE_WIDTH ** (level + 1))
    const candidates = new Set([last])
    for (const range of bundles) {
      candidates.add(Math.floor(range.from / span))
      candidates.add(Math.floor((range.to - 1) / span))
    }
    for (const index of [...candidates].sort((a, b) => a - b)) {
      const width = tileWidth(level, index, size)
      const [from, to] = [index * span, index * span + width * step]
      if (width === 0 || covered(from, to)) continue
      if (width < TILE_WIDTH || touched(from, to)) tiles.push({ level, index, width })
    }
  }
  return tiles
}

/** Bundle numbers in ascending order. */
export function* bundleNumbers(manifest: Manifest): Generator<number> {
  for (const { from, to } of manifest.bundles) for (let index = from; index < to; index++) yield index
}

/** Bundle numbers under which the pack has content. */
export function* contentNumbers(manifest: Manifest): Generator<number> {
  for (const { from, to } of bundlesOf(manifest.ranges)) for (let index = from; index < to; index++) yield index
}

/** Of entry bundle `index` in a tree of `size` entries, partial at its end. */
export function bundlePath(index: number, size: number): string {
  return tilePath({ level: 'entries', index, width: tileWidth('entries', index, size) })
}

/** Of the content lines of the entries in bundle `index`. */
export function contentPath(index: number): string {
  return `content/${tileNumber(index)}.ndjson`
}

/** Every member's path in the only order. */
export function* memberPaths(manifest: Manifest): Generator<string> {
  yield* ['manifest.json', 'checkpoint', 'vkeys']
  for (const index of bundleNumbers(manifest)) yield bundlePath(index, manifest.size)
  for (const index of contentNumbers(manifest)) yield contentPath(index)
  for (const tile of packTiles(manifest.size, manifest.bundles)) yield tilePath(tile)
  yield* manifest.optional
}

/** The first of the ascending ranges that ends after `at`. */
function rangeFrom(ranges: readonly Range[], at: number): Range | undefined {
  return ranges[rangeIndex(ranges, at)]
}

function rangeIndex(ranges: readonly Range[], at: number): number {
  let [low, high] = [0, ranges.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if (ranges[middle]!.to > at) high = middle
    else low = middle + 1
  }
  return low
}

/** Where each member stands in the order, without a list of them all. */
export class MemberOrder {
  private readonly manifest: Manifest
  private readonly bundles: Ranks
  private readonly contents: Ranks
  private readonly tiles: number
  private others: ReadonlyMap<string, number> | undefined

  constructor(manifest: Manifest) {
    this.manifest = manifest
    this.bundles = new Ranks(3, manifest.bundles)
    this.contents = new Ranks(this.bundles.end, bundlesOf(manifest.ranges))
    this.tiles = this.contents.end
  }

  /** Whether the pack has content under bundle `index`. */
  hasContent(index: number): boolean {
    return this.contents.place(index) !== undefined
  }

  bundle(index: number): number | undefined {
    return this.bundles.place(index)
  }

  content(index: number): number | undefined {
    return this.contents.place(index)
  }

  /** Any member but bundles and contents. */
  other(path: string): number | undefined {
    if (this.others === undefined) {
      const { size, bundles, optional } = this.manifest
      const paths = [...packTiles(size, bundles).map(tilePath), ...optional]
      this.others = new Map([
        ...['manifest.json', 'checkpoint', 'vkeys'].map((name, at) => [name, at] as const),
        ...paths.map((name, at) => [name, this.tiles + at] as const),
      ])
    }
    return this.others.get(path)
  }
}

/** The places of numbered members whose numbers are ranges. */
class Ranks {
  readonly end: number
  private readonly ranges: readonly Range[]
  /** Place of the first member of each range. */
  private readonly firsts: readonly number[]

  constructor(first: number, ranges: readonly Range[]) {
    let next = first
    this.ranges = ranges
    this.firsts = ranges.map(({ from, to }) => {
      next += to - from
      return next - (to - from)
    })
    this.end = next
  }

  place(index: number): number | undefined {
    const at = rangeIndex(this.ranges, index)
    const range = this.ranges[at]
    return range === undefined || index < range.from ? undefined : this.firsts[at]! + index - range.from
  }
}

/** Seqs of bundle `index` whose content belongs to the pack, ascending. */
export function* contentSeqs(manifest: Manifest, index: number): Generator<number> {
  const [first, end] = [index * TILE_WIDTH, (index + 1) * TILE_WIDTH]
  const { ranges } = manifest
  for (let at = rangeIndex(ranges, first); at < ranges.length && ranges[at]!.from < end; at++) {
    const { from, to } = ranges[at]!
    for (let seq = Math.max(from, first); seq < Math.min(to, end); seq++) yield seq
  }
}
