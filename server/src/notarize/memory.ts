// What the notary remembers of the trails of one shard between two visits, so that a busy trail's state and the
// beginning of its unfinished tile are not read from the database every second. It holds only as long as the shard's
// cursor stands where the last visit put it; otherwise somebody else was here, and all of it is forgotten.
import type { KnownTrail } from './statements.ts'

/** 16 shards of 256 trails with at most 8 KB each: 32 MB at the very most. */
const trails_max = 256

export class ShardMemory {
  #position = -1
  readonly #trails = new Map<number, KnownTrail>()

  /** Forgets everything unless the cursor stands at the position that the last visit left it at. */
  expect(position: number): void {
    if (position !== this.#position) this.clear()
  }

  clear(): void {
    this.#position = -1
    this.#trails.clear()
  }

  get(trail: number): KnownTrail | undefined {
    return this.#trails.get(trail)
  }

  /** To be called after the commit only. Trails that were not seen for the longest time give way. */
  keep(position: number, trails: Iterable<KnownTrail>): void {
    this.#position = position
    for (const trail of trails) {
      this.#trails.delete(trail.number)
      this.#trails.set(trail.number, trail)
    }
    for (const number of this.#trails.keys()) {
      if (this.#trails.size <= trails_max) break
      this.#trails.delete(number)
    }
  }
}
