/** A verification as people and programs read it. */
import {
  type Anchor,
  type Finding,
  failsOnlyBySignature,
  VERDICTS,
  type Verdict,
  type VerdictState,
  type Verification,
} from '@affidavit/trail'
import { count, painter, print, printable, printJson, type Terminal, table } from '../terminal.ts'

/** What was verified, against what. */
export interface Subject {
  /** The file or address. */
  readonly name: string
  readonly origin: string
  readonly size: number
  /** Root of the checkpoint, hex; undefined where none could be read. */
  readonly root?: string
  /** Entries whose content was asked for. */
  readonly covered: number
  /** What was brought from outside: "the key given", "the checkpoint in old.txt" … */
  readonly against: readonly string[]
}

/** A finding of a check that is none of the log's own verdicts. */
export interface ExtraFinding extends Omit<Finding, 'verdict'> {
  readonly verdict: string
  /** The filter that shows it, as a query. */
  readonly filter?: string
}

/** What was checked beyond a trail's own verdicts: the search's columns, the registry, earlier trails. */
export interface Extra {
  readonly name: string
  readonly state: VerdictState
  readonly sentence: string
  readonly findings: readonly ExtraFinding[]
  readonly notes: readonly string[]
}

export interface Report {
  readonly subject: Subject
  readonly verification: Verification
  readonly extras?: readonly Extra[]
  readonly notes: readonly string[]
  /** The file that convicts the log, where one was written. */
  readonly accusation?: string
}

type Outcome = Verification['outcome']

/** The outcome with the extra checks counted in. */
export function outcomeOf({ verification, extras = [] }: Pick<Report, 'verification' | 'extras'>): Outcome {
  if (verification.outcome === 'tampered' || extras.some(({ state }) => state === 'failed')) return 'tampered'
  return extras.some(({ state }) => state === 'unchecked') ? 'unchecked' : verification.outcome
}

/** Failed ones first, each group by seq: the first wrong seq leads. */
function findingsOf({ verification, extras = [] }: Report): ExtraFinding[] {
  const rank = ({ state }: ExtraFinding) => (state === 'failed' ? 0 : 1)
  return [...verification.findings, ...extras.flatMap(({ findings }) => findings)].sort(
    (a, b) => rank(a) - rank(b) || (a.seq ?? Infinity) - (b.seq ?? Infinity) || 0,
  )
}

/** What findings come to: a failed one outweighs an unchecked one. */
export function stateOf(findings: readonly Pick<ExtraFinding, 'state'>[]): VerdictState {
  if (findings.some(({ state }) => state === 'failed')) return 'failed'
  return findings.length > 0 ? 'unchecked' : 'held'
}

function firstWrong(report: Report): number | undefined {
  return findingsOf(report).find(({ state, seq }) => state === 'failed' && seq !== undefined)?.seq
}

const sentences: Readonly<Record<Verdict, Readonly<Record<'held' | 'failed', string>>>> = {
  content: {
    held: 'every payload is the one that was sealed',
    failed: 'payloads differ from what was sealed',
  },
  chain: {
    held: 'every entry stands at its place and names the hash of the one before',
    failed: 'the chain of entries is broken',
  },
  inclusion: {
    held: 'the entries give exactly the root that the checkpoint signs',
    failed: 'the entries are not those that the checkpoint signs',
  },
  consistency: {
    held: 'the trail has grown from the checkpoint kept earlier; nothing before it was changed',
    failed: 'the trail is not a continuation of the checkpoint kept earlier',
  },
  signature: { held: 'the checkpoint is signed', failed: 'the checkpoint is not signed by the key expected' },
  time: { held: 'sealing times never run backwards', failed: 'sealing times run backwards' },
  completeness: { held: 'no entry of the range is missing', failed: 'entries are missing' },
  absence: {
    held: 'whatever was removed was announced, and what was announced as removed is gone',
    failed: 'something is missing without an announcement, or still there in spite of one',
  },
  anchors: {
    held: 'something that did not come from the party under check agrees',
    failed: 'what you brought contradicts what is shown',
  },
}

const unchecked: Readonly<Partial<Record<Verdict, string>>> = {
  consistency: 'no checkpoint kept earlier was given (--checkpoint, --state)',
  anchors: 'nothing from outside was given (--vkey, --checkpoint, --state, --policy, --tsa-ca)',
}

/** Prints for people. */
export function printReport(report: Report, terminal: Terminal): void {
  const paint = painter(terminal.stdout, terminal.environment)
  const { subject } = report
  const head: [string, string][] = [
    ['Checked', subject.name],
    ['Trail', subject.origin],
    ['Entries', coverage(subject)],
    ...(subject.root === undefined ? [] : [['Root', subject.root] as [string, string]]),
    ['Against', subject.against.length === 0 ? 'nothing from outside' : subject.against.join('; ')],
    ...report.verification.anchors.map(anchorRow),
  ]
  print(terminal, table(head.map(([label, value]) => [label, printable(value)])))
  print(terminal, '')
  for (const [name, state, sentence] of rows(report)) {
    const [mark, style] = marks[state]
    print(terminal, `  ${paint(style, mark)} ${name.padEnd(12)}  ${sentence}`)
  }
  printFindings(report, terminal)
  for (const note of notesOf(report)) print(terminal, `Note: ${printable(note)}.`)
  print(terminal, paint('bold', verdict(report)))
}

