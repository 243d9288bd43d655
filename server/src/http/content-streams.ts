// Contents on their way to verifiers. Each is read as it is taken and holds a page of events meanwhile, so there are few at
// once, fewer of one tenant, and who takes nothing for a while gives its place to another.
import { Readable } from 'node:stream'
import { refuse } from './refused.ts'

const atOnce = 24
const ofTenant = 6
const patience_ms = 60_000

export class ContentStreams {
  readonly #patience_ms: number
  readonly #byTenant = new Map<number, number>()
  #open = 0

  constructor(patience = patience_ms) {
    this.#patience_ms = patience
  }

  /** @throws Refused `rate_limited`, `unavailable` */
  open(tenant: number, pieces: AsyncIterable<Uint8Array>): Readable {
    const own = this.#byTenant.get(tenant) ?? 0
    const later = { 'retry-after': '2' }
    if (own >= ofTenant)
      throw refuse('rate_limited', `${ofTenant} readers take contents of this tenant already.`, undefined, later)
    if (this.#open >= atOnce) throw refuse('unavailable', `${atOnce} readers take contents already.`, undefined, later)
    this.#count(tenant, 1)
    const body = Readable.from(
      taken(pieces, () => timer.refresh()),
      { objectMode: false },
    )
    const timer = setTimeout(() => body.destroy(new Error('nobody takes the contents')), this.#patience_ms).unref()
    // Whoever sends it meets the error, too.
    body.on('error', () => undefined)
    body.on('close', () => {
      clearTimeout(timer)
      this.#count(tenant, -1)
    })
    return body
  }

  #count(tenant: number, change: 1 | -1): void {
    this.#open += change
    const own = (this.#byTenant.get(tenant) ?? 0) + change
    if (own === 0) this.#byTenant.delete(tenant)
    else this.#byTenant.set(tenant, own)
  }
}

async function* taken(pieces: AsyncIterable<Uint8Array>, onTaken: () => void): AsyncGenerator<Uint8Array> {
  for await (const piece of pieces) {
    yield piece
    onTaken()
  }
}
