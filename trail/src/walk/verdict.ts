/** What a verification says: separate verdicts, each finding named with its seq, and one outcome. */

export const VERDICTS = [
  /** Payloads match the commitments in their entries. */
  'content',
  /** Each entry is at its place and names the leaf hash before it. */
  'chain',
  /** The entries give the checkpoint's root. */
  'inclusion',
  /** The tree has grown from the kept checkpoint. */
  'consistency',
  /** The checkpoint is signed by the key expected. */
  'signature',
  /** Sealing times never run backwards. */
  'time',
  /** Every entry of the claimed ranges is there. */
  'completeness',
  /** What is missing was announced, and what was announced as gone is gone. */
  'absence',
  /** Something that did not come from the party under check agrees: a pinned key, a kept checkpoint. */
  'anchors',
] as const

export type Verdict = (typeof VERDICTS)[number]
export type VerdictState = 'held' | 'failed' | 'unchecked'

export interface Finding {
  readonly verdict: Verdict
  readonly state: 'failed' | 'unchecked'
  /** Stable, for programs. */
  readonly code: string
  /** The first entry concerned. */
  readonly seq?: number
  /** For people. */
  readonly message: string
}

/** More findings of one verdict say nothing new; a hostile trail could fill memory with them. */
const FINDINGS_PER_VERDICT = 100

/** Collects findings while a verification runs. */
export class Findings {
  private readonly states = new Map<Verdict, VerdictState>()
  private readonly counts = new Map<Verdict, number>()
  private readonly list: Finding[] = []

  fail(verdict: Verdict, code: string, message: string, seq?: number): void {
    this.add(verdict, 'failed', code, message, seq)
  }

  cannotCheck(verdict: Verdict, code: string, message: string, seq?: number): void {
    this.add(verdict, 'unchecked', code, message, seq)
  }

  /** States that a check was carried out to its end; findings before or after it outweigh that. */
  held(verdict: Verdict): void {
    if (!this.states.has(verdict)) this.states.set(verdict, 'held')
  }

  /** A verdict nobody spoke about is unchecked. */
  state(verdict: Verdict): VerdictState {
    return this.states.get(verdict) ?? 'unchecked'
  }

  /** By seq within each verdict; findings without a seq come last. */
  sorted(): Finding[] {
    const rank = (finding: Finding) => VERDICTS.indexOf(finding.verdict)
    return [...this.list].sort((a, b) => rank(a) - rank(b) || (a.seq ?? Infinity) - (b.seq ?? Infinity) || 0)
  }

  private add(verdict: Verdict, state: 'failed' | 'unchecked', code: string, message: string, seq?: number): void {
    if (this.states.get(verdict) !== 'failed') this.states.set(verdict, state)
    const count = (this.counts.get(verdict) ?? 0) + 1
    this.counts.set(verdict, count)
    if (count > FINDINGS_PER_VERDICT) return
    this.list.push({ verdict, state, code, message, ...(seq === undefined ? {} : { seq }) })
  }
}

/** Somebody outside who vouches for a part of the trail. */
export type Anchor =
  | {
      readonly kind: 'timestamp'
      /** The member of the pack that holds the token. */
      readonly path: string
      /** When the first `entries` entries were there; the true time lies within `accuracyMs` of it. */
      readonly time: string
      readonly accuracyMs: number
      /** Name in the authority's certificate. */
      readonly authority: string
      readonly epoch: number
      readonly entries: number
    }
  | {
      readonly kind: 'witness'
      /** As the policy calls it. */
      readonly name: string
      /** When it cosigned the registry's checkpoint. */
      readonly time: string
      readonly epoch: number
      readonly entries: number
    }

export interface Verification {
  /** `tampered`: something failed. `unchecked`: nothing failed, but a needed check could not be made. */
  readonly outcome: 'held' | 'tampered' | 'unchecked'
  readonly verdicts: Readonly<Record<Verdict, VerdictState>>
  readonly findings: readonly Finding[]
  /** The lowest seq of a failed finding. */
  readonly firstWrong?: number
  /** Without an anchor from outside, whoever holds the log key could have written everything anew. */
  readonly assurance: 'anchored' | 'tamper-detecting only'
  /** Witnesses and timestamps that were asked for and hold. */
  readonly anchors: readonly Anchor[]
  readonly notes: readonly string[]
}

/** Process exit codes of each outcome. */
export const EXIT_CODES: Readonly<Record<Verification['outcome'], 0 | 1 | 2>> = { held: 0, tampered: 1, unchecked: 2 }

/** Sums up. `asked`: verdicts that must not stay unchecked beyond those every verification must reach. */
export function conclude(
  findings: Findings,
  asked: readonly Verdict[],
  notes: readonly string[],
  anchors: readonly Anchor[] = [],
): Verification {
  const verdicts = Object.fromEntries(VERDICTS.map((verdict) => [verdict, findings.state(verdict)])) as Record<
    Verdict,
    VerdictState
  >
  const needed = VERDICTS.filter(
    (verdict) => (verdict !== 'consistency' && verdict !== 'anchors') || asked.includes(verdict),
  )
  const outcome = VERDICTS.some((verdict) => verdicts[verdict] === 'failed')
    ? 'tampered'
    : needed.every((verdict) => verdicts[verdict] === 'held')
      ? 'held'
      : 'unchecked'
  const assurance = verdicts.anchors === 'held' ? 'anchored' : 'tamper-detecting only'
  const sorted = findings.sorted()
  const wrong = sorted.flatMap(({ state, seq }) => (state === 'failed' && seq !== undefined ? [seq] : []))
  return {
    outcome,
    verdicts,
    findings: sorted,
    ...(wrong.length > 0 && { firstWrong: Math.min(...wrong) }),
    assurance,
    anchors,
    notes,
  }
}

/** What is found where the key that was brought has signed nothing here. */
const UNSIGNED: ReadonlySet<string> = new Set(['not_signed', 'registry_not_signed', 'anchor_contradicts'])

/**
 * Whether all that fails is that the key brought has not signed. A key of another log that was brought by mistake looks
 * the same as a log that a stranger wrote, so reports ask to compare the key first.
 */
export function failsOnlyBySignature({ findings }: Pick<Verification, 'findings'>): boolean {
  const codes = findings.flatMap(({ state, code }) => (state === 'failed' ? [code] : []))
  return (
    codes.includes('not_signed') && codes.includes('anchor_contradicts') && codes.every((code) => UNSIGNED.has(code))
  )
}
