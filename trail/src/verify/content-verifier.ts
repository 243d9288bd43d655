/** Checks payloads against the commitments of their entries, and each gap in them against what was announced. */

import { type CommitmentKind, commitText } from '../entry/commitment.ts'
import { type Committed, DecodedCommitted } from '../entry/committed.ts'
import { type Payload, type SaltedPart, saltBytes } from '../entry/content.ts'
import type { Entry } from '../entry/entry.ts'
import { highestMarkerOf } from '../entry/marker.ts'
import type { Hash } from '../hash.ts'
import type { Withheld } from '../pack/manifest.ts'
import type { Absence, Gone } from '../walk/absence.ts'
import type { Findings } from '../walk/verdict.ts'

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
    this.checkParts(seq, new DecodedCommitted(entry), new PayloadParts(payload), true)
  }

  /** `check` for parts as they are read. @param compare false: the commitments were compared before */
  checkParts(seq: number, committed: Committed, parts: Parts, compare: boolean): void {
    const entry = this.absence === undefined ? undefined : committed.entry
    const gone = entry && this.absence!.payloadGone(seq, entry)
    let isMissing = this.facts(seq, committed, parts, compare, gone)
    isMissing = this.confidential(seq, committed, parts, compare, gone) || isMissing
    isMissing = this.operator(seq, committed, parts, compare, gone) || isMissing
    isMissing = this.personal(seq, committed, entry, parts, compare, gone) || isMissing
    if (gone === undefined || !isMissing) return
    this.absence!.excuse(gone)
    this.absence!.checkRetention(seq, gone)
  }

  /** All announcements are known now and none lets anything be gone: every gap so far is a finding. */
  settle(): void {
    for (const { seq, name } of this.gaps) this.unexplained(seq, name)
  }

  /** @returns whether they are missing; so do the next three, of what is neither withheld nor erased */
  private facts(seq: number, committed: Committed, parts: Parts, compare: boolean, gone: Gone | undefined): boolean {
    if (!parts.facts()) return this.missing(seq, 'facts', gone)
    if (compare) {
      const { isEvent } = committed
      const commitment = parts.commitment(this.options.hash, isEvent ? 'facts' : 'control')
      if (!committed.isFacts(commitment)) this.changed(seq, 'facts')
      if (isEvent) this.markers(seq, committed, parts)
    }
    if (gone !== undefined) this.stillServed(seq, 'facts', gone)
    return false
  }

  /** A value that was cut out of the facts must be in one of the entry's personal lines. */
  private markers(seq: number, committed: Committed, parts: Parts): void {
    const highest = parts.highestMarker()
    if (highest < committed.personalLines) return
    this.options.findings.fail(
      'content',
      'no_such_person',
      `facts of entry ${seq} name a personal line that the entry does not have`,
      seq,
    )
  }

  private confidential(seq: number, entry: Committed, parts: Parts, compare: boolean, gone: Gone | undefined): boolean {
    if (!parts.confidential())
      return entry.hasConfidential && !this.withheld.has('confidential') && this.missing(seq, 'confidential', gone)
    if (compare && !entry.hasConfidential) this.notCommitted(seq, 'confidential')
    else if (compare && !entry.isConfidential(parts.commitment(this.options.hash, 'confidential')))
      this.changed(seq, 'confidential')
    if (gone !== undefined) this.stillServed(seq, 'confidential', gone)
    return false
  }

  private operator(seq: number, entry: Committed, parts: Parts, compare: boolean, gone: Gone | undefined): boolean {
    if (!parts.operator())
      return entry.hasOperator && !this.withheld.has('operator') && this.missing(seq, 'operator', gone)
    if (compare && !entry.hasOperator) this.notCommitted(seq, 'operator')
    else if (compare && !entry.isOperator(parts.commitment(this.options.hash, 'operator')))
      this.changed(seq, 'operator')
    if (gone !== undefined) this.stillServed(seq, 'operator', gone)
    return false
  }

  private missing(seq: number, name: string, gone: Gone | undefined): true {
    if (gone === undefined) this.gap(seq, name)
    return true
  }

  private personal(
    seq: number,
    committed: Committed,
    entry: Entry | undefined,
    parts: Parts,
    compare: boolean,
    gone: Gone | undefined,
  ): boolean {
    let isMissing = false
    let there = parts.personal()
    const lines = committed.personalLines
    for (let n = 0; n < lines; n++) {
      const erased = entry && this.absence!.subjectGone(seq, entry, entry.personal[n]!.key)
      if (there === n) {
        if (compare && !committed.isPersonal(n, parts.commitment(this.options.hash, 'personal')))
          this.changed(seq, `personal ${n}`)
        if (gone !== undefined || erased !== undefined) this.stillServed(seq, `personal ${n}`, gone, erased)
        there = parts.personal()
      } else if (erased !== undefined) {
        if (gone === undefined) this.absence!.excuse(erased)
      } else if (!this.withheld.has('personal')) isMissing = this.missing(seq, `personal ${n}`, gone)
    }
    if (there >= 0 && compare) this.notCommitted(seq, `personal ${there}`)
    while (there >= 0) there = parts.personal()
    return isMissing
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

  /** @param ends announcements by which it should be gone */
  private stillServed(seq: number, name: string, ...ends: (Gone | undefined)[]): void {
    const end = ends.find((gone) => gone !== undefined && this.isDue(gone))
    if (end === undefined) return
    this.options.findings.fail(
      'absence',
      'still_there',
      `${name} of entry ${seq} is there though entry ${end.seq} announced its end`,
      seq,
    )
  }

  private isDue(gone: Gone): boolean {
    const { now, graceMs } = this.options
    // What was lost may have been found again, and what is to be kept longer than a prune reaches stays.
    if (gone.control.kind === 'lost' || gone.early === true) return false
    return gone.sealedAt === '' || !(now - Date.parse(gone.sealedAt) < graceMs)
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
