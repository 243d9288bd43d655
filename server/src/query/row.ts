// A stored event as it is read back: its row, its people opened, and the form in which the API shows it.
import { CATEGORIES } from '@affidavit/trail'
import type { Candidate } from '../filter/closure.ts'
import type { PersonalValues } from '../filter/people.ts'
import { decryptConfidential } from '../keys/confidential.ts'
import type { PersonaReading, Personas } from '../keys/personas.ts'
import type { TenantKeys } from '../keys/tenant-keys.ts'
import { type Joined, join } from '../render/join.ts'
import { linesOf, sealedPart } from '../store/event-row.ts'
import { flag, lateAfter_ms } from '../store/sealable.ts'
import type { Tenant } from '../tenants/tenants.ts'
import type { Trail } from './spans.ts'

/** Who reads, and how much of an event. The caller has checked the key. */
export interface Reader {
  readonly tenant: Tenant<TenantKeys>
  /** Sees the operator's part, too. */
  readonly operator: boolean
  /** Sees confidential values. */
  readonly confidential: boolean
}

/** Columns of an event as they arrive. */
export interface EventRow extends Record<string, unknown> {
  readonly seq: number
  readonly sealed_at: number
  readonly occurred_at: number
  readonly facts_salt: string | null
  readonly category: number
  readonly outcome: number
  readonly flags: number
  readonly facts_commitment: Buffer
  readonly hash: Buffer
  readonly facts: string | null
  readonly personal: Buffer | null
  readonly confidential: Buffer | null
  readonly operator: Buffer | null
  readonly control: string | null
  /** Leaf hash of the entry before; null for the first, and where the entry before is not stored any more. */
  readonly previous: Buffer | null
  /** The action's name where facts are gone. */
  readonly action: string | null
}

const outcomes = ['success', 'failure', 'denied']

/** Opens the people of a page in one go. @param most bytes, as of `Personas.open`: the last ones may be absent */
export async function openPeople(
  personas: Personas,
  reader: Reader,
  rows: readonly { personal: Buffer | null }[],
  most?: number,
): Promise<Map<number, PersonaReading>> {
  const numbers = new Set<number>()
  for (const { personal } of rows) for (const line of linesOf(personal)) numbers.add(line.persona)
  return numbers.size === 0 ? new Map() : personas.open(reader.tenant, numbers, most)
}

/** An event with its people, ready for the filter and for showing. */
export interface Opened extends Candidate {
  readonly row: EventRow
  readonly joined: Joined
  /** Contents of the personal lines; null where erased. */
  readonly contents: readonly (string | null)[]
  /** Some personal values do not open as they were stored, or a column beside the facts says something else than they do. */
  readonly tampered: boolean
}

export function openRow(row: EventRow, people: ReadonlyMap<number, PersonaReading>): Opened {
  const readings = linesOf(row.personal).map((line) => people.get(line.persona) ?? 'erased')
  const contents = readings.map((reading) => (typeof reading === 'object' ? reading.content : null))
  const operator = row.operator === null ? null : sealedPart(row.operator).content.toString('utf8')
  const joined: Joined =
    row.facts === null
      ? { event: withoutFacts(row), erased: [], withheld: [] }
      : join(row.facts, { personal: contents, operator })
  return {
    row,
    joined,
    contents,
    occurredAt: row.occurred_at,
    control: row.control !== null,
    event: joined.event,
    people: contents.filter((content) => content !== null).map((content) => JSON.parse(content) as PersonalValues),
    tampered:
      readings.includes('tampered') || (row.facts !== null && row.control === null && !agrees(row, joined.event)),
  }
}

/** Whether the columns that nothing hashes still are what the facts give. Terms and actor show by what searches find. */
function agrees(row: EventRow, { occurred_at, received_at, category, outcome, actor }: Joined['event']): boolean {
  const occurred = Date.parse(String(occurred_at))
  const late = Date.parse(String(received_at)) - occurred > lateAfter_ms
  const internal = typeof actor === 'object' && actor !== null && 'internal' in actor && actor.internal === true
  const flags = (late ? flag.late : 0) | (internal ? flag.internal : 0)
  return (
    row.occurred_at === occurred &&
    outcomes[row.outcome] === outcome &&
    CATEGORIES[row.category - 1] === category &&
    (row.flags & (flag.late | flag.internal)) === flags
  )
}

/** What the columns still say of an event the payload of which was removed. */
function withoutFacts(row: EventRow): Joined['event'] {
  if (row.control !== null) return {}
  return {
    action: row.action,
    category: CATEGORIES[row.category - 1] ?? null,
    // What came back from an epoch object has neither: the entry does not tell.
    outcome: row.action === null ? null : (outcomes[row.outcome] ?? null),
    occurred_at: new Date(row.occurred_at).toISOString(),
  }
}

/** An event as the API returns it: the event's own fields, and where and how it is sealed. */
export interface ShownEvent extends Record<string, unknown> {
  readonly tenant: string
  /** 32 hex digits. */
  readonly trail: string
  readonly seq: number
  /** Leaf hashes, hex; the first event's previous one is zeros. Null when the entry before is not stored any more. */
  readonly hash: string
  readonly previous_hash: string | null
  readonly sealed_at: string
  /** The facts exactly as they were committed to, and their salt (hex); null once they were removed. */
  readonly facts: string | null
  readonly facts_salt: string | null
  /** Occurred much earlier than it arrived. */
  readonly late: boolean
  /** Set for control entries: the entry's control line. */
  readonly control?: string
  /** Pointers of values whose person was erased, and of those this reader may not see. */
  readonly erased?: readonly string[]
  readonly withheld?: readonly string[]
  /** The payload was removed. */
  readonly redacted?: true
  /** Stored personal values, or columns beside the facts, are not those that were sealed. */
  readonly tampered?: true
}

export function show(reader: Reader, trail: Trail, opened: Opened): ShownEvent {
  const { row, tampered } = opened
  const { event, erased, withheld } = complete(reader, opened)
  return {
    ...event,
    tenant: reader.tenant.id,
    trail: trail.id,
    seq: row.seq,
    hash: row.hash.toString('hex'),
    previous_hash: row.seq === 0 ? '0'.repeat(64) : (row.previous?.toString('hex') ?? null),
    sealed_at: new Date(row.sealed_at).toISOString(),
    late: (row.flags & flag.late) !== 0,
    facts: row.facts,
    facts_salt: row.facts_salt === null ? null : row.facts_salt.replaceAll('-', ''),
    ...(row.control === null ? {} : { control: row.control }),
    ...(erased.length === 0 ? {} : { erased }),
    ...(withheld.length === 0 ? {} : { withheld }),
    ...(row.facts === null ? { redacted: true as const } : {}),
    ...(tampered ? { tampered: true as const } : {}),
  }
}

/** Confidential values are put in only here: the filter must not see them. */
function complete(reader: Reader, { row, joined, contents }: Opened): Joined {
  if (!reader.confidential || row.confidential === null || row.facts === null) return joined
  const { commitment, content } = sealedPart(row.confidential)
  const operator = row.operator === null ? null : sealedPart(row.operator).content.toString('utf8')
  return join(row.facts, {
    personal: contents,
    operator,
    confidential: decryptConfidential(reader.tenant, commitment, content),
  })
}
