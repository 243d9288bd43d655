// Searches of one tenant take turns. They share the database's connections and the server's memory with those of all others,
// and a page of large events takes seconds of the one and megabytes of the other.
import { Gate } from './gate.ts'
import { refuse } from './refused.ts'

const atOnce = 4
/** Under way and waiting. */
const most = 64

export class TenantTurns {
  readonly #byTenant = new Map<number, { readonly gate: Gate; count: number }>()

  /** @throws Refused `rate_limited`, and what `work` throws */
  async within<Result>(tenant: number, work: () => Promise<Result>): Promise<Result> {
    const own = this.#byTenant.get(tenant) ?? { gate: new Gate(atOnce, atOnce), count: 0 }
    if (own.count === most)
      throw refuse('rate_limited', `${most} searches of this tenant are under way.`, undefined, { 'retry-after': '1' })
    this.#byTenant.set(tenant, own)
    own.count += 1
    try {
      return await own.gate.within(1, work)
    } finally {
      own.count -= 1
      if (own.count === 0) this.#byTenant.delete(tenant)
    }
  }
}
