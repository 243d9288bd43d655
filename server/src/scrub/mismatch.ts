// What the scrub finds: a place, what is wrong there, and a print of what stands there now, so that a change after an
// acknowledgement is a finding of its own.
import { hash } from 'node:crypto'

export interface Mismatch {
  /** Null: concerns the trail as a whole. */
  readonly seq: number | null
  /** Column, or table, that is wrong. */
  readonly what: string
  readonly message: string
  readonly print: string
}

/** @param stored what stands there; any value that JSON or a buffer can hold */
export function mismatch(seq: number | null, what: string, message: string, stored: unknown): Mismatch {
  const text = Buffer.isBuffer(stored) ? stored : (JSON.stringify(stored) ?? 'undefined')
  return { seq, what, message, print: hash('sha256', text, 'hex').slice(0, 16) }
}
