/**
 * Explained absence, both ways: what is gone must have been announced by a control entry that the rules allowed, and
 * what was announced as gone must no longer be served (docs/spec/control.md).
 */
import { CATEGORIES, type Category } from '../entry/category.ts'
import type { Hold, Policy, Retention } from '../entry/control.ts'
import type { Entry } from '../entry/entry.ts'
import type { Findings } from './verdict.ts'
import type { Announcement } from './walk.ts'

type ExplainingKind = 'prune' | 'erase' | 'redact' | 'lost' | 'close'

const DAY_MS = 86_400_000
/** Shortening retention for what is sealed already needs this much notice. */
const NOTICE_MS = 30 * DAY_MS

/** By what something is gone. */
export interface Gone extends Announcement {
  /** The retention had not run out: a `prune` does not say that this entry's payload is gone. */
  readonly early?: true
}

interface Prune {
  readonly seq: number
  readonly sealedAt: string
  readonly before: number
}

interface HoldSpan {
  readonly hold: Hold
  readonly from: number
  to: number
}

type RetentionPolicy = Extract<Policy, { about: 'retention' }> & { readonly seq: number; readonly sealedAt: string }

/** What the announcements of a trail allow and demand to be gone. */
export class Absence {
  private readonly prunes = new Map<Category, Prune[]>(CATEGORIES.map((category) => [category, []]))
  /** Every announcement: one that a hold made void is repeated after the hold's release. */
  private readonly erased = new Map<string, Announcement[]>()
  private readonly redacted = new Map<number, Announcement[]>()
  private readonly lost: (Announcement & { control: { from: number; to: number } })[] = []
  private readonly holds: HoldSpan[] = []
  private readonly policies: RetentionPolicy[] = []
  private retention: Retention | undefined
  private deleted: Announcement | undefined
  private readonly findings: Findings
  /** Payloads and personal lines that are gone, by the kind of what announced it. */
  private readonly excused = new Map<ExplainingKind, number>()

  /**
   * `announcements` in order. Restated ones count only where the walk did not begin at entry 0, and what they stand for was
   * truncated: else anything could be said about entries that are merely not shown.
   */
  constructor(announcements: readonly Announcement[], findings: Findings) {
    this.findings = findings
    const fromStart = announcements[0]?.seq === 0
    const truncated = announcements.findLast(({ control }) => control.kind === 'truncate')?.seq ?? 0
    for (const announcement of announcements) {
      if (announcement.control.kind !== 'state') this.take(announcement)
      else if (!fromStart && announcement.seq < truncated) {
        // Restated announcements were sealed before every entry that is still there.
        for (const control of announcement.control.restated) this.take({ seq: -1, sealedAt: '', control })
      }
    }
  }

  private take(announcement: Announcement): void {
    const { seq, sealedAt, control } = announcement
    switch (control.kind) {
      case 'open':
        this.retention = control.retention
        break
      case 'policy':
        if (control.about === 'retention') this.policies.push({ ...control, seq, sealedAt })
        break
      case 'prune':
        this.prunes.get(control.category)!.push({ seq, sealedAt, before: control.before })
        break
      case 'erase':
        for (const subject of control.subjects) add(this.erased, subject, announcement)
        break
      case 'redact':
        for (const redacted of control.seqs) add(this.redacted, redacted, announcement)
        break
      case 'lost':
        this.lost.push({ ...announcement, control })
        break
      case 'hold':
        this.holds.push({ hold: control, from: seq, to: Number.POSITIVE_INFINITY })
        break
      case 'release':
        for (const span of this.holds) if (span.hold.hold === control.hold && span.to > seq) span.to = seq
        break
      case 'close':
        if (control.reason === 'deleted') this.deleted = announcement
        break
    }
  }

  /** The announcement by which the whole payload of an entry is gone, if there is one. */
  payloadGone(seq: number, entry: Entry): Gone | undefined {
    const redacted = this.redacted
      .get(seq)
      ?.find((announced) => isBefore(seq, announced) && !this.held(seq, entry, announced.seq))
    if (redacted !== undefined) return redacted
    const pruned = 'event' in entry.body ? this.pruned(seq, entry, entry.body.event) : undefined
    if (pruned !== undefined && pruned.early === undefined) return pruned
    const covers = (lost: (typeof this.lost)[number]) => lost.control.from <= seq && seq < lost.control.to
    return this.lost.find((lost) => covers(lost) && isBefore(seq, lost)) ?? this.deleted ?? pruned
  }

  /** The announcement by which a personal line's content is gone, if there is one. */
  subjectGone(seq: number, entry: Entry, subject: string): Announcement | undefined {
    return this.erased.get(subject)?.find((announced) => !this.held(seq, entry, announced.seq))
  }

