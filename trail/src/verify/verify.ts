/**
 * The verifier of packs: separate verdicts, each finding named with its seq. It never takes a root or a key from the
 * pack as an anchor; without one from outside it says "tamper-detecting only".
 */

import { equalBytes } from '../bytes.ts'
import { type Committed, DecodedCommitted } from '../entry/committed.ts'
import type { ContentReader } from '../entry/content-reader.ts'
import type { Hash, VerifySignature } from '../hash.ts'
import { type Checkpoint, parseCheckpoint } from '../note/checkpoint.ts'
import { NoteError, type VerifierKey, verifyNote } from '../note/note.ts'
import type { TrustPolicy } from '../note/policy.ts'
import { checkEvidence, type EvidenceResult, evidenceSizes, provenSeqs, REGISTRY_MEMBERS } from '../pack/evidence.ts'
import { packKeys } from '../pack/keys.ts'
import { bundleNumbers, contentNumbers, contentSeqs, type Manifest, packTiles } from '../pack/manifest.ts'
import type { PackReader } from '../pack/reader.ts'
import { OlderRoots, PackRoot } from '../pack/root.ts'
import type { TimestampOptions } from '../timestamp/timestamp.ts'
import { TILE_WIDTH, tilePath, tileWidth } from '../tree/tiles.ts'
import { Absence } from '../walk/absence.ts'
import { SealedTimes } from '../walk/sealed-times.ts'
import { conclude, Findings, type Verdict, type Verification } from '../walk/verdict.ts'
import { decodeEntries, EntryVerifier } from '../walk/walk.ts'
import { ContentVerifier } from './content-verifier.ts'

/** A checkpoint the verifier kept from before: from its own storage, never from the party under check. */
export interface KeptCheckpoint {
  readonly origin?: string
  readonly size: number
  readonly root: Uint8Array
}

export interface VerifyOptions {
  readonly hash: Hash
  readonly verify: VerifySignature
  /** Keys the verifier knows from elsewhere: a contract, a set-up link. One of them must have signed. */
  readonly vkeys?: readonly VerifierKey[]
  /** The trail must have grown from each of them. */
  readonly kept?: readonly KeptCheckpoint[]
  /** Witnesses whose cosignatures of the registry's checkpoint count, and how many must be there. */
  readonly policy?: TrustPolicy
  /** Whose timestamps in a pack count; without, they are not checked. */
  readonly timestamps?: TimestampOptions
  /** Entries sealed later than this (ms) after what the witnesses cosigned are not vouched for; default one hour. */
  readonly maxAgeMs?: number
  readonly origin?: string
  /** ms since 1970; default: when the last entry was sealed. */
  readonly now?: number
  /** How long (ms) something announced as gone may still be served; default one day. */
  readonly graceMs?: number
  /**
   * Called with the number of entries done, per bundle. Contents have a phase of their own only where they could not be
   * checked together with the entries.
   */
  readonly progress?: (entries: number, phase: 'entries' | 'content') => void
}

const DAY_MS = 86_400_000
const HOUR_MS = 3_600_000