/** Who outside vouches, since when, for how much. */
function anchorRow(anchor: Anchor): [string, string] {
  const { time, entries, epoch } = anchor
  const held = `the first ${count(entries)} entries (epoch ${epoch})`
  if (anchor.kind === 'witness') return ['Witness', `${anchor.name}, ${time}: ${held}`]
  const accuracy = anchor.accuracyMs === 0 ? '' : ` ± ${anchor.accuracyMs / 1000} s`
  return ['Timestamp', `${anchor.authority}, ${time}${accuracy}: ${held}`]
}

const marks = { held: ['✓', 'green'], failed: ['✗', 'red'], unchecked: ['–', 'yellow'] } as const

function coverage({ size, covered }: Subject): string {
  return covered === size ? `all ${count(size)}` : `${count(covered)} of ${count(size)}`
}

const notesOf = ({ verification, notes, extras = [] }: Report): string[] => [
  ...verification.notes,
  ...notes,
  ...extras.flatMap((extra) => extra.notes),
]

function rows({ verification, extras = [] }: Report): [string, VerdictState, string][] {
  const shown = VERDICTS.map((verdict): [string, VerdictState, string] => {
    const state = verification.verdicts[verdict]
    return [verdict, state, state === 'unchecked' ? whyUnchecked(verdict, verification) : sentences[verdict][state]]
  })
  for (const { name, state, sentence } of extras) shown.push([name, state, printable(sentence)])
  return shown
}

function whyUnchecked(verdict: Verdict, { findings }: Verification): string {
  const finding = findings.find((candidate) => candidate.verdict === verdict && candidate.state === 'unchecked')
  return `not checked: ${printable(finding?.message ?? unchecked[verdict] ?? 'it was not reached')}`
}

const MOST_PRINTED = 20

function printFindings(report: Report, terminal: Terminal): void {
  const findings = findingsOf(report).filter(({ state }) => state === 'failed')
  print(terminal, '')
  if (findings.length === 0) return
  print(terminal, 'Findings:')
  const shown = findings.slice(0, MOST_PRINTED)
  const cells = shown.map(({ seq, verdict, code, message }) => [
    `  ${seq === undefined ? '' : `seq ${seq}`}`,
    verdict,
    code,
    printable(message),
  ])
  print(terminal, table(cells))
  if (findings.length > shown.length)
    print(terminal, `  … and ${findings.length - shown.length} more (--json lists all)`)
  print(terminal, '')
}

/** The last line: what all of it means. */
function verdict(report: Report): string {
  const { verification, extras = [] } = report
  const outcome = outcomeOf(report)
  if (outcome === 'tampered') {
    const seq = firstWrong(report)
    if (seq !== undefined) return `TAMPERED: the first wrong entry is ${seq}.`
    const others = extras.flatMap(({ findings }) => findings).filter(({ state }) => state === 'failed')
    if (!failsOnlyBySignature(verification) || others.some(({ code }) => code !== 'key_replaced'))
      return 'TAMPERED: see the findings above.'
    return (
      'TAMPERED: the trail agrees with itself, but the key that you brought did not sign it. Compare that key with where it\n' +
      'came from: one of another log fails, too. If it is the right one, this is not the log that you were promised.'
    )
  }
  if (outcome === 'unchecked') return 'NOT CHECKED: nothing wrong was found, but not everything could be checked.'
  if (verification.assurance === 'anchored')
    return 'HELD: the trail is what was sealed, and agrees with what you brought.'
  return (
    'HELD, tamper-detecting only: the trail agrees with itself. Whoever holds its signing key could still have written\n' +
    'all of it anew. To rule that out bring something from outside: --vkey, --checkpoint, --state, --policy or --tsa-ca.'
  )
}

/** Prints for programs. */
export function printReportJson(report: Report, exitCode: number, terminal: Terminal): void {
  const { subject, verification, extras = [] } = report
  const wrong = firstWrong(report)
  printJson(terminal, {
    outcome: outcomeOf(report),
    exit_code: exitCode,
    assurance: verification.assurance,
    ...(wrong !== undefined && { first_wrong: wrong }),
    subject,
    anchors: verification.anchors.map(({ accuracyMs, ...anchor }: Anchor & { accuracyMs?: number }) => ({
      ...anchor,
      ...(accuracyMs !== undefined && { accuracy_ms: accuracyMs }),
    })),
    verdicts: { ...verification.verdicts, ...Object.fromEntries(extras.map(({ name, state }) => [name, state])) },
    findings: findingsOf(report),
    notes: notesOf(report),
    ...(report.accusation !== undefined && { accusation: report.accusation }),
  })
}
