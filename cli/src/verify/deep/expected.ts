/**
 * What each filter must return, from verified payloads alone. The server finds events by columns and terms that are
 * derived from the facts; nothing hashes those, so only this comparison shows that none of them was edited.
 */
import { type Entry, isTime, type Payload } from '@affidavit/trail'
import { digestOf, list, type Part, part, type Restored, restore } from './restored.ts'
import { addressOf, eventWords, fold, personWords, scalarText } from './searched.ts'
import { ValueSample } from './value-sample.ts'

/** What is compared: the query parameters, `metadata` as `key=value`, and events by their ids. */
export const dimensions = [
  'action',
  'category',
  'outcome',
  'actor',
  'target',
  'team',
  'ip',
  'auth_method',
  'request_id',
  'trace_id',
  'session_id',
  'metadata',
  'q',
  'day',
  'id',
] as const
export type Dimension = (typeof dimensions)[number]

/** These may have as many values as there are events, or more; by default not all are asked. */
const MANY: ReadonlySet<Dimension> = new Set(['metadata', 'q', 'id'])
const USUAL_OF_MANY = 100
/** A persona is found by so many texts at most (docs/guides/search.md). */
const PERSON_WORDS = 100

export class Expected {
  readonly values: ReadonlyMap<Dimension, ValueSample>
  /** Seqs of all events whose facts are there, and of all entries. */
  readonly events: number[] = []
  readonly entries: number[] = []
  /** When each of `events` occurred, ms since 1970. */
  readonly times: number[] = []
  /** Events whose facts are there, but not as a server seals them: readers could take them for different events. */
  readonly ambiguous: number[] = []
  /** Events of which nothing is known: whether a filter returns them cannot be judged. */
  readonly unknown = new Set<number>()
  /** Events some of whose people are not known: whether they are found by a person cannot be judged. */
  readonly partial = new Set<number>()
  private readonly leaves: Uint8Array[] = []
  private readonly commitments: string[] = []
  private readonly digests: Uint8Array[] = []

  /** @param mostValues most values per dimension */
  constructor(mostValues?: number) {
    const most = (name: Dimension) => mostValues ?? (MANY.has(name) ? USUAL_OF_MANY : Number.POSITIVE_INFINITY)
    this.values = new Map(dimensions.map((name) => [name, new ValueSample(most(name))]))
  }

  /** Takes an entry and its payload. */
  add(seq: number, entry: Entry, payload: Payload, leaf: Uint8Array): void {
    this.entries.push(seq)
    this.leaves[seq] = leaf
    this.commitments[seq] = entry.facts
    if (!('event' in entry.body)) return
    const restored = restore(payload, entry.personal.length)
    if (restored === undefined) {
      this.unknown.add(seq)
      if (payload.facts !== undefined) this.ambiguous.push(seq)
      return
    }
    this.events.push(seq)
    if (restored.isPartial) this.partial.add(seq)
    this.digests[seq] = digestOf(Object.keys(restored.facts), restored.event)
    this.note(seq, restored)
  }

  /** Leaf hash of an entry. */
  leaf(seq: number): Uint8Array | undefined {
    return this.leaves[seq]
  }

  /** The facts commitment in the entry, base64. */
  commitment(seq: number): string | undefined {
    return this.commitments[seq]
  }

  /** Digest of the event as it must be shown, see `digestOf`; undefined for control entries. */
  digest(seq: number): Uint8Array | undefined {
    return this.digests[seq]
  }

  private note(seq: number, { facts, event, people }: Restored): void {
    this.time(seq, facts.occurred_at)
    for (const name of ['action', 'category', 'outcome'] as const) this.exact(name, seq, facts[name], event[name])
    this.exact('team', seq, part(facts.actor).team, part(event.actor).team)
    const [context, shownContext] = [part(facts.context), part(event.context)]
    for (const name of ['auth_method', 'request_id', 'trace_id'] as const)
      this.exact(name, seq, context[name], shownContext[name])
    // Only operator keys see session ids, and only they may ask for them.
    if (typeof shownContext.session_id === 'string') this.must('session_id', seq, shownContext.session_id)
    if (typeof shownContext.ip === 'string') this.must('ip', seq, addressOf(shownContext.ip))
    this.person('actor', seq, event.actor)
    for (const target of list(event.targets)) this.person('target', seq, target)
    this.metadata(seq, part(facts.metadata), part(event.metadata))
    this.words(seq, { facts, event, people })
    this.must('id', seq, facts.id)
  }

  private time(seq: number, occurredAt: unknown): void {
    // Sealed in any other form it could be read in two ways, and no day could be asked for by it.
    const time = typeof occurredAt === 'string' && isTime(occurredAt) ? Date.parse(occurredAt) : Number.NaN
    this.times.push(time)
    if (!Number.isNaN(time)) this.must('day', seq, (occurredAt as string).slice(0, 10))
  }

  /** A value that was cut into another part may be found or not: no filter promises it. */
  private exact(name: Dimension, seq: number, sealed: unknown, shown: unknown): void {
    if (typeof sealed === 'string') this.must(name, seq, sealed)
    else if (typeof shown === 'string') this.values.get(name)!.may(shown, seq)
  }

  private person(name: 'actor' | 'target', seq: number, person: unknown): void {
    const { id, email } = part(person)
    this.must(name, seq, id)
    if (typeof email === 'string') this.must(name, seq, fold(email))
  }

  private metadata(seq: number, sealed: Part, shown: Part): void {
    for (const [key, value] of Object.entries(shown)) {
      const text = scalarText(value)
      if (text === undefined || text === '') continue
      if (scalarText(sealed[key]) !== undefined) this.must('metadata', seq, `${key}=${text}`)
      else this.values.get('metadata')!.may(`${key}=${text}`, seq)
    }
  }

  private words(seq: number, { facts, event, people }: Omit<Restored, 'isPartial'>): void {
    const sample = this.values.get('q')!
    for (const word of eventWords(facts)) sample.must(word, seq)
    for (const values of people) {
      const words = personWords(values)
      for (const word of words) words.size <= PERSON_WORDS ? sample.must(word, seq) : sample.may(word, seq)
    }
    for (const word of eventWords(event)) sample.may(word, seq)
  }

  private must(name: Dimension, seq: number, value: unknown): void {
    if (typeof value === 'string' && value !== '') this.values.get(name)!.must(value, seq)
  }
}
