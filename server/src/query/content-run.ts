// Content lines of a pack (docs/spec/pack.md), written as bytes straight from the columns: byte for byte what the trail
// package's `encodeContent` writes. A part is left out where it is gone or may not be seen.
import { decryptConfidential } from '../keys/confidential.ts'
import type { PersonaReading, Personas } from '../keys/personas.ts'
import type { SubjectKey } from '../keys/subject-key.ts'
import { CopiedRows, readInt8 } from '../store/copy-out.ts'
import { sealedPart } from '../store/event-row.ts'
import type { ByteWriter } from './byte-writer.ts'
import { mostPageBytes, type Page, pageEnd, personalLine, Run, type RunSource, rowsWithin } from './run.ts'

const { bytes: lineBytes, personaAt } = personalLine
const columns = 6
const saltBytes = 16
/** Names, numbers, quotes and the salt of a part. */
const frameBytes = 160

const ascii = (text: string) => Buffer.from(text, 'latin1')
const seqOpen = ascii('{"seq":')
const factsOpen = ascii(',"facts":{"salt":"')
const confidentialOpen = ascii(',"confidential":{"salt":"')
const operatorOpen = ascii(',"operator":{"salt":"')
const content = ascii('","content":')
const personalOpen = ascii(',"personal":[{"n":')
const personalNext = ascii(',{"n":')
const salt = ascii(',"salt":"')
const end = ascii('}\n')
const brace = 0x7d
const bracket = 0x5d

/** A persona as content lines have it. */
interface Person {
  /** The content as a JSON string. */
  readonly json: Buffer
  readonly saltKey: SubjectKey
}

/** By number; undefined who was erased, absent who was not read. */
type People = ReadonlyMap<number, Person | undefined>

export class ContentRun extends Run {
  readonly #personas: Personas

  constructor(source: RunSource, personas: Personas) {
    super(source)
    this.#personas = personas
  }

  protected override async page(from: number, to: number, only: readonly number[] | undefined): Promise<Page> {
    const { reader } = this.source
    const copied = await this.within((session, spans) =>
      session.copy(
        `select e.seq, e.facts_salt, e.facts, e.personal, ${reader.confidential ? 'e.confidential' : 'null::bytea'},
          ${reader.operator ? 'e.operator' : 'null::bytea'}
         from affidavit.events e where ${rowsWithin(this.source, spans, from, to, only)} order by e.seq`,
        mostPageBytes,
      ),
    )
    const { bytes } = copied
    const people = await this.#open(new CopiedRows(bytes, columns))
    const measured = measure(new CopiedRows(bytes, columns), people)
    const rows = new CopiedRows(bytes, columns)
    let isThere = rows.next()
    return {
      size: bytes.length + measured.bytes,
      to: Math.min(pageEnd(copied, columns, to), measured.end),
      write: (seq, writer) => {
        writer.room(frameBytes)
        writer.put(seqOpen)
        writer.decimal(seq)
        if (isThere && rows.int8(0) === seq) {
          // What was redacted or pruned keeps its commitments only.
          if (!rows.isNull(1) && !rows.isNull(2)) this.#parts(rows, people, writer)
          isThere = rows.next()
        }
        writer.put(end)
      },
    }
  }

  /** Everybody on the page, as far as they are not too much for one. */
  async #open(rows: CopiedRows): Promise<People> {
    const numbers = new Set<number>()
    while (rows.next()) for (const at of linesOf(rows)) numbers.add(readInt8(rows.bytes, at + personaAt))
    const people = new Map<number, Person | undefined>()
    if (numbers.size === 0) return people
    const readings: ReadonlyMap<number, PersonaReading> = await this.#personas.open(
      this.source.reader.tenant,
      numbers,
      mostPageBytes,
    )
    for (const [number, reading] of readings)
      people.set(
        number,
        typeof reading === 'object'
          ? { json: Buffer.from(JSON.stringify(reading.content)), saltKey: reading.saltKey }
          : undefined,
      )
    return people
  }

  #parts(rows: CopiedRows, people: People, writer: ByteWriter): void {
    const { bytes } = rows
    const factsSalt = rows.view(1)
    writer.put(factsOpen)
    writer.base64(bytes, rows.start(1), saltBytes)
    writer.put(content)
    writer.json(bytes, rows.start(2), rows.start(2) + rows.length(2))
    writer.room(frameBytes)
    writer.byte(brace)
    if (!rows.isNull(4)) {
      const { commitment, salt: own, content: sealed } = sealedPart(rows.view(4))
      putPart(
        confidentialOpen,
        own,
        Buffer.from(decryptConfidential(this.source.reader.tenant, commitment, sealed)),
        writer,
      )
    }
    if (!rows.isNull(5)) {
      const { salt: own, content: plain } = sealedPart(rows.view(5))
      putPart(operatorOpen, own, plain, writer)
    }
    putPeople(rows, people, factsSalt, writer)
  }
}

/**
 * How many bytes people add to rows when they are written, and the seq before which the page has to end: where somebody was
 * not read, or where it would be too large. The first row stays, whatever somebody made of it: an event that was accepted
 * fits (ingest/content-size.ts).
 */
function measure(rows: CopiedRows, people: People): { bytes: number; end: number } {
  let bytes = 0
  for (let isFirst = true; rows.next(); isFirst = false) {
    const numbers = linesOf(rows).map((at) => readInt8(rows.bytes, at + personaAt))
    const own = numbers.reduce((sum, number) => sum + (people.get(number)?.json.length ?? 0), 0)
    const fits = bytes + own <= mostPageBytes && numbers.every((number) => people.has(number))
    if (!fits && !isFirst) return { bytes, end: rows.int8(0) }
    bytes += own
  }
  return { bytes, end: Number.POSITIVE_INFINITY }
}

/** Where each personal line of a row begins. */
function linesOf(rows: CopiedRows): number[] {
  const starts: number[] = []
  const last = rows.start(3) + rows.length(3)
  for (let at = rows.start(3); at + lineBytes <= last; at += lineBytes) starts.push(at)
  return starts
}

function putPeople(rows: CopiedRows, people: People, factsSalt: Uint8Array, writer: ByteWriter): void {
  let isFirst = true
  let n = 0
  for (const at of linesOf(rows)) {
    const person = people.get(readInt8(rows.bytes, at + personaAt))
    if (person !== undefined) {
      writer.room(frameBytes + person.json.length)
      writer.put(isFirst ? personalOpen : personalNext)
      writer.decimal(n)
      writer.put(salt)
      writer.base64(person.saltKey.salt(factsSalt, n), 0, saltBytes)
      writer.put(content)
      writer.put(person.json)
      writer.byte(brace)
      isFirst = false
    }
    n++
  }
  if (!isFirst) writer.byte(bracket)
}

function putPart(open: Buffer, own: Buffer, text: Buffer, writer: ByteWriter): void {
  writer.room(frameBytes)
  writer.put(open)
  writer.base64(own, 0, own.length)
  writer.put(content)
  writer.json(text, 0, text.length)
  writer.room(frameBytes)
  writer.byte(brace)
}
