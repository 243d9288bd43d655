// Reading people: the personas of a page of events, decrypted in one round trip. What was erased is gone from the table
// or cannot be opened; what somebody changed does not open either, and is told apart. An event that takes a hundred bytes
// in its row may have half a megabyte of personal values here: whoever reads many of them says how much may come.
import type { Queryable } from '../store/database.ts'
import { linesOf } from '../store/event-row.ts'
import { Buckets, type KeyTenant, type WrappedSubjectKey } from './buckets.ts'
import type { KeyProvider } from './provider.ts'
import type { SubjectKey } from './subject-key.ts'
import { TwoGenerations } from './two-generations.ts'
import { KeyUnusable } from './unusable.ts'

export interface OpenPersona {
  /** JSON array of [pointer, value] pairs, as committed. */
  readonly content: string
  readonly subject: number
  /** Reveals the salt of a line; the key itself never leaves the server. */
  readonly saltKey: SubjectKey
}

/** `tampered`: the stored bytes are not those that were stored for this subject. */
export type PersonaReading = OpenPersona | 'erased' | 'tampered'

export interface PersonasOptions {
  keeper: Queryable
  provider: KeyProvider
  now?: () => number
}

/** An erasure by another process is seen after at most this long. */
export const persona_freshness_ms = 5_000
const cache_limits = { entries: 20_000, bytes: 8e6 }

export class Personas {
  readonly #keeper: Queryable
  readonly #buckets: Buckets
  readonly #now: () => number
  readonly #cache = new TwoGenerations<{ persona: OpenPersona; until_ms: number }>(
    cache_limits,
    (key, { persona }) => key.length + 2 * persona.content.length + 500,
  )

  constructor(options: PersonasOptions) {
    this.#keeper = options.keeper
    this.#buckets = new Buckets(options.keeper, options.provider)
    this.#now = options.now ?? Date.now
  }

  /**
   * @param personas numbers from rows that the caller was allowed to see; those of another tenant read as erased
   * @param most bytes to read: those after the persona that passes them, in the order given, are absent from the result
   * @throws KeyUnusable when a key file is missing, StoreUnavailable
   */
  async open(
    tenant: KeyTenant,
    personas: Iterable<number>,
    most = Number.MAX_SAFE_INTEGER,
  ): Promise<Map<number, PersonaReading>> {
    const now_ms = this.#now()
    const result = new Map<number, PersonaReading>()
    const unknown: number[] = []
    for (const number of new Set(personas)) {
      const cached = this.#cache.get(`${tenant.number}:${number}`)
      if (cached !== undefined && cached.until_ms > now_ms) result.set(number, cached.persona)
      else unknown.push(number)
    }
    if (unknown.length > 0) await this.#read(tenant, unknown, most, result)
    return result
  }

  /** Drops erased persons from memory at once. */
  forget(subjects: Iterable<number>): void {
    const gone = new Set(subjects)
    this.#cache.deleteWhere(({ persona }) => gone.has(persona.subject))
  }

  async #read(tenant: KeyTenant, numbers: number[], most: number, into: Map<number, PersonaReading>): Promise<void> {
    const now_ms = this.#now()
    const { rows } = await this.#keeper.query<WrappedSubjectKey & { persona: number; content: Buffer | null }>(
      'select persona, subject, content, wrapped, bucket, generation, bucket_wrapped from keeper.open_personas($1, $2, $3)',
      [tenant.number, numbers, most],
    )
    for (const number of numbers) into.set(number, 'erased')
    const keys = new Map<number, SubjectKey>()
    for (const { content, ...row } of rows) {
      if (content === null) {
        into.delete(row.persona)
        continue
      }
      const reading = await this.#openOne(tenant, { ...row, content }, keys)
      into.set(row.persona, reading)
      if (typeof reading === 'object')
        this.#cache.set(`${tenant.number}:${row.persona}`, {
          persona: reading,
          until_ms: now_ms + persona_freshness_ms,
        })
    }
  }

  async #openOne(
    tenant: KeyTenant,
    row: WrappedSubjectKey & { content: Buffer },
    keys: Map<number, SubjectKey>,
  ): Promise<PersonaReading> {
    try {
      const saltKey = keys.get(row.subject) ?? (await this.#buckets.unwrap(tenant, row))
      keys.set(row.subject, saltKey)
      return { content: saltKey.openPersona(row.content), subject: row.subject, saltKey }
    } catch (error) {
      if (error instanceof KeyUnusable && error.code === 'key_tampered') return 'tampered'
      if (error instanceof KeyUnusable && error.code === 'key_destroyed') return 'erased'
      throw error
    }
  }
}

/** How many rows of a page, from its first on, have all their people in what `open` read: always one. */
export function rowsRead(
  rows: readonly { readonly personal: Buffer | null }[],
  people: ReadonlyMap<number, PersonaReading>,
): number {
  const isRead = ({ personal }: { readonly personal: Buffer | null }) =>
    linesOf(personal).every(({ persona }) => people.has(persona))
  const end = rows.findIndex((row, at) => at > 0 && !isRead(row))
  return end === -1 ? rows.length : end
}
