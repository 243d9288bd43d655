/**
 * `--deep`: asks the server's search for every value that the verified events hold, and compares what comes back with
 * what must. An event that a filter leaves out, or that it returns though its facts say otherwise, is a finding.
 */
import { commitText, toHex } from '@affidavit/trail'
import { Failure } from '../../failure.ts'
import { asFailure, ServerRefused } from '../../remote.ts'
import { plural } from '../../terminal.ts'
import { nodeSha256 } from '../node-hash.ts'
import { type Extra, stateOf } from '../report.ts'
import { ahead } from '../server/ahead.ts'
import type { ServerLog } from '../server/log.ts'
import type { Expected } from './expected.ts'
import { type IdQuestion, type Question, questionsOf } from './questions.ts'
import { digestOf, type Part } from './restored.ts'

export interface ColumnFinding {
  readonly verdict: 'column'
  readonly state: 'failed' | 'unchecked'
  readonly code: string
  readonly seq?: number
  readonly message: string
  /** The filter that shows it, as a query. */
  readonly filter: string
}

export interface DeepOptions {
  readonly log: ServerLog
  readonly trail: string
  /** Entries under the verified checkpoint; later ones are not judged. */
  readonly size: number
  readonly expected: Expected
  readonly progress: (done: number, of: number, filter: string) => void
}

const AT_ONCE = 4
const PAGE = 1000
const MOST_FINDINGS = 100
/** Compares every filter. Throws Failure when the server stops answering. */
export async function checkColumns(options: DeepOptions): Promise<Extra> {
  const findings: ColumnFinding[] = []
  const { questions, ids, notes } = questionsOf(options.expected)
  const of = questions.length + ids.length
  let done = 0
  for (const seq of options.expected.ambiguous.slice(0, MOST_FINDINGS / 2))
    findings.push({
      verdict: 'column',
      state: 'failed',
      code: 'ambiguous',
      seq,
      message: `the facts of entry ${seq} are not JSON as it is sealed: they can be read in more than one way`,
      filter: '',
    })
  const take = (filter: string, found: readonly ColumnFinding[]) => {
    findings.push(...found.filter(isNew(findings)).slice(0, MOST_FINDINGS - findings.length))
    done += 1
    options.progress(done, of, filter)
  }
  try {
    for await (const { item, result } of ahead(questions, AT_ONCE, (question) => ask(question, options)))
      take(item.filter, result)
    for await (const { item, result } of ahead(ids, AT_ONCE, (question) => askById(question, options)))
      take(`id=${item.id}`, result)
  } catch (error) {
    const failure = error instanceof ServerRefused ? asFailure(error, 2) : error
    if (!(failure instanceof Failure)) throw error
    const filter = questions[done]?.filter ?? ''
    findings.push({ verdict: 'column', state: 'unchecked', code: 'broken_off', message: failure.message, filter })
  }
  findings.sort((a, b) => (a.seq ?? Infinity) - (b.seq ?? Infinity) || 0)
  const state = stateOf(findings)
  const sentence = `${sentences[state]} (${plural(done, 'filter', 'filters')} asked)`
  return { name: 'columns', state, sentence, findings, notes }
}

const sentences = {
  held: 'every filter of the search returns exactly the events whose facts match it',
  failed: 'the search hides events or shows others than were sealed',
  unchecked: 'not all filters could be asked',
}

/** Groups are asked in two rounds, so what is hidden shows twice. */
function isNew(findings: readonly ColumnFinding[]): (finding: ColumnFinding) => boolean {
  return ({ seq, message }) => !findings.some((known) => known.seq === seq && known.message === message)
}

/** Walks all pages of one filter and compares. */
async function compare(question: Question, options: DeepOptions): Promise<ColumnFinding[]> {
  const { expected, filter, allowed, isPersonal } = question
  const findings: ColumnFinding[] = []
  const fail = (code: string, seq: number, message: string, which = filter) =>
    findings.push({ verdict: 'column', state: 'failed', code, seq, message, filter: which })
  const isDoubtful = (seq: number) =>
    options.expected.unknown.has(seq) || (isPersonal && options.expected.partial.has(seq))
  const seen = new Set<number>()
  for await (const shown of listed(question, options)) {
    const { seq } = shown
    if (seen.has(seq)) fail('repeated', seq, `${nameOf(filter)} returns entry ${seq} twice`)
    else if (!expected.has(seq) && !allowed.has(seq) && !isDoubtful(seq))
      fail('surplus', seq, `${nameOf(filter)} returns entry ${seq}, whose facts do not match it`)
    seen.add(seq)
    if (filter === '') for (const wrong of contradictions(shown, options.expected)) fail('shown_otherwise', seq, wrong)
  }
  for (const [seq, which] of expected) {
    if (!seen.has(seq)) fail('hidden', seq, `${nameOf(which)} leaves out entry ${seq}, whose facts match it`, which)
  }
  return findings
}

