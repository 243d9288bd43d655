// Deflates members of packs: at once, or, where one is too large to be held, while it is written.

import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { promisify } from 'node:util'
import { crc32, createDeflateRaw, deflateRaw } from 'node:zlib'
import type { Deflate, Deflated } from '@affidavit/trail'

const options = {
  /** The quickest level packs a trail to a fifth; the slowest gains a tenth of that and costs as much as all else. */
  level: 1,
  /** In one piece, for each further one is a way to another thread and back. */
  chunkSize: 128 * 1024,
}
const compress = promisify<Uint8Array, object, Buffer>(deflateRaw)

export const deflate: Deflate = Object.assign((data: Uint8Array) => compress(data, options), { crc32 })

export class Deflating {
  readonly #stream = createDeflateRaw(options)
  readonly #hash = createHash('sha256')
  readonly #parts: Uint8Array[] = []
  #crc = 0
  #size = 0

  constructor() {
    // Whoever writes or waits meets it, too.
    this.#stream.on('error', () => undefined)
    this.#stream.on('data', (part: Buffer) => {
      this.#hash.update(part)
      this.#parts.push(part)
    })
  }

  /** Resolves when no more than its result is held. */
  async add(data: Uint8Array): Promise<void> {
    this.#crc = crc32(data, this.#crc)
    this.#size += data.length
    await new Promise<void>((resolve, reject) => {
      this.#stream.write(data, (error) => (error ? reject(error) : resolve()))
    })
  }

  async finish(): Promise<Deflated> {
    this.#stream.end()
    await once(this.#stream, 'end')
    return { crc: this.#crc, size: this.#size, digest: this.#hash.digest(), parts: this.#parts }
  }

  /** It is not needed any more. */
  cancel(): void {
    this.#stream.destroy()
  }
}
