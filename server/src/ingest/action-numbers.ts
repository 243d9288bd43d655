// The dictionary of actions: an event row carries a number, so that filters compare integers (which row-level security
// lets indexes do) and a row is short. Numbers are per tenant; a new action is committed before its first event.
import type { Queryable } from '../store/database.ts'

/** Actions kept in memory; a tenant that sends ids as actions must not fill it. */
const cached = 200_000

export interface TenantAction {
  readonly tenant: number
  readonly action: string
}

export class ActionNumbers {
  readonly #ingest: Queryable
  readonly #numbers = new Map<number, Map<string, number>>()
  #size = 0

  /** @param ingest pool of the role `ingest` */
  constructor(ingest: Queryable) {
    this.#ingest = ingest
  }

  known(tenant: number, action: string): number | undefined {
    return this.#numbers.get(tenant)?.get(action)
  }

  /** Numbers of the actions given, in their order; one round trip for those that are not known yet. */
  async learn(wanted: readonly TenantAction[]): Promise<number[]> {
    let missing: Map<string, TenantAction> | undefined
    const numbers = new Array<number>(wanted.length)
    for (let i = 0; i < wanted.length; i++) {
      const one = wanted[i]!
      const number = this.known(one.tenant, one.action)
      if (number !== undefined) numbers[i] = number
      else {
        missing ??= new Map()
        missing.set(`${one.tenant} ${one.action}`, one)
      }
    }
    if (missing === undefined) return numbers
    const found = await this.#admit([...missing.values()])
    return wanted.map((one, i) => numbers[i] ?? found.get(`${one.tenant} ${one.action}`)!)
  }

  async #admit(wanted: readonly TenantAction[]): Promise<Map<string, number>> {
    const values = [wanted.map((one) => one.tenant), wanted.map((one) => one.action)]
    await this.#ingest.query(
      'insert into affidavit.actions (tenant, action) select * from unnest($1::int[], $2::text[]) order by 1, 2 on conflict do nothing',
      values,
    )
    // A statement of its own: it also sees what another node committed while the insert waited for it.
    const { rows } = await this.#ingest.query<{ tenant: number; action: string; number: number }>(
      'select tenant, action, number from affidavit.actions join unnest($1::int[], $2::text[]) as u (tenant, action) using (tenant, action)',
      values,
    )
    const found = new Map<string, number>()
    for (const { tenant, action, number } of rows) {
      found.set(`${tenant} ${action}`, number)
      this.#keep(tenant, action, number)
    }
    return found
  }

  #keep(tenant: number, action: string, number: number): void {
    if (this.#size >= cached) {
      this.#numbers.clear()
      this.#size = 0
    }
    let own = this.#numbers.get(tenant)
    if (own === undefined) {
      own = new Map()
      this.#numbers.set(tenant, own)
    }
    own.set(action, number)
    this.#size += 1
  }
}