/** Verifies an opened pack. Throws PackError when the file turns out to be damaged; everything else is a finding. */
export async function verifyPack(pack: PackReader, given: VerifyOptions): Promise<Verification> {
  const options = withPolicyKeys(given)
  const findings = new Findings()
  const notes: string[] = []
  const { manifest } = pack
  const note = await pack.text('checkpoint')
  const keys = await packKeys(pack, REGISTRY_MEMBERS, options, findings)
  notes.push(...keys.notes)
  const checkpoint = await checkSignature(note, keys.trail, options, findings)
  if (checkpoint !== undefined && (checkpoint.size !== manifest.size || checkpoint.origin !== manifest.origin)) {
    findings.fail('inclusion', 'other_checkpoint', 'the checkpoint is not the one the manifest speaks of')
  }
  const walk = new EntryVerifier(options.hash, manifest.trail, manifest.origin, findings)
  const onTheWay = new ContentVerifier({
    hash: options.hash,
    absence: undefined,
    findings,
    withheld: manifest.withheld,
    graceMs: 0,
    now: 0,
  })
  const { root, older, comparedTo, ...walked } = await walkBundles(pack, walk, onTheWay, options, findings)
  if (checkpoint !== undefined) checkRoot(checkpoint.root, root, findings)
  for (const kept of options.kept ?? [])
    checkKept(kept, manifest, kept.size === manifest.size ? root : older.at(kept.size), findings)
  notes.push(...(await checkContent(pack, walk, onTheWay, comparedTo, options, findings)))
  const evidence =
    checkpoint === undefined
      ? undefined
      : await checkEvidence(
          pack,
          {
            checkpoint,
            note,
            root,
            ...walked,
            lastSealedAt: walked.times.at(manifest.ranges.at(-1)!.to).below?.sealedAt,
          },
          { ...options, keys, maxAgeMs: options.maxAgeMs ?? HOUR_MS },
          findings,
        )
  notes.push(...(evidence?.notes ?? []))
  settleAnchors(options, evidence, findings)
  if (manifest.withheld.length > 0) notes.push(`withheld from this pack: ${manifest.withheld.join(', ')}`)
  const unknown = manifest.optional.filter((path) => evidence?.known.has(path) !== true)
  if (unknown.length > 0) notes.push(`present but not checked: ${unknown.join(', ')}`)
  const asked: Verdict[] = []
  if (hasKept(options)) asked.push('consistency', 'anchors')
  if (options.vkeys !== undefined || hasQuorum(options) || options.timestamps !== undefined) asked.push('anchors')
  return conclude(findings, asked, notes, evidence?.anchors)
}

/** A log that a policy lists is a key from outside like any other. */
function withPolicyKeys(options: VerifyOptions): VerifyOptions {
  const named = options.policy?.logs.map(({ key }) => key) ?? []
  return named.length === 0 ? options : { ...options, vkeys: [...(options.vkeys ?? []), ...named] }
}

/** Checks a checkpoint note; its content is returned even when the signature fails. */
export async function checkSignature(
  note: string,
  keys: readonly VerifierKey[],
  options: Pick<VerifyOptions, 'verify' | 'origin'>,
  findings: Findings,
): Promise<Checkpoint | undefined> {
  try {
    const { text, verified } = await verifyNote(options.verify, note, keys)
    const checkpoint = parseCheckpoint(text)
    if (!verified.some((key) => key.name === checkpoint.origin)) {
      findings.fail('signature', 'not_signed', `no expected key of ${checkpoint.origin} has signed the checkpoint`)
    }
    if (options.origin !== undefined && options.origin !== checkpoint.origin) {
      findings.fail(
        'signature',
        'wrong_origin',
        `the checkpoint is of ${checkpoint.origin}, expected ${options.origin}`,
      )
    }
    findings.held('signature')
    return checkpoint
  } catch (error) {
    if (!(error instanceof NoteError)) throw error
    findings.fail('signature', error.code, `the checkpoint: ${error.message}`)
    return undefined
  }
}

/** What one walk over the bundles gives. */
interface Walked {
  readonly root: Uint8Array | undefined
  /** Roots at the sizes of kept checkpoints. */
  readonly older: OlderRoots
  /** Contents of bundles below this number were compared on the way. */
  readonly comparedTo: number
  /** Leaf hashes of the entries that the pack proves one by one. */
  readonly leaves: ReadonlyMap<number, Uint8Array>
  readonly times: SealedTimes
}

/**
 * Walks over all bundles. As long as nothing announces that payloads are gone, contents are checked on the way, so that
 * each bundle is read once.
 */
