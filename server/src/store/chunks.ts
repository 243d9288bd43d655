// Memory for rows that wait to be sealed: some eighty share one allocation, because a Buffer for each of thousands costs
// more, in objects and in collection, than what is in it. A chunk is freed with the last row that lies in it.

const chunk_bytes = 128 * 1024

/** Room for many small values that live about equally long: one allocation for some eighty rows. */
export class Chunks {
  #chunk = Buffer.alloc(0)
  #at = 0

  /** @returns where `size` bytes begin that are the caller's from now on */
  take(size: number): { chunk: Buffer; at: number } {
    if (size > chunk_bytes / 2) return { chunk: Buffer.allocUnsafeSlow(size), at: 0 }
    if (this.#at + size > this.#chunk.length) {
      this.#chunk = Buffer.allocUnsafeSlow(chunk_bytes)
      this.#at = 0
    }
    const at = this.#at
    this.#at += size
    return { chunk: this.#chunk, at }
  }
}
