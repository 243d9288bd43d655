/**
 * Which filters `--deep` asks, and what each must return.
 *
 * A field with many values (request ids, say) is asked in random groups, in two rounds with other groups each: asking
 * one by one would take a request per event. An event that a group leaves out is found for certain. Only an event whose
 * column was changed to another value of the same group would be missed; whoever edits it cannot know the groups, and
 * meets one of at most 20 among more than 1,000 values twice in a row in fewer than one of 2,500 runs.
 */
import { randomInt } from 'node:crypto'
import { type Dimension, dimensions, type Expected } from './expected.ts'

export interface Question {
  /** Query parameters beside tenant, order and limit. */
  readonly filter: string
  /** What must come back: each seq with the one filter that it belongs to. */
  readonly expected: ReadonlyMap<number, string>
  /** Other events may match, too: an address also finds people by their e-mail. */
  readonly mayHaveMore: boolean
}

const DAY_MS = 86_400_000
/** What a query parameter takes; longer values cannot be asked for. */
const LONGEST: Readonly<Partial<Record<Dimension, number>>> = { actor: 320, target: 320, action: 128, request_id: 256 }
const LONGEST_OTHER = 64
/** Fields with more values are asked in groups. */
const GROUPED_ABOVE = 1000
const GROUP = 20
/** A request line stays well within what servers and proxies take. */
const GROUP_LENGTH = 6000
const ROUNDS = 2
const GROUPED: ReadonlySet<Dimension> = new Set(['actor', 'target', 'request_id'])

interface Member {
  readonly filter: string
  readonly seqs: readonly number[]
  readonly mayHaveMore: boolean
}

/** @param mostValues most values per field */
export function questionsOf(expected: Expected, mostValues: number): { questions: Question[]; notes: string[] } {
  const questions = [
    ask([{ filter: '', seqs: expected.events, mayHaveMore: false }]),
    ask([{ filter: 'control=true', seqs: expected.entries, mayHaveMore: false }]),
  ]
  const notes: string[] = []
  for (const dimension of dimensions) {
    const all = [...expected.values.get(dimension)!]
    const askable = all.filter(([value]) => canAsk(dimension, value))
    const members = askable.slice(0, mostValues).map(([value, seqs]) => memberOf(dimension, value, seqs))
    const isGrouped = GROUPED.has(dimension) && members.length > GROUPED_ABOVE
    questions.push(...(isGrouped ? grouped(members) : members.map((member) => ask([member]))))
    if (isGrouped) notes.push(`${dimension}: ${members.length} values compared in random groups, ${ROUNDS} rounds`)
    if (askable.length > members.length)
      notes.push(`${dimension}: ${members.length} of ${askable.length} values compared (--deep-values)`)
    if (all.length > askable.length)
      notes.push(`${dimension}: ${all.length - askable.length} value(s) that no filter takes were not compared`)
  }
  return { questions, notes }
}

function canAsk(dimension: Dimension, value: string): boolean {
  if (dimension === 'action' && value.includes('*')) return false
  return value.length <= (LONGEST[dimension] ?? LONGEST_OTHER) && value.isWellFormed()
}

function memberOf(dimension: Dimension, value: string, seqs: readonly number[]): Member {
  const isPerson = dimension === 'actor' || dimension === 'target'
  return { filter: parameters(dimension, value), seqs, mayHaveMore: isPerson && value.includes('@') }
}

function parameters(dimension: Dimension, value: string): string {
  if (dimension !== 'day') return `${dimension}=${encodeURIComponent(value)}`
  const next = new Date(Date.parse(value) + DAY_MS).toISOString().slice(0, 10)
  return `from=${value}&to=${next}`
}

function ask(members: readonly Member[]): Question {
  return {
    filter: members.map(({ filter }) => filter).join('&'),
    expected: new Map(members.flatMap(({ filter, seqs }) => seqs.map((seq) => [seq, filter] as const))),
    mayHaveMore: members.some(({ mayHaveMore }) => mayHaveMore),
  }
}

function* grouped(members: readonly Member[]): Generator<Question> {
  for (let round = 0; round < ROUNDS; round++) {
    let group: Member[] = []
    let length = 0
    for (const member of shuffled(members)) {
      if (group.length === GROUP || (group.length > 0 && length + member.filter.length >= GROUP_LENGTH)) {
        yield ask(group)
        group = []
        length = 0
      }
      group.push(member)
      length += member.filter.length + 1
    }
    yield ask(group)
  }
}

/** In an order that nobody can foresee (Fisher and Yates). */
function shuffled<T>(items: readonly T[]): T[] {
  const order = [...items]
  for (let i = order.length - 1; i > 0; i--) {
    const j = randomInt(i + 1)
    ;[order[i], order[j]] = [order[j]!, order[i]!]
  }
  return order
}
