// Who made a key. Whoever holds a key that makes keys holds those, too, so keys of one maker are one principal. The key of
// a deployment's first start made all others and counts as nobody's maker.
import type { Queryable } from '../store/database.ts'

export interface Lineage {
  /** The key itself and the keys that made it, but for the first of the deployment. */
  readonly makers: ReadonlySet<string>
  /** ms since 1970. */
  readonly createdAt: number
}

/** By id. @param keeper of the role `keeper` @throws StoreUnavailable */
export async function lineageOf(keeper: Queryable, ids: readonly string[]): Promise<ReadonlyMap<string, Lineage>> {
  const { rows } = await keeper.query<{ of: string; makers: string[]; created_at: number }>(
    `with recursive line as (
       select id as of, id, created_by from keeper.api_keys where id = any ($1)
       union
       select line.of, k.id, k.created_by from line join keeper.api_keys k on k.id = line.created_by
     )
     select l.of, k.created_at,
       array_agg(l.id) filter (where l.id = l.of or exists (select from keeper.api_keys m where m.id = l.created_by)) as makers
     from line l join keeper.api_keys k on k.id = l.of group by l.of, k.created_at`,
    [ids],
  )
  return new Map(
    rows.map(({ of, makers, created_at }) => [of, { makers: new Set(makers), createdAt: created_at }] as const),
  )
}

/** Whether one holder could have both. A key that is not known any more is taken for nobody's. */
export function areKin(one: Lineage | undefined, other: Lineage | undefined): boolean {
  return one !== undefined && other !== undefined && !one.makers.isDisjointFrom(other.makers)
}
