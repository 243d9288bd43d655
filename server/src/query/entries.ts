// Entries as they were hashed, encoded again from the columns, for tiles and proofs. Nothing is trusted to be right here:
// whoever hashes these bytes finds out.
import { encodeEntry, NO_PREVIOUS } from '@affidavit/trail'
import { decryptConfidential } from '../keys/confidential.ts'
import type { PersonaReading, Personas } from '../keys/personas.ts'
import type { Queryable } from '../store/database.ts'
import { entryOfRow, linesOf, sealedPart } from '../store/event-row.ts'
import { placesOf, readRows, readRun } from './read.ts'
import { type EventRow, openPeople, type Reader } from './row.ts'
import type { Span, Trail } from './spans.ts'

/**
 * The content under an entry's commitments, with the salts that open them. Parts are absent where they are gone or may not
 * be seen.
 */
export interface EntryContent {
  readonly facts?: { readonly content: string; readonly salt: Buffer }
  readonly confidential?: { readonly content: string; readonly salt: Buffer }
  readonly operator?: { readonly content: string; readonly salt: Buffer }
  /** One for each personal line; null where the person was erased. */
  readonly personal: readonly ({ readonly content: string; readonly salt: Buffer } | null)[]
}

export interface SealedEntry {
  readonly seq: number
  /** The entry's text, ASCII. Throws when the entry before it, whose hash it names, is not stored any more. */
  readonly text: string
  /** Leaf hash from the column, 32 bytes. */
  readonly hash: Buffer
  readonly content: EntryContent
}

interface People {
  readonly readings: ReadonlyMap<number, PersonaReading>
  readonly keyIds: ReadonlyMap<number, string>
}

/**
 * Entries with the given numbers, in their order; numbers that are not stored any more are left out. Without `personas`
 * contents are not opened and `content.personal` is empty.
 */
export async function readEntries(
  session: Queryable,
  reader: Reader,
  personas: Personas | null,
  trail: Trail,
  spans: readonly Span[],
  seqs: readonly number[],
): Promise<SealedEntry[]> {
  const operatorRead = readOperatorCommitments(session, trail, spans, seqs)
  operatorRead.catch(() => {}) // met below
  const rows =
    personas === null && isRun(seqs)
      ? await readRun(session, reader, trail, spans, seqs)
      : (await readRows(session, reader, trail, spans, seqs)).rows
  if (rows.length === 0) return []
  const [readings, keyIds, operator] = await Promise.all([
    personas === null ? new Map<number, PersonaReading>() : openPeople(personas, reader, rows),
    readKeyIds(session, reader, rows),
    operatorRead,
  ])
  const people = { readings, keyIds }
  return rows.map((row) => ({
    seq: row.seq,
    get text() {
      return encodeEntry(entryOfRow(trail.id, row, previousOf(trail, row), people.keyIds, operator.get(row.seq)))
    },
    hash: row.hash,
    content: personas === null ? { personal: [] } : contentOf(reader, row, people),
  }))
}

/** Few numbers are found sooner one by one. */
const leastRun = 16

function isRun(seqs: readonly number[]): boolean {
  return seqs.length >= leastRun && seqs.every((seq, at) => seq === seqs[0]! + at)
}

async function readKeyIds(session: Queryable, reader: Reader, rows: readonly EventRow[]): Promise<Map<number, string>> {
  const subjects = new Set(rows.flatMap((row) => linesOf(row.personal).map((line) => line.subject)))
  if (subjects.size === 0) return new Map()
  const { rows: found } = await session.query<{ number: number; key_id: string }>(
    {
      name: 'key ids',
      text: 'select number, key_id from affidavit.subjects where tenant = $1 and number = any($2::bigint[])',
    },
    [reader.tenant.number, [...subjects]],
  )
  return new Map(found.map((row) => [row.number, row.key_id.replaceAll('-', '')]))
}

async function readOperatorCommitments(
  session: Queryable,
  trail: Trail,
  spans: readonly Span[],
  seqs: readonly number[],
): Promise<Map<number, string>> {
  const { earliest, latest } = placesOf(spans, seqs)
  const { rows } = await session.query<{ seq: number; commitment: Buffer }>(
    {
      name: 'operator commitments',
      text: 'select seq, commitment from affidavit.operator_commitments($1, $2::bigint[], $3, $4)',
    },
    [trail.number, seqs, earliest, latest],
  )
  return new Map(rows.map((row) => [row.seq, row.commitment.toString('base64')]))
}

function previousOf(trail: Trail, row: EventRow): string {
  if (row.seq === 0) return NO_PREVIOUS
  if (row.previous === null) throw new Error(`the entry before ${row.seq} of trail ${trail.id} is not stored any more`)
  return row.previous.toString('base64')
}

function contentOf(reader: Reader, row: EventRow, people: People): EntryContent {
  // What was redacted or pruned keeps its commitments only.
  if (row.facts === null || row.facts_salt === null) return { personal: linesOf(row.personal).map(() => null) }
  const salt = Buffer.from(row.facts_salt.replaceAll('-', ''), 'hex')
  return {
    facts: { content: row.facts, salt },
    ...(row.confidential === null || !reader.confidential
      ? {}
      : { confidential: openConfidential(reader, row.confidential) }),
    ...(row.operator === null ? {} : { operator: openOperator(row.operator) }),
    personal: linesOf(row.personal).map((line, n) => {
      const reading = people.readings.get(line.persona)
      if (typeof reading !== 'object') return null
      return { content: reading.content, salt: reading.saltKey.salt(salt, n) }
    }),
  }
}

function openConfidential(reader: Reader, column: Buffer): { content: string; salt: Buffer } {
  const { commitment, salt, content } = sealedPart(column)
  return { content: decryptConfidential(reader.tenant, commitment, content), salt }
}

function openOperator(column: Buffer): { content: string; salt: Buffer } {
  const { salt, content } = sealedPart(column)
  return { content: content.toString('utf8'), salt }
}
