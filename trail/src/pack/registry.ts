/**
 * The registry's proof in a pack (docs/spec/pack.md): an epoch's entry under a signed checkpoint of the registry, this
 * trail's slot in that epoch, and that the slot's history is the pack's.
 */
import { equalBytes } from '../bytes.ts'
import { EntryError } from '../entry/entry-error.ts'
import { FormatError } from '../format-error.ts'
import type { Hash, VerifySignature } from '../hash.ts'
import { type Checkpoint, parseCheckpoint } from '../note/checkpoint.ts'
import { NoteError, type VerifierKey, verifyNote } from '../note/note.ts'
import { type CheckpointVerdict, judgeCheckpoint, policyKeys, type TrustPolicy } from '../note/policy.ts'
import { hashLines, TextFile } from '../note/text-file.ts'
import { PackError } from '../pack-error.ts'
import { parseTlogProof, type TlogProof } from '../proof/tlog-proof.ts'
import { logNameOf } from '../registry/pins.ts'
import { decodeRegistryEntry, type Epoch, logOfRegistry, MERGE_DELAY_MS } from '../registry/registry.ts'
import { checkSlotProof, parseSlotProof, type SlotProof } from '../registry/slot-proof.ts'
import { leafHash, verifyConsistency, verifyInclusion } from '../tree/tree.ts'
import type { SealedTimes } from '../walk/sealed-times.ts'
import type { Findings } from '../walk/verdict.ts'
import type { PackReader } from './reader.ts'

/** Where the parts of one proof stand. */
export interface RegistryPaths {
  /** The registry log's entry of the epoch, as hashed. */
  readonly epoch: string
  /** C2SP tlog-proof of that entry, with the registry's checkpoint and its cosignatures. */
  readonly proof: string
  readonly slot: string
  /** RFC 6962 proof between the slot's checkpoint and the pack's, the smaller one first; empty where they have one size. */
  readonly consistency: string
}

export interface RegistryTrust {
  readonly hash: Hash
  readonly verify: VerifySignature
  /** Whose cosignatures count. */
  readonly policy?: TrustPolicy
  /** Log keys that may have signed the registry of this origin. */
  readonly keys: (origin: string) => readonly VerifierKey[]
}

/** What the walk over the pack found. */
export interface WalkedTrail {
  readonly checkpoint: Checkpoint
  /** Recomputed. */
  readonly root: Uint8Array | undefined
  readonly times: SealedTimes
}

/** A proof that holds. */
export interface Bound {
  readonly entry: Epoch
  /** What stands in the trail's slot. */
  readonly body: Checkpoint
  /** The registry's checkpoint under the policy. */
  readonly judged: CheckpointVerdict
}

const MOST_PROOF_HASHES = 63

/** The text of a consistency member. */
export function formatConsistency(older: number, newer: number, proof: readonly Uint8Array[]): string {
  return `affidavit/1 consistency\nolder ${older}\nnewer ${newer}\n${hashLines(proof)}`
}

/** Text of a member, with what its parser refuses told as a broken pack. */
export async function readAs<T>(pack: PackReader, path: string, parse: (text: string) => T): Promise<T> {
  const text = await pack.text(path)
  try {
    return parse(text)
  } catch (error) {
    if (!(error instanceof FormatError || error instanceof NoteError || error instanceof EntryError)) throw error
    const isNewer = error.code === 'unknown_version' || error.code === 'unknown_kind'
    throw new PackError(isNewer ? 'unknown_version' : 'malformed', `${path}: ${error.message}`)
  }
}

/** The size that a slot in the pack names. Throws PackError. */
export async function slotSize(pack: PackReader, path: string): Promise<number> {
  return parseCheckpoint((await readAs(pack, path, parseSlotProof)).body).size
}

/** Undefined, and findings, where it does not hold. Throws PackError when a part is not in its form. */
export async function checkBound(
  pack: PackReader,
  paths: RegistryPaths,
  trail: WalkedTrail,
  trust: RegistryTrust,
  findings: Findings,
): Promise<Bound | undefined> {
  return new BoundCheck(pack, paths, trail, trust, findings).run()
}

interface Parts {
  readonly entry: Epoch
  readonly entryText: string
  readonly proof: TlogProof
  readonly slot: SlotProof
}

class BoundCheck {
  private readonly pack: PackReader
  private readonly paths: RegistryPaths
  private readonly trail: WalkedTrail
  private readonly trust: RegistryTrust
  private readonly findings: Findings

  constructor(pack: PackReader, paths: RegistryPaths, trail: WalkedTrail, trust: RegistryTrust, findings: Findings) {
    this.pack = pack
    this.paths = paths
    this.trail = trail
    this.trust = trust
    this.findings = findings
  }

  async run(): Promise<Bound | undefined> {
    const parts = await this.parts()
    const judged = await this.signed(parts)
    const body = parseCheckpoint(parts.slot.body)
    if (judged === undefined || !(await this.binds(parts, body))) return undefined
    return this.isInTime(parts.entry, body) ? { entry: parts.entry, body, judged } : undefined
  }