/** A filter that the server does not take leaves its events uncompared; the others are still asked. */
async function ask(question: Question, options: DeepOptions): Promise<ColumnFinding[]> {
  try {
    return await compare(question, options)
  } catch (error) {
    if (!(error instanceof ServerRefused) || ![400, 422].includes(error.status)) throw error
    const message = `${nameOf(question.filter)} is refused: ${error.message}`
    return [{ verdict: 'column', state: 'unchecked', code: 'refused', message, filter: question.filter }]
  }
}

/** An event must be found by its id, at its place. */
async function askById({ id, seq }: IdQuestion, { log, trail, size }: DeepOptions): Promise<ColumnFinding[]> {
  const filter = `id=${encodeURIComponent(id)}`
  const path = `/v1/events/${encodeURIComponent(id)}?tenant=${encodeURIComponent(log.tenant)}`
  const fail = (message: string): ColumnFinding[] => [
    { verdict: 'column', state: 'failed', code: 'hidden', seq, message, filter },
  ]
  try {
    const shown = ((await log.remote.json(path)) ?? {}) as Partial<Shown>
    // The id may have been used again since the checkpoint.
    if (shown.trail !== trail || (typeof shown.seq === 'number' && shown.seq >= size)) return []
    return shown.seq === seq ? [] : fail(`the event ${id} is entry ${seq}, but the server shows entry ${shown.seq}`)
  } catch (error) {
    if (!(error instanceof ServerRefused) || error.status !== 404) throw error
    return fail(`entry ${seq} is not found by its id ${id}`)
  }
}

function isDigest(digest: Uint8Array, fields: readonly string[], shown: Shown): boolean {
  try {
    return digestOf(fields, shown).equals(digest)
  } catch (error) {
    // Nested deeper than anything that was sealed.
    if (error instanceof RangeError) return false
    throw error
  }
}

const nameOf = (filter: string) => (filter === '' ? 'the unfiltered list' : `the filter ${readable(filter)}`)

function readable(filter: string): string {
  const text = decodeURIComponent(filter)
  return text.length > 300 ? `${text.slice(0, 300)}…` : text
}

interface Shown extends Readonly<Record<string, unknown>> {
  readonly seq: number
}

async function* listed({ filter }: Question, { log, trail, size }: DeepOptions): AsyncGenerator<Shown> {
  const base = `/v1/events?tenant=${encodeURIComponent(log.tenant)}&order=asc&limit=${PAGE}${filter && `&${filter}`}`
  const seen = new Set<string>()
  for (let after = ''; ; ) {
    const page = ((await log.remote.json(base + (after && `&after=${encodeURIComponent(after)}`))) ?? {}) as {
      data?: unknown
      next?: unknown
    }
    if (!Array.isArray(page.data)) throw new Failure('The server does not list events as it should.')
    let isPast = page.data.length > 0
    for (const event of page.data as (Shown | null)[]) {
      if (event?.trail !== trail) continue
      isPast &&= event.seq >= size
      if (typeof event.seq === 'number' && event.seq < size) yield event
    }
    if (typeof page.next !== 'string' || isPast) return
    if (seen.has(page.next)) throw new Failure('The server repeats a cursor, so its lists never end.')
    seen.add(page.next)
    after = page.next
  }
}

/** Where an event as it is shown differs from what was sealed. */
function* contradictions(shown: Shown, expected: Expected): Generator<string> {
  const { seq, hash, facts, facts_salt: salt } = shown
  const leaf = expected.leaf(seq)
  if (leaf !== undefined && hash !== toHex(leaf)) yield `entry ${seq} is listed with another hash than it has`
  if (typeof facts !== 'string') return
  const salted = typeof salt === 'string' && /^[0-9a-f]{32}$/.test(salt) ? Buffer.from(salt, 'hex') : undefined
  const isControl = typeof shown.control === 'string'
  const sealed =
    salted !== undefined &&
    commitText(nodeSha256, isControl ? 'control' : 'facts', salted, facts) === expected.commitment(seq)
  if (!sealed) {
    yield `entry ${seq} is listed with other facts than were sealed`
    return
  }
  if (isControl) return
  if (shown.tampered === true)
    yield `entry ${seq} is listed with columns or people that were changed after it was sealed`
  // The facts are the sealed ones here, so they may say which fields to compare. Whoever was erased in between is not shown.
  const digest = expected.digest(seq)
  if (digest === undefined || (Array.isArray(shown.erased) && shown.erased.length > 0)) return
  const fields = Object.keys(JSON.parse(facts) as Part)
  if (!isDigest(digest, fields, shown)) yield `entry ${seq} is listed with other values than its facts and people have`
}
