// The heads that a lane remembers between batches: those of the trails that it sealed into last, however many it has.
import type { Extension, Head } from './chain.ts'

/** More than a batch has trails; at some 140 bytes each, all lanes together keep 10 MB. */
const heads_max = 4_096

/**
 * Puts the new heads last, and lets those go that were changed longest ago. The order is kept only from half of the bound
 * on: a Map that entries leave is rebuilt again and again, and each of its tables lives until the whole heap is collected.
 */
export function keepHeads(heads: Map<number, Head>, extensions: readonly Extension[]): void {
  const isOrdered = heads.size * 2 >= heads_max
  for (const { trail, after } of extensions) {
    if (isOrdered) heads.delete(trail.number)
    heads.set(trail.number, after)
  }
  for (const trail of heads.keys()) {
    if (heads.size <= heads_max) return
    heads.delete(trail)
  }
}
