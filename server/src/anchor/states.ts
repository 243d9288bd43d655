// What is known of every anchor, in the database: a restart neither forgets what a witness has seen nor hammers one that
// is down, and every process of the deployment can show it.
import type { Pool, Queryable } from '../store/database.ts'
import type { Document, Placed } from './place.ts'
import type { AnchorKind } from './settings.ts'

export interface AnchorState {
  readonly name: string
  readonly kind: AnchorKind | 'witness'
  /** Of the newest checkpoint that it has; null before the first. */
  readonly origin: string | null
  readonly epoch: number | null
  readonly size: number | null
  readonly succeededAt_ms: number | null
  /** Of the last try, if it failed; null when it went well. */
  readonly error: string | null
  /** Whether that was an answer that cannot be right, rather than none. */
  readonly isWrong: boolean
  readonly failedAt_ms: number | null
  /** Tries that failed since the last success. */
  readonly failures: number
  /** Answers ever that could not be right. */
  readonly wrongAnswers: number
  readonly nextTryAt_ms: number | null
}

export const untried = (name: string, kind: AnchorState['kind']): AnchorState => ({
  name,
  kind,
  origin: null,
  epoch: null,
  size: null,
  succeededAt_ms: null,
  error: null,
  isWrong: false,
  failedAt_ms: null,
  failures: 0,
  wrongAnswers: 0,
  nextTryAt_ms: null,
})

/** In the order of kind and name. */
export async function readStates(store: Queryable): Promise<AnchorState[]> {
  const { rows } = await store.query<AnchorState & { name: string }>(
    `select name, kind, origin, epoch, size, succeeded_at as "succeededAt_ms", error, wrong as "isWrong",
       failed_at as "failedAt_ms", failures, wrong_answers as "wrongAnswers", next_try_at as "nextTryAt_ms"
     from affidavit.anchors order by kind = 'witness' desc, kind, name`,
  )
  return rows
}

/** Forgets anchors that are no longer configured, what they placed excepted, and shows new ones as untried. */
export async function keepStates(store: Queryable, anchors: readonly Pick<AnchorState, 'name' | 'kind'>[]) {
  const [names, kinds] = [anchors.map(({ name }) => name), anchors.map(({ kind }) => kind)]
  await store.query(
    'delete from affidavit.anchors where (name, kind) not in (select * from unnest($1::text[], $2::text[]))',
    [names, kinds],
  )
  await store.query(
    `insert into affidavit.anchors (name, kind) select * from unnest($1::text[], $2::text[]) on conflict do nothing`,
    [names, kinds],
  )
}

const date = (time_ms: number | null): Date | null => (time_ms === null ? null : new Date(time_ms))

export async function writeState(store: Queryable, state: AnchorState): Promise<void> {
  await store.query({
    name: 'anchor_state',
    text: `update affidavit.anchors set origin = $3, epoch = $4, size = $5, succeeded_at = $6, error = $7, wrong = $8,
             failed_at = $9, failures = $10, wrong_answers = $11, next_try_at = $12 where name = $1 and kind = $2`,
    values: [
      state.name,
      state.kind,
      state.origin,
      state.epoch,
      state.size,
      date(state.succeededAt_ms),
      state.error,
      state.isWrong,
      date(state.failedAt_ms),
      state.failures,
      state.wrongAnswers,
      date(state.nextTryAt_ms),
    ],
  })
}

/** Keeps what was placed and the anchor's new state, both or neither. */
export async function writePlaced(
  pool: Pool,
  state: AnchorState,
  isPublic: boolean,
  document: Document,
  { note = document.note, token, details }: Placed,
): Promise<void> {
  await pool.transaction(async (session) => {
    await session.query(
      `insert into affidavit.anchored (anchor, kind, origin, epoch, size, public, note, token, details)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
      [
        state.name,
        state.kind,
        document.origin,
        document.epoch,
        document.size,
        isPublic,
        note,
        token ?? null,
        JSON.stringify(details ?? {}),
      ],
    )
    await writeState(session, state)
  })
}
