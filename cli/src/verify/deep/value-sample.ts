/**
 * The values of one search parameter, each with the entries that must be found by it. Where there may be millions of
 * them (words, ids), only some are remembered: those whose keyed hash is smallest. So each distinct value has the same
 * chance, every entry of a chosen value is known, and nobody can foresee which are chosen.
 */
import { randomInt } from 'node:crypto'

interface Known {
  readonly rank: number
  /** Ascending. */
  readonly must: number[]
  /** Entries that may or may not come back. */
  readonly may: number[]
}

export class ValueSample {
  private readonly most: number
  private readonly seed = randomInt(2 ** 32)
  private readonly known = new Map<string, Known>()
  /** No value that ranks at or above this is remembered any more. */
  private limit = Number.POSITIVE_INFINITY
  /** Values were given up. */
  isPartial = false

  /** @param most values to remember; more are held for a while */
  constructor(most: number) {
    this.most = most
  }

  must(value: string, seq: number): void {
    const { must } = this.of(value) ?? {}
    if (must !== undefined && must.at(-1) !== seq) must.push(seq)
  }

  may(value: string, seq: number): void {
    const { may } = this.of(value) ?? {}
    if (may !== undefined && may.at(-1) !== seq) may.push(seq)
  }

  /** In the order of their first appearance, at most as many as asked for. */
  *values(): Generator<[value: string, seqs: { readonly must: readonly number[]; readonly may: readonly number[] }]> {
    this.shrink(this.most)
    for (const [value, known] of this.known) if (known.must.length > 0) yield [value, known]
  }

  get(value: string): { readonly must: readonly number[]; readonly may: readonly number[] } | undefined {
    return this.known.get(value)
  }

  private of(value: string): Known | undefined {
    const known = this.known.get(value)
    if (known !== undefined) return known
    const rank = this.rank(value)
    if (rank >= this.limit) return undefined
    const fresh = { rank, must: [], may: [] }
    this.known.set(value, fresh)
    if (this.known.size > 2 * this.most) this.shrink(this.most)
    return fresh
  }

  private shrink(most: number): void {
    if (this.known.size <= most) return
    const ranked = [...this.known.values()].map(({ rank }) => rank).sort((a, b) => a - b)
    this.limit = ranked[most]!
    this.isPartial = true
    for (const [value, { rank }] of this.known) if (rank >= this.limit) this.known.delete(value)
  }

  /** FNV-1a with a secret start, and a last stir: enough against somebody who never sees the outcome. */
  private rank(value: string): number {
    let hash = this.seed
    for (let i = 0; i < value.length; i++) hash = Math.imul(hash ^ value.charCodeAt(i), 0x01000193)
    hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
    hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
    return (hash ^ (hash >>> 16)) >>> 0
  }
}
