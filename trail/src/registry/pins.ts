/**
 * Keys that a verifier has from elsewhere, for one log. One log key signs all trails and the registry of a deployment, each
 * under its origin, so a key counts under whichever of them it was pinned by; but a pin by a trail pins that trail's slot.
 */
import type { Hash } from '../hash.ts'
import { type VerifierKey, vkeyUnder } from '../note/note.ts'
import { slotOf } from './registry.ts'

/** The log name in `<log name>/<trail id>` and `<log name>/registry`; empty where there is none. */
export const logNameOf = (origin: string): string => origin.slice(0, Math.max(0, origin.lastIndexOf('/')))

/**
 * Those of `keys` that may sign for `origin`, under its name. Where only other slots of the log are pinned, none: else a
 * customer could be shown somebody else's trail.
 */
export function pinsFor(hash: Hash, keys: readonly VerifierKey[], origin: string): VerifierKey[] {
  const logName = logNameOf(origin)
  const own = keys.filter(({ name }) => name === origin || (logName !== '' && logNameOf(name) === logName))
  const slot = slotIn(origin)
  const slots = own.flatMap(({ name }) => slotIn(name) ?? [])
  if (slot !== undefined && slots.length > 0 && !slots.includes(slot)) return []
  return own.map((key) => vkeyUnder(hash, key, origin))
}

function slotIn(origin: string): number | undefined {
  const trail = /\/([0-9a-f]{32})$/.exec(origin)?.[1]
  return trail === undefined ? undefined : slotOf(trail)
}
