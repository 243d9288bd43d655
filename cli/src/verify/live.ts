/**
 * The verifier of a running server's trail. It downloads the log as any C2SP client would, runs the same checks as for
 * packs, and in addition holds the server to what it signed: every entry and every tile must be served.
 */
import {
  Absence,
  type Checkpoint,
  ContentVerifier,
  checkSignature,
  conclude,
  decodeEntries,
  decodeTile,
  type Entry,
  EntryVerifier,
  equalBytes,
  Findings,
  type Hash,
  NoteError,
  PackError,
  type Payload,
  parseCheckpoint,
  parseNote,
  parseVkey,
  TILE_WIDTH,
  tilePath,
  tileWidth,
  type Verdict,
  type Verification,
  type VerifierKey,
  verifyEd25519,
} from '@affidavit/trail'
import { Failure } from '../failure.ts'
import { ServerRefused } from '../remote.ts'
import { ahead } from './ahead.ts'
import { Bundles } from './bundles.ts'
import { checkKept } from './history.ts'
import type { Kept } from './kept.ts'
import { Roots } from './roots.ts'
import { type ServerLog, type TrailInfo, trailOf } from './server-log.ts'

export interface LiveOptions {
  readonly hash: Hash
  /** Keys from elsewhere; one of them must have signed. Without, the server's own word is taken and said so. */
  readonly vkeys?: readonly VerifierKey[]
  readonly kept: readonly Kept[]
  /** The origin this tenant's trail had at an earlier visit. */
  readonly originBefore?: string | undefined
  /** ms since 1970. */
  readonly now: number
  readonly progress: (done: number, of: number, phase: 'entries' | 'content') => void
  /** Told of every entry with its payload, in order. */
  readonly onPayload?: (seq: number, entry: Entry, payload: Payload, leaf: Uint8Array) => void
}

export interface LiveResult {
  readonly verification: Verification
  readonly info: TrailInfo
  readonly checkpoint: Checkpoint
  readonly note: string
}

/** How long (ms) something announced as gone may still be served. */
const GRACE_MS = 86_400_000
const BUNDLES_AHEAD = 4
/** Payloads asked for at once. */
const CONTENT_ENTRIES = 4 * TILE_WIDTH
/** After so many refused places nothing new is learnt. */
const MOST_REFUSALS = 100

/** Verifies a trail over HTTP. Throws Failure where nothing could be checked at all. */
export async function verifyLive(log: ServerLog, info: TrailInfo, options: LiveOptions): Promise<LiveResult> {
  const note = await log.checkpoint()
  if (note === undefined)
    throw new Failure(`The trail of ${log.tenant} has no checkpoint yet. One follows about a second after an event.`)
  const run = new LiveRun(log, info, options, await signedCheckpoint(note, info, options))
  return { verification: await run.verify(), info, checkpoint: run.checkpoint, note }
}

/** The key that the server names for itself; an unusable one signs nothing. */
function readServerKey(hash: Hash, { vkey }: TrailInfo): VerifierKey[] {
  try {
    return [parseVkey(hash, vkey)]
  } catch (error) {
    if (error instanceof NoteError) return []
    throw error
  }
}

interface Signed {
  readonly checkpoint: Checkpoint
  readonly findings: Findings
}

/** The checkpoint, and in findings what its signature is worth. A wrong signature does not stop the other checks. */
async function signedCheckpoint(note: string, info: TrailInfo, { hash, vkeys }: LiveOptions): Promise<Signed> {
  const findings = new Findings()
  const keys = vkeys ?? readServerKey(hash, info)
  const checkpoint = await checkSignature(note, keys, { verify: verifyEd25519, origin: info.origin }, findings)
  if (checkpoint !== undefined) return { checkpoint, findings }
  try {
    return { checkpoint: parseCheckpoint(parseNote(note).text), findings }
  } catch (error) {
    if (error instanceof NoteError) throw new Failure(`The checkpoint that the server gives is none: ${error.message}.`)
    throw error
  }
}

