/** The payloads of a running server's trail: each against its entry, each gap against what was announced. */
import {
  Absence,
  ContentVerifier,
  decodeEntries,
  type Entry,
  type EntryVerifier,
  type Findings,
  type Hash,
  PackError,
  type Payload,
  TILE_WIDTH,
} from '@affidavit/trail'
import { Failure } from '../../failure.ts'
import { ServerRefused } from '../../remote.ts'
import type { Bundles } from '../server/bundles.ts'
import type { ServerLog, Withheld } from '../server/log.ts'

export interface ContentParts {
  readonly hash: Hash
  readonly log: ServerLog
  readonly size: number
  readonly findings: Findings
  readonly bundles: Bundles
  readonly walk: EntryVerifier
  readonly withheld: readonly Withheld[]
  /** Entries that are known to be missing. */
  readonly missing: ReadonlySet<number>
  /** ms since 1970. */
  readonly now: number
  readonly progress: (done: number, of: number, phase: 'content') => void
  /** Told of every entry with its payload, in order. */
  readonly onPayload: ((seq: number, entry: Entry, payload: Payload, leaf: Uint8Array) => void) | undefined
}

/** How long (ms) something announced as gone may still be served. */
export const GRACE_MS = 86_400_000
/** Payloads asked for at once. */
const CONTENT_ENTRIES = 4 * TILE_WIDTH
/** After so many refused places nothing new is learnt. */
const MOST_REFUSALS = 100

/** Checks the payloads of entries from `from` on. @returns notes */
export async function checkContents(parts: ContentParts, from: number): Promise<string[]> {
  return new ContentRun(parts).run(from)
}

class ContentRun {
  private readonly parts: ContentParts
  private readonly findings: Findings
  private refusals = 0

  constructor(parts: ContentParts) {
    this.parts = parts
    this.findings = parts.findings
  }

  async run(first: number): Promise<string[]> {
    const { hash, walk, withheld, now, size, progress } = this.parts
    const { findings } = this
    const absence = new Absence(walk.announcements, findings)
    const contents = new ContentVerifier({
      hash,
      absence,
      findings,
      withheld,
      graceMs: GRACE_MS,
      now,
    })
    for (let from = first - (first % CONTENT_ENTRIES); from < size; from += CONTENT_ENTRIES) {
      const to = Math.min(size, from + CONTENT_ENTRIES)
      const start = Math.max(from, first)
      const entries = await this.entriesAgain(start, to)
      if (!(await this.contentOf(start, to, entries, contents))) return absence.notes(first === 0)
      progress(to, size, 'content')
    }
    findings.held('content')
    findings.held('absence')
    return absence.notes(first === 0)
  }

  /** Entries for their payloads: from memory, or once more from the server, which must not give others now. */
  private async entriesAgain(from: number, to: number): Promise<Map<number, { entry: Entry; leaf: Uint8Array }>> {
    const entries = new Map<number, { entry: Entry; leaf: Uint8Array }>()
    for (let index = from / TILE_WIDTH; index * TILE_WIDTH < to; index++) {
      const again = await this.parts.bundles.again(index)
      if (again === 'differs') {
        const first = index * TILE_WIDTH
        this.findings.fail(
          'inclusion',
          'two_answers',
          `bundle ${index} was served in two versions within one run`,
          first,
        )
      } else if (again !== undefined) {
        const { bytes, entries: width } = again
        for (const { seq, bytes: own, entry } of decodeEntries(bytes, index * TILE_WIDTH, width) ?? [])
          if (entry !== undefined) entries.set(seq, { entry, leaf: this.leafOf(own) })
      }
    }
    return entries
  }

  private leafOf(bytes: Uint8Array): Uint8Array {
    const data = new Uint8Array(1 + bytes.length)
    data.set(bytes, 1)
    return this.parts.hash(data)
  }

  /** Checks a range of payloads; where the server breaks off, halves it to the place. False: nothing more can be had. */
  private async contentOf(
    from: number,
    to: number,
    entries: ReadonlyMap<number, { entry: Entry; leaf: Uint8Array }>,
    contents: ContentVerifier,
  ): Promise<boolean> {
    let payloads: Map<number, Payload>
    try {
      payloads = await this.readContent(from, to)
    } catch (error) {
      const why = this.contentProblem(error, from)
      if (why === undefined) return false
      if (to - from > 1) {
        const middle = Math.floor((from + to) / 2)
        return (
          (await this.contentOf(from, middle, entries, contents)) &&
          (await this.contentOf(middle, to, entries, contents))
        )
      }
      if (!this.parts.missing.has(from))
        this.findings.fail(
          'completeness',
          'content_not_served',
          `the content of entry ${from} is not served: ${why}`,
          from,
        )
      this.refusals += 1
      return this.refusals < MOST_REFUSALS
    }
    for (let seq = from; seq < to; seq++) this.checkOne(seq, entries.get(seq), payloads.get(seq), contents)
    return true
  }

  private checkOne(
    seq: number,
    found: { entry: Entry; leaf: Uint8Array } | undefined,
    payload: Payload | undefined,
    contents: ContentVerifier,
  ): void {
    if (found === undefined) {
      if (!this.parts.missing.has(seq))
        this.findings.cannotCheck(
          'content',
          'no_entry',
          `entry ${seq} could not be read, so neither could its content`,
          seq,
        )
      return
    }
    if (payload === undefined) {
      this.findings.fail('completeness', 'content_not_served', `entry ${seq} is served without its content line`, seq)
      return
    }
    contents.check(seq, found.entry, payload)
    this.parts.onPayload?.(seq, found.entry, payload, found.leaf)
  }

  private async readContent(from: number, to: number): Promise<Map<number, Payload>> {
    const payloads = new Map<number, Payload>()
    let last = from - 1
    for await (const payload of this.parts.log.content(from, to)) {
      if (payload.seq <= last || payload.seq >= to)
        throw new PackError('malformed', `the content of entry ${payload.seq} is not in its place`)
      last = payload.seq
      payloads.set(payload.seq, payload)
    }
    return payloads
  }

  /** Why content could not be read, or undefined when there is no point in going on. */
  private contentProblem(error: unknown, seq: number): string | undefined {
    if (error instanceof ServerRefused) {
      if ([404, 410, 500].includes(error.status)) return `${error.message} [${error.code}]`
      this.findings.cannotCheck('content', error.code, `the server does not give payloads: ${error.message}`)
      return undefined
    }
    if (error instanceof PackError) {
      this.findings.cannotCheck('content', error.code, error.message, seq)
      return error.message
    }
    // Also a connection that breaks inside a line: the next request tells whether the server is still there.
    if (error instanceof Failure) throw error
    return (error as Error).message
  }
}
