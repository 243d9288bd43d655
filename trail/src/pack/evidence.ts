/**
 * What a pack brings besides its trail (docs/spec/pack.md): proofs of single entries, the registry's proof that this
 * trail's one slot held this history, and timestamps. Nothing of it is an anchor by itself; cosignatures of witnesses and
 * tokens of authorities that the verifier names are.
 */
import type { Hash, VerifySignature } from '../hash.ts'
import { meetsQuorum, type TrustPolicy } from '../note/policy.ts'
import { PackError } from '../pack-error.ts'
import { parseTlogProof, type TlogProof } from '../proof/tlog-proof.ts'
import type { TimestampOptions } from '../timestamp/timestamp.ts'
import { verifyInclusion } from '../tree/tree.ts'
import type { Anchor, Findings } from '../walk/verdict.ts'
import { type PackKeys, SUCCESSION_MEMBER } from './keys.ts'
import type { Manifest } from './manifest.ts'
import type { PackReader } from './reader.ts'
import { type Bound, checkBound, readAs, slotSize, type WalkedTrail } from './registry.ts'
import { anchorPaths, checkTimestamps, timestampsIn } from './timestamps.ts'

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

/** Where the proof of entry `seq` stands. */
export function entryProofPath(seq: number): string {
  return `proofs/${seq}.tlog-proof`
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

/** Sizes of the trail that the pack's evidence speaks of. Throws PackError. */
export async function evidenceSizes(pack: PackReader): Promise<Set<number>> {
  const slots = [REGISTRY_MEMBERS.slot, ...timestampsIn(pack.manifest).map((n) => anchorPaths(n).slot)]
  return new Set(await Promise.all(slots.filter((path) => pack.has(path)).map((path) => slotSize(pack, path))))
}

export interface EvidenceOptions {
  readonly hash: Hash
  readonly verify: VerifySignature
  readonly keys: PackKeys
  /** Whose cosignatures count. */
  readonly policy?: TrustPolicy
  /** Whose timestamps count. */
  readonly timestamps?: TimestampOptions
  /** How much later (ms) than what witnesses cosigned an entry may have been sealed. */
  readonly maxAgeMs: number
}

/** What the walk over the pack found. */
export interface PackFacts extends WalkedTrail {
  readonly note: string
  /** When the last entry of the ranges was sealed; undefined where it is not there. */
  readonly lastSealedAt: string | undefined
  /** Leaf hashes of `provenSeqs`, as far as the entries are there. */
  readonly leaves: ReadonlyMap<number, Uint8Array>
}

/** What the registry's proof was found to be worth. */
export type RegistryState = 'absent' | 'agrees' | 'witnessed' | 'failed' | 'unchecked'

export interface EvidenceResult {
  readonly registry: RegistryState
  readonly anchors: readonly Anchor[]
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
    const proof = await readAs(pack, entryProofPath(seq), parseTlogProof)
    checkEntryProof(proof, seq, facts, options.hash, findings)
  }
  const registry = await checkRegistry(pack, facts, options, findings)
  if (registry.registry !== 'absent')
    for (const path of [...Object.values(REGISTRY_MEMBERS), SUCCESSION_MEMBER]) known.add(path)
  const { hash, verify, keys } = options
  const trust = { hash, verify, keys: keys.earlier }
  const stamped = await checkTimestamps(pack, facts, trust, options.timestamps, findings)
  for (const path of stamped.known) known.add(path)
  return {
    registry: registry.registry,
    anchors: [...registry.anchors, ...stamped.anchors],
    notes: [...registry.notes, ...stamped.notes],
    known,
  }
}

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

async function checkRegistry(
  pack: PackReader,
  facts: PackFacts,
  { hash, verify, keys, policy, maxAgeMs }: EvidenceOptions,
  findings: Findings,
): Promise<Omit<EvidenceResult, 'known'>> {
  const { ranges } = pack.manifest
  if (!pack.has(REGISTRY_MEMBERS.proof)) return { registry: 'absent', anchors: [], notes: [] }
  const trust = { hash, verify, keys: keys.registry, ...(policy && { policy }) }
  const bound = await checkBound(pack, REGISTRY_MEMBERS, facts, trust, findings)
  if (bound === undefined) return { registry: 'failed', anchors: [], notes: [] }
  const { entry, body, judged } = bound
  const notes = [`registry epoch ${entry.epoch} of ${entry.time} holds this trail at ${body.size} entries`]
  if (body.size < ranges.at(-1)!.to)
    notes.push(`entries from ${body.size} on are newer than that epoch: only the trail's checkpoint covers them`)
  if (policy === undefined || policy.quorum === 'none') return { registry: 'agrees', anchors: [], notes }
  const anchors = judged.cosigned.map(({ name, time }): Anchor => {
    const at = new Date(time * 1000).toISOString()
    return { kind: 'witness', name, time: at, epoch: entry.epoch, entries: body.size }
  })
  const names = judged.cosigned.map(({ name }, at) => `${name} at ${anchors[at]!.time}`)
  if (!judged.quorum) {
    const who = names.length === 0 ? 'no witness' : `only ${names.join(', ')}`
    findings.cannotCheck('anchors', 'no_quorum', `${who} cosigned the registry's checkpoint, too few`)
    return { registry: 'unchecked', anchors: [], notes }
  }
  const told = [...notes, `cosigned by ${names.join(', ')}`]
  const last = body.size < ranges.at(-1)!.to ? facts.lastSealedAt : undefined
  if (last === undefined || isFresh(bound, policy, Date.parse(last) - maxAgeMs))
    return { registry: 'witnessed', anchors, notes: told }
  // Epochs are published when nothing happens, too: whoever shows later entries could have shown a later epoch.
  const message = `entries up to ${last} are shown, but nothing that witnesses cosigned then: that covers ${body.size} entries only`
  findings.cannotCheck('anchors', 'stale_view', message)
  return { registry: 'unchecked', anchors, notes: told }
}

/** Whether the epoch, and a quorum's cosignatures of it, are of a time (ms since 1970) or later. */
function isFresh({ entry, judged }: Bound, policy: TrustPolicy, since: number): boolean {
  const fresh = judged.cosigned.filter(({ time }) => time * 1000 >= since).map(({ name }) => name)
  const keys = policy.witnesses.filter(({ name }) => fresh.includes(name)).map(({ key }) => key)
  return Date.parse(entry.time) >= since && meetsQuorum(policy, keys)
}