class LiveRun {
  readonly checkpoint: Checkpoint
  private readonly log: ServerLog
  private readonly info: TrailInfo
  private readonly options: LiveOptions
  private readonly findings: Findings
  private readonly walk: EntryVerifier
  private readonly roots: Roots
  private readonly bundles: Bundles
  /** Leaves that differ between the entries and the served tiles. */
  private readonly differing: { readonly seq: number; readonly path: string }[] = []
  private readonly missing = new Set<number>()
  private refusals = 0

  constructor(log: ServerLog, info: TrailInfo, options: LiveOptions, { checkpoint, findings }: Signed) {
    this.log = log
    this.info = info
    this.options = options
    this.checkpoint = checkpoint
    this.findings = findings
    const trail = trailOf(checkpoint)
    if (trail === undefined) throw new Failure(`The checkpoint is of ${checkpoint.origin}, which is no trail.`)
    this.walk = new EntryVerifier(options.hash, trail, checkpoint.origin, findings)
    this.roots = new Roots(
      options.hash,
      options.kept.map(({ size }) => size),
    )
    this.bundles = new Bundles(options.hash, (index, width) => log.tile({ level: 'entries', index, width }))
  }

  async verify(): Promise<Verification> {
    const { findings, options, checkpoint } = this
    try {
      await this.entries()
      this.settleRoot()
      await this.tiles()
      await checkKept({ ...options, checkpoint, roots: this.roots, walk: this.walk, findings })
      await this.content()
    } catch (error) {
      // What was found so far must not be lost because the server stops answering.
      if (!(error instanceof Failure || error instanceof ServerRefused)) throw error
      findings.cannotCheck('completeness', 'broken_off', error.message)
    }
    this.anchors()
    const asked: Verdict[] = []
    if (options.kept.length > 0) asked.push('consistency')
    if (options.kept.length > 0 || options.vkeys !== undefined) asked.push('anchors')
    return conclude(findings, asked, this.notes())
  }

  private async entries(): Promise<void> {
    const { size } = this.checkpoint
    const numbers = Array.from({ length: Math.ceil(size / TILE_WIDTH) }, (_, index) => index)
    const fetched = ahead(numbers, BUNDLES_AHEAD, async (index) => {
      const width = tileWidth('entries', index, size)
      return Promise.all([this.bundles.first(index, width), this.log.tile({ level: 0, index, width })])
    })
    for await (const { item: index, result } of fetched) {
      const width = tileWidth('entries', index, size)
      const [bundle, tile] = result
      const leaves = tile.ok ? decodeTile(tile.value) : undefined
      // Without its entries a tile's absence says nothing that their absence does not.
      if (bundle.ok && leaves?.length !== width) this.refusedTile({ level: 0, index, width }, tile)
      const walked = bundle.ok
        ? this.walk.bundle(index, bundle.value, width)?.leaves
        : await this.partOf(index, width, bundle.why)
      this.compare(index, width, walked ?? [], leaves)
      if (walked?.length === width) this.roots.append(walked)
      else this.roots.gap()
      this.options.progress(index * TILE_WIDTH + width, size, 'entries')
    }
    this.walk.finish()
    this.findings.held('completeness')
  }

  /** The server refuses a bundle: the longest part of it that it serves names the first entry that is gone. */
  private async partOf(index: number, width: number, why: string): Promise<readonly Uint8Array[]> {
    const { bytes, entries } = await this.bundles.longest(index, width)
    const first = index * TILE_WIDTH + entries
    for (let seq = first; seq < index * TILE_WIDTH + width; seq++) this.missing.add(seq)
    this.findings.fail(
      'completeness',
      'entry_not_served',
      `the signed checkpoint covers entry ${first}, but the server does not serve it: ${why}`,
      first,
    )
    return entries === 0 ? [] : (this.walk.bundle(index, bytes, entries)?.leaves ?? [])
  }

  private refusedTile(tile: { level: number; index: number; width: number }, served: { ok: boolean; why?: string }) {
    const path = tilePath(tile)
    const first = tile.index * TILE_WIDTH ** (tile.level + 1)
    this.findings.fail('inclusion', 'tile_not_served', `${path} is ${served.why ?? 'not as wide as it must be'}`, first)
  }

