/** Checks payloads against the commitments of their entries, and each gap in them against what was announced. */
import type { Absence, Gone } from './absence.ts'
import { type CommitmentKind, commitText } from './commitment.ts'
import { type Payload, type SaltedPart, saltBytes } from './content.ts'
import type { Entry } from './entry.ts'
import type { Hash } from './hash.ts'
import type { Withheld } from './manifest.ts'
import { highestMarkerOf } from './marker.ts'
import type { Findings } from './verdict.ts'

export interface ContentOptions {
  readonly hash: Hash
  /** Undefined as long as not all announcements are known: `settle` then says what the gaps are worth. */
  readonly absence: Absence | undefined
  readonly findings: Findings
  readonly withheld: readonly Withheld[]
  /** What was announced as gone may still be served until this long (ms) after its announcement … */
  readonly graceMs: number
  /** … reckoned at this time (ms since 1970). */
  readonly now: number
}

/**
 * The parts of one payload, asked for in the order of the format: each method but `commitment` reads the next part if
 * it is there. A ContentReader between `open` and `close` is one.
 */
export interface Parts {
  facts(): boolean
  confidential(): boolean
  operator(): boolean
  /** The number of the next personal line that is there, -1 after the last. */
  personal(): number
  /** Of the part just read, base64; undefined when its salt is none. */
  commitment(hash: Hash, kind: CommitmentKind): string | undefined
  /** `highestMarkerOf` the part just read. */
  highestMarker(): number
}

/** More gaps than are ever reported need not be remembered. */
const GAPS = 100

export class ContentVerifier {
  private readonly options: ContentOptions
  private readonly withheld: ReadonlySet<string>
  /** Announcements to look at, unless nothing was announced as gone. */
  private readonly absence: Absence | undefined
  private readonly gaps: { readonly seq: number; readonly name: string }[] = []

  constructor(options: ContentOptions) {
    this.options = options
    this.withheld = new Set(options.withheld)
    this.absence = options.absence?.quiet === false ? options.absence : undefined
  }

  /** Checks one entry, whose own bytes were verified before, against its payload. */
  check(seq: number, entry: Entry, payload: Payload): void {
    this.checkParts(seq, entry, new PayloadParts(payload), true)
  }

  /** `check` for parts as they are read. @param compare false: the commitments were compared before */
  checkParts(seq: number, entry: Entry, parts: Parts, compare: boolean): void {
    const gone = this.absence?.payloadGone(seq, entry)
    this.facts(seq, entry, parts, compare, gone)
    this.part(seq, 'confidential', entry.confidential, parts, compare, gone)
    this.part(seq, 'operator', entry.operator, parts, compare, gone)
    this.personal(seq, entry, parts, compare, gone)
  }

  /** All announcements are known now and none lets anything be gone: every gap so far is a finding. */
  settle(): void {
    for (const { seq, name } of this.gaps) this.unexplained(seq, name)
  }

  private facts(seq: number, entry: Entry, parts: Parts, compare: boolean, gone: Gone | undefined): void {
    if (!parts.facts()) {
      if (gone === undefined) this.gap(seq, 'facts')
      else {
        this.options.absence!.excuse(gone)
        this.options.absence!.checkRetention(seq, gone)
      }
      return
    }
    if (compare) {
      const isEvent = 'event' in entry.body
      this.compare(seq, isEvent ? 'facts' : 'control', entry.facts, parts, 'facts')
      if (isEvent) this.markers(seq, entry, parts)
    }
    if (gone !== undefined) this.stillServed(seq, 'facts', gone)
  }

  /** A value that was cut out of the facts must be in one of the entry's personal lines. */
  private markers(seq: number, entry: Entry, parts: Parts): void {
    const highest = parts.highestMarker()
    if (highest < entry.personal.length) return
    this.options.findings.fail(
      'content',
      'no_such_person',
      `facts of entry ${seq} name a personal line that the entry does not have`,
      seq,
    )
  }

