/**
 * The verifier of a running server's trail. It downloads the log as any C2SP client would, runs the same checks as for
 * packs, and in addition holds the server to what it signed: every entry and every tile must be served.
 */
import {
  type Announcement,
  type Checkpoint,
  checkSignature,
  conclude,
  decodeTile,
  type Entry,
  EntryVerifier,
  equalBytes,
  Findings,
  type Hash,
  NoteError,
  type Payload,
  parseCheckpoint,
  parseNote,
  readableVkeys,
  TILE_WIDTH,
  tilePath,
  tileWidth,
  type Verdict,
  type Verification,
  type VerifierKey,
  verifyEd25519,
} from '@affidavit/trail'
import { Failure } from '../../failure.ts'
import { ServerRefused } from '../../remote.ts'
import type { Kept } from '../brought/kept.ts'
import type { RegistryFinding } from '../registry/finding.ts'
import { ahead } from '../server/ahead.ts'
import { Bundles } from '../server/bundles.ts'
import { type Served, type ServerLog, type TrailInfo, trailOf } from '../server/log.ts'
import { checkContents, GRACE_MS } from './content.ts'
import { checkHeads, type HeadParts } from './heads.ts'
import { checkKept } from './history.ts'
import { Roots } from './roots.ts'
import type { Outside } from './timestamps.ts'

export interface LiveOptions {
  readonly hash: Hash
  /** Keys from elsewhere; one of them must have signed. Without, the server's own word is taken and said so. */
  readonly vkeys?: readonly VerifierKey[]
  /** Without: further keys that the server names, such as those before the one in force. */
  readonly named?: readonly VerifierKey[]
  readonly kept: readonly Kept[]
  /** What epochs of the registry bind for this trail. */
  readonly heads?: HeadParts['heads']
  /** The origin this tenant's trail had at an earlier visit. */
  readonly originBefore?: string | undefined
  /** ms since 1970. */
  readonly now: number
  readonly progress: (done: number, of: number, phase: 'entries' | 'content') => void
  /** Told of every entry with its payload, in order. */
  readonly onPayload?: (seq: number, entry: Entry, payload: Payload, leaf: Uint8Array) => void
}

export interface LiveResult {
  readonly checkpoint: Checkpoint
  readonly note: string
  readonly findings: Findings
  /** About the trail and its slot in the registry. */
  readonly registry: readonly RegistryFinding[]
  /** Control entries in order, and when the first entry that is there was sealed. */
  readonly announcements: readonly Announcement[]
  readonly openedAt: string | undefined
  readonly notes: readonly string[]
}

const BUNDLES_AHEAD = 4
/** More hashes that differ say nothing new. */
const MOST_DIFFERING = 100

/** Verifies a trail over HTTP. Throws Failure where nothing could be checked at all. */
export async function verifyLive(log: ServerLog, info: TrailInfo, options: LiveOptions): Promise<LiveResult> {
  const note = await log.checkpoint()
  if (note === undefined)
    throw new Failure(`The trail of ${log.tenant} has no checkpoint yet. One follows about a second after an event.`)
  const run = new LiveRun(log, info, options, await signedCheckpoint(note, info, options))
  return { ...(await run.verify()), checkpoint: run.checkpoint, note }
}

const NO_ANCHOR = { code: 'no_anchor', message: 'the witnesses that you asked for do not vouch for what is shown' }
const NOBODY: Outside = { state: undefined, anchors: [], open: [], notes: [] }

/** What the verdicts come to, once everything else has spoken. @param outside what witnesses and authorities say */
export function concludeLive(
  { findings, notes }: Pick<LiveResult, 'findings' | 'notes'>,
  { kept, vkeys }: Pick<LiveOptions, 'kept' | 'vkeys'>,
  outside: Outside = NOBODY,
): Verification {
  const { state: anchored } = outside
  const states = [
    ...(vkeys === undefined ? [] : [findings.state('signature')]),
    ...(kept.length === 0 ? [] : [findings.state('consistency')]),
    ...(anchored === undefined ? [] : [anchored]),
  ]
  if (states.includes('failed'))
    findings.fail('anchors', 'anchor_contradicts', 'what you brought contradicts what the server shows')
  else if (anchored === 'unchecked') {
    const open = outside.open.length > 0 ? outside.open : [NO_ANCHOR]
    for (const { code, message } of open) findings.cannotCheck('anchors', code, message)
  } else if (states.includes('held')) findings.held('anchors')
  const asked: Verdict[] = []
  if (kept.length > 0) asked.push('consistency')
  if (states.length > 0) asked.push('anchors')
  return conclude(findings, asked, [...notes, ...outside.notes], outside.anchors)
}

interface Signed {
  readonly checkpoint: Checkpoint
  readonly findings: Findings
}

