// API keys: made, revoked, and recognised on every request. A key found is remembered for `most_stale_ms`, so a
// revocation holds on every server within that time. Look-ups of unknown keys are gathered into one query at a time, so
// guessing costs the database one statement however many guess.
import { timingSafeEqual } from 'node:crypto'
import type { Queryable } from '../store/database.ts'
import { isEnvironment, makeKey, type ParsedKey, parseKey } from './api-key-format.ts'
import { isScope, operatorScopes, type Scope } from './scopes.ts'
import { isPlainText } from './tenants.ts'

/** What a list of keys shows; never the secret or its hash. Times in ms since 1970. */
export interface ApiKeyRecord {
  readonly id: string
  /** Number of the tenant it is bound to; null: an operator key. */
  readonly tenant: number | null
  readonly name: string
  readonly scopes: readonly Scope[]
  /** The operator's own staff or service: its actors are flagged so. */
  readonly internal: boolean
  readonly createdAt: number
  readonly createdBy: string | null
  readonly expiresAt: number | null
  readonly revokedAt: number | null
  readonly lastUsedAt: number | null
}

/** Who is asking. */
export interface Principal {
  readonly keyId: string
  readonly name: string
  readonly tenant: number | null
  readonly scopes: ReadonlySet<Scope>
  readonly internal: boolean
  /** ms since 1970; absent or null: never. */
  readonly expiresAt?: number | null
}

/** `busy`: too many unknown keys are being looked up at once; the caller may try again. */
export type Refusal = 'missing' | 'malformed' | 'unknown' | 'revoked' | 'expired' | 'busy'
export type Authentication = { ok: true; principal: Principal } | { ok: false; reason: Refusal }

/** A key's first use on a UTC day, reported once across all servers. */
export interface FirstUse {
  keyId: string
  name: string
  tenant: number | null
  at_ms: number
}

export interface NewApiKey {
  name: string
  tenant: number | null
  scopes: readonly string[]
  internal?: boolean
  expiresAt?: number | null
  /** Id of the key or name of the person that makes it. */
  createdBy?: string
}

export class ApiKeyRefused extends Error {
  override readonly name = 'ApiKeyRefused'
  readonly code: 'key_name_invalid' | 'key_scopes_invalid' | 'key_expiry_invalid'

  constructor(code: ApiKeyRefused['code'], message: string) {
    super(message)
    this.code = code
  }
}

export interface ApiKeysOptions {
  /** Pool of the role `keeper`. */
  keeper: Queryable
  /** Which keys this deployment makes and takes: `live`, `test`, … */
  env: string
  onFirstUse?: (use: FirstUse) => void
  /** A note of last use that could not be written; it is tried again. */
  onError?: (error: unknown) => void
  now?: () => number
}

export const most_stale_ms = 10_000
const touch_ms = 60_000
const flush_ms = 5_000
const cache_entries = 10_000
const unknown_entries = 10_000
const max_waiting = 5_000
const max_per_query = 500
const MAX_NAME = 128

interface Held {
  readonly record: ApiKeyRecord
  readonly principal: Principal
  readonly secretHash: Buffer
  readonly read_ms: number
}

interface Row {
  id: string
  tenant: number | null
  name: string
  scopes: string[]
  secret_hash: Buffer
  internal: boolean
  created_at: number
  created_by: string | null
  expires_at: number | null
  revoked_at: number | null
  last_used_at: number | null
}

const columns =
  'id, tenant, name, scopes, secret_hash, internal, created_at, created_by, expires_at, revoked_at, last_used_at'

export class ApiKeys {
  readonly #keeper: Queryable
  readonly #env: string
  readonly #now: () => number
  readonly #onFirstUse: (use: FirstUse) => void
  readonly #onError: (error: unknown) => void
  readonly #held = new Map<string, Held>()
  /** Ids that no key has, until when. */
  readonly #unknown = new Map<string, number>()
  readonly #waiting = new Map<string, PromiseWithResolvers<Held | undefined>>()
  #looking = false
  /** By key id: when its use was last handed on, and what waits for that. */
  readonly #touched = new Map<string, number>()
  readonly #toTouch = new Map<string, { principal: Principal; at_ms: number }>()
  #flushing: Promise<void> = Promise.resolve()
  readonly #timer: NodeJS.Timeout

  constructor(options: ApiKeysOptions) {
    if (!isEnvironment(options.env))
      throw new Error(`key environment ${JSON.stringify(options.env)} is not 2 to 8 of a–z`)
    this.#keeper = options.keeper
    this.#env = options.env
    this.#now = options.now ?? Date.now
    this.#onFirstUse = options.onFirstUse ?? (() => {})
    this.#onError = options.onError ?? (() => {})
    this.#timer = setInterval(() => void this.flush().catch(this.#onError), flush_ms).unref()
  }

