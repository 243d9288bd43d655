// A trail read from one end to the other and written out as bytes, for packs and live verifiers. Rows are read in pages that
// have about the same size however large the events are; what a page holds of the bundles behind the one asked for waits
// until they are asked for. Of a bundle that is large, only what is left of it after deflating is ever held.
import { setImmediate as turn } from 'node:timers/promises'
import { type Deflated, TILE_WIDTH } from '@affidavit/trail'
import { type Copied, CopiedRows } from '../store/copy-out.ts'
import type { Database, Snapshot } from '../store/database.ts'
import { ByteWriter } from './byte-writer.ts'
import { Deflating } from './deflating.ts'
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
  /** The seq after the last one that it can write: before the one asked for, where rows were too large. */
  readonly to: number
}

/** What was written: as it is, or deflated, where it is large. */
export type Written = Uint8Array | Deflated

interface AskedPage {
  readonly from: number
  readonly to: number
  readonly page: Promise<Page>
}

const pageBytes = 2 * 1024 * 1024
/** Where events are suddenly large, a page ends early. */
export const mostPageBytes = 4 * pageBytes
const firstRows = 32
const mostRows = 16 * TILE_WIDTH
/** A bundle of more is deflated while it is written: contents, never entries, of which 256 have little more than 4 MiB. */
const heldBytes = 5 * 1024 * 1024
/** Pieces of this size keep nobody waiting for the thread that makes them. */
const pieceBytes = 512 * 1024

export abstract class Run {
  protected readonly source: RunSource
  readonly #writer = new ByteWriter()
  readonly #ready = new Map<number, Written>()
  #rows = firstRows
  /** The seq to be read next. */
  #at = 0
  /** The first seq of the bundle that is being written: a page may end within it. */
  #begun = 0
  /** The page behind the last one: read while that one is packed. */
  #ahead: AskedPage | undefined
  /** The first part of the bundle that is being written. */
  #deflating: Deflating | undefined
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
  take(from: number, until: number): Promise<Written> {
    return this.#inTurn(() => this.#take(from, until))
  }

  /** What is written of some seqs, ascending, of one bundle. */
  some(seqs: readonly number[]): Promise<Written> {
    return this.#inTurn(async () => {
      this.#goTo(Number.NaN)
      for (let left = seqs; left.length > 0; ) {
        const { write, to } = await this.page(left[0]!, left.at(-1)! + 1, left)
        const fit = left.filter((seq) => seq < to)
        await this.#write(fit, write)
        left = left.slice(fit.length)
      }
      return this.#finish()
    })
  }

  /** What is written of [from, to), in pieces, each made when it is asked for. Not beside other calls. */
  async *pieces(from: number, to: number): AsyncGenerator<Uint8Array> {
    this.#goTo(Number.NaN)
    for (let at = from; at < to; ) {
      const { write, size, to: end } = await this.#ask(at, to).page
      this.#size(end - at, size)
      for (let seq = at; seq < end; seq++) {
        write(seq, this.#writer)
        if (this.#writer.length < pieceBytes) continue
        yield this.#writer.take()
        await turn()
      }
      at = end
    }
    if (this.#writer.length > 0) yield this.#writer.take()
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

  async #take(from: number, until: number): Promise<Written> {
    const index = Math.floor(from / TILE_WIDTH)
    if (!this.#ready.has(index)) {
      if (this.#begun !== from || this.#at > until) this.#goTo(from)
      while (!this.#ready.has(index)) await this.#read(until)
    }
    const written = this.#ready.get(index)!
    this.#ready.delete(index)
    return written
  }

  #goTo(seq: number): void {
    this.#ahead = undefined
    this.#ready.clear()
    this.#writer.clear()
    this.#deflating?.cancel()
    this.#deflating = undefined
    this.#at = seq
    this.#begun = seq
  }

  async #read(until: number): Promise<void> {
    const from = this.#at
    const asked = this.#ahead?.from === from && this.#ahead.to <= until ? this.#ahead : this.#ask(from, until)
    this.#ahead = undefined
    let begun = this.#begun
    // Should it fail on the way, whoever asks again begins anew.
    this.#begun = Number.NaN
    const { write, size, to } = await asked.page
    this.#size(to - from, size)
    if (to < until) this.#ahead = this.#ask(to, until)
    for (let low = from; low < to; ) {
      const end = Math.min(to, until, low - (low % TILE_WIDTH) + TILE_WIDTH)
      await this.#write(seqsFrom(low, end), write)
      if (end % TILE_WIDTH === 0 || end === until) {
        this.#ready.set(Math.floor(low / TILE_WIDTH), await this.#finish())
        begun = end
      }
      low = end
    }
    this.#at = to
    this.#begun = begun
  }

  async #write(seqs: Iterable<number>, write: WriteSeq): Promise<void> {
    for (const seq of seqs) {
      write(seq, this.#writer)
      if (this.#writer.length < heldBytes) continue
      this.#deflating ??= new Deflating()
      await this.#deflating.add(this.#writer.take())
    }
  }

  /** Everything written since the last bundle. */
  async #finish(): Promise<Written> {
    const rest = this.#writer.take()
    const deflating = this.#deflating
    if (deflating === undefined) return rest
    this.#deflating = undefined
    await deflating.add(rest)
    return deflating.finish()
  }

  /** How many rows the next page may have, after one of that many with so many bytes. */
  #size(rows: number, size: number): void {
    this.#rows = Math.max(1, Math.min(mostRows, 4 * rows, Math.floor((pageBytes * rows) / (size + 1))))
  }

  #ask(from: number, until: number): AskedPage {
    const to = Math.min(until, from + this.#rows)
    const page = this.page(from, to, undefined)
    // A failure is met where its turn comes, not as an unhandled rejection before.
    page.catch(() => undefined)
    return { from, to, page }
  }
}

/** Up to where copied rows reach, of those asked for up to `to`. Their first column is seq. */
export function pageEnd({ bytes, isCut }: Copied, columns: number, to: number): number {
  if (!isCut) return to
  let last = 0
  for (const rows = new CopiedRows(bytes, columns); rows.next(); ) last = rows.int8(0)
  return last + 1
}

function* seqsFrom(from: number, to: number): Generator<number> {
  for (let seq = from; seq < to; seq++) yield seq
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
