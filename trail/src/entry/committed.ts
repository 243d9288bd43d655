/**
 * What an entry commits to, as far as checking payloads needs it. A verifier asks this of every entry, and of hardly any
 * for more: so it reads the lines where they stand in the bundle, and makes an `Entry` only where somebody asks for one.
 */
import { type Entry, type EntryReader, personalCommitmentAt } from './entry.ts'
import { HashText } from './hash-text.ts'

export interface Committed {
  readonly isEvent: boolean
  readonly hasConfidential: boolean
  readonly hasOperator: boolean
  readonly personalLines: number
  /** Whether the facts line holds this commitment (base64); so do the next two, for lines that are there. */
  isFacts(commitment: string | undefined): boolean
  isConfidential(commitment: string | undefined): boolean
  isOperator(commitment: string | undefined): boolean
  /** @param n below `personalLines` */
  isPersonal(n: number, commitment: string | undefined): boolean
  readonly entry: Entry
}

/** Of an entry that was decoded. */
export class DecodedCommitted implements Committed {
  readonly entry: Entry

  constructor(entry: Entry) {
    this.entry = entry
  }

  get isEvent(): boolean {
    return 'event' in this.entry.body
  }

  get hasConfidential(): boolean {
    return this.entry.confidential !== undefined
  }

  get hasOperator(): boolean {
    return this.entry.operator !== undefined
  }

  get personalLines(): number {
    return this.entry.personal.length
  }

  isFacts(commitment: string | undefined): boolean {
    return commitment === this.entry.facts
  }

  isConfidential(commitment: string | undefined): boolean {
    return commitment === this.entry.confidential
  }

  isOperator(commitment: string | undefined): boolean {
    return commitment === this.entry.operator
  }

  isPersonal(n: number, commitment: string | undefined): boolean {
    return commitment === this.entry.personal[n]!.commitment
  }
}

/** Numbers kept of each entry. */
const FIELDS = 7
const START = 0
const END = 1
const FACTS_AT = 2
const CONFIDENTIAL_AT = 3
const OPERATOR_AT = 4
const PERSONAL_AT = 5
const PERSONAL_LINES = 6

/** Of the entries of a bundle, one after another: `add` each behind its `scan`, then `at` any of them. */
export class ScannedCommitted implements Committed {
  private readonly reader: EntryReader
  private readonly fields: Int32Array
  private readonly events: boolean[] = []
  private readonly asked = new HashText()
  /** Of the entry in question, in `fields`. */
  private from = 0
  isEvent = false

  /** @param width how many entries there can be */
  constructor(reader: EntryReader, width: number) {
    this.reader = reader
    this.fields = new Int32Array(width * FIELDS)
  }

  /** Takes the entry [start, end), of which the reader holds what its `scan` found; one that could not be read is `skip`ped. */
  add(start: number, end: number): void {
    const { reader, fields, events } = this
    const from = events.length * FIELDS
    fields[from + START] = start
    fields[from + END] = end
    fields[from + FACTS_AT] = reader.factsAt
    fields[from + CONFIDENTIAL_AT] = reader.confidentialAt
    fields[from + OPERATOR_AT] = reader.operatorAt
    fields[from + PERSONAL_AT] = reader.personalAt
    fields[from + PERSONAL_LINES] = reader.personalLines
    events.push('event' in reader.body)
  }

  skip(): void {
    this.events.push(false)
  }

  /** This object, until the next `at`, for the `n`th entry; undefined for one that was skipped or is not there. */
  at(n: number): Committed | undefined {
    const isEvent = this.events[n]
    // No commitment stands at the very beginning.
    if (isEvent === undefined || this.fields[n * FIELDS + FACTS_AT] === 0) return undefined
    this.from = n * FIELDS
    this.isEvent = isEvent
    return this
  }

  get hasConfidential(): boolean {
    return this.fields[this.from + CONFIDENTIAL_AT] !== 0
  }

  get hasOperator(): boolean {
    return this.fields[this.from + OPERATOR_AT] !== 0
  }

  get personalLines(): number {
    return this.fields[this.from + PERSONAL_LINES]!
  }

  isFacts(commitment: string | undefined): boolean {
    return this.stands(FACTS_AT, commitment)
  }

  isConfidential(commitment: string | undefined): boolean {
    return this.hasConfidential && this.stands(CONFIDENTIAL_AT, commitment)
  }

  isOperator(commitment: string | undefined): boolean {
    return this.hasOperator && this.stands(OPERATOR_AT, commitment)
  }

  isPersonal(n: number, commitment: string | undefined): boolean {
    if (commitment === undefined || n >= this.personalLines) return false
    this.asked.set(commitment)
    return this.reader.isCommitment(personalCommitmentAt(this.fields[this.from + PERSONAL_AT]!, n), this.asked)
  }

  private stands(field: number, commitment: string | undefined): boolean {
    if (commitment === undefined) return false
    this.asked.set(commitment)
    return this.reader.isCommitment(this.fields[this.from + field]!, this.asked)
  }

  get entry(): Entry {
    return this.reader.read(this.fields[this.from + START]!, this.fields[this.from + END]!)
  }
}