  private async parts(): Promise<Parts> {
    const { pack, paths } = this
    const entryText = await pack.text(paths.epoch)
    const entry = await readAs(pack, paths.epoch, decodeRegistryEntry)
    if (entry.kind !== 'epoch') throw new PackError('malformed', `${paths.epoch} is no epoch`)
    return {
      entry,
      entryText,
      proof: await readAs(pack, paths.proof, parseTlogProof),
      slot: await readAs(pack, paths.slot, parseSlotProof),
    }
  }

  /** The registry's checkpoint, if it is signed and the epoch's entry stands under it. */
  private async signed({ entryText, proof }: Parts): Promise<CheckpointVerdict | undefined> {
    const { hash, verify, policy } = this.trust
    const origin = proof.checkpoint.slice(0, proof.checkpoint.indexOf('\n'))
    if (!isRegistryOf(origin, this.trail.checkpoint.origin))
      return this.fail('other_registry', `${origin} is not the registry of ${this.trail.checkpoint.origin}`)
    const keys = this.trust.keys(origin)
    try {
      const note = await verifyNote(verify, proof.checkpoint, [...keys, ...(policy ? policyKeys(policy) : [])])
      const trust = policy ?? { logs: [], witnesses: [], groups: [], quorum: 'none' }
      const judged = judgeCheckpoint({ ...trust, logs: [...keys.map((key) => ({ key })), ...trust.logs] }, note)
      const { size, root } = judged.checkpoint
      if (!judged.signed) return this.fail('registry_not_signed', `no expected key of ${origin} signed its checkpoint`)
      const leaf = leafHash(hash, new TextEncoder().encode(entryText))
      if (!verifyInclusion(hash, leaf, proof.index, size, proof.proof, root))
        return this.fail('registry_inclusion', 'the epoch is not in the registry log')
      return judged
    } catch (error) {
      if (!(error instanceof NoteError)) throw error
      return this.fail('registry_signature', `the registry's checkpoint: ${error.message}`)
    }
  }

  /** Whether the epoch's slot of this trail holds what the pack shows. */
  private async binds({ entry, proof, slot }: Parts, body: Checkpoint): Promise<boolean> {
    const { checkpoint, root } = this.trail
    const flaw = slot.index === proof.index ? checkSlotProof(this.trust.hash, slot, entry, checkpoint.origin) : 'index'
    if (flaw !== undefined) {
      this.fail('slot_proof', `the slot proof does not fit the epoch (${flaw})`)
      return false
    }
    if (root === undefined) return false
    if (await this.agrees(body, root)) return true
    this.findings.fail(
      'consistency',
      'registry_fork',
      `the registry's slot of this trail holds another history: at size ${body.size} it does not agree with this pack`,
      Math.max(0, Math.min(body.size, checkpoint.size) - 1),
    )
    return false
  }

  private async agrees(body: Checkpoint, root: Uint8Array): Promise<boolean> {
    const { hash } = this.trust
    const { size } = this.trail.checkpoint
    const [older, newer] = [Math.min(body.size, size), Math.max(body.size, size)]
    const proof = await readAs(this.pack, this.paths.consistency, (text) => parseConsistency(text, older, newer))
    if (older === newer) return proof.length === 0 && equalBytes(body.root, root)
    return body.size < size
      ? verifyConsistency(hash, body.size, size, proof, body.root, root)
      : verifyConsistency(hash, size, body.size, proof, root, body.root)
  }

  /** The epoch must have had what was sealed long enough before it. */
  private isInTime(entry: Epoch, body: Checkpoint): boolean {
    const { behind } = this.trail.times.at(body.size)
    if (behind === undefined || Date.parse(behind.sealedAt) >= Date.parse(entry.time) - MERGE_DELAY_MS) return true
    const bound = `epoch ${entry.epoch} of ${entry.time} binds ${body.size} entries only`
    const message = `entry ${behind.seq} says that it was sealed at ${behind.sealedAt}, but ${bound}`
    this.findings.fail('time', 'backdated', message, behind.seq)
    return false
  }

  private fail(code: string, message: string): undefined {
    this.findings.fail('anchors', code, message)
  }
}

function parseConsistency(text: string, older: number, newer: number): Uint8Array[] {
  const file = new TextFile(text, 'the consistency proof', 65 * MOST_PROOF_HASHES)
  file.header('consistency')
  if (file.decimal('older') !== older || file.decimal('newer') !== newer) throw file.malformed('is of other sizes')
  const hashes = file.hashes()
  file.end()
  return hashes
}

/** `<log name>/registry[.n]` for a trail `<log name>/<trail id>`. */
export function isRegistryOf(registry: string, trail: string): boolean {
  return /\/[0-9a-f]{32}$/.test(trail) && logOfRegistry(registry) === logNameOf(trail)
}