/** The checkpoint, and in findings what its signature is worth. A wrong signature does not stop the other checks. */
async function signedCheckpoint(note: string, info: TrailInfo, options: LiveOptions): Promise<Signed> {
  const findings = new Findings()
  const { hash, vkeys, named = [] } = options
  const keys = vkeys ?? [...readableVkeys(hash, [info.vkey]), ...named]
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
  /** Entries below are not served, but their hashes are: as after a truncation. */
  private truncated = 0
  /** Sealing times of the entries that stand before and behind the end of a head of the registry, and of the first one. */
  private readonly sealed = new Map<number, string>()
  private openedAt: string | undefined
  /** What is gone as announced. */
  private excused: readonly string[] = []

  constructor(log: ServerLog, info: TrailInfo, options: LiveOptions, { checkpoint, findings }: Signed) {
    this.log = log
    this.info = info
    this.options = options
    this.checkpoint = checkpoint
    this.findings = findings
    const trail = trailOf(checkpoint)
    if (trail === undefined) throw new Failure(`The checkpoint is of ${checkpoint.origin}, which is no trail.`)
    this.walk = new EntryVerifier(options.hash, trail, checkpoint.origin, findings)
    const heads = (options.heads ?? []).map(({ body }) => body.size)
    this.roots = new Roots(options.hash, [...options.kept.map(({ size }) => size), ...heads])
    for (const size of heads) this.sealed.set(size - 1, '').set(size, '')
    this.bundles = new Bundles(options.hash, (index, width) => log.tile({ level: 'entries', index, width }))
  }

  async verify(): Promise<Omit<LiveResult, 'checkpoint' | 'note'>> {
    const { findings, options, checkpoint, walk, roots } = this
    let registry: RegistryFinding[] = []
    try {
      await this.entries()
      await this.settleTruncated()
      this.settleRoot()
      await this.tiles()
      await checkKept({ ...options, checkpoint, roots, walk, findings })
      const sealedAt = (seq: number) => this.sealed.get(seq) || undefined
      registry = checkHeads({ heads: options.heads ?? [], checkpoint, roots, sealedAt })
      await this.contents()
    } catch (error) {
      // What was found so far must not be lost because the server stops answering.
      if (!(error instanceof Failure || error instanceof ServerRefused)) throw error
      findings.cannotCheck('completeness', 'broken_off', error.message)
    }
    return { findings, registry, announcements: walk.announcements, openedAt: this.openedAt, notes: this.notes() }
  }

  private async contents(): Promise<void> {
    const { log, findings, bundles, walk, missing, options } = this
    const { hash, now, progress, onPayload } = options
    const parts = { hash, log, findings, bundles, walk, missing, now, progress, onPayload }
    const asked = { ...parts, size: this.checkpoint.size, withheld: this.info.withheld }
    this.excused = await checkContents(asked, this.truncated)
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
      // Behind a truncation the hashes stay; whether one was announced shows at the end of the walk.
      const isCut = !bundle.ok && index * TILE_WIDTH === this.truncated && leaves?.length === TILE_WIDTH
      if (isCut) this.truncated += TILE_WIDTH
      const walked = isCut ? leaves : await this.walked(index, width, bundle)
      this.compare(index, width, walked, leaves)
      if (walked.length === width) this.roots.append(walked)
      else this.roots.gap()
      this.options.progress(index * TILE_WIDTH + width, size, 'entries')
    }
    this.walk.finish()
    this.findings.held('completeness')
  }

  /** Takes a bundle into the walk. @returns its leaves, as far as there are any */
  private async walked(index: number, width: number, bundle: Served<Uint8Array>): Promise<readonly Uint8Array[]> {
    if (!bundle.ok) return this.partOf(index, width, bundle.why)
    const walked = this.walk.bundle(index, bundle.value, width)
    if (walked === undefined) return []
    this.openedAt ??= walked.entry(0)?.sealedAt
    for (const seq of this.sealed.keys()) {
      const entry = walked.entry(seq - walked.first)
      if (entry !== undefined) this.sealed.set(seq, entry.sealedAt)
    }
    return walked.leaves
  }

  /** What is not served at the beginning of the trail must have been announced as truncated, and the other way round. */
  private async settleTruncated(): Promise<void> {
    const { truncated, findings, options } = this
    let announced = 0
    for (const { seq, sealedAt, control } of this.walk.announcements) {
      if (control.kind !== 'truncate') continue
      announced = Math.max(announced, control.size)
      if (control.size > truncated && options.now - Date.parse(sealedAt) > GRACE_MS)
        findings.fail(
          'absence',
          'still_there',
          `entry ${truncated} is there though entry ${seq} announced its end`,
          truncated,
        )
    }
    if (truncated <= announced) return
    const { entries } = await this.bundles.longest(announced / TILE_WIDTH, TILE_WIDTH)
    const first = announced + entries
    findings.fail(
      'completeness',
      'entry_not_served',
      `the signed checkpoint covers entry ${first}, but the server does not serve it, and no truncation was announced`,
      first,
    )
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
      if (this.differing.length >= MOST_DIFFERING || equalBytes(leaf, leaves[at]!)) continue
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

  private notes(): string[] {
    const { vkeys } = this.options
    const { withheld } = this.info
    const notes = [...this.excused]
    if (vkeys === undefined)
      notes.push('no key was given: the signature was checked with the key that the server itself names')
    if (withheld.length > 0) notes.push(`not shown to this key, so not checked: ${withheld.join(', ')} parts`)
    if (this.truncated > 0) notes.push(`entries below ${this.truncated} are truncated: only their hashes are there`)
    return notes
  }
}
