/**
 * Receipts: what the log signs at once for entries it has made durable, before any checkpoint covers them. A kept
 * receipt that a later checkpoint contradicts proves to anyone that the log broke its word (docs/spec/checkpoint.md,
 * docs/spec/accusation.md).
 */
import { equalBytes, fromBase64, toBase64 } from '../bytes.ts'
import { isTime } from '../entry/control.ts'
import { HASH_BYTES, type VerifySignature } from '../hash.ts'
import { NoteError, type VerifiedNote, type VerifierKey, verifyNote } from '../note/note.ts'

export interface Receipt {
  /** 32 lower-case hex digits. */
  readonly trail: string
  readonly first: number
  /** Inclusive. */
  readonly last: number
  /** Leaf hash of entry `last`; through the chain it speaks for all before it. */
  readonly leaf: Uint8Array
  readonly sealedAt: string
}

/** The note text to sign; its second line can never be a checkpoint's size. */
export function formatReceipt(receipt: Receipt): string {
  return (
    'affidavit/1 receipt\n' +
    `trail ${receipt.trail}\n` +
    `entries ${receipt.first} ${receipt.last}\n` +
    `leaf ${toBase64(receipt.leaf)}\n` +
    `sealed ${receipt.sealedAt}\n`
  )
}

const RECEIPT =
  /^affidavit\/1 receipt\ntrail ([0-9a-f]{32})\nentries (0|[1-9][0-9]{0,15}) (0|[1-9][0-9]{0,15})\nleaf ([A-Za-z0-9+/=]{44})\nsealed ([^\n]+)\n$/

/** Parses a note's text. Throws NoteError `malformed`. */
export function parseReceipt(text: string): Receipt {
  const match = RECEIPT.exec(text)
  const leaf = match === null ? undefined : fromBase64(match[4]!)
  if (match === null || leaf?.length !== HASH_BYTES || !isTime(match[5]!)) {
    throw new NoteError('malformed', 'not a receipt')
  }
  const [first, last] = [Number(match[2]), Number(match[3])]
  if (!Number.isSafeInteger(last) || first > last) throw new NoteError('malformed', 'the receipt covers no entries')
  return { trail: match[1]!, first, last, leaf, sealedAt: match[5]! }
}

/** A signed receipt with the keys that verified. Throws NoteError; no key may have verified, see `verified`. */
export async function verifyReceipt(
  verify: VerifySignature,
  note: Uint8Array | string,
  keys: readonly VerifierKey[],
): Promise<{ receipt: Receipt; verified: VerifiedNote['verified'] }> {
  const { text, verified } = await verifyNote(verify, note, keys)
  const receipt = parseReceipt(text)
  const own = verified.filter((key) => key.name.endsWith(`/${receipt.trail}`))
  return { receipt, verified: own }
}

/**
 * Whether a trail whose entry `receipt.last` has this leaf hash breaks the receipt. The caller must know the leaf from
 * a checkpoint that covers it: undefined (no such entry at a size that should have it) is a contradiction too.
 */
export function contradicts(receipt: Receipt, leafAtLast: Uint8Array | undefined): boolean {
  return leafAtLast === undefined || !equalBytes(receipt.leaf, leafAtLast)
}
