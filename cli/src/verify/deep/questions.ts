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
import { fold, wordsOf } from './searched.ts'

export interface Question {
  /** Query parameters beside tenant, order and limit. */
  readonly filter: string
  /** What must come back: each seq with the one filter that it belongs to. */
  readonly expected: ReadonlyMap<number, string>
  /** What may come back besides. */
  readonly allowed: ReadonlySet<number>
  /** Events whose people are not all known may come back, too. */
  readonly isPersonal: boolean
}

/** An event that must be found by its id. */
export interface IdQuestion {
  readonly id: string
  /** The newest event of that id. */
  readonly seq: number
}

const DAY_MS = 86_400_000
/** What a query parameter takes; longer values cannot be asked for. */
const LONGEST: Readonly<Record<Dimension, number>> = {
  action: 128,
  category: 32,
  outcome: 16,
  actor: 320,
  target: 320,
  team: 256,
  ip: 64,
  auth_method: 16,
  request_id: 256,
  trace_id: 256,
  session_id: 256,
  metadata: 1024,
  q: 64,
  day: 10,
  id: 64,
}
/** Fields with more values are asked in groups. */
const GROUPED_ABOVE = 1000
const GROUP = 20
/** A request line stays well within what servers and proxies take. */
const GROUP_LENGTH = 6000
const ROUNDS = 2
const GROUPED: ReadonlySet<Dimension> = new Set([
  'actor',
  'target',
  'request_id',
  'trace_id',
  'session_id',
  'team',
  'ip',
])
/** Found by values that an erasure takes away. */
const PERSONAL: ReadonlySet<Dimension> = new Set(['actor', 'target', 'ip', 'q'])
/** Time is cut around so many times of events. */
const WINDOWS = 32

interface Member {
  readonly filter: string
  readonly seqs: readonly number[]
  readonly allowed: readonly number[]
  readonly isPersonal?: boolean
}

export function questionsOf(expected: Expected): { questions: Question[]; ids: IdQuestion[]; notes: string[] } {
  const questions = [
    ask([{ filter: '', seqs: expected.events, allowed: [] }]),
    ask([{ filter: 'control=true', seqs: expected.entries, allowed: [] }]),
  ]
  const notes: string[] = []
  for (const dimension of dimensions) {
    if (dimension === 'id') continue
    const all = [...expected.values.get(dimension)!.values()]
    const members = all
      .filter(([value]) => canAsk(dimension, value))
      .map(([value, { must, may }]) => ({
        filter: parameters(dimension, value),
        seqs: must,
        allowed: [...may, ...namesakes(expected, dimension, value)],
        isPersonal: PERSONAL.has(dimension),
      }))
    const isGrouped = GROUPED.has(dimension) && members.length > GROUPED_ABOVE
    questions.push(...(isGrouped ? grouped(members) : members.map((member) => ask([member]))))
    if (isGrouped) notes.push(`${dimension}: ${members.length} values compared in random groups, ${ROUNDS} rounds`)
    if (expected.values.get(dimension)!.isPartial)
      notes.push(`${dimension}: ${members.length} values compared, chosen at random among more (--deep-values)`)
    if (all.length > members.length) notes.push(notCompared(dimension, all.length - members.length))
  }
  questions.push(...beginnings(expected), ...windows(expected))
  const known = [...expected.values.get('id')!.values()]
  const ids = known.filter(([id]) => canAsk('id', id)).map(([id, { must }]) => ({ id, seq: must.at(-1)! }))
  if (known.length > ids.length) notes.push(notCompared('id', known.length - ids.length))
  if (expected.values.get('id')!.isPartial)
    notes.push(`${ids.length} events were asked for by id, chosen at random (--deep-values)`)
  return { questions, ids, notes }
}

const notCompared = (dimension: Dimension, count: number) =>
  `${dimension}: ${count} value(s) that no filter takes were not compared`

function canAsk(dimension: Dimension, value: string): boolean {
  if (dimension === 'action' && value.includes('*')) return false
  if (dimension === 'q' && wordsOf(value).join() !== value) return false
  if (dimension === 'metadata') {
    const key = value.indexOf('=')
    return key > 0 && value.length - key <= LONGEST.metadata + 1 && value.isWellFormed()
  }
  return value.length <= LONGEST[dimension] && value.isWellFormed()
}

/** An id that looks like an address also finds people by their address, however either is written. */
function namesakes(expected: Expected, dimension: Dimension, value: string): readonly number[] {
  if (dimension !== 'actor' && dimension !== 'target') return []
  const folded = fold(value)
  return folded === value ? [] : (expected.values.get(dimension)!.get(folded)?.must ?? [])
}

function parameters(dimension: Dimension, value: string): string {
  if (dimension === 'day') {
    const next = new Date(Date.parse(value) + DAY_MS).toISOString().slice(0, 10)
    return `from=${value}&to=${next}`
  }
  if (dimension !== 'metadata') return `${dimension}=${encodeURIComponent(value)}`
  const at = value.indexOf('=')
  return `metadata.${encodeURIComponent(value.slice(0, at))}=${encodeURIComponent(value.slice(at + 1))}`
}

function ask(members: readonly Member[]): Question {
  return {
    filter: members.map(({ filter }) => filter).join('&'),
    expected: new Map(members.flatMap(({ filter, seqs }) => seqs.map((seq) => [seq, filter] as const))),
    allowed: new Set(members.flatMap(({ allowed }) => allowed)),
    isPersonal: members.some(({ isPersonal }) => isPersonal === true),
  }
}

/** Actions by their beginnings: `user.*` for each first word. */
function* beginnings(expected: Expected): Generator<Question> {
  const seqsOf = new Map<string, number[]>()
  const sample = expected.values.get('action')!
  if (sample.isPartial) return // the actions that were given up would look like surplus
  for (const [action, { must }] of sample.values()) {
    const beginning = /^[A-Za-z0-9_-]+\./.exec(action)?.[0]
    if (beginning === undefined) continue
    const seqs = seqsOf.get(beginning)
    if (seqs === undefined) seqsOf.set(beginning, [...must])
    else for (const seq of must) seqs.push(seq)
  }
  for (const [beginning, seqs] of seqsOf) yield ask([{ filter: `action=${beginning}*`, seqs, allowed: [] }])
}

/**
 * The whole time from the first event to the last, cut before and after random times of events; of all of them where they
 * are few. So a time that was moved, however little, is missed in a window of its own.
 */
function* windows({ events, times }: Expected): Generator<Question> {
  const order = events.map((seq, i) => ({ seq, time: times[i]! })).filter(({ time }) => !Number.isNaN(time))
  order.sort((a, b) => a.time - b.time)
  const last = order.at(-1)
  if (last === undefined) return
  const some = shuffled([...new Set(order.map(({ time }) => time))]).slice(0, WINDOWS)
  const cuts = [...new Set(some.flatMap((time) => [time, time + 1]))]
  let from = order[0]!.time
  let at = 0
  for (const to of [...cuts.sort((a, b) => a - b), last.time + 1]) {
    const first = at
    while (at < order.length && order[at]!.time < to) at++
    if (at === first) continue
    const filter = `from=${new Date(from).toISOString()}&to=${new Date(to).toISOString()}`
    yield ask([{ filter, seqs: order.slice(first, at).map(({ seq }) => seq), allowed: [] }])
    from = to
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
