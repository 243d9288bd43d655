/**
 * Where kept receipts wait until a checkpoint has confirmed them. A receipt is worth something only as long as it cannot
 * be lost together with the server, so it is kept on this side: in memory, in files, or wherever you like.
 */

/** A receipt as it is kept: the log's signed promise for entries `first` to `last` of a trail. */
export interface KeptReceipt {
  tenant: string
  /** 32 lower-case hex digits. */
  trail: string
  first: number
  /** Inclusive. */
  last: number
  /** When it came, in milliseconds since 1970 by this machine's clock. */
  at: number
  /** The signed note as the server gave it. */
  note: string
}

/** What the SDK asks of a store. `keep` may be called while a review is under way; there is one review at a time. */
export interface ReceiptStore {
  /** Keeps receipts; when it returns they survive whatever the store is made to survive. */
  keep(receipts: readonly KeptReceipt[]): Promise<void>
  /**
   * Shows what is kept to `review` in portions, oldest first, and afterwards keeps of each portion only what `review`
   * returned. If `review` throws, that portion and all later ones stay as they are.
   */
  review(review: (portion: readonly KeptReceipt[]) => Promise<readonly KeptReceipt[]>): Promise<void>
}

export interface MemoryReceiptOptions {
  /** Most receipts kept; the oldest give way. Default 100,000. */
  max?: number
  /** Called with the number of receipts that gave way. */
  onDropped?: (count: number) => void
}

const PORTION = 1000

/** Keeps receipts in memory: they end with the process. */
export function memoryReceipts({ max = 100_000, onDropped }: MemoryReceiptOptions = {}): ReceiptStore {
  let kept: KeptReceipt[] = []
  return {
    async keep(receipts) {
      kept.push(...receipts)
      const surplus = kept.length - max
      if (surplus <= 0) return
      kept = kept.slice(surplus)
      onDropped?.(surplus)
    },
    async review(review) {
      const reviewed = kept
      kept = []
      const left: KeptReceipt[] = []
      let done = 0
      try {
        while (done < reviewed.length) {
          left.push(...(await review(reviewed.slice(done, done + PORTION))))
          done += PORTION
        }
      } finally {
        kept = [...left, ...reviewed.slice(done), ...kept]
      }
    },
  }
}
