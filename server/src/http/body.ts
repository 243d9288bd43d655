// Bodies as bytes: bounded before and after decompression, one by one and all together, so that neither a large body
// nor a small one that inflates nor many at once can fill the memory.
import type { IncomingMessage } from 'node:http'
import { promisify } from 'node:util'
import { gunzip } from 'node:zlib'
import { Gate } from './gate.ts'
import { refuse } from './refused.ts'

const unzip = promisify(gunzip)

/** Bytes of all bodies that are arriving, waiting or being worked on; beyond it new ones are asked to come back. */
const allBodiesBytes = 96 * 1024 * 1024
/** Of these the bytes of one tenant's keys: slow or large bodies of one must not shut out the others. */
const tenantBytes = 40 * 1024 * 1024
/** Bodies being inflated at once; what waits is still small. */
const inflating = 2

/** What is held by requests under way. */
export class BodyBudget {
  #held = 0
  readonly #byTenant = new Map<number, number>()
  readonly #inflate = new Gate(inflating, inflating)

  /** @param tenant its number; null: the operator, who may take all */
  share(tenant: number | null): BodyShare {
    return new BodyShare(
      (bytes) => {
        const isOverdrawn = tenant !== null && this.#of(tenant) + bytes > tenantBytes
        if (this.#held + bytes > allBodiesBytes || isOverdrawn) return false
        this.#take(tenant, bytes)
        return true
      },
      (bytes) => this.#take(tenant, -bytes),
      this.#inflate,
    )
  }

  #of(tenant: number | null): number {
    return tenant === null ? 0 : (this.#byTenant.get(tenant) ?? 0)
  }

  #take(tenant: number | null, bytes: number): void {
    this.#held += bytes
    if (tenant === null) return
    const own = this.#of(tenant) + bytes
    if (own === 0) this.#byTenant.delete(tenant)
    else this.#byTenant.set(tenant, own)
  }
}

/** What one request holds. */
export class BodyShare {
  readonly #take: (bytes: number) => boolean
  readonly #give: (bytes: number) => void
  readonly #inflate: Gate
  #held = 0
  #released = false

  constructor(take: (bytes: number) => boolean, give: (bytes: number) => void, inflate: Gate) {
    this.#take = take
    this.#give = give
    this.#inflate = inflate
  }

  /** @throws Refused `unavailable` */
  grow(bytes: number): void {
    if (this.#released) return
    if (!this.#take(bytes)) {
      throw refuse('unavailable', 'The server holds as much unsealed data as it can.', undefined, {
        'retry-after': '1',
      })
    }
    this.#held += bytes
  }

  /** May be called again. */
  release(): void {
    this.#released = true
    this.#give(this.#held)
    this.#held = 0
  }

  /**
   * Reads a body as it is sent. What is left of a refused one is thrown away as it arrives: the client hears the
   * answer, and the connection can be used again.
   *
   * @throws Refused `body_too_large`, `unavailable`, `invalid_request` when it ends early
   */
  read(request: IncomingMessage, limit: number): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const chunks: Buffer[] = []
      let length = 0
      const finish = (settle: () => void) => {
        request.off('data', onData).off('end', onEnd).off('error', onCut).off('close', onCut)
        request.resume()
        settle()
      }
      const tooLarge = () => reject(refuse('body_too_large', `This operation takes a body of at most ${limit} bytes.`))
      const onData = (chunk: Buffer) => {
        length += chunk.length
        if (length > limit) return finish(tooLarge)
        try {
          this.grow(chunk.length)
          chunks.push(chunk)
        } catch (error) {
          finish(() => reject(error))
        }
      }
      const onEnd = () => finish(() => resolve(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks, length)))
      const onCut = () => finish(() => reject(refuse('invalid_request', 'The body ended before it was complete.')))
      if (Number(request.headers['content-length'] ?? 0) > limit) return finish(tooLarge)
      request.on('data', onData).on('end', onEnd).on('error', onCut).on('close', onCut)
    })
  }

  /** @param limit most bytes after decompression */
  async decode(body: Buffer, encoding: string | undefined, limit: number): Promise<Buffer> {
    if (body.length === 0 || !isCompressed(encoding)) return body
    const inflated = await this.#inflate.within(1, () => inflate(body, limit))
    this.grow(inflated.length)
    return inflated
  }
}

/** @throws Refused `unsupported_encoding` */
export function isCompressed(encoding: string | undefined): boolean {
  const name = encoding?.trim().toLowerCase()
  if (name === undefined || name === '' || name === 'identity') return false
  if (name === 'gzip' || name === 'x-gzip') return true
  throw refuse('unsupported_encoding', 'Only gzip is understood.')
}

async function inflate(body: Buffer, limit: number): Promise<Buffer> {
  try {
    return await unzip(body, { maxOutputLength: limit })
  } catch (error) {
    if ((error as { code?: string }).code === 'ERR_BUFFER_TOO_LARGE') {
      throw refuse('body_too_large', `This operation takes a body of at most ${limit} bytes once decompressed.`)
    }
    throw refuse('invalid_gzip', 'The body is not one whole gzip stream.')
  }
}
