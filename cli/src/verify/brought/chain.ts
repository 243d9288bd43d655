/**
 * A tenant's chain of trails: after a disaster, a move or a change of keys a new trail goes on where the old one ended.
 * Each link is checked from both sides, and every gap is told.
 */
import { type Announcement, type Continues, logNameOf, toBase64 } from '@affidavit/trail'
import type { Kept } from './kept.ts'

export interface TrailsFinding {
  readonly verdict: 'trails'
  readonly state: 'failed' | 'unchecked'
  readonly code: string
  readonly seq?: number
  readonly message: string
}

/** One trail of the chain behind its verification. */
export interface Link {
  readonly origin: string
  /** Undefined where the server does not serve it. */
  readonly size: number | undefined
  readonly root: Uint8Array | undefined
  readonly announcements: readonly Announcement[]
}

export interface Chain {
  readonly findings: readonly TrailsFinding[]
  readonly notes: readonly string[]
}

/**
 * @param links oldest first; @param keptOf what was kept of a trail, newest last
 * @param recovery the log's recovery keys, as they were met first; empty: not yet
 */
export function checkChain(
  links: readonly Link[],
  keptOf: (origin: string) => readonly Kept[],
  recovery: readonly string[] = [],
): Chain {
  const findings: TrailsFinding[] = recoveryFindings(links, recovery)
  const notes: string[] = []
  for (const [at, link] of links.entries()) {
    const continues = continuesOf(link)
    const before = links[at - 1]
    if (continues === undefined) {
      if (before !== undefined)
        findings.push(
          finding('failed', 'not_continued', `${link.origin} does not say that it continues ${before.origin}`),
        )
      continue
    }
    const named = `${logNameOf(link.origin)}/${continues.trail}`
    const said = `${link.origin} continues ${named} at ${continues.size} entries`
    if (before !== undefined && before.origin !== named && before.size !== undefined)
      findings.push(finding('failed', 'other_continued', `${said}, but before it came ${before.origin}`))
    else {
      const gap = gapOf(before, continues, said, keptOf(named))
      if ('note' in gap) notes.push(gap.note)
      else if (gap.finding !== undefined) findings.push(gap.finding)
    }
  }
  return { findings, notes }
}

function gapOf(
  before: Link | undefined,
  { size, root }: Continues,
  said: string,
  kept: readonly Kept[],
): { note: string } | { finding: TrailsFinding | undefined } {
  const newest = Math.max(0, ...kept.map((one) => one.size))
  if (newest > size) {
    const message = `${said}, but ${newest} were verified: entries ${size} to ${newest - 1} are lost`
    return { finding: finding('failed', 'entries_lost', message) }
  }
  if (before?.size === undefined) {
    if (kept.some((one) => one.size === size && toBase64(one.root) === root)) return { note: `${said}, as it was kept` }
    const gone = `${said}, which is not served any more`
    return kept.length > 0 ? { finding: finding('unchecked', 'earlier_not_served', gone) } : { note: gone }
  }
  if (before.size > size) {
    const message = `${said}, but it has ${before.size}: entries ${size} to ${before.size - 1} are not continued`
    return { finding: finding('failed', 'entries_lost', message) }
  }
  if (before.size < size)
    return { finding: finding('failed', 'entries_lost', `${said}, but only ${before.size} of them are served`) }
  const isSame = before.root !== undefined && toBase64(before.root) === root
  return { finding: isSame ? undefined : finding('failed', 'other_continued', `${said} with another root than it has`) }
}

/** Whoever holds the log key can begin a trail; its `open` cannot put another recovery key in place of the first. */
function recoveryFindings(links: readonly Link[], known: readonly string[]): TrailsFinding[] {
  const opened = links.map(({ origin, announcements }) => ({ origin, keys: recoveryOf(announcements) }))
  const first = [known, ...opened.map(({ keys }) => keys)].find((keys) => keys.length > 0) ?? []
  const publicPart = (vkeys: readonly string[]) => vkeys.map((vkey) => vkey.split('+').slice(2).join('+')).join()
  return opened.flatMap(({ origin, keys }) =>
    keys.length === 0 || publicPart(keys) === publicPart(first)
      ? []
      : finding('failed', 'recovery_replaced', `${origin} names another recovery key than the log began with`),
  )
}

/** Recovery keys that a trail's `open` names, also where it is only restated; none where that is not there any more. */
export function recoveryOf(announcements: readonly Announcement[]): readonly string[] {
  const controls = announcements.flatMap(({ control }) => (control.kind === 'state' ? control.restated : control))
  return controls.find((control) => control.kind === 'open')?.recovery ?? []
}

const continuesOf = ({ announcements }: Link): Continues | undefined =>
  announcements.map(({ control }) => control).find((control) => control.kind === 'continues')

const finding = (state: TrailsFinding['state'], code: string, message: string): TrailsFinding => ({
  verdict: 'trails',
  state,
  code,
  message,
})
