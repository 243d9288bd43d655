/**
 * The walk over a trail's entries in order: chain, order, times, and what control entries announce. Offline packs and
 * live logs are checked by this same code.
 */
import { equalBytes } from '../bytes.ts'
import { type Committed, ScannedCommitted } from '../entry/committed.ts'
import type { Control } from '../entry/control.ts'
import { type Entry, EntryReader } from '../entry/entry.ts'
import { EntryError } from '../entry/entry-error.ts'
import { HashText } from '../entry/hash-text.ts'
import { HASH_BYTES, type Hash } from '../hash.ts'
import { slotOf } from '../registry/registry.ts'
import { decodeTile, TILE_WIDTH } from '../tree/tiles.ts'
import type { Findings } from './verdict.ts'

/** A control entry met on the walk. */
export interface Announcement {
  readonly seq: number
  readonly sealedAt: string
  readonly control: Control
}

/** A bundle behind the walk. What it tells of entries is there until the same walk takes the next bundle. */
export class WalkedBundle {
  /** Seq of its first entry. */
  readonly first: number
  /** Leaf hashes of the entries as they are, one after another. */
  readonly tile: Uint8Array
  private readonly scanned: ScannedCommitted

  constructor(first: number, scanned: ScannedCommitted, tile: Uint8Array) {
    this.first = first
    this.scanned = scanned
    this.tile = tile
  }

  /** How many entries it has. */
  get width(): number {
    return this.tile.length / HASH_BYTES
  }

  /** What the entry at a place commits to, as long as nobody asks for another; undefined as in `entry`. */
  committed(at: number): Committed | undefined {
    return this.scanned.at(at)
  }

  /** The entry at a place, decoded each time; undefined where bytes are no entry this program knows. */
  entry(at: number): Entry | undefined {
    return this.scanned.at(at)?.entry
  }

  /** The leaf hashes one by one, as views. */
  get leaves(): readonly Uint8Array[] {
    return decodeTile(this.tile) ?? []
  }
}

/** The entries of a bundle and the seq each should have; undefined where bytes are no entry this program knows. */
export interface BundleEntry {
  readonly seq: number
  readonly bytes: Uint8Array
  readonly entry: Entry | undefined
  readonly error: EntryError | undefined
}

/** Splits and decodes a bundle, or undefined when it does not hold exactly `width` entries. */
export function decodeEntries(bundle: Uint8Array, first: number, width: number): BundleEntry[] | undefined {
  const split = splitBundle(bundle, width, new Uint8Array(bundle.length))
  if (split === undefined) return undefined
  const reader = new EntryReader(split.bytes)
  return split.starts.map((start, at) => {
    const end = start + split.lengths[at]!
    const bytes = split.bytes.subarray(start, end)
    const error = scanEntry(reader, start, end)
    return error === undefined
      ? { seq: first + at, bytes, entry: reader.read(start, end), error }
      : { seq: first + at, bytes, entry: undefined, error }
  })
}

function scanEntry(reader: EntryReader, start: number, end: number, previous?: HashText): EntryError | undefined {
  try {
    reader.scan(start, end, previous)
    return undefined
  } catch (error) {
    if (error instanceof EntryError) return error
    throw error
  }
}

interface SplitBundle {
  /** The bundle with zeros for the lengths, from the beginning of this. */
  readonly bytes: Uint8Array
  readonly starts: readonly number[]
  readonly lengths: readonly number[]
}

/**
 * Where the entries of a bundle are, or undefined when it does not hold exactly `width`. The lengths between them become
 * zeros: the one in front of each entry is the prefix of its leaf hash. @param room at least as long as the bundle
 */
