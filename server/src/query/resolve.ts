// From a filter's texts to numbers of the store: actions through the dictionary, people through their tokens, all else
// through the tenant's keyed hashes. Everything is read in the search's own snapshot, where words and people are at
// least as old as the events that name them.
import { actionMatch } from '../filter/closure.ts'
import type { Filter } from '../filter/filter.ts'
import { type TermKey, termKey, termNumber } from '../filter/hash.ts'
import { wholeText } from '../filter/people.ts'
import { maxProbes, type Plan } from '../filter/postgres.ts'
import { metadataPair, space } from '../filter/terms.ts'
import { identityText } from '../keys/identity.ts'
import type { TenantKeys } from '../keys/tenant-keys.ts'
import type { Queryable } from '../store/database.ts'

/** A condition that more personas or subjects than this satisfy narrows nothing: it is left to the recheck. */
export const maxPeople = 512
const maxTermsOfGroup = 64

/** Actor types under which an id may be known. Identities hold the type, filters do not. */
const actorTypes = ['user', 'api_key', 'service', 'agent', 'system', 'anonymous']

/** A plan, and the actions that its actors can have done at most, for index probes; or that nothing can match. */
export type Resolution = { readonly plan: Plan; readonly dictionary: readonly number[] | null } | 'nothing'

interface Person {
  readonly persona: number
  readonly subject: number
}

/** Who is found by a text; `many` when they are too many to name. */
type People = ReadonlyMap<string, readonly Person[] | 'many'>

export async function resolve(
  session: Queryable,
  tenant: number,
  keys: TenantKeys,
  filter: Filter,
): Promise<Resolution> {
  const actions = await resolveActions(session, tenant, filter)
  const people = await findPeople(session, tenant, keys, filter)
  const actors = await resolveActors(session, tenant, keys, filter, people)
  if (actors === 'nobody' || actions?.length === 0) return 'nothing'
  const key = termKey(keys.termKey)
  const groups = groupsOf(key, filter, people)
  const plan: Plan = {
    actors: actors === 'many' ? null : actors,
    actions,
    groups,
    requests: requestsOf(key, filter, people),
    from: filter.from,
    to: filter.to,
    control: filter.control,
  }
  const dictionary = plan.actors === null || actions !== null ? actions : await wholeDictionary(session, tenant)
  return { plan, dictionary }
}

async function resolveActions(session: Queryable, tenant: number, filter: Filter): Promise<number[] | null> {
  if (filter.action.length === 0 || filter.action.includes('*')) return null
  const patterns = filter.action.filter((action) => action.endsWith('*')).map((action) => action.slice(0, -1))
  const { rows } = await session.query<{ number: number; action: string }>(
    `select number, action from affidavit.actions
     where tenant = $1 and (action = any($2) or exists (select from unnest($3::text[]) p where starts_with(action, p)))`,
    [tenant, filter.action, patterns],
  )
  const matches = actionMatch(filter.action)
  return rows.filter((row) => matches(row.action)).map((row) => row.number)
}

/** All actions of the tenant when they are few enough to probe each. */
async function wholeDictionary(session: Queryable, tenant: number): Promise<number[] | null> {
  const { rows } = await session.query<{ number: number }>(
    'select number from affidavit.actions where tenant = $1 limit $2',
    [tenant, maxProbes + 1],
  )
  return rows.length > maxProbes ? null : rows.map((row) => row.number)
}

