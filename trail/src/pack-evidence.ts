/**
 * What a pack brings besides its trail (docs/spec/pack.md): proofs of single entries, and the registry's proof that this
 * trail's one slot held this history. Nothing of it is an anchor by itself; cosignatures of witnesses that the verifier
 * names are.
 */
import { equalBytes, fromHex } from './bytes.ts'
import { type Checkpoint, parseCheckpoint } from './checkpoint.ts'
import { EntryError } from './entry-error.ts'
import { FormatError } from './format-error.ts'
import type { Hash, VerifySignature } from './hash.ts'
import type { Manifest } from './manifest.ts'
import { ED25519, NoteError, parseVkey, type VerifierKey, verifyNote, vkeyUnder } from './note.ts'
import { PackError } from './pack-error.ts'
import type { PackReader } from './pack-reader.ts'
import { judgeCheckpoint, policyKeys, type TrustPolicy } from './policy.ts'
import { decodeRegistryEntry, type Epoch, registryOrigin } from './registry.ts'
import { checkSlotProof, parseSlotProof, type SlotProof } from './slot-proof.ts'
import { hashLines, TextFile } from './text-file.ts'
import { parseTlogProof, type TlogProof } from './tlog-proof.ts'
import { leafHash, verifyConsistency, verifyInclusion } from './tree.ts'
import type { Findings } from './verdict.ts'

/** The members of the registry's proof. */
export const REGISTRY_MEMBERS = {
  /** The registry log's entry of the epoch, as hashed. */
  epoch: 'registry/epoch',
  /** C2SP tlog-proof of that entry, with the registry's checkpoint and its cosignatures. */
  proof: 'registry/epoch.tlog-proof',
  slot: 'registry/slot',
  /** RFC 6962 proof between the slot's checkpoint and the pack's, the smaller one first; empty where they have one size. */
  consistency: 'registry/consistency',
  vkeys: 'registry/vkeys',
} as const

const ENTRY_PROOF = /^proofs\/(0|[1-9][0-9]{0,15})\.tlog-proof$/
const MOST_PROOF_HASHES = 63

/** Where the proof of entry `seq` stands. */
export function entryProofPath(seq: number): string {
  return `proofs/${seq}.tlog-proof`
}

/** The text of `registry/consistency`. */
export function formatConsistency(older: number, newer: number, proof: readonly Uint8Array[]): string {
  return `affidavit/1 consistency\nolder ${older}\nnewer ${newer}\n${hashLines(proof)}`
}

/** Seqs of which the pack has single proofs. Throws PackError for one twice or outside the trail. */
export function provenSeqs({ optional, size }: Manifest): number[] {
  return optional.flatMap((path) => {
    const match = ENTRY_PROOF.exec(path)
    if (match === null) return []
    const seq = Number(match[1])
    if (!Number.isSafeInteger(seq) || seq >= size) throw new PackError('malformed', `${path} is outside the trail`)
    return [seq]
  })
}

export interface EvidenceOptions {
  readonly hash: Hash
  readonly verify: VerifySignature
  /** Keys of the trail's checkpoint from outside; the log key also signs the registry. */
  readonly vkeys?: readonly VerifierKey[]
  /** Whose cosignatures count. */
  readonly policy?: TrustPolicy
}

/** What the walk over the pack found. */
export interface PackFacts {
  readonly checkpoint: Checkpoint
  readonly note: string
  /** Recomputed. */
  readonly root: Uint8Array | undefined
  /** Leaf hashes of `provenSeqs`, as far as the entries are there. */
  readonly leaves: ReadonlyMap<number, Uint8Array>
}

/** What the registry's proof was found to be worth. */
export type RegistryState = 'absent' | 'agrees' | 'witnessed' | 'failed' | 'unchecked'

export interface EvidenceResult {
  readonly registry: RegistryState
  readonly notes: readonly string[]
  /** Optional members that were looked at. */
  readonly known: ReadonlySet<string>
}

