// Control entries as lanes take them: their meaning stands in the entry in the clear; who did it and why lies under the
// entry's facts commitment like any content.
import { randomBytes } from 'node:crypto'
import { type Control, commitText, encodeControl } from '@affidavit/trail'
import { flag, type Sealable, sealable, type TrailRef } from '../store/sealable.ts'
import { sha256 } from '../store/sha256.ts'

/**
 * @param facts what belongs to the entry but not into the clear, for example reason and principal
 * @param nowMs milliseconds since 1970
 */
export function controlEntry(
  trail: TrailRef,
  keyEpoch: number,
  control: Control,
  facts: Record<string, unknown>,
  nowMs: number,
): Sealable {
  const content = JSON.stringify({ ...facts, received_at: new Date(nowMs).toISOString() })
  const factsSalt = randomBytes(16)
  const entry = { body: { control }, facts: commitText(sha256, 'control', factsSalt, content), personal: [] }
  return sealable(trail, keyEpoch, entry, {
    factsSalt,
    id: null,
    bodyDigest: null,
    occurredAt: nowMs,
    actor: null,
    action: null,
    category: 0,
    outcome: 0,
    flags: flag.termsComplete,
    facts: content,
    personal: null,
    personalLength: 0,
    confidential: null,
    operator: null,
    control: encodeControl(control),
    terms: null,
  })
}
