/**
 * What each filter must return, from verified payloads alone. The server finds events by columns that are derived from
 * the facts; nothing hashes those columns, so only this comparison shows that none of them was edited.
 */
import type { Entry, Payload } from '@affidavit/trail'

/** The query parameters that are compared. */
export const dimensions = ['action', 'category', 'outcome', 'actor', 'target', 'request_id', 'day'] as const
export type Dimension = (typeof dimensions)[number]

export class Expected {
  /** Values per dimension, in the order of their first appearance, each with its seqs ascending. */
  readonly values: ReadonlyMap<Dimension, ReadonlyMap<string, number[]>>
  /** Seqs of all events whose facts are there, and of all entries. */
  readonly events: number[] = []
  readonly entries: number[] = []
  /** Events of which nothing is known: whether a filter returns them cannot be judged. */
  readonly unknown = new Set<number>()
  private readonly own = new Map<Dimension, Map<string, number[]>>(dimensions.map((name) => [name, new Map()]))
  private readonly leaves: Uint8Array[] = []
  private readonly commitments: string[] = []

  constructor() {
    this.values = this.own
  }

  /** Takes an entry and its payload. */
  add(seq: number, entry: Entry, payload: Payload, leaf: Uint8Array): void {
    this.entries.push(seq)
    this.leaves[seq] = leaf
    this.commitments[seq] = entry.facts
    if (!('event' in entry.body)) return
    const event = payload.facts === undefined ? undefined : parse(payload.facts.content)
    if (event === undefined) {
      this.unknown.add(seq)
      return
    }
    this.events.push(seq)
    const personal = personalValues(payload)
    this.note('action', event.action, seq)
    this.note('category', event.category, seq)
    this.note('outcome', event.outcome, seq)
    this.note('request_id', part(event.context).request_id, seq)
    this.note('actor', part(event.actor).id, seq, personal.get('/actor/id'))
    for (const [i, target] of list(event.targets).entries())
      this.note('target', part(target).id, seq, personal.get(`/targets/${i}/id`))
    if (typeof event.occurred_at === 'string') this.note('day', event.occurred_at.slice(0, 10), seq)
  }

  leaf(seq: number): Uint8Array | undefined {
    return this.leaves[seq]
  }

  /** The facts commitment in the entry, base64. */
  commitment(seq: number): string | undefined {
    return this.commitments[seq]
  }

  /** @param instead the value that was cut into a personal part, where the facts hold only its marker */
  private note(dimension: Dimension, value: unknown, seq: number, instead?: unknown): void {
    const text = typeof value === 'string' ? value : instead
    if (typeof text !== 'string' || text === '') return
    const values = this.own.get(dimension)!
    const seqs = values.get(text)
    if (seqs === undefined) values.set(text, [seq])
    else if (seqs.at(-1) !== seq) seqs.push(seq)
  }
}

type Part = Readonly<Record<string, unknown>>

const part = (value: unknown): Part => (typeof value === 'object' && value !== null ? (value as Part) : {})
const list = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : [])

function parse(facts: string): Part | undefined {
  try {
    return part(JSON.parse(facts))
  } catch {
    return undefined
  }
}

/** Personal values by pointer. */
function personalValues({ personal = [] }: Payload): Map<string, unknown> {
  const values = new Map<string, unknown>()
  for (const { content } of personal) {
    try {
      for (const pair of list(JSON.parse(content))) {
        const [pointer, value] = list(pair)
        if (typeof pointer === 'string') values.set(pointer, value)
      }
    } catch {
      // its commitment is checked elsewhere; what is no JSON names nobody
    }
  }
  return values
}