  private compare(
    index: number,
    width: number,
    walked: readonly Uint8Array[],
    leaves: readonly Uint8Array[] | undefined,
  ) {
    if (leaves?.length !== width) return
    for (const [at, leaf] of walked.entries()) {
      if (this.differing.length >= MOST_REFUSALS || equalBytes(leaf, leaves[at]!)) continue
      this.differing.push({ seq: index * TILE_WIDTH + at, path: tilePath({ level: 0, index, width }) })
    }
  }

  /** Which of entry and tile is wrong shows only once the root is known. */
  private settleRoot(): void {
    const root = this.roots.root()
    const isSigned = root !== undefined && equalBytes(root, this.checkpoint.root)
    for (const { seq, path } of this.differing) {
      if (isSigned) this.findings.fail('inclusion', 'tile_changed', `${path} holds a wrong hash for entry ${seq}`, seq)
      else this.findings.fail('inclusion', 'entry_changed', `entry ${seq} is not the one in the tree`, seq)
    }
    if (root === undefined)
      this.findings.cannotCheck('inclusion', 'no_root', 'entries are missing, so the root cannot be recomputed')
    else if (isSigned) this.findings.held('inclusion')
    else this.findings.fail('inclusion', 'wrong_root', 'the entries do not give the root that the checkpoint signs')
  }

  private async tiles(): Promise<void> {
    // Entries that were changed give other hashes all the way up: then the tiles are not what is wrong.
    if (!equalBytes(this.roots.root() ?? new Uint8Array(), this.checkpoint.root)) return
    for await (const { item, result } of ahead(this.roots.tiles(), BUNDLES_AHEAD, (tile) => this.log.tile(tile))) {
      const hashes = result.ok ? decodeTile(result.value) : undefined
      if (hashes?.length !== item.width) this.refusedTile(item, result)
      const at = item.hashes.findIndex((hash, i) => hashes?.[i] !== undefined && !equalBytes(hash, hashes[i]!))
      if (at < 0) continue
      const seq = (item.index * TILE_WIDTH + at) * TILE_WIDTH ** item.level
      const end = seq + TILE_WIDTH ** item.level - 1
      this.findings.fail('inclusion', 'tile_changed', `${tilePath(item)} is wrong for entries ${seq} to ${end}`, seq)
    }
  }

  private async content(): Promise<void> {
    const { size } = this.checkpoint
    const { findings, options, info } = this
    const contents = new ContentVerifier({
      hash: options.hash,
      absence: new Absence(this.walk.announcements, findings),
      findings,
      withheld: info.withheld,
      graceMs: GRACE_MS,
      now: options.now,
    })
    for (let from = 0; from < size; from += CONTENT_ENTRIES) {
      const to = Math.min(size, from + CONTENT_ENTRIES)
      const entries = await this.entriesAgain(from, to)
      if (!(await this.contentOf(from, to, entries, contents))) return
      options.progress(to, size, 'content')
    }
    findings.held('content')
    findings.held('absence')
  }

  /** Entries for their payloads: from memory, or once more from the server, which must not give others now. */
  private async entriesAgain(from: number, to: number): Promise<Map<number, { entry: Entry; leaf: Uint8Array }>> {
    const entries = new Map<number, { entry: Entry; leaf: Uint8Array }>()
    for (let index = from / TILE_WIDTH; index * TILE_WIDTH < to; index++) {
      const again = await this.bundles.again(index)
      if (again === 'differs') {
        const first = index * TILE_WIDTH
        this.findings.fail(
          'inclusion',
          'two_answers',
          `bundle ${index} was served in two versions within one run`,
          first,
        )
      } else if (again !== undefined) {
        const { bytes, entries: width } = again
        for (const { seq, bytes: own, entry } of decodeEntries(bytes, index * TILE_WIDTH, width) ?? [])
          if (entry !== undefined) entries.set(seq, { entry, leaf: this.leafOf(own) })
      }
    }
    return entries
  }

