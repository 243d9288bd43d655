// Turns the people of a batch of events into numbers: the subject (a person) and the persona (one set of their personal
// values), both stored and committed before anything is sealed that names them.
//
// Nearly every line names a person seen before; that costs two lookups and no await. What is new is settled for the
// whole batch at once, in this order, so that a crash between any two steps leaves only rows that the next use takes up:
//
//   1 subjects   rows made or found by token                          role ingest   affidavit.admit_subjects
//   2 keys       read; made where missing (see buckets.ts)            role keeper   keeper.add_subject_keys
//     personas   looked up by digest, at the same time as 2, unless   role ingest
//                the person was in memory
//   3 personas   the new ones encrypted and stored with their tokens  role ingest   affidavit.admit_personas
//
// Nothing may be sealed under a key that was destroyed. What is cached was read at or after the key epoch that this
// object holds for the shard; results carry the epoch held when they were begun, and the shard refuses older ones
// (`affidavit.advance`). Whoever is refused calls `forgetShard` and resolves again.
import { hash } from 'node:crypto'
import type { Queryable } from '../store/database.ts'
import { Buckets, type KeyTenant } from './buckets.ts'
import { type Identity, identityText } from './identity.ts'
import { KnownPeople, type KnownSubject, PRINT_BYTES } from './known-people.ts'
import type { KeyProvider } from './provider.ts'
import type { SaltKey } from './subject-key.ts'
import { type CacheLimits, TwoGenerations, textBytes } from './two-generations.ts'

/** One person of an event, in the order of its personal lines. */
export interface PersonLine {
  readonly identity: Identity
  /** The id, where it is no personal value: it finds the person's events even after an erasure. */
  readonly openId?: string | undefined
  /** The persona: JSON array of [pointer, value] pairs, serialised once. Undefined: only the subject is needed. */
  readonly content?: string | undefined
  /** What the persona is found by: names and their words, e-mail, IP addresses. Asked only for a new persona. */
  readonly search?: (() => Iterable<string>) | undefined
}

export interface TenantLines {
  readonly tenant: KeyTenant
  readonly lines: readonly PersonLine[]
}

/** `persona` and `saltKey` are null iff the line had no content. */
export interface ResolvedLine {
  readonly subject: number
  /** Subject key id of entries, 32 hex digits. */
  readonly keyId: string
  readonly persona: number | null
  readonly saltKey: SaltKey | null
}

export interface Resolved {
  /** To be sealed with: the shard refuses it once a key was destroyed since. */
  readonly keyEpoch: number
  readonly lines: readonly ResolvedLine[]
}

export interface SubjectsOptions {
  /** Pools of these roles. */
  ingest: Queryable
  keeper: Queryable
  provider: KeyProvider
  /** Decides the day of unknown persons. */
  now?: () => number
  limits?: { subjects: CacheLimits; personas: CacheLimits }
}

/** Together at most about 45 MB, half of it outside the heap: 100,000 people and 130,000 personas besides their latest. */
const default_limits = {
  subjects: { entries: 100_000, bytes: 40e6 },
  personas: { entries: 200_000, bytes: 20e6 },
}

/** A person with more distinct words than this is found by the first ones only. */
const max_search_tokens = 512
/** A subject can vanish between two steps only because it was erased just then. */
const max_attempts = 4

/** A line on its way through the slow path. */
interface Pending {
  readonly tenant: KeyTenant
  readonly line: PersonLine
  readonly identity: string
  readonly cacheKey: string
  subject: KnownSubject | undefined
  persona: number | null
}

export class Subjects {
  readonly #ingest: Queryable
  readonly #buckets: Buckets
  readonly #now: () => number
  readonly #people: KnownPeople
  /** Personas besides everybody's latest. */
  readonly #personas: TwoGenerations<number>
  /** Key epoch by shard; empty until first read. */
  #epochs: Map<number, number> | undefined

