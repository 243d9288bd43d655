// The first entry of a trail: what a verifier is to expect of it from then on.

import { type Control, formatVkey } from '@affidavit/trail'
import { trailName } from '../keys/log-key.ts'
import type { Keys } from '../keys/open-keys.ts'
import { controlEntry } from '../seal/control.ts'
import type { Sealable, TrailRef } from '../store/sealable.ts'
import { sha256 } from '../store/sha256.ts'

/** @param retentionDays null: payloads are kept for good */
export function opening(keys: Keys, trail: TrailRef, keyEpoch: number, retentionDays: number | null): Sealable {
  const origin = trailName(keys.logName, trail.id)
  const control: Control = {
    kind: 'open',
    origin,
    retention: retentionDays ?? 'forever',
    log: [keys.logKey.vkey(origin)],
    recovery: [formatVkey(sha256, origin, keys.recoveryPublicKey)],
  }
  return controlEntry(trail, keyEpoch, control, {}, Date.now())
}