function splitBundle(bundle: Uint8Array, width: number, room: Uint8Array): SplitBundle | undefined {
  const bytes = room
  bytes.set(bundle)
  const starts: number[] = []
  const lengths: number[] = []
  let at = 0
  while (at < bundle.length) {
    // Entries of no bytes at all: millions of them fit into a bundle.
    if (at + 2 > bundle.length || starts.length === width) return undefined
    const length = bytes[at]! * 256 + bytes[at + 1]!
    bytes[at] = 0
    bytes[at + 1] = 0
    starts.push(at + 2)
    lengths.push(length)
    at += 2 + length
  }
  if (at !== bundle.length || starts.length !== width) return undefined
  return { bytes, starts, lengths }
}

export class EntryVerifier {
  /** Control entries in order. */
  readonly announcements: Announcement[] = []
  private readonly hash: Hash
  private readonly trail: string
  private readonly origin: string
  private readonly findings: Findings
  /** The seq that comes next without a gap, and the leaf hash before it as the next entry must spell it. */
  private next = 0
  private readonly lastLeaf = new HashText()
  /** Where bundles are split; grows to the largest. */
  private room = new Uint8Array(0)
  private hasLast = false
  private lastTime = ''
  private closedAt: number | undefined
  /** A broken link, kept until the next entry shows which of the two was changed. */
  private broken: number | undefined
  private entries = 0
  private quiet = true

  constructor(hash: Hash, trail: string, origin: string, findings: Findings) {
    this.hash = hash
    this.trail = trail
    this.origin = origin
    this.findings = findings
  }

  /** When the last entry was sealed; empty before the first. */
  get lastSealedAt(): string {
    return this.lastTime
  }

  /** Whether nothing met so far lets a payload be gone. */
  get isQuiet(): boolean {
    return this.quiet
  }

  /** Entries seen so far. */
  get count(): number {
    return this.entries
  }

  /**
   * Takes bundle `index`; bundles come in ascending order, gaps are allowed. `width` is how many entries it must hold.
   * `leaves`, where a hash tile of them is at hand, names a changed entry exactly. Undefined when it is no bundle.
   */
  bundle(index: number, bytes: Uint8Array, width: number, leaves?: readonly Uint8Array[]): WalkedBundle | undefined {
    const first = index * TILE_WIDTH
    if (bytes.length > this.room.length) this.room = new Uint8Array(2 * bytes.length)
    const split = splitBundle(bytes, width, this.room)
    if (split === undefined) {
      this.findings.fail('completeness', 'bundle_entries', `bundle ${index} does not hold ${width} entries`, first)
      return undefined
    }
    if (first !== this.next) this.skipTo(first)
    const reader = new EntryReader(split.bytes)
    const tile = new Uint8Array(width * HASH_BYTES)
    const scanned = new ScannedCommitted(reader, width)
    for (let at = 0; at < width; at++) {
      const start = split.starts[at]!
      const end = start + split.lengths[at]!
      const error = scanEntry(reader, start, end, this.hasLast ? this.lastLeaf : undefined)
      if (error === undefined) scanned.add(start, end)
      else scanned.skip()
      this.lastLeaf.hash(this.hash, split.bytes.subarray(start - 1, end))
      this.lastLeaf.decode(tile, at * HASH_BYTES)
      const expected = leaves?.[at]
      if (expected !== undefined && !equalBytes(expected, tile.subarray(at * HASH_BYTES, (at + 1) * HASH_BYTES)))
        this.changed(first + at)
      this.entry(first + at, error ?? reader)
    }
    return new WalkedBundle(first, scanned, tile)
  }

  /** Ends the walk: a broken link at the very end is reported now. */
  finish(): void {
    this.settle(false)
    this.findings.held('chain')
    this.findings.held('time')
  }

  private skipTo(seq: number): void {
    this.settle(false)
    this.next = seq
    this.hasLast = false
  }

  private changed(seq: number): void {
    this.findings.fail('inclusion', 'entry_changed', `entry ${seq} is not the one in the tree`, seq)
  }

