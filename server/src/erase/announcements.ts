// What a trail's control entries say, in order, and two things that follow from it: which retention is in force for
// which entries, and what has to be restated before the first entries go. docs/spec/control.md has the rules; a verifier
// applies them to what this leads to.
import { type Category, type Control, decodeControl, encodeControl, type Retention } from '@affidavit/trail'
import type { Queryable } from '../store/database.ts'

export interface Announced {
  /** −1: restated, sealed before every entry that is left. */
  readonly seq: number
  /** Milliseconds since 1970; 0 for a restated one. */
  readonly sealedAt: number
  readonly control: Control
}

/** All of a trail's announcements. @param session of the role `retention` */
export async function readAnnouncements(session: Queryable, trail: number): Promise<Announced[]> {
  const { rows } = await session.query<{ seq: number; sealed_at: number; control: string }>(
    'select seq, sealed_at, control from affidavit.control_entries($1, 0)',
    [trail],
  )
  const isWhole = rows[0]?.seq === 0
  return rows.flatMap(({ seq, sealed_at, control: text }) => {
    const control = decodeControl(text)
    if (control.kind !== 'state') return [{ seq, sealedAt: sealed_at, control }]
    return isWhole ? [] : control.restated.map((restated) => ({ seq: -1, sealedAt: 0, control: restated }))
  })
}

/** Entries from `from` on, up to the next span, are kept so long. */
export interface RetentionSpan {
  readonly from: number
  readonly retention: Retention
}

const dayMs = 86_400_000
const noticeMs = 30 * dayMs

/** What is in force for a category's entries at a time (ms since 1970), in order of seq from 0 on. */
export function retentionSpans(announced: readonly Announced[], category: Category, at: number): RetentionSpan[] {
  const concerned = announced.flatMap(({ seq, sealedAt, control }) =>
    control.kind === 'policy' &&
    control.about === 'retention' &&
    (control.category === 'all' || control.category === category)
      ? [{ seq, sealedAt, retention: control.retention, from: control.from }]
      : [],
  )
  const open = announced.find(({ control }) => control.kind === 'open')?.control
  const first: Retention = open?.kind === 'open' ? open.retention : 'forever'
  const bounds = new Set([0, ...concerned.filter(({ from }) => from === 'new').map(({ seq }) => seq + 1)])
  return [...bounds]
    .sort((a, b) => a - b)
    .map((from) => ({
      from,
      retention: concerned.reduce((retention, policy) => {
        const applies =
          policy.from === 'new'
            ? from > policy.seq
            : Date.parse(policy.from) <= at && (policy.seq < 0 || Date.parse(policy.from) - policy.sealedAt >= noticeMs)
        return applies ? policy.retention : retention
      }, first),
    }))
}

/** Which of a category's entries a `prune` reaches: those of each span that were sealed until then (null: none). */
export interface PruneReach {
  readonly from: readonly number[]
  /** Milliseconds since 1970. */
  readonly until: readonly (number | null)[]
}

/** @param at when the `prune` is or was sealed, ms since 1970. @param announced those before it */
export function reachOf(announced: readonly Announced[], category: Category, at: number): PruneReach {
  const spans = retentionSpans(announced, category, at)
  return {
    from: spans.map(({ from }) => from),
    until: spans.map(({ retention }) => (retention === 'forever' ? null : at - retention * dayMs)),
  }
}

/** Announcements that still concern entries from `size` on, of those sealed before it, in order. */
export function toRestate(announced: readonly Announced[], size: number): Control[] {
  const before = announced.filter(({ seq }) => seq < size)
  const released = new Set(announced.flatMap(({ control }) => (control.kind === 'release' ? [control.hold] : [])))
  return before.flatMap(({ control }): Control[] => {
    switch (control.kind) {
      case 'open':
      case 'continues':
      case 'policy':
      case 'keys':
      case 'erase':
        return [control]
      case 'prune':
        return control.before > size ? [control] : []
      case 'redact': {
        const seqs = control.seqs.filter((seq) => seq >= size)
        return seqs.length > 0 ? [{ kind: 'redact', seqs }] : []
      }
      case 'hold':
        return released.has(control.hold) ? [] : [control]
      case 'lost':
        return control.to > size ? [control] : []
      default:
        return []
    }
  })
}

/** Bytes of a `state` entry's announcements: an entry has room for 16,384 with its header. */
const stateBytes = 12_000

/** The `state` entries that say it. */
export function stateEntries(restated: readonly Control[]): Control[] {
  const parts: Control[][] = []
  let left = 0
  for (const control of restated) {
    const bytes = encodeControl(control).length + 3
    if (bytes > left) {
      parts.push([])
      left = stateBytes
    }
    parts.at(-1)!.push(control)
    left -= bytes
  }
  return parts.map((some, n) => ({ kind: 'state', part: n + 1, parts: parts.length, restated: some }))
}