/** Checks the optional members that this program knows. Throws PackError when one is not in its form. */
export async function checkEvidence(
  pack: PackReader,
  facts: PackFacts,
  options: EvidenceOptions,
  findings: Findings,
): Promise<EvidenceResult> {
  const known = new Set<string>()
  for (const seq of provenSeqs(pack.manifest)) {
    known.add(entryProofPath(seq))
    checkEntryProof(await readProof(pack, entryProofPath(seq)), seq, facts, options.hash, findings)
  }
  const { optional } = pack.manifest
  if (!optional.includes(REGISTRY_MEMBERS.proof)) return { registry: 'absent', notes: [], known }
  for (const path of Object.values(REGISTRY_MEMBERS)) known.add(path)
  return { ...(await new RegistryCheck(pack, facts, options, findings).run()), known }
}

/** Text of a member, with what its parser refuses told as a broken pack. */
async function readAs<T>(pack: PackReader, path: string, parse: (text: string) => T): Promise<T> {
  const text = await pack.text(path)
  try {
    return parse(text)
  } catch (error) {
    if (!(error instanceof FormatError || error instanceof NoteError || error instanceof EntryError)) throw error
    const isNewer = error.code === 'unknown_version' || error.code === 'unknown_kind'
    throw new PackError(isNewer ? 'unknown_version' : 'malformed', `${path}: ${error.message}`)
  }
}

const readProof = (pack: PackReader, path: string) => readAs(pack, path, parseTlogProof)

function checkEntryProof(proof: TlogProof, seq: number, facts: PackFacts, hash: Hash, findings: Findings): void {
  const leaf = facts.leaves.get(seq)
  if (leaf === undefined) {
    findings.fail('completeness', 'proof_without_entry', `the pack proves entry ${seq} but does not have it`, seq)
    return
  }
  const { size, root } = facts.checkpoint
  const holds = proof.index === seq && verifyInclusion(hash, leaf, seq, size, proof.proof, root)
  if (proof.checkpoint !== facts.note)
    findings.fail('inclusion', 'other_checkpoint', `the proof of entry ${seq} is under another checkpoint`, seq)
  else if (!holds) findings.fail('inclusion', 'proof_fails', `the proof of entry ${seq} does not give the root`, seq)
}

interface Parts {
  readonly entry: Epoch
  readonly entryText: string
  readonly proof: TlogProof
  readonly slot: SlotProof
  readonly vkeys: readonly string[]
}

class RegistryCheck {
  private readonly pack: PackReader
  private readonly facts: PackFacts
  private readonly options: EvidenceOptions
  private readonly findings: Findings
  private readonly notes: string[] = []

  constructor(pack: PackReader, facts: PackFacts, options: EvidenceOptions, findings: Findings) {
    this.pack = pack
    this.facts = facts
    this.options = options
    this.findings = findings
  }

  async run(): Promise<{ registry: RegistryState; notes: readonly string[] }> {
    const parts = await this.parts()
    const signed = await this.signed(parts)
    const state = signed !== 'failed' && (await this.binds(parts)) ? signed : 'failed'
    const { entry, slot } = parts
    const size = parseCheckpoint(slot.body).size
    if (state !== 'failed')
      this.notes.push(`registry epoch ${entry.epoch} of ${entry.time} holds this trail at ${size} entries`)
    if (state !== 'failed' && size < this.lastCovered())
      this.notes.push(`entries from ${size} on are newer than that epoch: only the trail's checkpoint covers them`)
    return { registry: state, notes: this.notes }
  }

  private lastCovered(): number {
    return this.pack.manifest.ranges.at(-1)!.to
  }

  private async parts(): Promise<Parts> {
    const { pack } = this
    const entryText = await pack.text(REGISTRY_MEMBERS.epoch)
    const entry = await readAs(pack, REGISTRY_MEMBERS.epoch, decodeRegistryEntry)
    if (entry.kind !== 'epoch') throw new PackError('malformed', `${REGISTRY_MEMBERS.epoch} is no epoch`)
    return {
      entry,
      entryText,
      proof: await readProof(pack, REGISTRY_MEMBERS.proof),
      slot: await readAs(pack, REGISTRY_MEMBERS.slot, parseSlotProof),
      vkeys: (await pack.text(REGISTRY_MEMBERS.vkeys)).split('\n').slice(0, -1),
    }
  }