async function walkBundles(
  pack: PackReader,
  walk: EntryVerifier,
  contents: ContentVerifier,
  options: VerifyOptions,
  findings: Findings,
): Promise<Walked> {
  const { manifest } = pack
  const tree = new PackRoot(options.hash, manifest.size, findings)
  const older = new OlderRoots(options.hash, options.kept?.map(({ size }) => size) ?? [])
  const wanted = new Set(provenSeqs(manifest))
  const leaves = new Map<number, Uint8Array>()
  const times = new SealedTimes([...(await evidenceSizes(pack)), manifest.ranges.at(-1)!.to])
  let comparedTo = Number.POSITIVE_INFINITY
  const read = (index: number) =>
    Promise.all([pack.bundle(index), pack.order.hasContent(index) && walk.isQuiet ? pack.content(index) : undefined])
  for await (const [index, [bytes, content]] of readAhead(bundleNumbers(manifest), read)) {
    const walked = walk.bundle(index, bytes, tileWidth('entries', index, manifest.size))
    if (!walk.isQuiet) comparedTo = Math.min(comparedTo, index)
    else if (content !== undefined) {
      checkBundleContent(index, (at) => walked?.committed(at), content, { manifest, contents, findings, compare: true })
    }
    if (walked !== undefined) {
      if (wanted.size > 0)
        for (const [at, leaf] of walked.leaves.entries())
          if (wanted.has(walked.first + at)) leaves.set(walked.first + at, leaf)
      times.bundle(walked)
      tree.bundle(index, walked)
      older.bundle(walked)
    }
    options.progress?.(walk.count, 'entries')
  }
  walk.finish()
  for (const tile of packTiles(manifest.size, manifest.bundles)) tree.tile(tile, await pack.read(tilePath(tile)))
  return { root: tree.root(), older, comparedTo, leaves, times }
}

/** Reads the next members while the one before is checked: inflating happens on other threads. */
async function* readAhead<T>(
  indexes: Iterable<number>,
  read: (index: number) => Promise<T>,
): AsyncGenerator<[index: number, value: T]> {
  const pending: { index: number; value: Promise<T> }[] = []
  for (const index of indexes) {
    const value = read(index)
    // A failure is thrown where its turn comes, not as an unhandled rejection before.
    value.catch(() => undefined)
    pending.push({ index, value })
    if (pending.length > 2) {
      const next = pending.shift()!
      yield [next.index, await next.value]
    }
  }
  for (const next of pending) yield [next.index, await next.value]
}

function checkRoot(expected: Uint8Array, root: Uint8Array | undefined, findings: Findings): void {
  if (root === undefined) findings.fail('inclusion', 'no_root', 'the entries and tiles do not give a root')
  else if (!equalBytes(root, expected)) {
    findings.fail('inclusion', 'wrong_root', 'the entries do not give the root that the checkpoint signs')
  } else findings.held('inclusion')
}

function checkKept(
  kept: KeptCheckpoint,
  pack: { origin: string; size: number },
  root: Uint8Array | undefined,
  findings: Findings,
): void {
  if (kept.origin !== undefined && kept.origin !== pack.origin) {
    findings.cannotCheck('consistency', 'other_trail', `the kept checkpoint is of ${kept.origin}`)
    return
  }
  if (kept.size > pack.size) {
    findings.cannotCheck(
      'consistency',
      'kept_is_newer',
      `the kept checkpoint has ${kept.size} entries, the pack ${pack.size}`,
    )
    return
  }
  if (root === undefined) {
    findings.cannotCheck('consistency', 'not_covered', `the pack cannot show the root at size ${kept.size}`)
  } else if (equalBytes(root, kept.root)) findings.held('consistency')
  else
    findings.fail(
      'consistency',
      'history_rewritten',
      `the first ${kept.size} entries are not those of the kept checkpoint`,
    )
}

/**
 * Checks what the walk has left: contents behind the first announcement, and all gaps in the light of them all.
 * @returns notes
 */