  private leafOf(bytes: Uint8Array): Uint8Array {
    const data = new Uint8Array(1 + bytes.length)
    data.set(bytes, 1)
    return this.options.hash(data)
  }

  /** Checks a range of payloads; where the server breaks off, halves it to the place. False: nothing more can be had. */
  private async contentOf(
    from: number,
    to: number,
    entries: ReadonlyMap<number, { entry: Entry; leaf: Uint8Array }>,
    contents: ContentVerifier,
  ): Promise<boolean> {
    let payloads: Map<number, Payload>
    try {
      payloads = await this.readContent(from, to)
    } catch (error) {
      const why = this.contentProblem(error, from)
      if (why === undefined) return false
      if (to - from > 1) {
        const middle = Math.floor((from + to) / 2)
        return (
          (await this.contentOf(from, middle, entries, contents)) &&
          (await this.contentOf(middle, to, entries, contents))
        )
      }
      if (!this.missing.has(from))
        this.findings.fail(
          'completeness',
          'content_not_served',
          `the content of entry ${from} is not served: ${why}`,
          from,
        )
      this.refusals += 1
      return this.refusals < MOST_REFUSALS
    }
    for (let seq = from; seq < to; seq++) this.checkOne(seq, entries.get(seq), payloads.get(seq), contents)
    return true
  }

  private checkOne(
    seq: number,
    found: { entry: Entry; leaf: Uint8Array } | undefined,
    payload: Payload | undefined,
    contents: ContentVerifier,
  ): void {
    if (found === undefined) {
      if (!this.missing.has(seq))
        this.findings.cannotCheck(
          'content',
          'no_entry',
          `entry ${seq} could not be read, so neither could its content`,
          seq,
        )
      return
    }
    if (payload === undefined) {
      this.findings.fail('completeness', 'content_not_served', `entry ${seq} is served without its content line`, seq)
      return
    }
    contents.check(seq, found.entry, payload)
    this.options.onPayload?.(seq, found.entry, payload, found.leaf)
  }

  private async readContent(from: number, to: number): Promise<Map<number, Payload>> {
    const payloads = new Map<number, Payload>()
    let last = from - 1
    for await (const payload of this.log.content(from, to)) {
      if (payload.seq <= last || payload.seq >= to)
        throw new PackError('malformed', `the content of entry ${payload.seq} is not in its place`)
      last = payload.seq
      payloads.set(payload.seq, payload)
    }
    return payloads
  }

  /** Why content could not be read, or undefined when there is no point in going on. */
  private contentProblem(error: unknown, seq: number): string | undefined {
    if (error instanceof ServerRefused) {
      if ([404, 410, 500].includes(error.status)) return `${error.message} [${error.code}]`
      this.findings.cannotCheck('content', error.code, `the server does not give payloads: ${error.message}`)
      return undefined
    }
    if (error instanceof PackError) {
      this.findings.cannotCheck('content', error.code, error.message, seq)
      return error.message
    }
    // Also a connection that breaks inside a line: the next request tells whether the server is still there.
    if (error instanceof Failure) throw error
    return (error as Error).message
  }

  private anchors(): void {
    const { kept, vkeys } = this.options
    const states = [
      ...(vkeys === undefined ? [] : [this.findings.state('signature')]),
      ...(kept.length === 0 ? [] : [this.findings.state('consistency')]),
    ]
    if (states.includes('failed'))
      this.findings.fail('anchors', 'anchor_contradicts', 'what you brought contradicts what the server shows')
    else if (states.includes('held')) this.findings.held('anchors')
  }

  private notes(): string[] {
    const { vkeys } = this.options
    const { withheld, earlier } = this.info
    const notes: string[] = []
    if (vkeys === undefined)
      notes.push('no key was given: the signature was checked with the key that the server itself names')
    if (withheld.length > 0) notes.push(`not shown to this key, so not checked: ${withheld.join(', ')} parts`)
    if (earlier > 0) notes.push(`the tenant has ${earlier} earlier trail(s), which this run did not check`)
    return notes
  }
}
