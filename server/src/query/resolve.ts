// From a filter's texts to numbers of the store: actions through the dictionary, people through their tokens, all else
// through the tenant's keyed hashes. Everything is read in the search's own snapshot, where words and people are at
// least as old as the events that name them.
import { actionMatch } from '../filter/closure.ts'
import type { Filter } from '../filter/filter.ts'
import { hashTerm, type TermKey, termKey } from '../filter/hash.ts'
import { wholeText } from '../filter/people.ts'
import { maxProbes, type Plan } from '../filter/postgres.ts'
import { metadataPair, space } from '../filter/terms.ts'
import type { TenantKeys } from '../keys/tenant-keys.ts'
import type { Queryable } from '../store/database.ts'

/** A condition that more personas or subjects than this satisfy narrows nothing: it is left to the recheck. */
export const maxPeople = 512
const maxTermsOfGroup = 64

/** A plan, and the actions that its actors can have done at most, for index probes; or that nothing can match. */
export type Resolution = { readonly plan: Plan; readonly dictionary: readonly number[] | null } | 'nothing'

/** The personas that a text finds; `many` when they are too many to name. */
type People = ReadonlyMap<string, readonly bigint[] | 'many'>

/** The queries are independent of one another and travel together. */
export async function resolve(
  session: Queryable,
  tenant: number,
  keys: TenantKeys,
  filter: Filter,
): Promise<Resolution> {
  const [actions, people, actors] = await Promise.all([
    resolveActions(session, tenant, filter),
    findPeople(session, tenant, keys, filter),
    resolveActors(session, tenant, keys, filter),
  ])
  if (actors?.length === 0 || actions?.length === 0) return 'nothing'
  const key = termKey(keys.termKey)
  const named = filter.action.length > 0 && !filter.action.includes('*')
  const plan: Plan = {
    actors: actors === 'many' ? null : actors,
    actions: named ? actions : null,
    ...groupsOf(key, filter, people),
    requests: requestsOf(key, filter, people),
    from: filter.from,
    to: filter.to,
    control: filter.control,
  }
  return { plan, dictionary: plan.actors === null ? plan.actions : actions }
}

/**
 * Numbers of the actions that a filter names; where it names none but actors, all actions of the tenant if they are few
 * enough to probe each. Null: any action.
 */
async function resolveActions(session: Queryable, tenant: number, filter: Filter): Promise<number[] | null> {
  if (filter.action.length === 0 || filter.action.includes('*')) {
    if (filter.actor.length === 0) return null
    const { rows } = await session.query<{ number: number }>(
      { name: 'dictionary', text: 'select number from affidavit.actions where tenant = $1 limit $2' },
      [tenant, maxProbes + 1],
    )
    return rows.length > maxProbes ? null : rows.map((row) => row.number)
  }
  const patterns = filter.action.filter((action) => action.endsWith('*')).map((action) => action.slice(0, -1))
  const { rows } = await session.query<{ number: number; action: string }>(
    {
      name: 'actions',
      text: `select number, action from affidavit.actions
        where tenant = $1 and (action = any($2) or exists (select from unnest($3::text[]) p where starts_with(action, p)))`,
    },
    [tenant, filter.action, patterns],
  )
  const matches = actionMatch(filter.action)
  return rows.filter((row) => matches(row.action)).map((row) => row.number)
}

/** Texts of a filter that may be personal values. Any field may be, if a tenant's policy says so. */
function personalTexts(filter: Filter): Set<string> {
  const whole = [
    filter.target,
    filter.team,
    filter.ip,
    filter.auth_method,
    filter.request_id,
    filter.trace_id,
    ...filter.metadata.map(([, values]) => values),
  ]
  return new Set([...whole.flat().map(wholeText), ...filter.words])
}

