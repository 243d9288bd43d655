/**
 * C2SP tlog-proof: one file that proves offline that an entry stands in a log: its index, the inclusion proof, and a
 * checkpoint with the log's signature and its witnesses' cosignatures.
 */
import { fromBase64, toBase64 } from '../bytes.ts'
import type { Hash, VerifySignature } from '../hash.ts'
import type { Checkpoint } from '../note/checkpoint.ts'
import { NoteError } from '../note/note.ts'
import { type CheckpointVerdict, type TrustPolicy, verifyCheckpoint } from '../note/policy.ts'
import { hashLines, TextFile } from '../note/text-file.ts'
import { verifyInclusion } from '../tree/tree.ts'

const HEADER = 'c2sp.org/tlog-proof@v1'
/** A note of at most 1 MB, the proof, and as much extra data as a large entry. */
const MAX_FILE_BYTES = 1_200_000

export interface TlogProof {
  /** Opaque and not authenticated. Never empty. */
  readonly extra?: Uint8Array
  readonly index: number
  /** Sibling hashes from the leaf upward. */
  readonly proof: readonly Uint8Array[]
  /** The signed note, verbatim. */
  readonly checkpoint: string
}

/** The text of the file (C2SP tlog-proof); an empty `extra` is left out. */
export function formatTlogProof({ extra, index, proof, checkpoint }: TlogProof): string {
  const extraLine = extra === undefined || extra.length === 0 ? '' : `extra ${toBase64(extra)}\n`
  return `${HEADER}\n${extraLine}index ${index}\n${hashLines(proof)}\n${checkpoint}`
}

/** Strict. Throws FormatError. Nothing is proven before `verifyTlogProof`. */
export function parseTlogProof(bytes: Uint8Array | string): TlogProof {
  const file = new TextFile(bytes, 'the proof', MAX_FILE_BYTES)
  file.version(HEADER, /^c2sp\.org\/tlog-proof@[!-~]+$/)
  let extra: Uint8Array | undefined
  if (file.peek()?.startsWith('extra ')) {
    extra = fromBase64(file.field('extra'))
    if (extra === undefined || extra.length === 0) throw file.malformed('has an extra line without base64')
  }
  const index = file.decimal('index')
  const proof = file.hashes()
  file.blank()
  return { ...(extra && { extra }), index, proof, checkpoint: file.restAsCheckpoint() }
}

export type TlogProofVerdict =
  | { readonly outcome: 'held'; readonly checkpoint: Checkpoint; readonly cosigned: CheckpointVerdict['cosigned'] }
  | {
      readonly outcome: 'refused'
      /** The note is none or a known key signed wrongly; no log of the policy signed; too few witnesses; wrong proof. */
      readonly code: 'signature' | 'log' | 'quorum' | 'inclusion'
    }

/** Whether the entry with this leaf hash stands at `proof.index` of a log, under `policy`. */
export async function verifyTlogProof(
  hash: Hash,
  verify: VerifySignature,
  proof: TlogProof,
  leaf: Uint8Array,
  policy: TrustPolicy,
): Promise<TlogProofVerdict> {
  try {
    const { checkpoint, signed, quorum, cosigned } = await verifyCheckpoint(verify, proof.checkpoint, policy)
    if (!signed) return { outcome: 'refused', code: 'log' }
    if (!quorum) return { outcome: 'refused', code: 'quorum' }
    const isThere = verifyInclusion(hash, leaf, proof.index, checkpoint.size, proof.proof, checkpoint.root)
    return isThere ? { outcome: 'held', checkpoint, cosigned } : { outcome: 'refused', code: 'inclusion' }
  } catch (error) {
    if (error instanceof NoteError) return { outcome: 'refused', code: 'signature' }
    throw error
  }
}
