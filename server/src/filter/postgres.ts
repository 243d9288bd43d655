// The filter as SQL: what finds candidates. Each of the queries below returns sequence numbers of one trail, in order,
// within a window of days and sequence numbers, and no more than asked for. They may return events that the filter
// does not want (terms are hashes, some conditions are left to the recheck), but never leave out one that it does.
//
// Row-level security shapes them: conditions on plain columns may use indexes under a policy, `&&` on terms may not. So
// the finder's function (migrations/0003) searches terms where they have an index, and everything else is a walk along
// a plain index with the terms as a filter.
//
// Few texts, prepared: over a month of day partitions, planning costs more than searching. So a condition that was not
// asked is a parameter that is null, not a text of its own, and plans do not depend on values.

/** What a filter asks of the columns and terms of an event, in numbers of the store. */
export interface Plan {
  /** Subject numbers, or null for any actor. */
  readonly actors: readonly number[] | null
  /** Dictionary numbers, or null for any action. */
  readonly actions: readonly number[] | null
  /** Of each group an event has at least one term. */
  readonly groups: readonly (readonly number[])[]
  /** Those of them that closed days have an index of: all but that of request ids. */
  readonly indexed: readonly (readonly number[])[]
  /** Terms of request ids, when nothing but a request id can satisfy the filter: they have an index of their own. */
  readonly requests: readonly number[] | null
  readonly from: number | null
  readonly to: number | null
  /** Whether control entries are wanted. */
  readonly control: boolean
}

/** Where to look: sequence numbers from `low` to before `high`, sealed from `firstDay` to `lastDay`. */
export interface Window {
  readonly tenant: number
  readonly trail: number
  readonly low: number
  readonly high: number
  /** YYYY-MM-DD */
  readonly firstDay: string
  readonly lastDay: string
}

export interface Ask {
  readonly order: 'asc' | 'desc'
  readonly limit: number
}

export interface Query {
  /** Unique for the text. */
  readonly name: string
  readonly text: string
  readonly values: unknown[]
}

/** Index probes of one query at most: one for each actor and action. */
export const maxProbes = 128

/** Whether index probes can answer: their number is known and bounded. */
export function canProbe({ actors, actions }: Plan): boolean {
  return actions !== null && actions.length * (actors?.length ?? 1) <= maxProbes
}

/** Collects `$n` parameters. */
class Parameters {
  readonly values: unknown[] = []

  add(value: unknown): string {
    return `$${this.values.push(value)}`
  }
}

/**
 * Takes the next events of each actor and action from the index that is ordered by sequence number within them, and
 * merges: the cost depends on the page, not on how much an actor did.
 */
export function probe(plan: Plan, window: Window, ask: Ask): Query {
  const p = new Parameters()
  const limit = p.add(ask.limit)
  let keys = `unnest(${p.add(plan.actions)}::int[]) as a (action)`
  if (plan.actors !== null) keys += ` cross join unnest(${p.add(plan.actors)}::bigint[]) as b (actor)`
  const index =
    plan.actors === null
      ? along({ action: 'a.action' }, window, ask, p)
      : along({ actor: 'b.actor', action: 'a.action' }, window, ask, p)
  const where = [...range(window, p), ...index.where, ...filters(plan, p)]
  return {
    name: `probe ${plan.actors === null ? 'actions' : 'actors'} ${ask.order}`,
    text: `select f.seq from ${keys} cross join lateral (
        select e.seq from affidavit.events e where ${where.join(' and ')} order by ${index.order} limit ${limit}
      ) f order by f.seq ${ask.order} limit ${limit}`,
    values: p.values,
  }
}

/**
 * Reads all index entries of the actors, or else of the actions, in the window, then orders them. For filters with too
 * many probes; its cost grows with the window.
 */
export function gather(plan: Plan, window: Window, ask: Ask): Query {
  const p = new Parameters()
  const where = [...range(window, p), ...aside(window, p)]
  if (plan.actors !== null) where.push(`e.actor = any(${p.add(plan.actors)}::bigint[])`)
  if (plan.actions !== null) where.push(`e.action = any(${p.add(plan.actions)}::int[])`)
  where.push(...filters(plan, p))
  const by = [...(plan.actors === null ? [] : ['actors']), ...(plan.actions === null ? [] : ['actions'])]
  return { name: `gather ${by.join(' ')} ${ask.order}`, ...fenced(where, p, ask) }
}

