// The dictionary of actions: an event row carries a number, so that filters compare integers (which row-level security
// lets indexes do) and a row is short. Numbers are per tenant; a new action is committed before its first event.
import { TwoGenerations } from '../keys/two-generations.ts'
import type { Queryable } from '../store/database.ts'
import { Gathered } from '../store/gathered.ts'

/** Actions kept in memory: some 15 MB. One map for all tenants: with one for each, many small tenants would take ten times as much. */
const limits = { entries: 150_000, bytes: 15e6 }
/** What two maps and their entries take beside the text. */
const entry_bytes = 90
/** Actions of one statement. */
const most_asked = 5_000

export interface TenantAction {
  readonly tenant: number
  readonly action: string
}

export class ActionNumbers {
  readonly #ingest: Queryable
  readonly #numbers = new TwoGenerations<number>(limits, (key) => key.length * 2 + entry_bytes)
  readonly #missing = new Gathered<TenantAction, number>((wanted) => this.#admit(wanted), most_asked)

  /** @param ingest pool of the role `ingest` */
  constructor(ingest: Queryable) {
    this.#ingest = ingest
  }

  known(tenant: number, action: string): number | undefined {
    return this.#numbers.get(nameOf(tenant, action))
  }

  /** Numbers of the actions given, in their order; two round trips for those that are not known yet. */
  async learn(wanted: readonly TenantAction[]): Promise<number[]> {
    const numbers = wanted.map(({ tenant, action }) => this.known(tenant, action))
    const missing = wanted.filter((_, at) => numbers[at] === undefined)
    if (missing.length === 0) return numbers as number[]
    const learnt = (await this.#missing.ask(missing))[Symbol.iterator]()
    return numbers.map((number) => number ?? learnt.next().value!)
  }

  async #admit(wanted: readonly TenantAction[]): Promise<number[]> {
    const distinct = [...new Map(wanted.map((one) => [nameOf(one.tenant, one.action), one])).values()]
    const values = [distinct.map((one) => one.tenant), distinct.map((one) => one.action)]
    await this.#ingest.query(
      'insert into affidavit.actions (tenant, action) select * from unnest($1::int[], $2::text[]) order by 1, 2 on conflict do nothing',
      values,
    )
    // A statement of its own: it also sees what another node committed while the insert waited for it.
    const { rows } = await this.#ingest.query<{ tenant: number; action: string; number: number }>(
      'select tenant, action, number from affidavit.actions join unnest($1::int[], $2::text[]) as u (tenant, action) using (tenant, action)',
      values,
    )
    const found = new Map(rows.map(({ tenant, action, number }) => [nameOf(tenant, action), number]))
    for (const [name, number] of found) this.#numbers.set(name, number)
    return wanted.map(({ tenant, action }) => found.get(nameOf(tenant, action))!)
  }
}

const nameOf = (tenant: number, action: string) => `${tenant} ${action}`