  /** The first `prune` that its retention allowed; else the first one, which came early. */
  private pruned(seq: number, entry: Entry, category: Category): Gone | undefined {
    let early: Gone | undefined
    for (const prune of this.prunes.get(category)!) {
      if (seq >= prune.before || !isBefore(seq, prune) || this.held(seq, entry, prune.seq)) continue
      const { sealedAt, before } = prune
      const gone: Announcement = { seq: prune.seq, sealedAt, control: { kind: 'prune', category, before } }
      if (this.hasRunOut(seq, entry, category, gone)) return gone
      early ??= { ...gone, early: true }
    }
    return early
  }

  private hasRunOut(seq: number, entry: Entry, category: Category, prune: Announcement): boolean {
    if (this.retention === undefined || prune.sealedAt === '') return true
    const retention = this.retentionOf(seq, category, prune)
    return retention !== 'forever' && Date.parse(prune.sealedAt) - Date.parse(entry.sealedAt) >= retention * DAY_MS
  }

  /**
   * Something is gone and `gone` says so. Whether it had the right to shows only to who sees the trail's rules: retention
   * and holds, from the opening on.
   */
  excuse(gone: Gone): void {
    const kind = gone.control.kind as ExplainingKind
    this.excused.set(kind, (this.excused.get(kind) ?? 0) + 1)
    if (this.retention !== undefined || this.excused.size > 1 || this.excused.get(kind) !== 1) return
    const message = 'something was removed, but the opening of the trail, which says what may be, is not here'
    this.findings.cannotCheck('absence', 'no_opening', message)
  }

  /** What is gone as announced, for people. @param isWhole no control entry can be missing */
  notes(isWhole: boolean): string[] {
    if (this.excused.size === 0) return []
    const counts = Array.from(this.excused, ([kind, count]) => `${count} by ${kind}`)
    const notes = [`payloads and personal lines that are gone as announced: ${counts.join(', ')}`]
    if (!isWhole) notes.push('only the whole trail shows whether a hold forbade it')
    return notes
  }

  /** A payload may be pruned when its retention has run out by the time of the prune entry. */
  checkRetention(seq: number, gone: Gone): void {
    if (gone.early === undefined || gone.control.kind !== 'prune') return
    const retention = this.retentionOf(seq, gone.control.category, gone)
    const kept = retention === 'forever' ? 'forever' : `${retention} days`
    this.findings.fail(
      'absence',
      'pruned_early',
      `entry ${seq} was pruned by ${gone.seq} but is to be kept ${kept}`,
      seq,
    )
  }

  private retentionOf(seq: number, category: Category, prune: Announcement): Retention {
    let retention = this.retention!
    for (const policy of this.policies) {
      if (policy.seq >= prune.seq || (policy.category !== 'all' && policy.category !== category)) continue
      if (policy.from === 'new' ? seq > policy.seq : this.inForce(policy, prune)) retention = policy.retention
    }
    return retention
  }

  /** Thirty days' notice is asked of every policy that reaches back, whether it shortens or not. */
  private inForce(policy: RetentionPolicy, prune: Announcement): boolean {
    const noticed = policy.sealedAt === '' || Date.parse(policy.from) - Date.parse(policy.sealedAt) >= NOTICE_MS
    return noticed && policy.from <= prune.sealedAt
  }

  private held(seq: number, entry: Entry, at: number): boolean {
    return this.holds.some(({ hold, from, to }) => from <= at && at < to && covers(hold, seq, entry))
  }

  /** Whether anything was announced as gone at all: most trails need no further look. */
  get quiet(): boolean {
    return (
      this.erased.size === 0 &&
      this.redacted.size === 0 &&
      this.lost.length === 0 &&
      this.deleted === undefined &&
      [...this.prunes.values()].every((prunes) => prunes.length === 0)
    )
  }
}

/** Nothing is announced as gone before it is there; what was restated stands for what was announced in time. */
function isBefore(seq: number, announced: { readonly seq: number }): boolean {
  return announced.seq === -1 || seq < announced.seq
}

function add<Key>(map: Map<Key, Announcement[]>, key: Key, announcement: Announcement): void {
  const known = map.get(key)
  if (known === undefined) map.set(key, [announcement])
  else known.push(announcement)
}

function covers(hold: Hold, seq: number, entry: Entry): boolean {
  switch (hold.scope) {
    case 'trail':
      return true
    case 'entries':
      return hold.from <= seq && seq < hold.to
    case 'subjects':
      return entry.personal.some((line) => hold.subjects.includes(line.key))
  }
}
