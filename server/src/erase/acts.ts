// Requests to forget, as they wait for a second principal and then for their turn: rows of affidavit.acts. What they ask
// for is kept as numbers, ids and times; no personal value reaches this table.
//
//   waiting ─► approved ─► announced ─► done        rejected: by the second principal, or withdrawn by the first
//                 ▲ └► held                          held: a legal hold covers it; goes on once nothing does
//                 └────┘
import type { Category } from '@affidavit/trail'
import type { Pool, Queryable } from '../store/database.ts'

/** What may be asked for. Seqs and key ids are strictly ascending. */
export type Wish =
  | { readonly kind: 'erase'; readonly subjects: readonly { readonly number: number; readonly keyId: string }[] }
  | { readonly kind: 'redact'; readonly seqs: readonly number[] }
  | { readonly kind: 'release'; readonly hold: string }
  | {
      readonly kind: 'retention'
      readonly category: Category | 'all'
      /** Null: payloads are kept for good. */
      readonly days: number | null
      /** `new`: for later events. `notice`: for earlier ones, too, 30 days after it was sealed. */
      readonly from: 'new' | 'notice'
    }
  | { readonly kind: 'truncate'; readonly size: number }
  | { readonly kind: 'delete' }

export type ActKind = Wish['kind']
export type ActState = 'waiting' | 'approved' | 'held' | 'announced' | 'done' | 'rejected'

export interface Principal {
  readonly keyId: string
  readonly name: string
}

export interface Act {
  /** UUID. */
  readonly id: string
  readonly tenant: number
  readonly trail: number
  readonly state: ActState
  readonly wish: Wish
  readonly reason: string
  readonly requested: Principal & { readonly at: number }
  /** Who approved or rejected it. */
  readonly decided: (Principal & { readonly at: number }) | null
  /** Holds that it waits for: 32 hex digits each. */
  readonly holds: readonly string[]
  /** The trail's size before its control entry was sealed. */
  readonly low: number | null
  /** Seq of its control entry. */
  readonly control: number | null
  readonly doneAt: number | null
}

interface Row {
  id: string
  kind: ActKind
  tenant: number
  trail: number
  state: ActState
  what: Record<string, unknown>
  reason: string
  requested_by: string
  requested_name: string
  requested_at: number
  decided_by: string | null
  decided_name: string | null
  decided_at: number | null
  holds: string[]
  low: number | null
  control: number | null
  done_at: number | null
}

const columns = `id, kind, tenant, trail, state, what, reason, requested_by, requested_name, requested_at, decided_by, decided_name,
  decided_at, holds::text[], low, control, done_at`

export interface ActFilter {
  readonly tenant?: number | undefined
  readonly kind?: ActKind | undefined
  readonly state?: ActState | undefined
  readonly limit: number
}

export class Acts {
  readonly #pool: Pool

  /** @param pool of the role `retention` */
  constructor(pool: Pool) {
    this.#pool = pool
  }

  async request(tenant: number, trail: number, wish: Wish, reason: string, by: Principal): Promise<Act> {
    const { kind, ...what } = wish
    const { rows } = await this.#pool.query<Row>(
      `insert into affidavit.acts (kind, tenant, trail, what, reason, requested_by, requested_name) values ($1, $2, $3, $4, $5, $6, $7)
       returning ${columns}`,
      [kind, tenant, trail, JSON.stringify(what), reason, by.keyId, by.name],
    )
    return act(rows[0]!)
  }

  /** Undefined: there is none. */
  async get(id: string, session: Queryable = this.#pool, lock = false): Promise<Act | undefined> {
    const { rows } = await session.query<Row>(
      `select ${columns} from affidavit.acts where id = $1 ${lock ? 'for update' : ''}`,
      [id],
    )
    return rows[0] && act(rows[0])
  }

  /** The newest first. */
  async list({ tenant, kind, state, limit }: ActFilter): Promise<Act[]> {
    const { rows } = await this.#pool.query<Row>(
      `select ${columns} from affidavit.acts
       where ($1::int is null or tenant = $1) and ($2::text is null or kind = $2) and ($3::text is null or state = $3)
       order by requested_at desc, id limit $4`,
      [tenant ?? null, kind ?? null, state ?? null, limit],
    )
    return rows.map(act)
  }

  /** Those that were approved and are not done, the oldest approval first. */
  async open(): Promise<string[]> {
    const { rows } = await this.#pool.query<{ id: string }>(
      `select id from affidavit.acts where state in ('approved', 'held', 'announced') order by decided_at`,
    )
    return rows.map(({ id }) => id)
  }

  /**
   * The second principal's word, once: undefined when somebody had decided before, or when the requester would approve
   * their own request.
   */
  async decide(id: string, by: Principal, approve: boolean): Promise<Act | undefined> {
    const { rows } = await this.#pool.query<Row>(
      `update affidavit.acts set state = $4, decided_by = $2, decided_name = $3, decided_at = clock_timestamp()
       where id = $1 and state = 'waiting' and ($4 = 'rejected' or requested_by <> $2) returning ${columns}`,
      [id, by.keyId, by.name, approve ? 'approved' : 'rejected'],
    )
    return rows[0] && act(rows[0])
  }

  /** Notes where the control entry will be found if nobody comes to write down its seq. */
  async aim(id: string): Promise<void> {
    await this.#pool.query(
      `update affidavit.acts a set low = h.size from affidavit.heads h
       where a.id = $1 and h.trail = a.trail and a.low is null and a.state in ('approved', 'held')`,
      [id],
    )
  }

  async held(id: string, holds: readonly string[], session: Queryable = this.#pool): Promise<void> {
    await session.query(
      `update affidavit.acts set state = 'held', holds = $2::uuid[], low = null, control = null where id = $1 and state <> 'done'`,
      [id, holds],
    )
  }

  async announced(id: string, control: number, session: Queryable): Promise<void> {
    await session.query(`update affidavit.acts set state = 'announced', control = $2, holds = '{}' where id = $1`, [
      id,
      control,
    ])
  }

  /** Its announcement turned out not to be the last word: it is made again. */
  async again(id: string): Promise<void> {
    await this.#pool.query(
      `update affidavit.acts set state = 'approved', low = null, control = null where id = $1 and state = 'announced'`,
      [id],
    )
  }

  /** The trail that it was asked for was lost, and continued by another. */
  async move(id: string, trail: number): Promise<void> {
    await this.#pool.query(
      `update affidavit.acts set trail = $2, low = null where id = $1 and state in ('approved', 'held')`,
      [id, trail],
    )
  }

  /** Its tenant or trail is gone: there is nothing left to do it to. */
  async drop(id: string): Promise<void> {
    await this.#pool.query(
      `update affidavit.acts set state = 'rejected' where id = $1 and state in ('approved', 'held')`,
      [id],
    )
  }

  async done(id: string): Promise<void> {
    await this.#pool.query(
      `update affidavit.acts set state = 'done', done_at = clock_timestamp() where id = $1 and state = 'announced'`,
      [id],
    )
  }
}

function act(row: Row): Act {
  const by = (keyId: string, name: string, at: number) => ({ keyId, name, at })
  return {
    id: row.id,
    tenant: row.tenant,
    trail: row.trail,
    state: row.state,
    wish: { kind: row.kind, ...row.what } as Wish,
    reason: row.reason,
    requested: by(row.requested_by, row.requested_name, row.requested_at),
    decided: row.decided_by === null ? null : by(row.decided_by, row.decided_name!, row.decided_at!),
    holds: row.holds.map((id) => id.replaceAll('-', '')),
    low: row.low,
    control: row.control,
    doneAt: row.done_at,
  }
}