async function checkContent(
  pack: PackReader,
  walk: EntryVerifier,
  onTheWay: ContentVerifier,
  comparedTo: number,
  options: VerifyOptions,
  findings: Findings,
): Promise<string[]> {
  const { manifest } = pack
  const absence = new Absence(walk.announcements, findings)
  if (absence.quiet) onTheWay.settle()
  const contents = new ContentVerifier({
    hash: options.hash,
    absence,
    findings,
    withheld: manifest.withheld,
    graceMs: options.graceMs ?? DAY_MS,
    now: options.now ?? Date.parse(walk.lastSealedAt),
  })
  let done = 0
  for await (const [index, [bundle, content]] of readAhead(
    contentLeft(manifest, absence.quiet ? comparedTo : 0),
    (index) => Promise.all([pack.bundle(index), pack.content(index)]),
  )) {
    const entries = decodeEntries(bundle, index * TILE_WIDTH, tileWidth('entries', index, manifest.size))
    const committed = (at: number) => {
      const entry = entries?.[at]?.entry
      return entry && new DecodedCommitted(entry)
    }
    done += checkBundleContent(index, committed, content, {
      manifest,
      contents,
      findings,
      compare: index >= comparedTo,
    })
    options.progress?.(done, 'content')
  }
  findings.held('content')
  findings.held('absence')
  findings.held('completeness')
  const [first, ...others] = manifest.bundles
  return absence.notes(first!.from === 0 && others.length === 0)
}

function* contentLeft(manifest: Manifest, from: number): Generator<number> {
  for (const index of contentNumbers(manifest)) if (index >= from) yield index
}

interface BundleContent {
  readonly manifest: Manifest
  readonly contents: ContentVerifier
  readonly findings: Findings
  /** False: only gaps are of interest, the rest was checked and reported on the walk. */
  readonly compare: boolean
}

/** Checks the content lines of one bundle. @returns how many it has */
function checkBundleContent(
  index: number,
  committed: (at: number) => Committed | undefined,
  lines: ContentReader,
  { manifest, contents, findings, compare }: BundleContent,
): number {
  const first = index * TILE_WIDTH
  let count = 0
  for (const seq of contentSeqs(manifest, index)) {
    const isThere = !lines.isAtEnd && lines.open() === seq
    if (!isThere) {
      if (compare)
        findings.fail('completeness', 'content_order', `the content of entry ${seq} is not in its place`, seq)
      return count
    }
    const entry = committed(seq - first)
    if (entry !== undefined) contents.checkParts(seq, entry, lines, compare)
    else {
      lines.skipParts()
      const message = `entry ${seq} could not be read, so neither could its content`
      if (compare) findings.cannotCheck('content', 'no_entry', message, seq)
    }
    lines.close()
    count++
  }
  if (!lines.isAtEnd && compare) {
    findings.fail(
      'completeness',
      'content_order',
      `bundle ${index} has content for entries the pack does not claim`,
      first,
    )
  }
  return count
}

const hasKept = ({ kept }: VerifyOptions) => kept !== undefined && kept.length > 0
const hasQuorum = ({ policy }: VerifyOptions) => policy !== undefined && policy.quorum !== 'none'

/**
 * An anchor is what came from outside: a pinned key that signed, a kept checkpoint that the trail grew from, witnesses
 * that cosigned the registry, an authority that stamped it.
 */
function settleAnchors(options: VerifyOptions, evidence: EvidenceResult | undefined, findings: Findings): void {
  const registry = evidence?.registry ?? 'absent'
  if (hasQuorum(options) && registry === 'absent')
    findings.cannotCheck(
      'anchors',
      'no_registry',
      'the pack has no proof of the registry, which is what witnesses sign',
    )
  const states = [
    ...(options.vkeys === undefined ? [] : [findings.state('signature')]),
    ...(hasKept(options) ? [findings.state('consistency')] : []),
    ...((evidence?.anchors.length ?? 0) > 0 ? ['held'] : []),
  ]
  if (states.includes('failed')) findings.fail('anchors', 'anchor_contradicts', 'what you brought contradicts the pack')
  else if (states.includes('held')) findings.held('anchors')
}
