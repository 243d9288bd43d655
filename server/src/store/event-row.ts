// What the columns of a sealed event hold, byte by byte, and the entry that was hashed, encoded again from them. Nothing
// is trusted to be right here: whoever hashes the entry finds out. Layouts: migrations/0001_ground.sql.
import { CATEGORIES, decodeControl, type Entry } from '@affidavit/trail'

/** One personal line of an entry, from the column. */
export interface Line {
  readonly subject: number
  readonly persona: number
  /** 32 bytes. */
  readonly commitment: Buffer
}

const lineBytes = 48
const commitmentBytes = 32
const saltBytes = 16

/** The lines of the column `personal`. */
export function linesOf(personal: Buffer | null): Line[] {
  const lines: Line[] = []
  for (let at = 0; personal !== null && at < personal.length; at += lineBytes) {
    lines.push({
      subject: Number(personal.readBigInt64BE(at)),
      persona: Number(personal.readBigInt64BE(at + 8)),
      commitment: personal.subarray(at + 16, at + lineBytes),
    })
  }
  return lines
}

/** The parts of the columns `confidential` and `operator`; salt and content are empty once the payload is gone. */
export function sealedPart(column: Buffer): { commitment: Buffer; salt: Buffer; content: Buffer } {
  const salt = commitmentBytes + saltBytes
  return {
    commitment: column.subarray(0, commitmentBytes),
    salt: column.subarray(commitmentBytes, salt),
    content: column.subarray(salt),
  }
}

/** The columns that an entry is encoded from. */
export interface EntryColumns {
  readonly seq: number
  /** Milliseconds since 1970. */
  readonly sealed_at: number
  readonly category: number
  readonly facts_commitment: Buffer
  readonly personal: Buffer | null
  readonly confidential: Buffer | null
  readonly control: string | null
}

/**
 * @param trailId 32 hex digits
 * @param previous leaf hash of the entry before, base64
 * @param keyIds subject key ids by the subject's number
 * @param operator commitment to the operator's part, base64
 * @throws Error, EntryError when the columns make no entry
 */
export function entryOfRow(
  trailId: string,
  row: EntryColumns,
  previous: string,
  keyIds: ReadonlyMap<number, string>,
  operator: string | undefined,
): Entry {
  const category = CATEGORIES[row.category - 1]
  if (row.control === null && category === undefined)
    throw new Error(`entry ${row.seq} of trail ${trailId} has no category ${row.category}`)
  const confidential =
    row.confidential === null ? undefined : sealedPart(row.confidential).commitment.toString('base64')
  return {
    trail: trailId,
    seq: row.seq,
    previous,
    sealedAt: new Date(row.sealed_at).toISOString(),
    body: row.control === null ? { event: category! } : { control: decodeControl(row.control) },
    facts: row.facts_commitment.toString('base64'),
    ...(confidential === undefined ? {} : { confidential }),
    ...(operator === undefined ? {} : { operator }),
    personal: linesOf(row.personal).map((line) => ({
      key: keyIds.get(line.subject) ?? '0'.repeat(32),
      commitment: line.commitment.toString('base64'),
    })),
  }
}
