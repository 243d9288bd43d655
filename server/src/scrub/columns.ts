// Columns that are derived: recomputed from the facts and from the people of an event, and compared with what is stored.
// An edit of one of them hides an event from a filter while every hash still fits.
//
// Not derivable, and so not checked: whether the client gave the id (bit 4 of `flags`), and the body's digest.

import { CATEGORIES } from '@affidavit/trail'
import { outcomes } from '../filter/filter.ts'
import { type TermKey, termKey } from '../filter/hash.ts'
import type { PersonalValues } from '../filter/people.ts'
import { searchTexts } from '../filter/people.ts'
import { termsOf } from '../filter/terms.ts'
import { identityText } from '../keys/identity.ts'
import type { TenantKeys } from '../keys/tenant-keys.ts'
import { join } from '../render/join.ts'
import { linesOf, sealedPart } from '../store/event-row.ts'
import { flag, lateAfter_ms } from '../store/sealable.ts'
import type { Tenant } from '../tenants/tenants.ts'
import { type Mismatch, mismatch } from './mismatch.ts'
import { idOf, type Page, parsed, type ScrubRow } from './page.ts'

type Part = Readonly<Record<string, unknown>>
const part = (value: unknown): Part => (typeof value === 'object' && value !== null ? (value as Part) : {})

/** Every derived column of a row, payload or none. */
export function* wrongColumns(page: Page, tenant: Tenant<TenantKeys>, row: ScrubRow): Generator<Mismatch> {
  const { seq } = row
  const wrong = (what: string, message: string) =>
    mismatch(seq, what, `${message} of entry ${seq} is not what it is derived from`, (row as Part)[what] ?? null)
  if (row.tenant !== page.trail.tenant) yield wrong('tenant', 'the tenant')
  if (row.shard !== page.trail.shard) yield wrong('shard', 'the shard')
  if (row.position >= page.trail.shardPosition) yield wrong('position', 'the position')
  if (row.day !== new Date(row.sealed_at).toISOString().slice(0, 10)) yield wrong('day', 'the day')
  yield* wrongDay(page, row)
  const facts = row.facts === null || row.control !== null ? undefined : parsed(row.facts)
  if (facts === undefined) return
  if (row.occurred_at !== Date.parse(String(facts.occurred_at))) yield wrong('occurred_at', 'the time of occurrence')
  const action = row.action === null ? undefined : page.actions.get(row.action)
  if (action === undefined || action.action !== facts.action || action.tenant !== row.tenant)
    yield wrong('action', 'the action')
  if (CATEGORIES[row.category - 1] !== facts.category) yield wrong('category', 'the category')
  if (outcomes[row.outcome] !== facts.outcome) yield wrong('outcome', 'the outcome')
  yield* wrongTerms(tenant, row, facts)
  yield* wrongActor(page, tenant, row)
  const id = idOf(row, tenant)
  if (id !== undefined && page.weeks.has(weekOf(row.day)) && !page.ids.get(id)?.has(seq))
    yield mismatch(seq, 'event_ids', `entry ${seq} is not found by its id`, id)
}

/** Searches go by days: an event outside of its day's range is not found. */
function* wrongDay(page: Page, row: ScrubRow): Generator<Mismatch> {
  const day = page.days.get(row.day)
  const { seq, occurred_at } = row
  if (day && day.first <= seq && seq <= day.last && day.from <= occurred_at && occurred_at <= day.to) return
  yield mismatch(seq, 'days', `entry ${seq} lies outside of the range that searches know of its day`, day ?? null)
}

function* wrongTerms(tenant: Tenant<TenantKeys>, row: ScrubRow, facts: Part): Generator<Mismatch> {
  const made = termsOf(termKeyOf(tenant), {
    facts,
    sessionId: sessionOf(row),
    actor: row.actor,
    lines: linesOf(row.personal),
  })
  const wrong = (what: string, message: string) => mismatch(row.seq, what, message, (row as Part)[what])
  if (ordered(made.terms) !== ordered(row.terms ?? []))
    yield wrong('terms', `the search terms of entry ${row.seq} are not those of its facts`)
  const late = Date.parse(String(facts.received_at)) - Date.parse(String(facts.occurred_at)) > lateAfter_ms
  const flags =
    (made.complete ? flag.termsComplete : 0) |
    (part(facts.actor).internal === true ? flag.internal : 0) |
    (late ? flag.late : 0)
  if ((row.flags & ~flag.clientId) !== flags)
    yield wrong('flags', `the flags of entry ${row.seq} are not those of its facts`)
}

