/**
 * Entry bundles, which are needed twice: for the walk, and with the payloads once all announcements are known. What
 * does not fit in memory is fetched again and must then be the same bytes.
 */
import { equalBytes, type Hash } from '@affidavit/trail'
import type { Served } from './log.ts'

/** Enough for some 200,000 entries. */
const KEPT_BYTES = 64 * 2 ** 20

export interface Bundle {
  readonly bytes: Uint8Array
  /** How many entries it holds. */
  readonly entries: number
}

export class Bundles {
  private readonly hash: Hash
  private readonly fetch: (index: number, width: number) => Promise<Served<Uint8Array>>
  private readonly seen = new Map<number, { digest: Uint8Array; entries: number; bytes?: Uint8Array }>()
  private keptBytes = 0

  constructor(hash: Hash, fetch: (index: number, width: number) => Promise<Served<Uint8Array>>) {
    this.hash = hash
    this.fetch = fetch
  }

  /** A bundle as it is first served. */
  async first(index: number, width: number): Promise<Served<Uint8Array>> {
    const served = await this.fetch(index, width)
    if (served.ok) this.remember(index, served.value, width)
    return served
  }

  /** Of a bundle that is refused: the most entries from its beginning that are served. */
  async longest(index: number, width: number): Promise<Bundle> {
    let [low, high] = [0, width]
    let bytes = new Uint8Array(0)
    while (low + 1 < high) {
      const middle = Math.floor((low + high) / 2)
      const served = await this.fetch(index, middle)
      if (served.ok) {
        low = middle
        bytes = new Uint8Array(served.value)
      } else high = middle
    }
    if (low > 0) this.remember(index, bytes, low)
    return { bytes, entries: low }
  }

  /** The bundle once more; undefined where it was never served. */
  async again(index: number): Promise<Bundle | 'differs' | undefined> {
    const seen = this.seen.get(index)
    if (seen === undefined) return undefined
    if (seen.bytes !== undefined) return { bytes: seen.bytes, entries: seen.entries }
    const served = await this.fetch(index, seen.entries)
    if (!served.ok || !equalBytes(this.hash(served.value), seen.digest)) return 'differs'
    return { bytes: served.value, entries: seen.entries }
  }

  private remember(index: number, bytes: Uint8Array, entries: number): void {
    const fits = this.keptBytes + bytes.length <= KEPT_BYTES
    if (fits) this.keptBytes += bytes.length
    this.seen.set(index, { digest: this.hash(bytes), entries, ...(fits && { bytes }) })
  }
}
