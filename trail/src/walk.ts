/**
 * The walk over a trail's entries in order: chain, order, times, and what control entries announce. Offline packs and
 * live logs are checked by this same code.
 */
import { toBase64 } from './bytes.ts'
import type { Control } from './control.ts'
import { type Entry, EntryReader } from './entry.ts'
import { EntryError } from './entry-error.ts'
import type { Hash } from './hash.ts'
import { decodeBundle, TILE_WIDTH } from './tiles.ts'
import { leafHash } from './tree.ts'
import type { Findings } from './verdict.ts'

/** A control entry met on the walk. */
export interface Announcement {
  readonly seq: number
  readonly sealedAt: string
  readonly control: Control
}

export interface WalkedBundle {
  readonly first: number
  /** Leaf hashes of the entries as they are. */
  readonly leaves: readonly Uint8Array[]
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
  const parts = decodeBundle(bundle)
  if (parts?.length !== width) return undefined
  const base = bundle.byteOffset
  // Without the lengths between the entries the whole is ASCII, which becomes text many times faster.
  const entriesOnly = bundle.slice()
  for (const part of parts) entriesOnly.fill(0, part.byteOffset - base - 2, part.byteOffset - base)
  const reader = new EntryReader(entriesOnly)
  return parts.map((bytes, at) => {
    const start = bytes.byteOffset - base
    const seq = first + at
    try {
      return { seq, bytes, entry: reader.read(start, start + bytes.length), error: undefined }
    } catch (error) {
      if (error instanceof EntryError) return { seq, bytes, entry: undefined, error }
      throw error
    }
  })
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
  private lastLeaf: string | undefined
  private lastTime = ''
  private closedAt: number | undefined
  /** A broken link, kept until the next entry shows which of the two was changed. */
  private broken: number | undefined
  private entries = 0

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
    const entries = decodeEntries(bytes, first, width)
    if (entries === undefined) {
      this.findings.fail('completeness', 'bundle_entries', `bundle ${index} does not hold ${width} entries`, first)
      return undefined
    }
    if (first !== this.next) this.skipTo(first)
    return { first, leaves: entries.map((entry, at) => this.entry(entry, leaves?.[at])) }
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
    this.lastLeaf = undefined
  }

  private entry({ seq, bytes, entry, error }: BundleEntry, expected: Uint8Array | undefined): Uint8Array {
    const leaf = leafHash(this.hash, bytes)
    const leafText = toBase64(leaf)
    if (expected !== undefined && leafText !== toBase64(expected)) {
      this.findings.fail('inclusion', 'entry_changed', `entry ${seq} is not the one in the tree`, seq)
    }
    if (entry === undefined) this.refuse(seq, error)
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
    this.lastLeaf = leafText
    this.entries++
    return leaf
  }

  private refuse(seq: number, error: EntryError | undefined): void {
    this.settle(false)
    const message = `entry ${seq}: ${error?.message ?? 'unreadable'}`
    if (error?.unknown) this.findings.cannotCheck('chain', error.code, message, seq)
    else this.findings.fail('chain', 'not_an_entry', message, seq)
  }

  private place(seq: number, entry: Entry): void {
    if (entry.seq !== seq) {
      this.findings.fail('chain', 'wrong_seq', `at place ${seq} stands entry ${entry.seq}`, seq)
    }
    if (entry.trail !== this.trail) {
      this.findings.fail('chain', 'wrong_trail', `entry ${seq} belongs to trail ${entry.trail}`, seq)
    }
  }

  /** A broken link means that this entry or the one before it was changed; the link after this one tells which. */
  private link(seq: number, entry: Entry): void {
    const holds = this.lastLeaf === undefined || entry.previous === this.lastLeaf
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

  private time(seq: number, entry: Entry): void {
    if (entry.sealedAt < this.lastTime) {
      this.findings.fail('time', 'time_backwards', `entry ${seq} is sealed before the entry in front of it`, seq)
    }
    this.lastTime = entry.sealedAt
  }

  private control(seq: number, entry: Entry, control: Control): void {
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
    if (control.kind === 'close') this.closedAt ??= seq
    this.announcements.push({ seq, sealedAt: entry.sealedAt, control })
  }
}
