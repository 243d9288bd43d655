/**
 * How often each of very many keys was seen, in about 25 bytes a key: an open-addressed table of 64-bit fingerprints.
 * Two keys with one fingerprint (one chance in 10^8 at a million keys) would count together, which costs nothing but
 * an unneeded suffix on an id.
 */
export class Occurrences {
  #prints = new BigUint64Array(1024)
  #counts = new Uint32Array(1024)
  #used = 0

  /** Counts the key with this fingerprint and returns how often it has now been seen, 1 the first time. */
  add(fingerprint: bigint): number {
    if (this.#used * 2 >= this.#prints.length) this.#grow()
    const slot = this.#slot(fingerprint)
    if (this.#counts[slot] === 0) {
      this.#prints[slot] = fingerprint
      this.#used++
    }
    return ++this.#counts[slot]!
  }

  #slot(fingerprint: bigint): number {
    const mask = this.#prints.length - 1
    let slot = Number(fingerprint & BigInt(mask))
    while (this.#counts[slot] !== 0 && this.#prints[slot] !== fingerprint) slot = (slot + 1) & mask
    return slot
  }

  #grow(): void {
    const prints = this.#prints
    const counts = this.#counts
    this.#prints = new BigUint64Array(prints.length * 2)
    this.#counts = new Uint32Array(counts.length * 2)
    for (let i = 0; i < prints.length; i++) {
      if (counts[i] === 0) continue
      const slot = this.#slot(prints[i]!)
      this.#prints[slot] = prints[i]!
      this.#counts[slot] = counts[i]!
    }
  }
}