  private entry(seq: number, entry: EntryReader | EntryError): void {
    if (entry instanceof EntryError) this.refuse(seq, entry)
    else {
      this.place(seq, entry)
      this.link(seq, entry)
      this.time(seq, entry)
      if ('control' in entry.body) this.control(seq, entry, entry.body.control)
      else if (seq === 0) this.findings.fail('chain', 'no_open', 'the trail does not begin with an open entry', 0)
    }
    if (this.closedAt !== undefined && seq > this.closedAt) {
      this.findings.fail('chain', 'after_close', `entry ${seq} follows the close entry ${this.closedAt}`, seq)
    }
    this.next = seq + 1
    this.hasLast = true
    this.entries++
  }

  private refuse(seq: number, error: EntryError): void {
    this.settle(false)
    const message = `entry ${seq}: ${error.message}`
    if (error.unknown) this.findings.cannotCheck('chain', error.code, message, seq)
    else this.findings.fail('chain', 'not_an_entry', message, seq)
  }

  private place(seq: number, entry: EntryReader): void {
    if (entry.seq !== seq) {
      this.findings.fail('chain', 'wrong_seq', `at place ${seq} stands entry ${entry.seq}`, seq)
    }
    if (entry.trail !== this.trail) {
      this.findings.fail('chain', 'wrong_trail', `entry ${seq} belongs to trail ${entry.trail}`, seq)
    }
  }

  /** A broken link means that this entry or the one before it was changed; the link after this one tells which. */
  private link(seq: number, entry: EntryReader): void {
    const holds = !this.hasLast || entry.isNext
    this.settle(holds)
    // An entry at another's place breaks the link too, but then it is known which one is wrong.
    if (!holds && entry.seq === seq) this.broken = seq
  }

  private settle(nextHolds: boolean): void {
    if (this.broken === undefined) return
    const seq = nextHolds ? this.broken - 1 : this.broken
    const [before, after] = [this.broken - 1, this.broken]
    const which = nextHolds ? `entry ${before} was changed` : `entry ${after} or entry ${before} was changed`
    this.findings.fail(
      'chain',
      'broken_link',
      `entry ${after} names another hash than entry ${before} has: ${which}`,
      seq,
    )
    this.broken = undefined
  }

  private time(seq: number, entry: EntryReader): void {
    if (entry.sealedAt < this.lastTime) {
      this.findings.fail('time', 'time_backwards', `entry ${seq} is sealed before the entry in front of it`, seq)
    }
    this.lastTime = entry.sealedAt
  }

  private control(seq: number, entry: EntryReader, control: Control): void {
    if ((control.kind === 'open') !== (seq === 0)) {
      this.findings.fail(
        'chain',
        'misplaced_open',
        `entry ${seq} is ${control.kind}: open is entry 0 and only that`,
        seq,
      )
    }
    if (control.kind === 'open' && control.origin !== this.origin) {
      this.findings.fail('chain', 'wrong_origin', `the trail was opened as ${control.origin}`, seq)
    }
    if (control.kind === 'continues' && seq !== 1) {
      this.findings.fail(
        'chain',
        'misplaced_continues',
        `entry ${seq} is continues: that is entry 1 and only that`,
        seq,
      )
    }
    if (control.kind === 'continues' && slotOf(control.trail) !== slotOf(this.trail)) {
      this.findings.fail(
        'chain',
        'other_slot',
        `entry ${seq} continues trail ${control.trail}, which has another slot of the registry`,
        seq,
      )
    }
    if (control.kind === 'keys' && control.about === 'recovery') {
      this.findings.fail(
        'chain',
        'recovery_replaced',
        `entry ${seq} announces another recovery key: the one in open has no successor, so who holds the log key tries to take its place`,
        seq,
      )
    }
    if (control.kind === 'close') this.closedAt ??= seq
    if (mayExplain(control)) this.quiet = false
    this.announcements.push({ seq, sealedAt: entry.sealedAt, control })
  }
}

/** Whether payloads may be gone because of this entry. */
function mayExplain(control: Control): boolean {
  switch (control.kind) {
    case 'prune':
    case 'erase':
    case 'redact':
    case 'lost':
    case 'state':
      return true
    case 'close':
      return control.reason === 'deleted'
    default:
      return false
  }
}
