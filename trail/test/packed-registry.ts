/** A registry over one checkpoint of the sample trail, as a pack brings it along. From seeds only. */
import {
  addSignatures,
  COSIGNATURE,
  cosign,
  encodeRegistryEntry,
  entryProofPath,
  formatCheckpoint,
  formatConsistency,
  formatSlotProof,
  formatTlogProof,
  formatVkey,
  hmacKey,
  keyId,
  leafHash,
  proveConsistency,
  proveInclusion,
  REGISTRY_MEMBERS,
  SlotTree,
  signNote,
  slotBlind,
  treeRoot,
} from '../src/index.ts'
import { nodeSha256 } from './node-hash.ts'
import { REGISTRY, REGISTRY_VKEY } from './sample-registry.ts'
import {
  ascii,
  LOG,
  ORIGIN,
  readNode,
  rootOf,
  type SampleTrail,
  SLOT,
  sampleTime,
  seeded,
  seededKey,
  signedCheckpoint,
} from './sample-trail.ts'

export { REGISTRY_VKEY }

/** A witness's key and the signer that cosigns with it. */
export function sampleWitness(name: string) {
  const { key, signer } = seededKey(name, 'witness')
  const id = keyId(nodeSha256, name, COSIGNATURE, key.publicKey)
  return { vkey: formatVkey(nodeSha256, name, key.publicKey, COSIGNATURE), signer: { ...signer, id } }
}

export const WITNESSES = ['ada.example/witness', 'bob.example/witness', 'cyd.example/witness'].map(sampleWitness)

const COSIGNED_AT = 1_773_000_000

/** Members under registry/ of a pack of `packed` whose slot holds `body` of `trail`; cosigned by `witnesses`. */
export async function registryMembers(
  trail: SampleTrail,
  { size, packed, witnesses = WITNESSES }: { size: number; packed: number; witnesses?: typeof WITNESSES },
): Promise<Map<string, string>> {
  const secret = hmacKey(nodeSha256, seeded('registry secret', 32))
  const body = formatCheckpoint(ORIGIN, size, rootOf(trail, size))
  const epochs = [6, 7, 8].map((epoch) => {
    const tree = SlotTree.build(nodeSha256, { secret, epoch, depth: 8, bodies: [[SLOT, body]] })
    const time = sampleTime(epoch)
    return { tree, epoch, text: encodeRegistryEntry({ kind: 'epoch', epoch, time, depth: 8, slots: tree.root }) }
  })
  const leaves = epochs.map(({ text }) => leafHash(nodeSha256, ascii.encode(text)))
  const read = (level: number, index: number) =>
    treeRoot(nodeSha256, leaves.slice(index * 2 ** level, (index + 1) * 2 ** level))
  const { tree, epoch, text } = epochs[2]!
  const signer = { ...LOG.signer, name: REGISTRY, id: keyId(nodeSha256, REGISTRY, 1, LOG.key.publicKey) }
  const note = formatCheckpoint(REGISTRY, leaves.length, treeRoot(nodeSha256, leaves))
  const cosignatures = await Promise.all(witnesses.map((witness) => cosign(note, witness.signer, COSIGNED_AT)))
  const checkpoint = addSignatures(await signNote(note, [signer]), cosignatures)
  const proof = await proveInclusion(nodeSha256, read, 2, 3)
  const blind = slotBlind(nodeSha256, secret, epoch, SLOT)
  const slot = { epoch, index: 2, slot: SLOT, depth: 8, blind, path: tree.path(SLOT), body }
  const members = new Map<string, string>([
    [REGISTRY_MEMBERS.epoch, text],
    [REGISTRY_MEMBERS.proof, formatTlogProof({ index: 2, proof, checkpoint })],
    [REGISTRY_MEMBERS.slot, formatSlotProof(slot)],
    [REGISTRY_MEMBERS.vkeys, `${REGISTRY_VKEY}\n`],
  ])
  const [older, newer] = [Math.min(size, packed), Math.max(size, packed)]
  const grown = await proveConsistency(nodeSha256, readNode(trail), older, newer)
  return members.set(REGISTRY_MEMBERS.consistency, formatConsistency(older, newer, grown))
}

/** Members under proofs/ for the entries given. */
export async function proofMembers(trail: SampleTrail, seqs: readonly number[]): Promise<Map<string, string>> {
  const size = trail.leaves.length
  const checkpoint = await signedCheckpoint(trail, size)
  const members = await Promise.all(
    seqs.map(async (seq): Promise<[string, string]> => {
      const proof = await proveInclusion(nodeSha256, readNode(trail), seq, size)
      return [entryProofPath(seq), formatTlogProof({ index: seq, proof, checkpoint })]
    }),
  )
  return new Map(members)
}
