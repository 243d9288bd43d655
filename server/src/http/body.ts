// Bodies as bytes: bounded before and after decompression, one by one and all together, so that neither a large body
// nor a small one that inflates nor many at once can fill the memory.
import { promisify } from 'node:util'
import { gunzip } from 'node:zlib'
import { refuse } from './refused.ts'

const unzip = promisify(gunzip)

/** Bytes of all bodies being worked on; beyond it new ones are asked to come back. */
const allBodiesBytes = 160 * 1024 * 1024

/** What is held by requests under way. */
export class BodyBudget {
  #held = 0

  /** @returns a function that gives the bytes back, to be called once */
  take(bytes: number): () => void {
    if (this.#held + bytes > allBodiesBytes) {
      throw refuse('unavailable', 'The server holds as much unsealed data as it can.', undefined, {
        'retry-after': '1',
      })
    }
    this.#held += bytes
    let held = true
    return () => {
      if (held) this.#held -= bytes
      held = false
    }
  }
}

/** @param limit most bytes after decompression */
export async function decoded(body: Buffer, encoding: string | undefined, limit: number): Promise<Buffer> {
  if (encoding === undefined || encoding === '' || encoding === 'identity') return body
  if (encoding !== 'gzip' && encoding !== 'x-gzip') throw refuse('unsupported_encoding', 'Only gzip is understood.')
  try {
    return await unzip(body, { maxOutputLength: limit })
  } catch (error) {
    if ((error as { code?: string }).code === 'ERR_BUFFER_TOO_LARGE') {
      throw refuse('body_too_large', `The decompressed body may have ${limit} bytes.`)
    }
    throw refuse('invalid_gzip', 'The body is not one whole gzip stream.')
  }
}