  private part(
    seq: number,
    kind: 'confidential' | 'operator',
    commitment: string | undefined,
    parts: Parts,
    compare: boolean,
    gone: Gone | undefined,
  ): void {
    if (!(kind === 'confidential' ? parts.confidential() : parts.operator())) {
      if (commitment !== undefined && gone === undefined && !this.withheld.has(kind)) this.gap(seq, kind)
      return
    }
    if (commitment === undefined) {
      if (compare) this.notCommitted(seq, kind)
    } else if (compare) this.compare(seq, kind, commitment, parts, kind)
    if (gone !== undefined) this.stillServed(seq, kind, gone)
  }

  private personal(seq: number, entry: Entry, parts: Parts, compare: boolean, gone: Gone | undefined): void {
    let there = parts.personal()
    for (let n = 0; n < entry.personal.length; n++) {
      const line = entry.personal[n]!
      const erased = gone ?? this.absence?.subjectGone(seq, entry, line.key)
      if (there === n) {
        if (compare && parts.commitment(this.options.hash, 'personal') !== line.commitment) {
          this.changed(seq, `personal ${n}`)
        }
        if (erased !== undefined) this.stillServed(seq, `personal ${n}`, erased)
        there = parts.personal()
      } else if (gone === undefined && erased !== undefined) this.absence!.excuse(erased)
      else if (erased === undefined && !this.withheld.has('personal')) this.gap(seq, `personal ${n}`)
    }
    if (there >= 0 && compare) this.notCommitted(seq, `personal ${there}`)
    while (there >= 0) there = parts.personal()
  }

  private compare(seq: number, kind: CommitmentKind, commitment: string, parts: Parts, name: string): void {
    if (parts.commitment(this.options.hash, kind) !== commitment) this.changed(seq, name)
  }

  private changed(seq: number, name: string): void {
    this.options.findings.fail('content', 'content_changed', `${name} of entry ${seq} is not what was sealed`, seq)
  }

  private notCommitted(seq: number, name: string): void {
    this.options.findings.fail('content', 'not_committed', `${name} of entry ${seq} is not in the entry`, seq)
  }

  private gap(seq: number, name: string): void {
    if (this.options.absence !== undefined) this.unexplained(seq, name)
    else if (this.gaps.length < GAPS) this.gaps.push({ seq, name })
  }

  private unexplained(seq: number, name: string): void {
    this.options.findings.fail(
      'absence',
      'unexplained',
      `${name} of entry ${seq} is missing and no control entry says why`,
      seq,
    )
  }

  private stillServed(seq: number, name: string, gone: Gone): void {
    const { now, graceMs, findings } = this.options
    // What was lost may have been found again, and what is to be kept longer than a prune reaches stays.
    if (gone.control.kind === 'lost' || gone.early === true) return
    if (gone.sealedAt !== '' && now - Date.parse(gone.sealedAt) < graceMs) return
    findings.fail(
      'absence',
      'still_there',
      `${name} of entry ${seq} is there though entry ${gone.seq} announced its end`,
      seq,
    )
  }
}

/** A payload that was read already. */
class PayloadParts implements Parts {
  private readonly payload: Payload
  private readonly lines: NonNullable<Payload['personal']>
  private next = 0
  private part: SaltedPart | undefined

  constructor(payload: Payload) {
    this.payload = payload
    this.lines = payload.personal ?? []
  }

  facts(): boolean {
    return this.read(this.payload.facts)
  }

  confidential(): boolean {
    return this.read(this.payload.confidential)
  }

  operator(): boolean {
    return this.read(this.payload.operator)
  }

  personal(): number {
    const line = this.lines[this.next++]
    return this.read(line) ? line!.n : -1
  }

  commitment(hash: Hash, kind: CommitmentKind): string | undefined {
    const { salt, content } = this.part!
    const bytes = saltBytes(salt)
    return bytes === undefined ? undefined : commitText(hash, kind, bytes, content)
  }

  highestMarker(): number {
    return highestMarkerOf(this.part!.content)
  }

  private read(part: SaltedPart | undefined): boolean {
    this.part = part
    return part !== undefined
  }
}
