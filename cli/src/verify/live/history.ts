/** Whether what the server shows now is a continuation of what it showed before. */
import { type Checkpoint, type EntryVerifier, equalBytes, type Findings, type VerifierKey } from '@affidavit/trail'
import { isSigned } from '../brought/brought.ts'
import type { Kept } from '../brought/kept.ts'
import { trailOf } from '../server/log.ts'
import type { Roots } from './roots.ts'

export interface HistoryOptions {
  readonly checkpoint: Checkpoint
  readonly kept: readonly Kept[]
  readonly originBefore?: string | undefined
  readonly vkeys?: readonly VerifierKey[]
  readonly roots: Roots
  readonly walk: EntryVerifier
  readonly findings: Findings
}

/** Holds the trail against each kept checkpoint, and against the trail that was here before. */
export async function checkKept(options: HistoryOptions): Promise<void> {
  const { kept, findings, checkpoint, originBefore, walk } = options
  if (originBefore !== undefined && originBefore !== checkpoint.origin) {
    const continued = walk.announcements.find(({ control }) => control.kind === 'continues')?.control
    const before = trailOf({ origin: originBefore })
    if (continued?.kind === 'continues' && continued.trail === before) {
      findings.cannotCheck(
        'consistency',
        'trail_continued',
        `this trail continues ${before}, whose end this run did not check`,
        1,
      )
    } else {
      findings.fail(
        'consistency',
        'trail_replaced',
        `at the last visit this tenant had the trail ${before}; now it has another that does not continue it`,
      )
    }
  }
  for (const one of kept) await holdAgainst(one, options)
}

async function holdAgainst(kept: Kept, { checkpoint, roots, findings, vkeys }: HistoryOptions): Promise<void> {
  if (kept.origin !== checkpoint.origin) {
    findings.cannotCheck('consistency', 'other_trail', `${kept.label} is of another trail, ${kept.origin}`)
    return
  }
  const proof = (await isSigned(kept, vkeys)) ? '; both are signed, which proves it to anyone' : ''
  if (kept.size > checkpoint.size) {
    findings.fail(
      'consistency',
      'rolled_back',
      `${kept.label} covers ${kept.size} entries, the server now shows ${checkpoint.size}: the end of the trail is gone${proof}`,
      checkpoint.size,
    )
    return
  }
  const root = kept.size === checkpoint.size ? checkpoint.root : roots.rootAt(kept.size)
  if (root === undefined)
    findings.cannotCheck('consistency', 'not_covered', `the root at size ${kept.size} cannot be recomputed`)
  else if (equalBytes(root, kept.root)) findings.held('consistency')
  else
    findings.fail(
      'consistency',
      'history_rewritten',
      `the first ${kept.size} entries are not those of ${kept.label}${proof}`,
    )
}
