/** Checks payloads against the commitments of their entries, and each gap in them against what was announced. */
import type { Absence } from './absence.ts'
import { type CommitmentKind, commitText } from './commitment.ts'
import { type Payload, type SaltedPart, saltBytes } from './content.ts'
import type { Entry } from './entry.ts'
import type { Hash } from './hash.ts'
import type { Withheld } from './manifest.ts'
import type { Findings } from './verdict.ts'
import type { Announcement } from './walk.ts'

export interface ContentOptions {
  readonly hash: Hash
  readonly absence: Absence
  readonly findings: Findings
  readonly withheld: readonly Withheld[]
  /** What was announced as gone may still be served until this long (ms) after its announcement … */
  readonly graceMs: number
  /** … reckoned at this time (ms since 1970). */
  readonly now: number
}

export class ContentVerifier {
  private readonly options: ContentOptions
  private readonly withheld: ReadonlySet<string>
  private readonly quiet: boolean
  private checkedParts = 0

  constructor(options: ContentOptions) {
    this.options = options
    this.withheld = new Set(options.withheld)
    this.quiet = options.absence.quiet
  }

  /** Parts whose commitment was recomputed. */
  get parts(): number {
    return this.checkedParts
  }

  /** Checks one entry, whose own bytes were verified before, against its payload. */
  check(seq: number, entry: Entry, payload: Payload): void {
    const gone = this.quiet ? undefined : this.options.absence.payloadGone(seq, entry)
    this.facts(seq, entry, payload, gone)
    this.part(seq, 'confidential', entry.confidential, payload.confidential, gone)
    this.part(seq, 'operator', entry.operator, payload.operator, gone)
    this.personal(seq, entry, payload, gone)
  }

  private facts(seq: number, entry: Entry, payload: Payload, gone: Announcement | undefined): void {
    if (payload.facts === undefined) {
      if (gone === undefined) this.unexplained(seq, 'facts')
      else this.options.absence.checkRetention(seq, entry, gone)
      return
    }
    this.compare(seq, 'event' in entry.body ? 'facts' : 'control', entry.facts, payload.facts, 'facts')
    if (gone !== undefined) this.stillServed(seq, 'facts', gone)
  }

  private part(
    seq: number,
    kind: 'confidential' | 'operator',
    commitment: string | undefined,
    part: SaltedPart | undefined,
    gone: Announcement | undefined,
  ): void {
    if (part === undefined) {
      if (commitment !== undefined && gone === undefined && !this.withheld.has(kind)) this.unexplained(seq, kind)
      return
    }
    if (commitment === undefined)
      this.options.findings.fail('content', 'not_committed', `${kind} of entry ${seq} is not in the entry`, seq)
    else this.compare(seq, kind, commitment, part, kind)
    if (gone !== undefined) this.stillServed(seq, kind, gone)
  }

  private personal(seq: number, entry: Entry, payload: Payload, gone: Announcement | undefined): void {
    const parts = payload.personal ?? []
    let at = 0
    for (let n = 0; n < entry.personal.length; n++) {
      const line = entry.personal[n]!
      const part = parts[at]?.n === n ? parts[at++] : undefined
      const erased = this.quiet ? undefined : (gone ?? this.options.absence.subjectGone(seq, entry, line.key))
      if (part !== undefined) {
        this.compare(seq, 'personal', line.commitment, part, `personal ${n}`)
        if (erased !== undefined) this.stillServed(seq, `personal ${n}`, erased)
      } else if (erased === undefined && !this.withheld.has('personal')) this.unexplained(seq, `personal ${n}`)
    }
    if (at < parts.length) {
      this.options.findings.fail(
        'content',
        'not_committed',
        `personal ${parts[at]!.n} of entry ${seq} is not in the entry`,
        seq,
      )
    }
  }

  private compare(seq: number, kind: CommitmentKind, commitment: string, part: SaltedPart, name: string): void {
    this.checkedParts++
    const salt = saltBytes(part.salt)
    if (salt !== undefined && commitText(this.options.hash, kind, salt, part.content) === commitment) return
    this.options.findings.fail('content', 'content_changed', `${name} of entry ${seq} is not what was sealed`, seq)
  }

  private unexplained(seq: number, name: string): void {
    this.options.findings.fail(
      'absence',
      'unexplained',
      `${name} of entry ${seq} is missing and no control entry says why`,
      seq,
    )
  }

  private stillServed(seq: number, name: string, gone: Announcement): void {
    const { now, graceMs, findings } = this.options
    // What was lost may have been found again.
    if (gone.control.kind === 'lost') return
    if (gone.sealedAt !== '' && now - Date.parse(gone.sealedAt) < graceMs) return
    findings.fail(
      'absence',
      'still_there',
      `${name} of entry ${seq} is there though entry ${gone.seq} announced its end`,
      seq,
    )
  }
}
