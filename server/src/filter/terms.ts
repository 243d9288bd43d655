// Search terms: everything that a filter can name and that has no column of its own, as keyed 32-bit hashes in one array
// per event. Made when an event is sealed and remade by the scrub and `verify --deep`, so they depend on nothing but the
// facts, the operator's session id and the numbers in the personal lines.
//
// Terms only find candidates: whatever they find is read again under row-level security and compared with the filter.
// No personal value becomes a term. Where one was cut, facts hold an object, and only strings, numbers and booleans are
// read here.
import { hashTerm, type TermKey } from './hash.ts'
import { scalarText, visitWords } from './words.ts'

/** Name spaces of terms, by the first code unit that is hashed. They are stored: never renumber them. */
export const space = {
  target: 2,
  subject: 3,
  persona: 4,
  request: 5,
  trace: 6,
  session: 7,
  team: 8,
  category: 9,
  outcome: 10,
  authMethod: 11,
  metadata: 12,
  word: 13,
  wordsCut: 14,
} as const

/** Terms of one event at most. */
export const maxTerms = 64

/** The subject and persona of one personal line, as numbers of the store. */
export interface Line {
  readonly subject: number | bigint | string
  /** Null for a line without personal values. */
  readonly persona: number | bigint | string | null
}

export interface TermSource {
  /** The facts, parsed, as they are stored: personal and confidential values already cut. */
  readonly facts: object
  /** From the operator's part; null where there is none. */
  readonly sessionId: string | null
  /** The actor column. Its subject is found there and gets no term. */
  readonly actor: number | bigint | string | null
  /** One for each personal line, in the order of the lines. */
  readonly lines: readonly Line[]
}

export interface EventTerms {
  /** The first is the request id's, 0 where there is none; the others, of everything else, are distinct. */
  readonly terms: readonly number[]
  /**
   * Whether all but the words are there (bit 1 of the column `flags`). An event without it is a candidate of every
   * search. Cut words are not counted here: they leave the term `wordsCut`, which searches for words look for, too.
   */
  readonly complete: boolean
}

/** The same in a scratch: its first `count` elements. */
export interface CollectedTerms {
  readonly terms: Int32Array
  count: number
  complete: boolean
}

type Part = Readonly<Record<string, unknown>>

const nothing: Part = {}
const part = (value: unknown): Part =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Part) : nothing
const list = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : [])

/** The text whose hash stands for one metadata pair. */
export function metadataPair(key: string, value: string): string {
  return `${key}=${value}`
}

/** Every text of an event in which words are searched, personal values excepted, the most telling first. */
export function visitTexts(facts: object, visit: (text: string) => void): void {
  const event = part(facts)
  const text = (value: unknown) => {
    if (typeof value === 'string') visit(value)
  }
  text(event.action)
  text(event.reason)
  for (const target of list(event.targets)) text(part(target).name)
  visitActorNames(part(event.actor), text)
  text(part(part(event.context).api_key).name)
  const metadata = part(event.metadata)
  for (const key in metadata) text(metadata[key])
}

function visitActorNames(actor: Part, text: (value: unknown) => void): void {
  text(actor.name)
  if (actor.on_behalf_of !== undefined) visitActorNames(part(actor.on_behalf_of), text)
  if (actor.impersonator !== undefined) visitActorNames(part(actor.impersonator), text)
}

// One event at a time is worked on, and its terms are copied out before the next: a scratch of their own would be two
// allocations an event. The last slot is kept for `wordsCut`.
const terms = new Int32Array(maxTerms)
let count = 0
let overflowed = false
let key: TermKey = { k0: 0, k1: 0 }

/** Keeps the term unless it is there already, the request's aside; notes an overflow when there is no room. */
function keep(term: number, room: number): void {
  for (let i = 1; i < count; i++) {
    if (terms[i] === term) return
  }
  if (count >= room) overflowed = true
  else terms[count++] = term
}

function add(space: number, value: unknown): void {
  if (typeof value === 'string') keep(hashTerm(key, space, value), maxTerms - 1)
}

function addWord(text: string, start: number, end: number): void {
  if (!overflowed) keep(hashTerm(key, space.word, text, start, end), maxTerms - 1)
}

const addWords = (text: string): void => visitWords(text, addWord)

/** All terms of an event. */
export function termsOf(tenantKey: TermKey, source: TermSource): EventTerms {
  const { complete } = collectTerms(tenantKey, source)
  return { terms: [...terms.subarray(0, count)], complete }
}

const collected: CollectedTerms = { terms, count: 0, complete: true }

/** As `termsOf`, for the write path: what is returned is valid until the next call of either. */
export function collectTerms(tenantKey: TermKey, source: TermSource): CollectedTerms {
  key = tenantKey
  count = 1
  overflowed = false
  const event = part(source.facts)
  const context = part(event.context)
  const targets = list(event.targets)
  const id = context.request_id
  terms[0] = typeof id === 'string' ? hashTerm(key, space.request, id) : 0
  addIds(source, event, context, targets)
  const metadata = part(event.metadata)
  for (const name in metadata) {
    const value = scalarText(metadata[name])
    if (value !== undefined) add(space.metadata, metadataPair(name, value))
  }
  const complete = !overflowed
  overflowed = false
  visitTexts(source.facts, addWords)
  if (overflowed) keep(hashTerm(key, space.wordsCut, ''), maxTerms)
  collected.count = count
  collected.complete = complete
  return collected
}

function addIds(source: TermSource, event: Part, context: Part, targets: readonly unknown[]): void {
  add(space.trace, context.trace_id)
  add(space.session, source.sessionId)
  add(space.team, part(event.actor).team)
  add(space.category, event.category)
  if (event.outcome !== 'success') add(space.outcome, event.outcome)
  add(space.authMethod, context.auth_method)
  const actor = source.actor === null ? '' : String(source.actor)
  for (const line of source.lines) {
    const subject = String(line.subject)
    if (subject !== actor) add(space.subject, subject)
    if (line.persona !== null) add(space.persona, String(line.persona))
  }
  for (const target of targets) add(space.target, part(target).id)
}
