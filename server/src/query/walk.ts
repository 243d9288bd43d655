// One search through one trail: in which steps it walks, and which index answers each step. A step is a window of
// sequence numbers; the walk asks for candidates in it, reads them again, keeps what the filter wants, and goes on until
// the page is full, the trail ends, or the search has cost enough for one request. Then the page is short and its cursor
// continues: a search may take several requests, but never skips an event.
import type { Predicate } from '../filter/closure.ts'
import {
  type Ask,
  canProbe,
  find,
  gather,
  type Plan,
  probe,
  type Query,
  requests,
  scan,
  type Window,
} from '../filter/postgres.ts'
import { type Personas, rowsRead } from '../keys/personas.ts'
import type { Queryable } from '../store/database.ts'
import { readRows } from './read.ts'
import type { Resolution } from './resolve.ts'
import { type Opened, openPeople, openRow, type Reader } from './row.ts'
import type { Span, SpannedTrail, Trail } from './spans.ts'

/** What one request may cost. */
export const budget = {
  /** Rows of the trail that may be walked through without an index that names the events. */
  scannedRows: 100_000,
  /** Candidates read again. */
  candidates: 5_000,
  time_ms: 2_000,
  /** Characters of payload on one page, beyond which it is short: as objects and as an answer they take twenty times that. */
  characters: 1024 * 1024,
}

/** Candidates read at once: at first, and as many as hold about so much payload, never more. An event may be half a megabyte. */
const readAtOnce = { first: 128, least: 16, bytes: 1024 * 1024 }

/** A first look at the newest rows finds a page of frequent events without any index. */
const firstLook = 1_000
const scanStep = { first: 2_000, most: 32_000 }
const probeStep = { first: 64_000, most: 1_000_000 }

export interface Search {
  readonly session: Queryable
  readonly reader: Reader
  readonly personas: Personas
  readonly resolution: Resolution
  readonly matches: Predicate
  readonly order: 'asc' | 'desc'
  readonly limit: number
  readonly found: { readonly trail: Trail; readonly event: Opened }[]
  /** What was spent so far. */
  spent: { scannedRows: number; candidates: number; characters: number; readonly started_ms: number }
}

type Method = (plan: Plan, window: Window, ask: Ask) => Query

interface Step {
  readonly method: Method
  readonly low: number
  readonly high: number
  readonly firstDay: string
  readonly lastDay: string
}

const isFull = (search: Search) => search.found.length >= search.limit || search.spent.characters >= budget.characters

const isSpent = ({ spent }: Search) =>
  spent.scannedRows >= budget.scannedRows ||
  spent.candidates >= budget.candidates ||
  performance.now() - spent.started_ms >= budget.time_ms

/**
 * Walks from `from` (ascending: the next number to visit; descending: the last one visited) towards the trail's end.
 * @returns where the walk stopped, in the same sense; `end` is true when nothing is left in this direction
 */
export async function walkTrail(
  search: Search,
  trail: SpannedTrail,
  from: number,
): Promise<{ at: number; end: boolean }> {
  const desc = search.order === 'desc'
  const stop = desc ? 0 : trail.size
  if (search.resolution === 'nothing') return { at: stop, end: true }
  const { plan, dictionary } = search.resolution
  const steps = new Steps(plan, dictionary, desc)
  const wanted = trail.spans.filter((span) => meets(span, plan))
  let at = from
  while (!isFull(search)) {
    const step = steps.next(wanted, at)
    if (step === undefined) return { at: stop, end: true }
    if (isSpent(search)) return { at, end: false }
    at = await takeStep(search, trail, step)
  }
  return { at, end: at === stop }
}

const meets = (span: Span, plan: Plan) =>
  (plan.from === null || span.occurredTo >= plan.from) && (plan.to === null || span.occurredFrom < plan.to)

/** Reads the candidates of one step. @returns where the walk is now: at the step's end, or after the page's last event */
async function takeStep(search: Search, trail: SpannedTrail, step: Step): Promise<number> {
  if (search.resolution === 'nothing') throw new Error('a search that finds nothing takes no step')
  const desc = search.order === 'desc'
  const { plan: asked, dictionary } = search.resolution
  const plan = step.method === probe ? { ...asked, actions: dictionary } : asked
  let { low, high } = step
  if (step.method === scan) search.spent.scannedRows += high - low
  for (let factor = 1; !isFull(search); factor = Math.min(4 * factor, 16)) {
    if (factor > 1 && isSpent(search)) return desc ? high : low
    const limit = Math.min((search.limit - search.found.length) * factor, 1_000)
    const window: Window = {
      tenant: search.reader.tenant.number,
      trail: trail.number,
      low,
      high,
      firstDay: step.firstDay,
      lastDay: step.lastDay,
    }
    const query = step.method(plan, window, { order: search.order, limit })
    const { rows } = await search.session.query<{ seq: number }>(query)
    const seqs = [...new Set(rows.map((row) => row.seq))]
    const last = await keepMatches(search, trail, seqs)
    if (last !== undefined) return desc ? last : last + 1
    const end = rows.at(-1)
    if (end === undefined || rows.length < limit) break
    if (desc) high = end.seq
    else low = end.seq + 1
  }
  return desc ? step.low : step.high
}