  constructor(options: SubjectsOptions) {
    const limits = options.limits ?? default_limits
    this.#ingest = options.ingest
    this.#buckets = new Buckets(options.keeper, options.provider)
    this.#now = options.now ?? Date.now
    this.#people = new KnownPeople(limits.subjects)
    this.#personas = new TwoGenerations(limits.personas, weighPersona)
  }

  /** The lines' people if all of them are in memory: no await, about a microsecond a line. */
  known({ tenant, lines }: TenantLines): Resolved | undefined {
    const keyEpoch = this.#epochs?.get(tenant.trail.shard)
    if (keyEpoch === undefined) return undefined
    const now_ms = this.#now()
    const resolved = new Array<ResolvedLine>(lines.length)
    for (let at = 0; at < lines.length; at++) {
      const { identity, content } = lines[at]!
      const person = this.#people.find(tenant.number + identityText(identity, now_ms))
      if (person === -1) return undefined
      const subject = this.#people.number(person)
      const keyId = this.#people.keyId(person)
      if (content === undefined) {
        resolved[at] = { subject, keyId, persona: null, saltKey: null }
        continue
      }
      const print = fingerprint(content)
      const persona = this.#people.latest(person, print) ?? this.#otherPersona(person, subject, print)
      const saltKey = this.#people.saltKey(person)
      if (persona === undefined || saltKey === null) return undefined
      resolved[at] = { subject, keyId, persona, saltKey }
    }
    return { keyEpoch, lines: resolved }
  }

  /**
   * The people of a batch, made where they are new; results in the order of the groups and lines. Committed when it
   * resolves. Safe to repeat after any failure.
   *
   * @throws KeyUnusable, StoreUnavailable
   */
  async resolve(groups: readonly TenantLines[]): Promise<Resolved[]> {
    const results = groups.map((group) => this.known(group))
    const unknown = groups.filter((_, at) => results[at] === undefined)
    if (unknown.length === 0) return results as Resolved[]
    const settled = (await this.#settle(unknown))[Symbol.iterator]()
    return results.map((result) => result ?? (settled.next().value as Resolved))
  }

  /** Drops erased persons from memory at once. The shard's key epoch, not this, keeps them from being sealed. */
  forget(subjects: Iterable<number>): void {
    const gone = new Set(subjects)
    this.#people.deleteWhere((number) => gone.has(number))
    this.#personas.deleteWhere((_, key) => gone.has(subjectOf(key)))
  }

  /** Keys of this shard were destroyed: nothing read before `keyEpoch` may be used again. */
  forgetShard(shard: number, keyEpoch: number): void {
    if (this.#epochs === undefined || keyEpoch <= (this.#epochs.get(shard) ?? -1)) return
    this.#epochs.set(shard, keyEpoch)
    const kept = new Set<number>()
    this.#people.deleteWhere((number, itsShard) => {
      if (itsShard !== shard) kept.add(number)
      return itsShard === shard
    })
    this.#personas.deleteWhere((_, key) => !kept.has(subjectOf(key)))
  }