/** Texts of a filter that may be personal values. Any field may be, if a tenant's policy says so. */
function personalTexts(filter: Filter): Set<string> {
  const whole = [
    filter.actor,
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
  const { rows } = await session.query<{ n: number; personas: bigint[]; subjects: bigint[] }>(
    `select n::int, array_agg(t.persona) as personas, array_agg(t.subject) as subjects
     from unnest($2::bigint[]) with ordinality as asked (token, n) cross join lateral (
       select persona, subject from affidavit.persona_tokens where tenant = $1 and token = asked.token limit $3) t
     group by n`,
    [tenant, texts.map((text) => keys.searchToken(text).toString()), maxPeople + 1],
  )
  const found = new Map<string, readonly Person[] | 'many'>()
  for (const { n, personas, subjects } of rows) {
    const people = personas.map((persona, i) => ({ persona: Number(persona), subject: Number(subjects[i]) }))
    found.set(texts[n - 1] as string, people.length > maxPeople ? 'many' : people)
  }
  return found
}

async function resolveActors(
  session: Queryable,
  tenant: number,
  keys: TenantKeys,
  filter: Filter,
  people: People,
): Promise<number[] | 'many' | 'nobody' | null> {
  if (filter.actor.length === 0) return null
  const subjects = new Set<number>()
  for (const actor of filter.actor) {
    const found = people.get(wholeText(actor)) ?? []
    if (found === 'many') return 'many'
    for (const { subject } of found) subjects.add(subject)
  }
  const tokens = filter.actor.flatMap((actor) => [
    ...actorTypes.map((type) => keys.subjectToken(identityText({ type, id: actor }, 0))),
    keys.subjectToken(identityText({ email: actor }, 0)),
  ])
  const { rows } = await session.query<{ number: number }>(
    'select number from affidavit.subjects where tenant = $1 and token = any($2::uuid[])',
    [tenant, tokens.map((token) => token.toString('hex'))],
  )
  for (const { number } of rows) subjects.add(number)
  if (subjects.size > maxPeople) return 'many'
  return subjects.size === 0 ? 'nobody' : [...subjects]
}

/** For each condition the terms of which an event must have one; conditions that too many people satisfy are left out. */
function groupsOf(key: TermKey, filter: Filter, people: People): string[][] {
  const groups: string[][] = []
  const add = (asked: readonly string[], terms: (value: string) => (string | 'many')[]) => {
    if (asked.length === 0) return
    const all = asked.flatMap(terms)
    if (!all.includes('many')) groups.push([...new Set(all)])
  }
  const personas = (text: string): (string | 'many')[] => {
    const found = people.get(text) ?? []
    return found === 'many' ? ['many'] : found.map(({ persona }) => termNumber(key, space.persona, String(persona)))
  }
  const whole = (in_: number) => (value: string) => [termNumber(key, in_, value), ...personas(wholeText(value))]
  add(filter.request_id, whole(space.request))
  add(filter.trace_id, whole(space.trace))
  add(filter.session_id, (value) => [termNumber(key, space.session, value)])
  add(filter.target, whole(space.target))
  add(filter.ip, personas)
  add(filter.team, whole(space.team))
  add(filter.auth_method, whole(space.authMethod))
  add(filter.category, (value) => [termNumber(key, space.category, value)])
  // The usual outcome has no term.
  if (!filter.outcome.includes('success')) add(filter.outcome, (value) => [termNumber(key, space.outcome, value)])
  for (const [name, values] of filter.metadata) {
    add(values, (value) => [termNumber(key, space.metadata, metadataPair(name, value)), ...personas(wholeText(value))])
  }
  const cut = termNumber(key, space.wordsCut, '')
  for (const word of filter.words) add([word], () => [termNumber(key, space.word, word), cut, ...personas(word)])
  return narrow(groups)
}

/** A condition that many people satisfy costs a search more than it narrows, if another one narrows, too. */
function narrow(groups: readonly string[][]): string[][] {
  const short = groups.filter((group) => group.length <= maxTermsOfGroup)
  return short.length > 0 ? short : [...groups]
}

/** Terms of the request ids, unless some could also be personal values. */
function requestsOf(key: TermKey, filter: Filter, people: People): string[] | null {
  if (filter.request_id.length === 0 || filter.request_id.some((value) => people.has(wholeText(value)))) return null
  return filter.request_id.map((value) => termNumber(key, space.request, value))
}
