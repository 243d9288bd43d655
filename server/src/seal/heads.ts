// The heads that a lane remembers between batches: those of the trails that it sealed into last, however many it has.
import type { Extension, Head } from './chain.ts'

/** More than a batch has trails; at some 140 bytes each, all lanes together keep 10 MB. */
const heads_max = 4_096

/** Puts the new heads last, and lets those go that were changed longest ago. */
export function keepHeads(heads: Map<number, Head>, extensions: readonly Extension[]): void {
  for (const { trail, after } of extensions) {
    heads.delete(trail.number)
    heads.set(trail.number, after)
  }
  for (const trail of heads.keys()) {
    if (heads.size <= heads_max) return
    heads.delete(trail)
  }
}
