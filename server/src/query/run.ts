// A trail read from one end to the other and written out as bytes, bundle by bundle, for packs. Rows are read in pages that
// have about the same size however large the events are; what a page holds of the bundles behind the one asked for waits
// until they are asked for.
import { TILE_WIDTH } from '@affidavit/trail'
import type { Database, Snapshot } from '../store/database.ts'
import { ByteWriter } from './byte-writer.ts'
import { poolFor } from './events.ts'
import type { Reader } from './row.ts'
import { readSpans, type Span, type Trail } from './spans.ts'

export interface RunSource {
  readonly store: Database
  readonly reader: Reader
  readonly trail: Trail
}

/** The column `personal`: per line the subject's number, the persona's, and the commitment. */
export const personalLine = { bytes: 48, personaAt: 8, commitmentAt: 16 } as const

/** Writes one entry, in ascending order of seq: of each that the page was made for. */
export type WriteSeq = (seq: number, writer: ByteWriter) => void

export interface Page {
  readonly write: WriteSeq
  /** Bytes that were read. */
  readonly size: number
}

interface AheadPage {
  readonly from: number
  readonly to: number
  readonly page: Promise<Page>
}

const pageBytes = 2 * 1024 * 1024
const firstRows = 64
const mostRows = 16 * TILE_WIDTH

export abstract class Run {
  protected readonly source: RunSource
  readonly #writer = new ByteWriter()
  readonly #ready = new Map<number, Uint8Array>()
  #rows = firstRows
  #at = 0
  /** The page behind the last one: read while that one is packed. */
  #ahead: AheadPage | undefined
  #spans: readonly Span[] | undefined
  #turn: Promise<unknown> = Promise.resolve()

  constructor(source: RunSource) {
    this.source = source
  }

  /** Reads [from, to), or only some of it. */
  protected abstract page(from: number, to: number, only: readonly number[] | undefined): Promise<Page>

  /**
   * What is written of the bundle in which `from` lies, from there to its end, or to `until` if that comes first. Bundles
   * up to `until` are expected to be asked for next. Calls may overlap; they are answered one after the other.
   */
  take(from: number, until: number): Promise<Uint8Array> {
    return this.#inTurn(() => this.#take(from, until))
  }

  /** What is written of some seqs, ascending, that lie close to one another. */
  some(seqs: readonly number[]): Promise<Uint8Array> {
    return this.#inTurn(async () => {
      const { write } = await this.page(seqs[0]!, seqs.at(-1)! + 1, seqs)
      const writer = new ByteWriter()
      for (const seq of seqs) write(seq, writer)
      return writer.take()
    })
  }

  /** Runs `work` in a snapshot, with the days in which the trail lies: sealed entries do not move. */
  protected within<Result>(work: (session: Snapshot, spans: readonly Span[]) => Promise<Result>): Promise<Result> {
    const { store, reader, trail } = this.source
    return poolFor(store, reader).asTenant(reader.tenant.number, async (session) => {
      this.#spans ??= await readSpans(session, trail)
      return work(session, this.#spans)
    })
  }

  #inTurn<Result>(work: () => Promise<Result>): Promise<Result> {
    const done = this.#turn.then(work)
    this.#turn = done.catch(() => undefined)
    return done
  }

  async #take(from: number, until: number): Promise<Uint8Array> {
    const index = Math.floor(from / TILE_WIDTH)
    if (!this.#ready.has(index)) {
      if (this.#at !== from) this.#goTo(from)
      while (!this.#ready.has(index)) await this.#read(until)
    }
    const bytes = this.#ready.get(index)!
    this.#ready.delete(index)
    return bytes
  }

  #goTo(seq: number): void {
    this.#ahead = undefined
    this.#ready.clear()
    this.#writer.clear()
    this.#at = seq
  }

  async #read(until: number): Promise<void> {
    const from = this.#at
    const { page, to } = this.#ahead?.from === from && this.#ahead.to <= until ? this.#ahead : this.#ask(from, until)
    this.#ahead = undefined
    // Should it fail on the way, whoever asks again begins anew.
    this.#at = Number.NaN
    const { write, size } = await page
    this.#rows = Math.max(1, Math.min(mostRows, 4 * (to - from), Math.floor((pageBytes * (to - from)) / (size + 1))))
    if (to < until) this.#ahead = this.#ask(to, until)
    for (let seq = from; seq < to; seq++) {
      write(seq, this.#writer)
      if ((seq + 1) % TILE_WIDTH === 0 || seq + 1 === until)
        this.#ready.set(Math.floor(seq / TILE_WIDTH), this.#writer.take())
    }
    this.#at = to
  }

  #ask(from: number, until: number): AheadPage {
    const to = Math.min(until, from + this.#rows)
    const page = this.page(from, to, undefined)
    // A failure is met where its turn comes, not as an unhandled rejection before.
    page.catch(() => undefined)
    return { from, to, page }
  }
}

const isDay = /^[0-9]{4,6}-[0-9]{2}-[0-9]{2}$/

/**
 * The condition that rows [from, to) of a trail fulfil, as SQL: made of numbers and dates only. False where nothing of
 * them is stored any more.
 */
export function rowsWithin(
  { reader, trail }: RunSource,
  spans: readonly Span[],
  from: number,
  to: number,
  only?: readonly number[],
): string {
  const within = spans.filter(({ low, high }) => low < to && high > from)
  if (within.length === 0) return 'false'
  const days = within.flatMap(({ firstDay, lastDay }) => [firstDay, lastDay]).sort()
  if (!days.every((day) => isDay.test(day))) throw new Error('a span without a day')
  const among = only === undefined || only.length === to - from ? '' : ` and e.seq = any('{${only}}'::bigint[])`
  return `e.trail = ${trail.number} and e.tenant = ${reader.tenant.number} and e.seq >= ${from} and e.seq < ${to}
    and e.day >= '${days[0]}' and e.day <= '${days.at(-1)}'${among}`
}