/** The first term has a meaning by its place, the others have none. */
const ordered = ([first, ...others]: readonly number[]) => `${first} ${others.sort().join()}`

function sessionOf(row: ScrubRow): string | null {
  if (row.operator === null) return null
  const pairs: unknown = parsed(sealedPart(row.operator).content.toString('utf8'))
  const session = Array.isArray(pairs) ? pairs.find((pair) => pair?.[0] === '/context/session_id')?.[1] : undefined
  return typeof session === 'string' ? session : null
}

const termKeys = new WeakMap<object, TermKey>()

function termKeyOf(tenant: Tenant<TenantKeys>): TermKey {
  const key = termKeys.get(tenant.keys) ?? termKey(tenant.keys.termKey)
  termKeys.set(tenant.keys, key)
  return key
}

/** Whose event it is: the subject of the actor column must be the one that the actor's identity leads to. */
function* wrongActor(page: Page, tenant: Tenant<TenantKeys>, row: ScrubRow): Generator<Mismatch> {
  const readings = linesOf(row.personal).map((line) => page.people.get(line.persona) ?? 'erased')
  const contents = readings.map((reading) => (typeof reading === 'object' ? reading.content : null))
  const { event } = join(row.facts!, { personal: contents })
  const wrong = (message: string) => mismatch(row.seq, 'actor', `${message} of entry ${row.seq}`, row.actor)
  const actor = part(event.actor)
  const identity = identityOf(actor, tenant.id)
  // Null where it was cut and is erased, or where there is nobody to know.
  if (identity === undefined) return
  const subject = row.actor === null ? undefined : page.subjects.get(Number(row.actor))
  if (subject === undefined) {
    yield wrong('nobody is named as the actor')
    return
  }
  if (subject.erased) return
  const token = tenant.keys.subjectToken(identityText(identity, 0)).toString('hex')
  if (subject.token !== token) yield wrong('another person is named as the actor')
  const stored = parsed(row.facts!)
  const open = part(stored?.actor).id
  if (
    typeof open === 'string' &&
    subject.idToken !== null &&
    subject.idToken !== String(tenant.keys.subjectIdToken(open))
  )
    yield mismatch(row.seq, 'subjects', `the actor of entry ${row.seq} is not found by their id`, subject.idToken)
}

/** As ingest resolves it: type and id, else the e-mail address. */
function identityOf(actor: Part, tenant: string): { type: string; id: string } | { email: string } | undefined {
  const { type, id, email, tenant: home } = actor
  if (typeof id === 'string' && typeof type === 'string')
    return { type: typeof home !== 'string' || home === tenant ? type : `${type}@${home}`, id }
  if (id === undefined && typeof email === 'string' && email !== '') return { email }
  return undefined
}

/** People of the page whose search tokens are not those of their values, each with the entry it was met in. */
export function* wrongTokens(page: Page, tenant: Tenant<TenantKeys>, known: Set<number>): Generator<Mismatch> {
  for (const row of page.rows)
    for (const { persona } of linesOf(row.personal)) {
      if (known.has(persona)) continue
      known.add(persona)
      const reading = page.people.get(persona)
      if (reading === 'tampered')
        yield mismatch(row.seq, 'personas', `a person of entry ${row.seq} does not open as they were stored`, persona)
      if (typeof reading !== 'object') continue
      const values = JSON.parse(reading.content) as PersonalValues
      const wanted = new Set(searchTexts(values).map((text) => String(tenant.keys.searchToken(text))))
      const stored = page.tokens.get(persona) ?? new Set<string>()
      if (wanted.size === stored.size && [...wanted].every((token) => stored.has(token))) continue
      const message = `a person of entry ${row.seq} is not found by what is known of them`
      yield mismatch(row.seq, 'persona_tokens', message, [...stored].sort())
    }
}

/** The Monday of a day's week. */
function weekOf(day: string): string {
  const date = new Date(`${day}T00:00:00Z`)
  date.setUTCDate(date.getUTCDate() - ((date.getUTCDay() + 6) % 7))
  return date.toISOString().slice(0, 10)
}
