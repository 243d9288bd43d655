/** When the entries on both sides of a few sizes were sealed: what an epoch or a timestamp at such a size is held against. */
import type { WalkedBundle } from './walk.ts'

export interface SealedAt {
  readonly seq: number
  readonly sealedAt: string
}

/** Around one size; each undefined where the pack has no such entry. */
export interface SealedAround {
  /** The last entry below the size that is there. */
  readonly below: SealedAt | undefined
  /** The entry whose seq is the size: the first that is not counted. */
  readonly behind: SealedAt | undefined
}

export class SealedTimes {
  private readonly around = new Map<number, { below?: SealedAt; behind?: SealedAt }>()

  constructor(sizes: Iterable<number>) {
    for (const size of sizes) this.around.set(size, {})
  }

  /** Bundles in ascending order. */
  bundle(walked: WalkedBundle): void {
    const { first, width } = walked
    for (const [size, known] of this.around) {
      const at = Math.min(size - first, width) - 1
      const below = at < 0 ? undefined : walked.entry(at)
      if (below !== undefined) known.below = { seq: first + at, sealedAt: below.sealedAt }
      const behind = size < first ? undefined : walked.entry(size - first)
      if (behind !== undefined) known.behind = { seq: size, sealedAt: behind.sealedAt }
    }
  }

  at(size: number): SealedAround {
    const { below, behind } = this.around.get(size) ?? {}
    return { below, behind }
  }
}
