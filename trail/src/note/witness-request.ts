/**
 * C2SP tlog-witness `add-checkpoint`: what a log sends to a witness, what the witness answers, and the rule by which it
 * decides. Both sides use this file.
 */
import { equalBytes } from '../bytes.ts'
import type { Hash, VerifySignature } from '../hash.ts'
import { emptyRoot, verifyConsistency } from '../tree/tree.ts'
import type { Checkpoint } from './checkpoint.ts'
import { closeCosignature, cosignatureMessage } from './cosignature.ts'
import {
  type Cosigned,
  formatSignature,
  type NoteSignature,
  type NoteSigner,
  parseSignatures,
  type VerifierKey,
  verifyNote,
} from './note.ts'
import { hashLines, TextFile } from './text-file.ts'

/** A note may hold 1 MB, 63 hashes take less than 3 KB. */
const MAX_REQUEST_BYTES = 1_010_000

/** Content type of a 409's body, see `formatTreeSize`. */
export const TREE_SIZE_TYPE = 'text/x.tlog.size'

export interface AddCheckpoint {
  /** Size of the checkpoint that the witness cosigned last, 0 for none. */
  readonly old: number
  /** Consistency proof from `old`, at most 63 hashes; empty for 0. */
  readonly proof: readonly Uint8Array[]
  /** The signed note, verbatim. */
  readonly checkpoint: string
}

/** The body of `POST add-checkpoint` (C2SP tlog-witness). */
export function formatAddCheckpoint({ old, proof, checkpoint }: AddCheckpoint): string {
  return `old ${old}\n${hashLines(proof)}\n${checkpoint}`
}

/** Throws FormatError: the answer is 400. The note is parsed, not verified. */
export function parseAddCheckpoint(bytes: Uint8Array | string): AddCheckpoint {
  const file = new TextFile(bytes, 'the request', MAX_REQUEST_BYTES)
  const old = file.decimal('old')
  const proof = file.hashes()
  file.blank()
  return { old, proof, checkpoint: file.restAsCheckpoint() }
}

/**
 * The status that the protocol prescribes once the note's signature has been verified (else 404 or 403). `checkpoint` is
 * the request's; `kept` what this witness cosigned last for the origin. After 200 the new checkpoint must be kept, by
 * compare-and-set against `kept`, before the cosignature is sent.
 */
export function judgeAddCheckpoint(
  hash: Hash,
  { old, proof }: Pick<AddCheckpoint, 'old' | 'proof'>,
  checkpoint: Pick<Checkpoint, 'size' | 'root'>,
  kept: Pick<Checkpoint, 'size' | 'root'> | undefined,
): 200 | 400 | 409 | 422 {
  if (old > checkpoint.size) return 400
  if (old !== (kept?.size ?? 0)) return 409
  if (checkpoint.size === 0 && !equalBytes(checkpoint.root, emptyRoot(hash))) return 422
  if (old === 0) return proof.length === 0 ? 200 : 422
  return verifyConsistency(hash, old, checkpoint.size, proof, kept!.root, checkpoint.root) ? 200 : 422
}

/** Body of a 409: the size that the witness cosigned last. */
export function formatTreeSize(size: number): string {
  return `${size}\n`
}

/** The body of a 409: the size that the witness has; undefined for anything else. */
export function parseTreeSize(body: string): number | undefined {
  const match = /^(0|[1-9][0-9]{0,15})\n$/.exec(body)
  const size = Number(match?.[1])
  return match !== null && Number.isSafeInteger(size) ? size : undefined
}

/**
 * What of a witness's 200 answer may be added to the note whose text was sent: the cosignatures of the keys given.
 * Throws NoteError when the answer is malformed or a given key's cosignature is wrong.
 */
export async function takeCosignatures(
  verify: VerifySignature,
  text: string,
  reply: string,
  keys: readonly VerifierKey[],
): Promise<{ signatures: NoteSignature[]; cosigned: readonly Cosigned[] }> {
  const lines = parseSignatures(reply)
  const { cosigned } = await verifyNote(verify, `${text}\n${lines.map(formatSignature).join('')}`, keys)
  const signatures = lines.filter(({ name, id }) =>
    cosigned.some(({ key }) => key.name === name && equalBytes(key.id, id)),
  )
  return { signatures, cosigned }
}

/**
 * What a witness answers: its cosignature on a checkpoint's note text at `time` (seconds since 1970). The signer's id
 * must be that of a cosigning key: `keyId(hash, name, COSIGNATURE, publicKey)`.
 */
export async function cosign(text: string, signer: NoteSigner, time: number): Promise<NoteSignature> {
  if (!Number.isSafeInteger(time) || time < 1) throw new RangeError(`not a time in seconds: ${time}`)
  const signature = await signer.sign(cosignatureMessage(time, text))
  return { name: signer.name, id: signer.id, signature: closeCosignature(time, signature) }
}