/** Reads and rechecks candidates. @returns the number that filled the page, if one did */
async function keepMatches(search: Search, trail: SpannedTrail, seqs: readonly number[]): Promise<number | undefined> {
  search.spent.candidates += seqs.length
  let count = readAtOnce.first
  for (let start = 0; start < seqs.length; ) {
    const some = seqs.slice(start, start + count)
    const { rows, next } = await readRows(search.session, search.reader, trail, trail.spans, some, readAtOnce.bytes)
    const people = await openPeople(search.personas, search.reader, rows, readAtOnce.bytes)
    const whole = rowsRead(rows, people)
    let read = 0
    for (const row of rows.slice(0, whole)) {
      const event = openRow(row, people)
      const characters = sizeOf(event)
      read += characters
      if (!search.matches(event)) continue
      search.found.push({ trail, event })
      search.spent.characters += characters
      if (isFull(search)) return row.seq
    }
    const left = rows[whole]?.seq ?? next
    const taken = left === null ? some.length : some.indexOf(left)
    start += taken
    count = Math.max(readAtOnce.least, Math.floor((readAtOnce.bytes * taken) / (read + 1)))
  }
  return undefined
}

/** Characters of an event's payload. */
const sizeOf = ({ row, contents }: Opened) =>
  contents.reduce(
    (sum, content) => sum + (content?.length ?? 0),
    (row.facts?.length ?? 0) + (row.confidential?.length ?? 0),
  )

/** Chooses the walk's steps. */
class Steps {
  readonly #plan: Plan
  readonly #desc: boolean
  readonly #probes: boolean
  readonly #narrowed: boolean
  #rows = 0
  #days = 2
  #looked = false

  constructor(plan: Plan, dictionary: readonly number[] | null, desc: boolean) {
    this.#plan = plan
    this.#desc = desc
    this.#probes = canProbe({ ...plan, actions: dictionary }) && (plan.actors !== null || plan.actions !== null)
    this.#narrowed = plan.actors !== null || plan.actions !== null
  }

  /** The next step from `at`, or undefined when no span is left. */
  next(spans: readonly Span[], at: number): Step | undefined {
    const left = this.#desc ? spans.filter((span) => span.low < at).reverse() : spans.filter((span) => span.high > at)
    const span = left[0]
    if (span === undefined) return undefined
    const method = this.#method(span)
    const low = Math.max(span.low, this.#desc ? 0 : at)
    const high = Math.min(span.high, this.#desc ? at : Number.MAX_SAFE_INTEGER)
    if (method === scan || (method !== find && this.#plan.groups.length > 0 && method !== requests)) {
      return this.#bounded(method, span, low, high)
    }
    return this.#days_(method, left, low, high)
  }

  #method(span: Span): Method {
    const { indexed, requests: ids } = this.#plan
    if (ids !== null) return requests
    if (indexed.length > 0 && span.closed && (this.#looked || this.#probes)) return find
    if (this.#probes) return probe
    if (this.#narrowed && this.#looked) return gather
    return scan
  }

  /** A step of a bounded number of rows within one span. Each is longer than the one before. */
  #bounded(method: Method, span: Span, low: number, high: number): Step {
    const size = method === scan ? scanStep : probeStep
    const plain = this.#plan.groups.length === 0 && !this.#narrowed
    if (method === scan && !this.#looked && !plain) this.#rows = firstLook
    else this.#rows = Math.min(Math.max(2 * this.#rows, size.first), size.most)
    this.#looked = true
    const days = { firstDay: span.firstDay, lastDay: span.lastDay }
    if (high - low <= this.#rows) return { method, low, high, ...days }
    return this.#desc
      ? { method, low: high - this.#rows, high, ...days }
      : { method, low, high: low + this.#rows, ...days }
  }

  /** A step of whole days that the same method answers, four times as many as the step before. */
  #days_(method: Method, left: readonly Span[], low: number, high: number): Step {
    let count = 1
    while (count < this.#days && count < left.length && this.#method(left[count] as Span) === method) count++
    const last = left[count - 1] as Span
    const first = left[0] as Span
    this.#days *= 4
    this.#looked = true
    return this.#desc
      ? { method, low: last.low, high, firstDay: last.firstDay, lastDay: first.lastDay }
      : { method, low, high: last.high, firstDay: first.firstDay, lastDay: last.lastDay }
  }
}
