/**
 * The walk over the registry's entries since the last visit. It starts from the hashes of the tree as it was then, which
 * the server has to give and which must make the root that was kept; it ends with the root that is signed now. Both at
 * once prove that the registry has only grown, and that every entry met on the way is in it.
 */
import {
  CompactRange,
  concatBytes,
  decodeBundle,
  decodeRegistryEntry,
  EntryError,
  type Epoch,
  isLastOfDay,
  joinPeaks,
  leafHash,
  nodesOf,
  proveConsistency,
  type ReadTile,
  type RegistryEntry,
  readNodeFromTiles,
  type Successor,
  TILE_WIDTH,
  tileWidth,
  type VerifierKey,
  verifyEd25519,
  verifySuccessor,
} from '@affidavit/trail'
import { nodeSha256 } from '../node-hash.ts'
import { ahead } from '../server/ahead.ts'
import { NotServed, type RegistryLog } from './log.ts'

const BUNDLES_AHEAD = 4

export interface RegistryEpoch {
  /** Leaf index of its entry. */
  readonly index: number
  readonly entry: Epoch
}

export interface RegistryWalk {
  /** Root of the first `from` leaves, as the server's tiles give it. */
  readonly rootBefore: Uint8Array
  /** Root after the last entry. */
  readonly root: Uint8Array
  /** The last epoch of each UTC day that is over. */
  readonly audits: readonly RegistryEpoch[]
  readonly newest: RegistryEpoch | undefined
  /** The newest epoch at the last visit. */
  readonly visited: RegistryEpoch | undefined
  /** Log keys, each named by the one before; the last one is in force. */
  readonly keys: readonly VerifierKey[]
  /** Of the registry that this one took the place of; only where the walk began at entry 0. */
  readonly continues: Extract<RegistryEntry, { kind: 'continues' }> | undefined
  /** What breaks the registry's own rules. */
  readonly wrong: readonly { readonly code: string; readonly message: string }[]
  /** Entries of a kind or version that this program does not know. */
  readonly unknown: number
}

export interface WalkOptions {
  readonly origin: string
  readonly size: number
  /** How many entries there were at the last visit. */
  readonly from: number
  /** The log key in force at `from`. */
  readonly key: VerifierKey | undefined
  readonly recovery: readonly VerifierKey[]
  readonly progress: (done: number, of: number) => void
}

/**
 * The bundle that holds entry `from − 1` is read from its beginning: so the newest epoch is met when nothing came since.
 * Throws NotServed where the server refuses what it signed, or serves something else in its place.
 */
export async function walkRegistry(log: RegistryLog, options: WalkOptions): Promise<RegistryWalk> {
  const { size, from } = options
  const start = Math.floor(Math.max(0, from - 1) / TILE_WIDTH) * TILE_WIDTH
  const peaks = await Promise.all(
    nodesOf({ from: 0, to: start }).map(({ level, index }) => nodeOf(log, size)(level, index)),
  )
  const range = CompactRange.fromBytes(nodeSha256, start, concatBytes(peaks))
  let rootBefore = from === start ? range.root() : undefined
  const reader = new EntryReader(options)
  const first = start / TILE_WIDTH
  const numbers = Array.from({ length: Math.ceil(size / TILE_WIDTH) - first }, (_, at) => first + at)
  const fetched = ahead(numbers, BUNDLES_AHEAD, (index) =>
    log.need({ level: 'entries', index, width: tileWidth('entries', index, size) }),
  )
  for await (const { item: index, result } of fetched) {
    const entries = decodeBundle(result)
    if (entries?.length !== tileWidth('entries', index, size))
      throw new NotServed(`bundle ${index} of the registry does not hold the entries that it must`)
    for (const [at, bytes] of entries.entries()) {
      range.append(leafHash(nodeSha256, bytes))
      if (range.size === from) rootBefore = range.root()
      await reader.read(index * TILE_WIDTH + at, bytes)
    }
    options.progress(Math.min(size, (index + 1) * TILE_WIDTH) - start, size - start)
  }
  if (rootBefore === undefined) throw new NotServed(`the registry has no entry ${from - 1}`)
  return { rootBefore, root: range.root(), ...reader.result() }
}

