// The dictionary of actions: an event row carries a number, so that filters compare integers (which row-level security
// lets indexes do) and a row is short. Numbers are per tenant; a new action is committed before its first event.
import { inOnePiece } from '../keys/two-generations.ts'
import type { Queryable } from '../store/database.ts'
import { Gathered } from '../store/gathered.ts'

/**
 * Actions kept in memory, in two generations of which the older one goes when the younger is full: together at most 20 MB,
 * usually 12. All tenants are in one map: with one map for each, many small tenants would take ten times as much.
 */
const generation = { entries: 75_000, characters: 5_000_000 }
/** Actions of one statement. */
const most_asked = 5_000

export interface TenantAction {
  readonly tenant: number
  readonly action: string
}

interface Numbered extends TenantAction {
  readonly number: number
}

export class ActionNumbers {
  readonly #ingest: Queryable
  #young = new Map<string, number>()
  #old = new Map<string, number>()
  #characters = 0
  readonly #missing = new Gathered<TenantAction, number>((wanted) => this.#admit(wanted), most_asked)

  /** @param ingest pool of the role `ingest` */
  constructor(ingest: Queryable) {
    this.#ingest = ingest
  }

  known(tenant: number, action: string): number | undefined {
    const name = nameOf(tenant, action)
    const young = this.#young.get(name)
    if (young !== undefined) return young
    const old = this.#old.get(name)
    if (old !== undefined) this.#keep(name, old)
    return old
  }

  /** Numbers of the actions given, in their order; a round trip for those that are new, two for those of others. */
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
    const { rows } = await this.#ingest.query<Numbered>(
      {
        name: 'ingest actions',
        text: `insert into affidavit.actions (tenant, action) select * from unnest($1::int[], $2::text[]) order by 1, 2
          on conflict do nothing returning tenant, action, number`,
      },
      values,
    )
    // A statement of its own: it also sees what another node committed while the insert waited for it.
    if (rows.length < distinct.length) rows.push(...(await this.#stored(values)))
    const found = new Map(rows.map(({ tenant, action, number }) => [nameOf(tenant, action), number]))
    for (const [name, number] of found) this.#keep(name, number)
    return wanted.map(({ tenant, action }) => found.get(nameOf(tenant, action))!)
  }

  async #stored(values: unknown[]): Promise<Numbered[]> {
    const { rows } = await this.#ingest.query<Numbered>(
      'select tenant, action, number from affidavit.actions join unnest($1::int[], $2::text[]) as u (tenant, action) using (tenant, action)',
      values,
    )
    return rows
  }

  #keep(name: string, number: number): void {
    if (this.#young.size >= generation.entries || this.#characters + name.length > generation.characters) {
      this.#old = this.#young
      this.#young = new Map()
      this.#characters = 0
    }
    this.#young.set(inOnePiece(name), number)
    this.#characters += name.length
  }
}

const nameOf = (tenant: number, action: string) => `${tenant} ${action}`
