// A ceiling on how fast one sender may hand in events, told in the header fields of draft-ietf-httpapi-ratelimit-headers.
// It keeps one tenant's burst from filling the queues of a process; fairness among tenants is the lanes' (seal/queue.ts).
import { refuse } from './refused.ts'

interface Bucket {
  tokens: number
  filledMs: number
}

/** Senders remembered; an idle one's bucket is full, so it may be forgotten. */
const remembered = 50_000

export class RateLimit {
  readonly #perSecond: number
  readonly #buckets = new Map<string, Bucket>()

  /** @param perSecond events per second, and the size of the largest burst */
  constructor(perSecond: number) {
    this.#perSecond = perSecond
  }

  /**
   * Takes `events` from the sender's allowance.
   * @returns the header fields that tell what is left
   * @throws Refused `rate_limited` with Retry-After
   */
  take(sender: string, events: number, nowMs: number): Record<string, string> {
    if (this.#buckets.size > remembered) this.#buckets.clear()
    let bucket = this.#buckets.get(sender)
    if (bucket === undefined) {
      bucket = { tokens: this.#perSecond, filledMs: nowMs }
      this.#buckets.set(sender, bucket)
    }
    const refilled = bucket.tokens + (Math.max(0, nowMs - bucket.filledMs) * this.#perSecond) / 1000
    bucket.tokens = Math.min(this.#perSecond, refilled)
    bucket.filledMs = nowMs
    const policy = { 'ratelimit-policy': `"events";q=${this.#perSecond};w=1` }
    // A batch larger than the whole allowance goes through when the bucket is full: it could never go otherwise.
    const needed = Math.min(events, this.#perSecond)
    if (bucket.tokens < needed) {
      const wait = Math.max(1, Math.ceil((needed - bucket.tokens) / this.#perSecond))
      throw refuse('rate_limited', `One sender may hand in ${this.#perSecond} events per second.`, undefined, {
        ...policy,
        ratelimit: `"events";r=${Math.floor(bucket.tokens)};t=${wait}`,
        'retry-after': String(wait),
      })
    }
    bucket.tokens -= events
    return { ...policy, ratelimit: `"events";r=${Math.max(0, Math.floor(bucket.tokens))};t=1` }
  }
}
