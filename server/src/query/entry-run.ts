// Entry bundles of a pack: a trail's entries as they were hashed (docs/spec/entry.md), written as bytes straight from the
// columns. Nothing is trusted to be right here, and nothing checked: whoever hashes these bytes finds out.
import { CATEGORIES, ENTRY_VERSION, NO_PREVIOUS, TILE_WIDTH } from '@affidavit/trail'
import { CopiedRows, readInt8 } from '../store/copy-out.ts'
import type { Snapshot } from '../store/database.ts'
import type { ByteWriter } from './byte-writer.ts'
import { mostPageBytes, type Page, pageEnd, personalLine, Run, type RunSource, rowsWithin } from './run.ts'
import type { Span } from './spans.ts'

const { bytes: lineBytes, commitmentAt } = personalLine
const columns = 9
const hashBytes = 32
/** Longest text of an entry besides its control line and its personal lines, and of one of those. */
const placeBytes = 512
const personalBytes = 100
const rememberedKeys = 20_000
const noKey = '0'.repeat(32)
const longest = 0xffff

const ascii = (text: string) => Buffer.from(text, 'latin1')
const events = CATEGORIES.map((category) => ascii(`event ${category}\nfacts `))
const control = ascii('control ')
const facts = ascii('\nfacts ')
const confidential = ascii('confidential ')
const operator = ascii('operator ')
const personal = ascii('personal ')
const lineFeed = 0x0a
const space = 0x20

/** Bundles in the form of C2SP tlog-tiles: each entry behind its length. */
export class EntryRun extends Run {
  readonly #head: Buffer
  /** Subject key ids by the subjects' numbers. */
  readonly #keys = new Map<number, string>()
  #sealedAt = Number.NaN
  #sealedText = ascii('')

  constructor(source: RunSource) {
    super(source)
    this.#head = ascii(`${ENTRY_VERSION}\n${source.trail.id}\n`)
  }

  override async take(from: number, until: number): Promise<Uint8Array> {
    const written = await super.take(from, until)
    if ('parts' in written) throw new Error(`a bundle of trail ${this.source.trail.id} has ${written.size} bytes`)
    return written
  }

  protected override page(from: number, to: number): Promise<Page> {
    return this.within(async (session, spans) => {
      const copied = await session.copy(this.#select(spans, from, to), mostPageBytes)
      const { bytes } = copied
      await this.#learnKeys(session, new CopiedRows(bytes, columns))
      const rows = new CopiedRows(bytes, columns)
      const isThere = rows.next()
      const hasPrevious = isThere && rows.int8(0) === from - 1
      const place = {
        previous: hasPrevious ? rows.view(4) : isThere ? await this.#previousFromTile(session, from) : undefined,
        isThere: hasPrevious ? rows.next() : isThere,
      }
      return {
        size: bytes.length,
        to: pageEnd(copied, columns, to),
        write: (seq, writer) => this.#write(rows, place, seq, writer),
      }
    })
  }

  #select(spans: readonly Span[], from: number, to: number): string {
    const { source } = this
    const within = rowsWithin(source, spans, Math.max(0, from - 1), to)
    const [part, join] = source.reader.operator
      ? ['substring(e.operator for 32)', '']
      : ['o.commitment', `left join ${operatorsWithin(source, spans, from, to)} o on o.seq = e.seq`]
    return `select e.seq, e.sealed_at, e.category, e.facts_commitment, e.hash, e.personal, substring(e.confidential for 32),
      e.control, ${part} from affidavit.events e ${join} where ${within} order by e.seq`
  }

