// The dictionary of actions: an event row carries a number, so that filters compare integers (which row-level security
// lets indexes do) and a row is short. Numbers are per tenant; a new action is committed before its first event.
import type { Queryable } from '../store/database.ts'

/** Actions kept in memory; a tenant that sends ids as actions must not fill it. */
const cached = 200_000

export class ActionNumbers {
  readonly #ingest: Queryable
  readonly #numbers = new Map<string, number>()

  /** @param ingest pool of the role `ingest` */
  constructor(ingest: Queryable) {
    this.#ingest = ingest
  }

  known(tenant: number, action: string): number | undefined {
    return this.#numbers.get(`${tenant} ${action}`)
  }

  /** Makes sure that all given actions are known; one round trip for those that are not. */
  async learn(wanted: readonly { tenant: number; action: string }[]): Promise<void> {
    const missing = new Map<string, { tenant: number; action: string }>()
    for (const one of wanted) {
      const key = `${one.tenant} ${one.action}`
      if (!this.#numbers.has(key)) missing.set(key, one)
    }
    if (missing.size === 0) return
    if (this.#numbers.size + missing.size > cached) this.#numbers.clear()
    const ask = [...missing.values()]
    const values = [ask.map((one) => one.tenant), ask.map((one) => one.action)]
    await this.#ingest.query(
      'insert into affidavit.actions (tenant, action) select * from unnest($1::int[], $2::text[]) order by 1, 2 on conflict do nothing',
      values,
    )
    // A statement of its own: it also sees what another node committed while the insert waited for it.
    const { rows } = await this.#ingest.query<{ tenant: number; action: string; number: number }>(
      'select tenant, action, number from affidavit.actions join unnest($1::int[], $2::text[]) as u (tenant, action) using (tenant, action)',
      values,
    )
    for (const row of rows) this.#numbers.set(`${row.tenant} ${row.action}`, row.number)
  }
}
