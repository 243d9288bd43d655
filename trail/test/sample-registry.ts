/** A registry over the sample trail with two witnesses, made from seeds only, for tests and golden vectors. */
import {
  type Accusation,
  COSIGNATURE,
  cosign,
  type Epoch,
  type EpochHead,
  encodeRegistryEntry,
  formatCheckpoint,
  formatReceipt,
  formatSignature,
  formatVkey,
  hmacKey,
  keyId,
  leafHash,
  makePolicy,
  type NoteSigner,
  parseNote,
  proveConsistency,
  proveInclusion,
  type RegistryEntry,
  registryOrigin,
  SlotTree,
  type Successor,
  signNote,
  slotBlind,
  successorText,
  type TlogProof,
  treeRoot,
  type VerifierKey,
  vkeyUnder,
} from '../src/index.ts'
import { nodeSha256 } from './node-hash.ts'
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
} from './sample-trail.ts'

export const REGISTRY = registryOrigin('log.example')
export const SECRET = hmacKey(nodeSha256, seeded('registry secret', 32))
export const DEPTH = 8

/** The log key under the registry's name. */
export const REGISTRY_KEY: VerifierKey = vkeyUnder(nodeSha256, LOG.key, REGISTRY)
export const REGISTRY_VKEY = formatVkey(nodeSha256, REGISTRY, REGISTRY_KEY.publicKey)
export const REGISTRY_SIGNER: NoteSigner = { name: REGISTRY, id: REGISTRY_KEY.id, sign: LOG.signer.sign }

export interface SampleWitness {
  readonly vkey: string
  readonly key: VerifierKey
  readonly signer: NoteSigner
}

export function seededWitness(name: string): SampleWitness {
  const { key: signing, signer } = seededKey(name, 'witness key')
  const id = keyId(nodeSha256, name, COSIGNATURE, signing.publicKey)
  return {
    vkey: formatVkey(nodeSha256, name, signing.publicKey, COSIGNATURE),
    key: { ...signing, type: COSIGNATURE, id },
    signer: { ...signer, id },
  }
}

export const WITNESSES = ['witness.example/w1', 'witness.example/w2'].map(seededWitness)
/** Seconds since 1970 at which the sample witnesses cosign. */
export const COSIGNED_AT = Math.floor(Date.parse(sampleTime(10)) / 1000)
/** Both witnesses must have cosigned the registry. */
export const POLICY = makePolicy(nodeSha256, {
  logs: [REGISTRY_VKEY],
  witnesses: WITNESSES.map(({ vkey }) => vkey),
})

/** The note with a cosignature of each of the witnesses. */
export async function cosigned(
  note: string,
  witnesses: readonly SampleWitness[] = WITNESSES,
  time = COSIGNED_AT,
): Promise<string> {
  const { text } = parseNote(note)
  const lines = await Promise.all(
    witnesses.map(async ({ signer }) => formatSignature(await cosign(text, signer, time))),
  )
  return note + lines.join('')
}

/** What the epoch of this number binds: the head that `trail` had at `size`, in its slot. */
export interface SampleEpoch {
  readonly entry: Epoch
  readonly tree: SlotTree
  readonly body: string
}

export function makeEpoch(epoch: number, minutes: number, trail: SampleTrail, size: number): SampleEpoch {
  const body = formatCheckpoint(ORIGIN, size, rootOf(trail, size))
  const tree = SlotTree.build(nodeSha256, { secret: SECRET, epoch, depth: DEPTH, bodies: [[SLOT, body]] })
  return { entry: { kind: 'epoch', epoch, time: sampleTime(minutes), depth: DEPTH, slots: tree.root }, tree, body }
}

/** The entry by which the log key names a successor. */
export async function makeSuccessor(vkey: string, signer: NoteSigner = REGISTRY_SIGNER): Promise<Successor> {
  return { kind: 'key', vkey, signatures: parseNote(await signNote(successorText(vkey), [signer])).signatures }
}

/** The registry log over some entries. */
export class SampleLog {
  readonly texts: readonly string[]
  readonly leaves: readonly Uint8Array[]
  private readonly signer: NoteSigner

  constructor(entries: readonly RegistryEntry[], signer: NoteSigner = REGISTRY_SIGNER) {
    this.texts = entries.map(encodeRegistryEntry)
    this.leaves = this.texts.map((text) => leafHash(nodeSha256, ascii.encode(text)))
    this.signer = signer
  }

  root(size = this.leaves.length): Uint8Array {
    return treeRoot(nodeSha256, this.leaves.slice(0, size))
  }

  note(size = this.leaves.length): Promise<string> {
    return signNote(formatCheckpoint(this.signer.name, size, this.root(size)), [this.signer])
  }

  inclusion(index: number, size = this.leaves.length): Promise<Uint8Array[]> {
    return proveInclusion(nodeSha256, this.read, index, size)
  }

  consistency(older: number, newer = this.leaves.length): Promise<Uint8Array[]> {
    return proveConsistency(nodeSha256, this.read, older, newer)
  }

  async proof(index: number): Promise<TlogProof> {
    return { index, proof: await this.inclusion(index), checkpoint: await this.note() }
  }

  private readonly read = (level: number, index: number): Uint8Array =>
    treeRoot(nodeSha256, this.leaves.slice(index * 2 ** level, (index + 1) * 2 ** level))
}

/** The head that one of `epochs`, all there is in the registry log, binds for the sample trail. */
export async function headOf(epochs: readonly SampleEpoch[], index: number, slot = SLOT): Promise<EpochHead> {
  const { entry, tree, body } = epochs[index]!
  const log = new SampleLog(epochs.map((epoch) => epoch.entry))
  const blind = slotBlind(nodeSha256, SECRET, entry.epoch, slot)
  return {
    slot: { epoch: entry.epoch, index, slot, depth: DEPTH, blind, path: tree.path(slot), body },
    entry,
    registry: await log.proof(index),
  }
}

/** A receipt for entries `first` to `last`, as the log signs it. */
export function receiptOf(trail: SampleTrail, first: number, last: number): Promise<string> {
  const [leaf, sealedAt] = [trail.leaves[last]!, trail.entries[last]!.sealedAt]
  return signNote(formatReceipt({ trail: trail.entries[0]!.trail, first, last, leaf, sealedAt }), [LOG.signer])
}

/** `other` has another entry where the receipt's last stands. */
export async function leafAccusation(trail: SampleTrail, other: SampleTrail, last: number): Promise<Accusation> {
  const size = other.leaves.length
  return {
    kind: 'leaf',
    receipt: await receiptOf(trail, last, last),
    head: { checkpoint: await signNote(formatCheckpoint(ORIGIN, size, rootOf(other)), [LOG.signer]) },
    leaf: other.leaves[last]!,
    proof: await proveInclusion(nodeSha256, readNode(other), last, size),
  }
}

/** The log signed `trail` at `size` and all of `other`. */
export async function forkAccusation(trail: SampleTrail, other: SampleTrail, size: number): Promise<Accusation> {
  const newer = other.leaves.length
  return {
    kind: 'fork',
    said: { checkpoint: await signNote(formatCheckpoint(ORIGIN, size, rootOf(trail, size)), [LOG.signer]) },
    head: { checkpoint: await signNote(formatCheckpoint(ORIGIN, newer, rootOf(other)), [LOG.signer]) },
    prefix: rootOf(other, size),
    proof: size === newer ? [] : await proveConsistency(nodeSha256, readNode(other), size, newer),
  }
}