  /** The hash before the first entry that a truncation left: the last one of the hash tile before. */
  async #previousFromTile(session: Snapshot, seq: number): Promise<Buffer | undefined> {
    if (seq === 0 || seq % TILE_WIDTH !== 0) return undefined
    const { rows } = await session.query<{ hash: Buffer }>(
      `select substring(hashes from ${(TILE_WIDTH - 1) * hashBytes + 1} for ${hashBytes}) as hash
       from affidavit.tiles where trail = $1 and level = 0 and index = $2`,
      [this.source.trail.number, seq / TILE_WIDTH - 1],
    )
    return rows[0]?.hash
  }

  async #learnKeys(session: Snapshot, rows: CopiedRows): Promise<void> {
    const unknown = new Set<number>()
    if (this.#keys.size > rememberedKeys) this.#keys.clear()
    while (rows.next()) {
      const end = rows.start(5) + rows.length(5)
      for (let at = rows.start(5); at + lineBytes <= end; at += lineBytes) {
        const subject = readInt8(rows.bytes, at)
        if (!this.#keys.has(subject)) unknown.add(subject)
      }
    }
    if (unknown.size === 0) return
    const { rows: found } = await session.query<{ number: number; key_id: string }>(
      'select number, key_id from affidavit.subjects where tenant = $1 and number = any($2::bigint[])',
      [this.source.reader.tenant.number, [...unknown]],
    )
    for (const { number, key_id } of found) this.#keys.set(number, key_id.replaceAll('-', ''))
  }

  #write(
    rows: CopiedRows,
    place: { previous: Buffer | undefined; isThere: boolean },
    seq: number,
    writer: ByteWriter,
  ): void {
    const { id } = this.source.trail
    if (!place.isThere || rows.int8(0) !== seq) throw new Error(`trail ${id} lacks entry ${seq}`)
    writer.room(placeBytes + Math.max(0, rows.length(7)) + (Math.max(0, rows.length(5)) / lineBytes) * personalBytes)
    const start = writer.length
    writer.patchable16()
    this.#writePlace(rows, place.previous, seq, writer)
    this.#writeContent(rows, seq, writer)
    const length = writer.length - start - 2
    if (length > longest) throw new Error(`entry ${seq} of trail ${id} has ${length} bytes`)
    writer.patch16(start, length)
    place.previous = rows.view(4)
    place.isThere = rows.next()
  }

  #writePlace(rows: CopiedRows, previous: Buffer | undefined, seq: number, writer: ByteWriter): void {
    writer.put(this.#head)
    writer.decimal(seq)
    writer.byte(lineFeed)
    if (seq === 0) writer.ascii(NO_PREVIOUS)
    else if (previous !== undefined) writer.base64(previous, 0, Math.min(hashBytes, previous.length))
    else throw new Error(`the entry before ${seq} of trail ${this.source.trail.id} is not stored any more`)
    writer.byte(lineFeed)
    const sealedAt = rows.time(1)
    if (sealedAt !== this.#sealedAt) {
      this.#sealedText = ascii(`${new Date(sealedAt).toISOString()}\n`)
      this.#sealedAt = sealedAt
    }
    writer.put(this.#sealedText)
  }

  #writeContent(rows: CopiedRows, seq: number, writer: ByteWriter): void {
    if (rows.isNull(7)) {
      const event = events[rows.int2(2) - 1]
      if (event === undefined) throw new Error(`entry ${seq} of trail ${this.source.trail.id} has no category`)
      writer.put(event)
    } else {
      writer.put(control)
      writer.copy(rows.bytes, rows.start(7), rows.start(7) + rows.length(7))
      writer.put(facts)
    }
    base64Line(rows, 3, writer)
    if (!rows.isNull(6)) {
      writer.put(confidential)
      base64Line(rows, 6, writer)
    }
    if (!rows.isNull(8)) {
      writer.put(operator)
      base64Line(rows, 8, writer)
    }
    const end = rows.start(5) + rows.length(5)
    for (let at = rows.start(5); at + lineBytes <= end; at += lineBytes) {
      writer.put(personal)
      writer.ascii(this.#keys.get(readInt8(rows.bytes, at)) ?? noKey)
      writer.byte(space)
      writer.base64(rows.bytes, at + commitmentAt, hashBytes)
      writer.byte(lineFeed)
    }
  }
}

/** A column of 32 bytes; whatever else stands there is shown cut to that, and will not hash. */
function base64Line(rows: CopiedRows, column: number, writer: ByteWriter): void {
  writer.base64(rows.bytes, rows.start(column), Math.min(hashBytes, rows.length(column)))
  writer.byte(lineFeed)
}

/** For those who may know that an operator's part is there, but not read it. */
function operatorsWithin({ trail }: RunSource, spans: readonly Span[], from: number, to: number): string {
  const days = spans
    .filter(({ low, high }) => low < to && high > from)
    .flatMap(({ firstDay, lastDay }) => [firstDay, lastDay])
    .sort()
  const [first = '9999-12-31', last = '0001-01-01'] = [days[0], days.at(-1)]
  return `affidavit.operator_commitments(${trail.number}, array(select generate_series(${from}::bigint, ${to - 1}::bigint)),
    '${first}', '${last}')`
}
