/** Node's zlib for packs: several times faster than the stream that browsers have, and as strict. */
import { inflateRawSync } from 'node:zlib'
import type { Inflate } from '@affidavit/trail'

/** One piece for usual members, without believing a stated size of a gigabyte. */
const CHUNK_BYTES = 2 ** 20
/** A piece that is filled to its end makes zlib's caller allocate another: members fit with a byte to spare. */
const SPARE_BYTES = 1

/** What `info` makes of the result: the type declarations know the option, but not this. */
interface Inflated {
  readonly buffer: Buffer
  readonly engine: { readonly bytesWritten: number; _outBuffer?: unknown }
}

export const nodeInflate: Inflate = (packed, size) => {
  const { buffer, engine } = inflateRawSync(packed, {
    info: true,
    maxOutputLength: Math.max(1, size),
    chunkSize: Math.max(64, Math.min(size, CHUNK_BYTES) + SPARE_BYTES),
  }) as unknown as Inflated
  // An engine is only freed when the whole heap is collected. Until then it must not keep what it filled: that made half of
  // a verifier's memory, and the collections that so much memory asks for a tenth of its time.
  engine._outBuffer = undefined
  // zlib stops where the stream ends; bytes behind it would go unnoticed.
  if (engine.bytesWritten !== packed.length) throw new RangeError('there are bytes after the compressed data')
  return new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.length)
}
