/** A slot proof as a server shows it, for an epoch whose entry is known to stand in the registry. */
import {
  checkSlotProof,
  FormatError,
  logNameOf,
  parseCheckpoint,
  parseSlotProof,
  type SlotProof,
} from '@affidavit/trail'
import { nodeSha256 } from '../node-hash.ts'
import { failed, type RegistryFinding } from './finding.ts'
import type { RegistryEpoch } from './walk.ts'

/** @param logName the trail in the slot must be of this log @returns the proof if it holds */
export function readSlot(
  bytes: Uint8Array,
  { index, entry }: RegistryEpoch,
  logName: string,
): SlotProof | RegistryFinding {
  const wrong = (what: string) => failed('slot_proof', `the slot proof of epoch ${entry.epoch} ${what}`)
  try {
    const proof = parseSlotProof(bytes)
    const flaw = proof.index !== index ? 'index' : checkSlotProof(nodeSha256, proof, entry)
    if (flaw === undefined && logNameOf(parseCheckpoint(proof.body).origin) === logName) return proof
    return wrong(`does not hold (${flaw ?? 'log'})`)
  } catch (error) {
    if (!(error instanceof FormatError)) throw error
    return wrong(`is none: ${error.message}`)
  }
}