  /** Who signed the registry's checkpoint, and whether the epoch's entry stands under it. */
  private async signed({ entryText, proof, vkeys }: Parts): Promise<RegistryState> {
    const { hash, verify, policy } = this.options
    const origin = proof.checkpoint.slice(0, proof.checkpoint.indexOf('\n'))
    if (!isRegistryOf(origin, this.facts.checkpoint.origin))
      return this.fail('other_registry', `${origin} is not the registry of ${this.facts.checkpoint.origin}`)
    const keys = this.keys(origin, vkeys)
    try {
      const note = await verifyNote(verify, proof.checkpoint, [...keys, ...(policy ? policyKeys(policy) : [])])
      const trust = policy ?? { logs: [], witnesses: [], groups: [], quorum: 'none' }
      const judged = judgeCheckpoint({ ...trust, logs: [...keys.map((key) => ({ key })), ...trust.logs] }, note)
      const { size, root } = judged.checkpoint
      if (!judged.signed) return this.fail('registry_not_signed', `no expected key of ${origin} signed its checkpoint`)
      const leaf = leafHash(hash, new TextEncoder().encode(entryText))
      if (!verifyInclusion(hash, leaf, proof.index, size, proof.proof, root))
        return this.fail('registry_inclusion', 'the epoch is not in the registry log')
      if (policy === undefined || policy.quorum === 'none') return 'agrees'
      const names = judged.cosigned.map(({ name, time }) => `${name} at ${new Date(time * 1000).toISOString()}`)
      if (!judged.quorum) {
        const who = names.length === 0 ? 'no witness' : `only ${names.join(', ')}`
        this.findings.cannotCheck('anchors', 'no_quorum', `${who} cosigned the registry's checkpoint, too few`)
        return 'unchecked'
      }
      this.notes.push(`cosigned by ${names.join(', ')}`)
      return 'witnessed'
    } catch (error) {
      if (!(error instanceof NoteError)) throw error
      return this.fail('registry_signature', `the registry's checkpoint: ${error.message}`)
    }
  }

  /** The log key under the registry's name: pinned ones, else what the pack names, which is worth no more than the pack. */
  private keys(origin: string, texts: readonly string[]): VerifierKey[] {
    const { hash, vkeys } = this.options
    const pinned = vkeys?.filter(({ type }) => type === ED25519) ?? []
    if (pinned.length > 0) return pinned.map((key) => (key.name === origin ? key : vkeyUnder(hash, key, origin)))
    return texts.flatMap((text) => {
      try {
        const key = parseVkey(hash, text)
        return key.type === ED25519 && key.name === origin ? [key] : []
      } catch {
        return []
      }
    })
  }

  /** Whether the epoch's slot of this trail holds what the pack shows. */
  private async binds({ entry, proof, slot }: Parts): Promise<boolean> {
    const { hash } = this.options
    const { checkpoint, root } = this.facts
    const flaw = slot.index === proof.index ? checkSlotProof(hash, slot, entry, checkpoint.origin) : 'index'
    if (flaw !== undefined) {
      this.fail('slot_proof', `the slot proof does not fit the epoch (${flaw})`)
      return false
    }
    const body = parseCheckpoint(slot.body)
    if (root === undefined) return false
    if (await this.agrees(body, root)) return true
    this.findings.fail(
      'consistency',
      'registry_fork',
      `the registry's slot of this trail holds another history: at size ${body.size} it does not agree with this pack`,
      Math.min(body.size, checkpoint.size) - 1,
    )
    return false
  }

  private async agrees(body: Checkpoint, root: Uint8Array): Promise<boolean> {
    const { size } = this.facts.checkpoint
    const [older, newer] = [Math.min(body.size, size), Math.max(body.size, size)]
    const proof = await readAs(this.pack, REGISTRY_MEMBERS.consistency, (text) => parseConsistency(text, older, newer))
    if (older === newer) return proof.length === 0 && equalBytes(body.root, root)
    return body.size < size
      ? verifyConsistency(this.options.hash, body.size, size, proof, body.root, root)
      : verifyConsistency(this.options.hash, size, body.size, proof, root, body.root)
  }

  private fail(code: string, message: string): 'failed' {
    this.findings.fail('anchors', code, message)
    return 'failed'
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
function isRegistryOf(registry: string, trail: string): boolean {
  const slash = trail.lastIndexOf('/')
  if (slash < 0 || fromHex(trail.slice(slash + 1)) === undefined) return false
  const first = registryOrigin(trail.slice(0, slash))
  return (
    registry === first ||
    (registry.startsWith(`${first}.`) && /^[1-9][0-9]{0,8}$/.test(registry.slice(first.length + 1)))
  )
}