  /**
   * @returns the key's text, which exists only here, and its record
   * @throws ApiKeyRefused, StoreUnavailable
   */
  async create(wanted: NewApiKey): Promise<{ key: string; record: ApiKeyRecord }> {
    const keyScopes = checkNew(wanted, this.#now())
    const { text, id, secretHash } = makeKey(this.#env)
    const { rows } = await this.#keeper.query<Row>(
      `insert into keeper.api_keys (id, tenant, name, scopes, secret_hash, internal, created_by, expires_at)
       values ($1, $2, $3, $4, $5, $6, $7, $8) returning ${columns}`,
      [
        id,
        wanted.tenant,
        wanted.name,
        keyScopes,
        secretHash,
        wanted.internal ?? false,
        wanted.createdBy ?? null,
        wanted.expiresAt == null ? null : iso(wanted.expiresAt),
      ],
    )
    return { key: text, record: recordOf(rows[0]!) }
  }

  /**
   * @param header value of `Authorization`
   * @throws StoreUnavailable
   */
  async authenticate(header: string | undefined): Promise<Authentication> {
    return this.authenticateNow(header) ?? this.#authenticateLater(header!)
  }

  /** The same without an await, or undefined when the key must be looked up. */
  authenticateNow(header: string | undefined): Authentication | undefined {
    if (header === undefined || header === '') return refuse('missing')
    const parsed = parseHeader(header)
    if (parsed === undefined) return refuse('malformed')
    if (parsed.env !== this.#env) return refuse('unknown')
    const now_ms = this.#now()
    const held = this.#held.get(parsed.id)
    if (held !== undefined && now_ms - held.read_ms < most_stale_ms) return this.#judge(held, parsed, now_ms)
    if ((this.#unknown.get(parsed.id) ?? 0) > now_ms) return refuse('unknown')
    return undefined
  }

  /** @param tenant whose keys the caller may revoke; `any` for an operator */
  async revoke(
    id: string,
    tenant: number | 'any',
  ): Promise<{ outcome: 'revoked' | 'already'; record: ApiKeyRecord } | undefined> {
    const values = tenant === 'any' ? [id] : [id, tenant]
    const owned = tenant === 'any' ? '' : 'and tenant = $2'
    const revoked = await this.#keeper.query<Row>(
      `update keeper.api_keys set revoked_at = now() where id = $1 ${owned} and revoked_at is null returning ${columns}`,
      values,
    )
    this.#held.delete(id)
    if (revoked.rows[0]) return { outcome: 'revoked', record: recordOf(revoked.rows[0]) }
    const { rows } = await this.#keeper.query<Row>(
      `select ${columns} from keeper.api_keys where id = $1 ${owned}`,
      values,
    )
    return rows[0] && { outcome: 'already', record: recordOf(rows[0]) }
  }

  /** Newest first, revoked ones included. @param tenant null: operator keys; `any`: all */
  async list(tenant: number | null | 'any', limit = 1_000): Promise<ApiKeyRecord[]> {
    const { rows } = await this.#keeper.query<Row>(
      `select ${columns} from keeper.api_keys where ($1 or tenant is not distinct from $2)
       order by created_at desc, id limit $3`,
      [tenant === 'any', tenant === 'any' ? null : tenant, limit],
    )
    return rows.map(recordOf)
  }

  /** Writes what is known of last uses, and reports first uses of a day. Runs by itself every few seconds. */
  flush(): Promise<void> {
    this.#flushing = this.#flushing.catch(() => {}).then(() => this.#flush())
    return this.#flushing
  }

  /** Stops the timer and writes what is left. */
  async close(): Promise<void> {
    clearInterval(this.#timer)
    await this.flush()
  }

  async #authenticateLater(header: string): Promise<Authentication> {
    const parsed = parseHeader(header)!
    if (!this.#waiting.has(parsed.id) && this.#waiting.size >= max_waiting) return refuse('busy')
    const held = await this.#lookUp(parsed.id)
    return held === undefined ? refuse('unknown') : this.#judge(held, parsed, this.#now())
  }

  /** A wrong secret is `unknown` too: whether an id exists is nobody's business. */
  #judge({ record, principal, secretHash }: Held, presented: ParsedKey, now_ms: number): Authentication {
    if (!timingSafeEqual(secretHash, presented.secretHash)) return refuse('unknown')
    if (record.revokedAt !== null) return refuse('revoked')
    if (record.expiresAt !== null && record.expiresAt <= now_ms) return refuse('expired')
    this.#touch(principal, now_ms)
    return { ok: true, principal }
  }

  #lookUp(id: string): Promise<Held | undefined> {
    const waiting = this.#waiting.get(id)
    if (waiting) return waiting.promise
    const mine = Promise.withResolvers<Held | undefined>()
    this.#waiting.set(id, mine)
    if (!this.#looking) void this.#lookUpAll()
    return mine.promise
  }

  /** One query at a time; what arrives meanwhile shares the next. */
  async #lookUpAll(): Promise<void> {
    this.#looking = true
    while (this.#waiting.size > 0) {
      const asked = [...this.#waiting].slice(0, max_per_query)
      const ids = asked.map(([id]) => id)
      try {
        const found = await this.#readKeys(ids)
        for (const id of ids) this.#waiting.delete(id)
        for (const [id, { resolve }] of asked) resolve(found.get(id))
      } catch (error) {
        for (const id of ids) this.#waiting.delete(id)
        for (const [, { reject }] of asked) reject(error)
      }
    }
    this.#looking = false
  }

  async #readKeys(ids: string[]): Promise<Map<string, Held>> {
    const read_ms = this.#now()
    const { rows } = await this.#keeper.query<Row>(`select ${columns} from keeper.api_keys where id = any ($1)`, [ids])
    const found = new Map(rows.map((row) => [row.id, heldOf(row, read_ms)]))
    for (const id of ids) {
      const held = found.get(id)
      this.#held.delete(id)
      this.#unknown.delete(id)
      if (held) bounded(this.#held, id, held, cache_entries)
      else bounded(this.#unknown, id, read_ms + most_stale_ms, unknown_entries)
    }
    return found
  }

  #touch(principal: Principal, now_ms: number): void {
    const last_ms = this.#touched.get(principal.keyId)
    // Across midnight at once: the first use of a day must not wait for the next minute.
    if (last_ms !== undefined && now_ms - last_ms < touch_ms && dayOf(last_ms) === dayOf(now_ms)) return
    this.#touched.delete(principal.keyId)
    bounded(this.#touched, principal.keyId, now_ms, cache_entries)
    this.#toTouch.set(principal.keyId, { principal, at_ms: now_ms })
  }

  async #flush(): Promise<void> {
    if (this.#toTouch.size === 0) return
    const uses = new Map(this.#toTouch)
    this.#toTouch.clear()
    try {
      const { rows } = await this.#keeper.query<{ id: string; used_at: number }>(
        'select id, used_at from keeper.touch_api_keys($1, $2)',
        [[...uses.keys()], [...uses.values()].map(({ at_ms }) => iso(at_ms))],
      )
      for (const { id, used_at } of rows) {
        const { keyId, name, tenant } = uses.get(id)!.principal
        this.#onFirstUse({ keyId, name, tenant, at_ms: used_at })
      }
    } catch (error) {
      for (const [id, use] of uses) if (!this.#toTouch.has(id)) this.#toTouch.set(id, use)
      throw error
    }
  }
}

const refuse = (reason: Refusal): Authentication => ({ ok: false, reason })
const iso = (time_ms: number) => new Date(time_ms).toISOString()
const dayOf = (time_ms: number) => Math.floor(time_ms / 86_400_000)

/** `Bearer <key>` (RFC 6750 §2.1); the scheme in any case (RFC 9110 §11.1). */
function parseHeader(header: string): ParsedKey | undefined {
  const match = /^bearer +(\S{1,128})$/i.exec(header)
  return match === null ? undefined : parseKey(match[1]!)
}

function checkNew({ name, scopes: wanted, tenant, expiresAt }: NewApiKey, now_ms: number): Scope[] {
  if (name.trim().length < 1 || name.length > MAX_NAME || !isPlainText(name))
    throw new ApiKeyRefused(
      'key_name_invalid',
      `A key needs a name of 1 to ${MAX_NAME} characters without control characters.`,
    )
  const known = [...new Set(wanted)].filter(isScope)
  if (known.length === 0 || known.length !== new Set(wanted).size)
    throw new ApiKeyRefused('key_scopes_invalid', 'A key needs at least one scope, and only scopes that exist.')
  if (tenant !== null && known.some((scope) => operatorScopes.has(scope)))
    throw new ApiKeyRefused('key_scopes_invalid', `Only operator keys can have ${[...operatorScopes].join(', ')}.`)
  if (expiresAt != null && (!Number.isSafeInteger(expiresAt) || expiresAt <= now_ms || expiresAt > 253_402_300_799_000))
    throw new ApiKeyRefused('key_expiry_invalid', 'A key expires in the future, before the year 10000, or never.')
  return known
}

function recordOf(row: Row): ApiKeyRecord {
  return {
    id: row.id,
    tenant: row.tenant,
    name: row.name,
    scopes: row.scopes.filter(isScope),
    internal: row.internal,
    createdAt: row.created_at,
    createdBy: row.created_by,
    expiresAt: row.expires_at,
    revokedAt: row.revoked_at,
    lastUsedAt: row.last_used_at,
  }
}

function heldOf(row: Row, read_ms: number): Held {
  const record = recordOf(row)
  const { id: keyId, name, tenant, internal, expiresAt } = record
  const principal = { keyId, name, tenant, scopes: new Set(record.scopes), internal, expiresAt }
  return { record, principal, secretHash: row.secret_hash, read_ms }
}

function bounded<Value>(map: Map<string, Value>, key: string, value: Value, limit: number): void {
  if (map.size >= limit && !map.has(key)) map.delete(map.keys().next().value!)
  map.set(key, value)
}