async function findPeople(session: Queryable, tenant: number, keys: TenantKeys, filter: Filter): Promise<People> {
  const texts = [...personalTexts(filter)]
  if (texts.length === 0) return new Map()
  const { rows } = await session.query<{ n: number; personas: bigint[] }>(
    {
      name: 'people',
      text: `select n::int, array_agg(t.persona) as personas
        from unnest($2::bigint[]) with ordinality as asked (token, n) cross join lateral (
          select persona from affidavit.persona_tokens where tenant = $1 and token = asked.token limit $3) t
        group by n`,
    },
    [tenant, texts.map((text) => keys.searchToken(text).toString()), maxPeople + 1],
  )
  return new Map(
    rows.map(({ n, personas }) => [texts[n - 1] as string, personas.length > maxPeople ? 'many' : personas]),
  )
}

/**
 * Subjects by id and by personal value (an e-mail address, or an id that is one). One id may be several subjects: types
 * of actors, people whose home is another tenant, and people who were erased, whose ids stay.
 */
async function resolveActors(
  session: Queryable,
  tenant: number,
  keys: TenantKeys,
  filter: Filter,
): Promise<number[] | 'many' | null> {
  if (filter.actor.length === 0) return null
  const { rows } = await session.query<{ number: number }>(
    {
      name: 'actors',
      text: `select number from affidavit.subjects where tenant = $1 and id_token = any($2::bigint[])
        union select subject from affidavit.persona_tokens where tenant = $1 and token = any($3::bigint[]) limit $4`,
    },
    [
      tenant,
      filter.actor.map((id) => keys.subjectIdToken(id).toString()),
      filter.actor.map((text) => keys.searchToken(wholeText(text)).toString()),
      maxPeople + 1,
    ],
  )
  return rows.length > maxPeople ? 'many' : rows.map(({ number }) => number)
}

/** For each condition the terms of which an event must have one; conditions that too many people satisfy are left out. */
function groupsOf(key: TermKey, filter: Filter, people: People): Pick<Plan, 'groups' | 'indexed'> {
  const groups: number[][] = []
  const add = (asked: readonly string[], terms: (value: string) => (number | 'many')[]) => {
    if (asked.length === 0) return
    const all = asked.flatMap(terms)
    const known = all.filter((term) => term !== 'many')
    if (known.length === all.length) groups.push([...new Set(known)])
  }
  const personas = (text: string): (number | 'many')[] => {
    const found = people.get(text) ?? []
    return found === 'many' ? ['many'] : found.map((persona) => hashTerm(key, space.persona, String(persona)))
  }
  const whole = (in_: number) => (value: string) => [hashTerm(key, in_, value), ...personas(wholeText(value))]
  add(filter.request_id, whole(space.request))
  const ofRequests = groups[0]
  add(filter.trace_id, whole(space.trace))
  add(filter.session_id, (value) => [hashTerm(key, space.session, value)])
  add(filter.target, whole(space.target))
  add(filter.ip, personas)
  add(filter.team, whole(space.team))
  add(filter.auth_method, whole(space.authMethod))
  add(filter.category, (value) => [hashTerm(key, space.category, value)])
  // The usual outcome has no term.
  if (!filter.outcome.includes('success')) add(filter.outcome, (value) => [hashTerm(key, space.outcome, value)])
  for (const [name, values] of filter.metadata) {
    add(values, (value) => [hashTerm(key, space.metadata, metadataPair(name, value)), ...personas(wholeText(value))])
  }
  const cut = hashTerm(key, space.wordsCut, '')
  for (const word of filter.words) add([word], () => [hashTerm(key, space.word, word), cut, ...personas(word)])
  const narrowed = narrow(groups)
  return { groups: narrowed, indexed: narrowed.filter((group) => group !== ofRequests) }
}

/** A condition that many people satisfy costs a search more than it narrows, if another one narrows, too. */
function narrow(groups: readonly number[][]): number[][] {
  const short = groups.filter((group) => group.length <= maxTermsOfGroup)
  return short.length > 0 ? short : [...groups]
}

/** Terms of the request ids, unless some could also be personal values. */
function requestsOf(key: TermKey, filter: Filter, people: People): number[] | null {
  if (filter.request_id.length === 0 || filter.request_id.some((value) => people.has(wholeText(value)))) return null
  return filter.request_id.map((value) => hashTerm(key, space.request, value))
}
