/** A registry whose log key was replaced twice, as packs and accusations bring it along. From seeds only. */
import {
  type Accusation,
  formatCheckpoint,
  formatConsistency,
  formatSlotProof,
  formatSuccession,
  formatTlogProof,
  keyId,
  type NoteSigner,
  proveConsistency,
  proveInclusion,
  REGISTRY_MEMBERS,
  type RegistryEntry,
  SUCCESSION_MEMBER,
  type Succession,
  type Successor,
  signNote,
  slotBlind,
} from '../src/index.ts'
import { nodeSha256 } from './node-hash.ts'
import {
  DEPTH,
  makeEpoch,
  makeSuccessor,
  REGISTRY,
  REGISTRY_VKEY,
  receiptOf,
  SampleLog,
  SECRET,
} from './sample-registry.ts'
import { type LOG, ORIGIN, readNode, rootOf, type SampleTrail, SLOT, seededKey } from './sample-trail.ts'

/** The log's three keys, first to last: the second follows the first, the third the second. */
export const SECOND = seededKey(REGISTRY, 'second log key')
export const THIRD = seededKey(REGISTRY, 'third log key')

/** A key of the log as a signer under another of its names. */
export function signerUnder(name: string, { key, signer }: Pick<typeof LOG, 'key' | 'signer'>): NoteSigner {
  return { ...signer, name, id: keyId(nodeSha256, name, 1, key.publicKey) }
}

export interface Rotated {
  /** By which the second and the third key are named; honest unless said otherwise. */
  readonly successors?: readonly [Successor, Successor]
  /** Who signs the registry in the end. */
  readonly last?: Pick<typeof LOG, 'key' | 'signer'>
}

/** Epoch, key, epoch, key, epoch. */
async function rotatedLog(trail: SampleTrail, size: number, { successors, last = THIRD }: Rotated) {
  const [second, third] = successors ?? [
    await makeSuccessor(SECOND.vkey),
    await makeSuccessor(THIRD.vkey, signerUnder(REGISTRY, SECOND)),
  ]
  const epochs = [1, 2, 3].map((number) => makeEpoch(number, number * 80, trail, size))
  const [first, middle, newest] = epochs.map(({ entry }) => entry)
  const entries: RegistryEntry[] = [first!, second, middle!, third, newest!]
  const log = new SampleLog(entries, signerUnder(REGISTRY, last))
  const succession: Succession = {
    checkpoint: await log.note(),
    successors: [
      { entry: second, index: 1, proof: await log.inclusion(1) },
      { entry: third, index: 3, proof: await log.inclusion(3) },
    ],
  }
  return { log, epoch: epochs[2]!, succession }
}

/** Members under registry/ of a pack of `packed` whose slot holds `size` entries of `trail`. */
export async function successionMembers(
  trail: SampleTrail,
  { size, packed, ...rotated }: { size: number; packed: number } & Rotated,
): Promise<Map<string, string>> {
  const { log, epoch, succession } = await rotatedLog(trail, size, rotated)
  const { entry, tree, body } = epoch
  const blind = slotBlind(nodeSha256, SECRET, entry.epoch, SLOT)
  const slot = { epoch: entry.epoch, index: 4, slot: SLOT, depth: DEPTH, blind, path: tree.path(SLOT), body }
  const grown = await proveConsistency(nodeSha256, readNode(trail), size, packed)
  return new Map<string, string>([
    [REGISTRY_MEMBERS.epoch, log.texts[4]!],
    [REGISTRY_MEMBERS.proof, formatTlogProof(await log.proof(4))],
    [REGISTRY_MEMBERS.slot, formatSlotProof(slot)],
    [REGISTRY_MEMBERS.consistency, formatConsistency(size, packed, grown)],
    [REGISTRY_MEMBERS.vkeys, `${REGISTRY_VKEY}\n${SECOND.vkey}\n${THIRD.vkey}\n`],
    [SUCCESSION_MEMBER, formatSuccession(succession)],
  ])
}

/** The trail's checkpoint by one of the log's keys. */
export function checkpointBy(trail: SampleTrail, by: Pick<typeof LOG, 'key' | 'signer'>): Promise<string> {
  return signNote(formatCheckpoint(ORIGIN, trail.leaves.length, rootOf(trail)), [signerUnder(ORIGIN, by)])
}

/** The first key signed a receipt, the third a checkpoint of `other` that contradicts it. */
export async function rotatedAccusation(
  trail: SampleTrail,
  other: SampleTrail,
  last: number,
  rotated: Rotated = {},
): Promise<Accusation> {
  const { succession } = await rotatedLog(other, other.leaves.length, rotated)
  return {
    kind: 'leaf',
    receipt: await receiptOf(trail, last, last),
    head: { checkpoint: await checkpointBy(other, rotated.last ?? THIRD) },
    leaf: other.leaves[last]!,
    proof: await proveInclusion(nodeSha256, readNode(other), last, other.leaves.length),
    succession,
  }
}
