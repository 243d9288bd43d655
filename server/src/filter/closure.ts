// The filter as a function: what decides, finally, whether an event is returned. The SQL of postgres.ts only finds
// candidates, and may find too many; this may not be wrong.
import type { Filter } from './filter.ts'
import { fold, type PersonalValues, personalWords, wholeText } from './people.ts'
import { visitTexts } from './terms.ts'
import { scalarText, visitWords } from './words.ts'

/** An event as the filter sees it. */
export interface Candidate {
  /** occurred_at in ms since 1970. */
  readonly occurredAt: number
  /** Control entries have no event. */
  readonly control: boolean
  /** The event with its personal values in place; confidential ones are absent, for they cannot be searched. */
  readonly event: Readonly<Record<string, unknown>>
  /** The values of each personal line that was not erased. */
  readonly people: readonly PersonalValues[]
}

export type Predicate = (candidate: Candidate) => boolean

type Part = Readonly<Record<string, unknown>>

const nothing: Part = {}
const part = (value: unknown): Part => (typeof value === 'object' && value !== null ? (value as Part) : nothing)
const list = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : [])

/** All conditions of a filter as one function. */
export function compileFilter(filter: Filter): Predicate {
  const ofEvent = eventConditions(filter)
  return (candidate) => {
    if (filter.from !== null && candidate.occurredAt < filter.from) return false
    if (filter.to !== null && candidate.occurredAt >= filter.to) return false
    if (candidate.control) return filter.control && ofEvent.length === 0
    return ofEvent.every((holds) => holds(candidate))
  }
}

function eventConditions(filter: Filter): Predicate[] {
  const conditions: Predicate[] = []
  const ofField = (wanted: readonly string[], field: (event: Part) => unknown) => {
    if (wanted.length === 0) return
    const values = new Set(wanted)
    conditions.push(({ event }) => values.has(field(event) as string))
  }
  const context = (name: string) => (event: Part) => part(event.context)[name]
  if (filter.actor.length > 0) {
    const isActor = personMatch(filter.actor)
    conditions.push(({ event }) => isActor(event.actor))
  }
  if (filter.target.length > 0) {
    const isTarget = personMatch(filter.target)
    conditions.push(({ event }) => list(event.targets).some(isTarget))
  }
  if (filter.action.length > 0) {
    const matches = actionMatch(filter.action)
    conditions.push(({ event }) => typeof event.action === 'string' && matches(event.action))
  }
  ofField(filter.category, (event) => event.category)
  ofField(filter.outcome, (event) => event.outcome)
  ofField(filter.team, (event) => part(event.actor).team)
  ofField(filter.auth_method, context('auth_method'))
  ofField(filter.request_id, context('request_id'))
  ofField(filter.trace_id, context('trace_id'))
  ofField(filter.session_id, context('session_id'))
  ofField(filter.ip, (event) => {
    const ip = part(event.context).ip
    return typeof ip === 'string' ? wholeText(ip) : undefined
  })
  for (const [key, values] of filter.metadata) {
    ofField(values, (event) => {
      const metadata = part(event.metadata)
      return Object.hasOwn(metadata, key) ? scalarText(metadata[key]) : undefined
    })
  }
  if (filter.words.length > 0) conditions.push((candidate) => hasWords(candidate, filter.words))
  return conditions
}

/** By id, exactly, or by e-mail address, however it is written. */
function personMatch(wanted: readonly string[]): (person: unknown) => boolean {
  const ids = new Set(wanted)
  const emails = new Set(wanted.map(fold))
  return (person) => {
    const { id, email } = part(person)
    return ids.has(id as string) || (typeof email === 'string' && emails.has(fold(email)))
  }
}

/** Whole actions, or beginnings followed by `*`. */
export function actionMatch(wanted: readonly string[]): (action: string) => boolean {
  const whole = new Set(wanted)
  const beginnings = wanted.filter((text) => text.endsWith('*')).map((text) => text.slice(0, -1))
  return (action) => whole.has(action) || beginnings.some((beginning) => action.startsWith(beginning))
}

function hasWords({ event, people }: Candidate, wanted: readonly string[]): boolean {
  const missing = new Set(wanted)
  visitTexts(event, (text) => {
    if (missing.size > 0) visitWords(text, (folded, start, end) => missing.delete(folded.slice(start, end)))
  })
  for (const person of people) {
    if (missing.size === 0) return true
    for (const word of personalWords(person)) missing.delete(word)
  }
  return missing.size === 0
}
