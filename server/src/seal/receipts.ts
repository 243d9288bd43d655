// Receipts: the log's signature over what it just made durable, before any checkpoint covers it (docs/spec/checkpoint.md).
// One per trail and transaction, signed only when somebody wants it: a signature costs more than sealing an event.
import { formatReceipt, fromBase64, type NoteSigner, signNote } from '@affidavit/trail'
import type { SealedRun, TrailRef } from '../store/sealable.ts'

/** Sign as the log of one trail: one key, or two while a successor takes over. */
export type SignersOf = (trailId: string) => readonly NoteSigner[]

const signed = new WeakMap<SealedRun, Promise<string>>()
/** Log keys stay as they are while a process runs, and a signer's id is a hash over the trail's name. */
const signers = new WeakMap<TrailRef, readonly NoteSigner[]>()

/** The signed note over a run; the same note for everybody who asks about the same run. */
export function receipt(run: SealedRun, signersOf: SignersOf): Promise<string> {
  let note = signed.get(run)
  if (note === undefined) {
    const { trail, first, last, lastHash, sealedAt } = run
    const text = formatReceipt({ trail: trail.id, first, last, leaf: fromBase64(lastHash)!, sealedAt })
    note = signNote(text, signersOfTrail(trail, signersOf))
    signed.set(run, note)
  }
  return note
}

function signersOfTrail(trail: TrailRef, signersOf: SignersOf): readonly NoteSigner[] {
  let found = signers.get(trail)
  if (found === undefined) {
    found = signersOf(trail.id)
    signers.set(trail, found)
  }
  return found
}