  #otherPersona(person: number, subject: number, print: string): number | undefined {
    const persona = this.#personas.get(personaKey(subject, print))
    if (persona !== undefined) this.#makeLatest(person, subject, print, persona)
    return persona
  }

  #makeLatest(person: number, subject: number, print: string, persona: number): void {
    const before = this.#people.latestOf(person)
    if (before !== undefined) {
      const key = personaKey(subject, before.print)
      if (this.#personas.get(key) === undefined) this.#personas.set(key, before.persona)
    }
    this.#people.setLatest(person, print, persona)
  }

  async #settle(groups: readonly TenantLines[]): Promise<Resolved[]> {
    // Before any key is read: what is read later can only be newer than this epoch.
    const epochs = new Map(await this.#readEpochs())
    const now_ms = this.#now()
    const pending = groups.map(({ tenant, lines }) => lines.map((line) => this.#pending(tenant, line, now_ms)))
    let open = pending.flat()
    for (let attempt = 1; open.length > 0; attempt++) {
      if (attempt > max_attempts) throw new Error(`${open.length} subjects vanished ${max_attempts} times in a row`)
      await this.#findSubjects(open)
      await this.#findPersonas(open)
      open = open.filter((line) => line.subject === undefined)
    }
    return groups.map(({ tenant }, at) => {
      const keyEpoch = epochs.get(tenant.trail.shard)!
      // A key that was destroyed while this ran may be among these; then the epoch has moved, or will refuse us.
      if (this.#epochs!.get(tenant.trail.shard) === keyEpoch) for (const line of pending[at]!) this.#remember(line)
      return { keyEpoch, lines: pending[at]!.map(resolvedLine) }
    })
  }

  async #readEpochs(): Promise<Map<number, number>> {
    if (this.#epochs === undefined) {
      const { rows } = await this.#ingest.query<{ shard: number; key_epoch: number }>(
        'select shard, key_epoch from affidavit.shards',
      )
      this.#epochs ??= new Map(rows.map(({ shard, key_epoch }) => [shard, key_epoch]))
    }
    return this.#epochs
  }

  #pending(tenant: KeyTenant, line: PersonLine, now_ms: number): Pending {
    const identity = identityText(line.identity, now_ms)
    const cacheKey = tenant.number + identity
    const person = this.#people.find(cacheKey)
    const subject = person === -1 ? undefined : this.#people.read(person, tenant.keyring)
    return { tenant, line, identity, cacheKey, subject, persona: null }
  }

  #remember({ subject, cacheKey, line, persona }: Pending): void {
    let person = this.#people.find(cacheKey)
    const isNew = person === -1 || this.#people.number(person) !== subject!.number
    if (isNew || (subject!.key !== null && this.#people.saltKey(person) === null))
      person = this.#people.set(cacheKey, subject!)
    if (persona === null) return
    const print = fingerprint(line.content!)
    // Many personas are seen once; somebody's usual one stays where it is found first.
    if (this.#people.latestOf(person) === undefined) this.#people.setLatest(person, print, persona)
    else if (this.#people.latest(person, print) === undefined)
      this.#personas.set(personaKey(subject!.number, print), persona)
  }

  /** Step 1. A subject that is erased at this very moment stays undefined. */
  async #findSubjects(lines: readonly Pending[]): Promise<void> {
    const unknown = Map.groupBy(
      lines.filter(({ subject }) => subject === undefined),
      ({ cacheKey }) => cacheKey,
    )
    if (unknown.size === 0) return
    const asked = [...unknown.values()]
    const { rows } = await this.#ingest.query<{ number: number | null; key_id: string }>(
      {
        name: 'ingest subjects',
        text: "select number, replace(key_id::text, '-', '') as key_id from affidavit.admit_subjects($1, $2, $3)",
      },
      [
        asked.map(([first]) => first!.tenant.number),
        asked.map(([first]) => first!.tenant.keys.subjectToken(first!.identity).toString('hex')),
        asked.map(([first]) => idToken(first!)),
      ],
    )
    for (const [at, { number, key_id }] of rows.entries()) {
      if (number === null) continue
      const shard = asked[at]![0]!.tenant.trail.shard
      const subject = { number, keyId: key_id, shard, key: null }
      for (const line of asked[at]!) line.subject = subject
    }
  }

  /** Steps 2 and 3, for lines with content. Lines whose subject turns out to be erased lose it, and are done again. */
  async #findPersonas(lines: readonly Pending[]): Promise<void> {
    const open = lines.filter(({ subject, line }) => subject !== undefined && line.content !== undefined)
    if (open.length === 0) return
    const byPersona = Map.groupBy(open, ({ subject, line }) => `${subject!.number}\n${line.content}`)
    const distinct = [...byPersona.values()].map(([first]) => ({
      first: first!,
      digest: first!.tenant.keys.personaToken(first!.subject!.number, first!.line.content!).toString('hex'),
    }))
    // Of a person in memory nearly every persona that is not in memory is new, and storing one that is not does no harm.
    const doubtful = distinct.filter(({ first }) => first.subject!.key === null)
    const [, found] = await Promise.all([this.#giveKeys(open), this.#storedPersonas(doubtful)])
    const fresh = distinct.filter(({ digest, first }) => !found.has(digest) && first.subject !== undefined)
    for (const [digest, persona] of await this.#storePersonas(fresh)) found.set(digest, persona)
    for (const [at, same] of [...byPersona.values()].entries()) {
      const persona = found.get(distinct[at]!.digest)
      for (const line of same) {
        line.persona = persona ?? null
        if (persona === undefined) line.subject = undefined
      }
    }
    for (const { subject, cacheKey } of open) if (subject === undefined) this.#people.delete(cacheKey)
  }

  async #giveKeys(lines: readonly Pending[]): Promise<void> {
    const wanted = new Map<number, KeyTenant>()
    for (const { subject, tenant } of lines) if (subject!.key === null) wanted.set(subject!.number, tenant)
    if (wanted.size === 0) return
    const keys = await this.#buckets.keysOf([...wanted].map(([subject, tenant]) => ({ subject, tenant })))
    for (const line of lines) {
      if (line.subject!.key !== null) continue
      const key = keys.get(line.subject!.number)
      line.subject = key === undefined ? undefined : { ...line.subject!, key }
    }
  }

  async #storedPersonas(asked: readonly { first: Pending; digest: string }[]): Promise<Map<string, number>> {
    if (asked.length === 0) return new Map()
    const { rows } = await this.#ingest.query<{ n: number; number: number }>(
      {
        name: 'ingest stored personas',
        text: `select u.n, p.number from unnest($1::int[], $2::uuid[]) with ordinality as u (tenant, digest, n)
          join affidavit.personas p on p.tenant = u.tenant and p.digest = u.digest`,
      },
      [asked.map(({ first }) => first.tenant.number), asked.map(({ digest }) => digest)],
    )
    return new Map(rows.map(({ n, number }) => [asked[n - 1]!.digest, number]))
  }

  /** Step 3. Without those whose subject was erased. */
  async #storePersonas(fresh: readonly { first: Pending; digest: string }[]): Promise<[string, number][]> {
    if (fresh.length === 0) return []
    const tokenOf: number[] = []
    const tokens: string[] = []
    for (const [at, { first }] of fresh.entries())
      for (const token of searchTokens(first)) {
        tokenOf.push(at + 1)
        tokens.push(token.toString())
      }
    const { rows } = await this.#ingest.query<{ number: number | null }>(
      {
        name: 'ingest personas',
        text: 'select number from affidavit.admit_personas($1, $2, $3, $4, $5, $6)',
      },
      [
        fresh.map(({ first }) => first.tenant.number),
        fresh.map(({ first }) => first.subject!.number),
        fresh.map(({ digest }) => digest),
        fresh.map(({ first }) => first.subject!.key!.sealPersona(first.line.content!)),
        tokenOf,
        tokens,
      ],
    )
    return rows.flatMap(({ number }, at) => (number === null ? [] : [[fresh[at]!.digest, number]]))
  }
}

function idToken({ line, tenant }: Pending): string | null {
  return line.openId === undefined ? null : tenant.keys.subjectIdToken(line.openId).toString()
}

function searchTokens({ line, tenant }: Pending): Set<bigint> {
  const tokens = new Set<bigint>()
  for (const text of line.search?.() ?? []) {
    if (tokens.size >= max_search_tokens) break
    tokens.add(tenant.keys.searchToken(text))
  }
  return tokens
}

function resolvedLine({ subject, persona, line }: Pending): ResolvedLine {
  const { number, keyId, key } = subject!
  return { subject: number, keyId, persona, saltKey: line.content === undefined ? null : key }
}

/** Stands for a persona's content in memory: 16 bytes of its SHA-256, as latin1, instead of some hundred characters. */
const fingerprint = (content: string) => hash('sha256', content, 'binary').slice(0, PRINT_BYTES)

const personaKey = (subject: number, print: string) => `${subject}\n${print}`
const subjectOf = (key: string) => Number(key.slice(0, key.indexOf('\n')))

/** At most: the text, its place in the map, a number that is none of V8's small ones. */
const weighPersona = (key: string) => textBytes(key) + 80