/** Walks the trail itself. Sequence numbers have no gaps, so the window bounds the rows that are read. */
export function scan(plan: Plan, window: Window, ask: Ask): Query {
  const p = new Parameters()
  const index = along({ trail: p.add(window.trail) }, window, ask, p)
  const where = [...range(window, p), ...index.where]
  const actors = `${p.add(plan.actors)}::bigint[]`
  where.push(`(${actors} is null or e.actor = any(${actors}))`)
  const actions = `${p.add(plan.actions)}::int[]`
  where.push(`(${actions} is null or e.action = any(${actions}))`)
  where.push(`(${p.add(plan.control)}::boolean or e.control is null)`)
  where.push(...filters(plan, p))
  return {
    name: `scan ${ask.order}`,
    text: `select e.seq from affidavit.events e where ${where.join(' and ')} order by ${index.order} limit ${p.add(ask.limit)}`,
    values: p.values,
  }
}

/** Events with one of the plan's request ids. */
export function requests(plan: Plan, window: Window, ask: Ask): Query {
  const p = new Parameters()
  const where = [
    ...range(window, p),
    ...aside(window, p),
    `e.terms[1] = any(${p.add(plan.requests)}::int[])`,
    ...filters(plan, p),
  ]
  return { name: `requests ${ask.order}`, ...fenced(where, p, ask) }
}

/** The fence keeps the planner from walking the trail in order and hoping to meet the actor soon. */
function fenced(where: readonly string[], p: Parameters, ask: Ask): { text: string; values: unknown[] } {
  return {
    text: `with found as materialized (select e.seq from affidavit.events e where ${where.join(' and ')})
      select seq from found order by seq ${ask.order} limit ${p.add(ask.limit)}`,
    values: p.values,
  }
}

/** Events of closed days by their terms, through the finder's function. */
export function find(plan: Plan, window: Window, ask: Ask): Query {
  return {
    name: 'find',
    text: 'select seq from affidavit.find($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) as f (seq)',
    values: [
      window.trail,
      window.low,
      window.high,
      window.firstDay,
      window.lastDay,
      plan.indexed.flat(),
      plan.indexed.map((group) => group.length),
      plan.actors,
      plan.actions,
      ask.limit,
      ask.order === 'desc',
    ],
  }
}

/** The tenant comes first: it leads the indexes, and asks for no more than the policy allows anyway. */
function range(window: Window, p: Parameters): string[] {
  return [
    `e.tenant = ${p.add(window.tenant)}`,
    `e.day >= ${p.add(window.firstDay)}::date`,
    `e.day <= ${p.add(window.lastDay)}::date`,
  ]
}

/**
 * Conditions and order of a walk along the one index that is ordered by these columns and then by sequence number.
 * Written with rows, for a plan that is made without values must be the right one: of two plain bounds the planner
 * believes that they leave half a percent, and then any index with a sequence number in it seems good enough.
 */
function along(columns: Readonly<Record<string, string>>, window: Window, ask: Ask, p: Parameters) {
  const names = [...Object.keys(columns), 'seq'].map((name) => `e.${name}`)
  const values = Object.values(columns).join(', ')
  const row = `(${names.join(', ')})`
  return {
    where: [
      ...names.slice(0, -1).map((name) => `${name} is not null`), // these indexes are partial
      `${row} >= (${values}, ${p.add(window.low)}::bigint)`,
      `${row} < (${values}, ${p.add(window.high)}::bigint)`,
    ],
    order: names.map((name) => `${name} ${ask.order}`).join(', '),
  }
}

/** The window's bounds out of the reach of indexes, for the same reason. */
function aside(window: Window, p: Parameters): string[] {
  return [`e.seq + 0 >= ${p.add(window.low)}::bigint`, `e.seq + 0 < ${p.add(window.high)}::bigint`]
}

/** Terms are filtered by no more groups than this; the recheck looks at all. */
const filteredGroups = 3

/** Conditions that no index answers, checked on the row: they spare shipping and opening events that cannot match. */
function filters(plan: Plan, p: Parameters): string[] {
  const from = `${p.add(plan.from === null ? null : new Date(plan.from).toISOString())}::timestamptz`
  const to = `${p.add(plan.to === null ? null : new Date(plan.to).toISOString())}::timestamptz`
  const shortest = plan.groups.toSorted((a, b) => a.length - b.length)
  const groups = Array.from({ length: filteredGroups }, (_, n) => {
    const group = `${p.add(shortest[n] ?? null)}::int[]`
    return `(${group} is null or e.terms && ${group})`
  })
  return [
    `(${from} is null or e.occurred_at >= ${from})`,
    `(${to} is null or e.occurred_at < ${to})`,
    `(e.flags & 1 = 0 or (${groups.join(' and ')}))`,
  ]
}