/** A proof that the first `older` of `size` entries are a part of the whole, from the server's tiles. Throws NotServed. */
export async function registryConsistency(log: RegistryLog, older: number, size: number): Promise<Uint8Array[]> {
  return proveConsistency(nodeSha256, nodeOf(log, size), older, size)
}

/** The root of the first `older` entries, from the server's tiles. Throws NotServed. */
export async function registryRoot(log: RegistryLog, older: number, size: number): Promise<Uint8Array> {
  const read = nodeOf(log, size)
  const peaks = await Promise.all(nodesOf({ from: 0, to: older }).map(({ level, index }) => read(level, index)))
  return joinPeaks(nodeSha256, peaks)
}

/** Nodes of the registry's tree of `size` entries, from the server's tiles. Throws NotServed. */
export function nodeOf(log: RegistryLog, size: number) {
  const read: ReadTile = (level, index, width) => log.need({ level, index, width })
  const node = readNodeFromTiles(nodeSha256, size, read)
  return async (level: number, index: number): Promise<Uint8Array> => {
    try {
      return await node(level, index)
    } catch (error) {
      if (error instanceof RangeError) throw new NotServed(`a hash tile of the registry is not as wide as it must be`)
      throw error
    }
  }
}

class EntryReader {
  private readonly options: WalkOptions
  private readonly audits: RegistryEpoch[] = []
  private newest: RegistryEpoch | undefined
  private visited: RegistryEpoch | undefined
  private readonly keys: VerifierKey[]
  private continued: RegistryWalk['continues']
  private readonly wrong: { code: string; message: string }[] = []
  private unknown = 0

  constructor(options: WalkOptions) {
    this.options = options
    this.keys = options.key === undefined ? [] : [options.key]
  }

  async read(place: number, bytes: Uint8Array): Promise<void> {
    const entry = this.decode(place, bytes)
    if (entry?.kind === 'epoch') this.epoch(place, entry)
    else if (entry?.kind === 'key' && place >= this.options.from) await this.successor(place, entry)
    else if (entry?.kind === 'continues') {
      if (place === 0) this.continued = entry
      else this.report('misplaced_continues', `entry ${place} of the registry says continues, which only entry 0 may`)
    }
  }

  result() {
    const { audits, newest, visited, keys, continued, wrong, unknown } = this
    return { audits, newest, visited, keys, continues: continued, wrong, unknown }
  }

  private decode(place: number, bytes: Uint8Array): RegistryEntry | undefined {
    try {
      return decodeRegistryEntry(bytes)
    } catch (error) {
      if (!(error instanceof EntryError)) throw error
      if (error.unknown) this.unknown++
      else this.report('not_an_entry', `entry ${place} of the registry is none: ${error.message}`)
      return undefined
    }
  }

  private epoch(index: number, entry: Epoch): void {
    const before = this.newest?.entry
    if (before !== undefined) {
      if (entry.epoch !== before.epoch + 1)
        this.report('epoch_gap', `epoch ${entry.epoch} follows epoch ${before.epoch}`)
      if (entry.time <= before.time)
        this.report('epoch_backwards', `epoch ${entry.epoch} of ${entry.time} is not later than the one before it`)
      if (entry.depth < before.depth)
        this.report(
          'depth_shrunk',
          `epoch ${entry.epoch} has a slot tree of depth ${entry.depth}, after ${before.depth}`,
        )
      if (isLastOfDay(before.time, entry.time)) this.audits.push(this.newest!)
    }
    this.newest = { index, entry }
    if (index < this.options.from) this.visited = this.newest
  }

  private async successor(place: number, entry: Successor): Promise<void> {
    const current = this.keys.at(-1)
    if (current === undefined) return // whose word is not taken needs no successor
    const { origin, recovery } = this.options
    const named = await verifySuccessor(nodeSha256, verifyEd25519, entry, [current, ...recovery], origin)
    if (named !== undefined) this.keys.push(named)
    else
      this.report(
        'false_successor',
        `entry ${place} of the registry names another log key, but neither the key in force nor a recovery key signed it`,
      )
  }

  private report(code: string, message: string): void {
    if (this.wrong.length < 100) this.wrong.push({ code, message })
  }
}
