/**
 * Fits values of foreign records into the limits of an event. Whoever can put a string into a source's record (a tag, a
 * user agent, a file name) must not be able to make the record unimportable with it: what the server would refuse is
 * cut, renamed or replaced here, visibly, and never dropped without a trace.
 */

import { createHash } from 'node:crypto'
import { isIP } from 'node:net'
import type { Actor, AuditEvent, Context, JsonValue, Target } from '@affidavit/sdk'
import { isObject, type JsonObject } from './parse-record.ts'

/** The server's limits on these members. */
const LIMITS = { word: 256, name: 256, email: 320, userAgent: 1024, reason: 1024, action: 128 } as const
const METADATA_KEYS = 50
const TARGETS = 64
/** The server permits 64 levels below the event; metadata begins at the second. */
const METADATA_DEPTH = 60
/** The server stores 256 KiB of facts; the rest of the event and JSON escapes need some of it. */
const METADATA_BYTES = 200 * 1024
const RESERVED_KEYS = new Set(['$personal', '$confidential', '$operator'])

/** Text of at most `max` UTF-16 units without half characters, or undefined if it is none or empty. */
export function text(value: unknown, max: number = LIMITS.word): string | undefined {
  if (typeof value === 'number' || typeof value === 'boolean') value = String(value)
  if (typeof value !== 'string' || value === '') return undefined
  const whole = value.isWellFormed() ? value : value.toWellFormed()
  if (whole.length <= max) return whole
  // Cutting may split a pair.
  return `${whole.slice(0, max - 1).replace(/[\uD800-\uDBFF]$/, '')}…`
}

/** An id must be whole or not be there: a cut id would name something else. */
export function identifier(value: unknown): string | undefined {
  const whole = text(value, Number.POSITIVE_INFINITY)
  return whole === undefined || whole.length > LIMITS.word ? undefined : whole
}

export function ipAddress(value: unknown): string | undefined {
  return typeof value === 'string' && isIP(value.trim()) !== 0 ? value.trim() : undefined
}

export function emailAddress(value: unknown): string | undefined {
  return typeof value === 'string' && /^[^\s@]+@[^\s@]+\.[^\s@]+$/.test(value) ? text(value, LIMITS.email) : undefined
}

/** An action made of the parts that are there, joined by dots, with characters that no action has as `_`. */
export function actionOf(...parts: (string | undefined)[]): string {
  const joined = parts.filter((part) => part !== undefined && part !== '').join('.')
  return joined.replace(/[^A-Za-z0-9_.:/-]+/g, '_').slice(0, LIMITS.action)
}

/** "Update user policy" → "update_user_policy": for sources whose operations are sentences. */
export function snake(words: unknown): string | undefined {
  const plain = text(words)
    ?.toLowerCase()
    .replace(/[^a-z0-9]+/g, '_')
    .replace(/^_+|_+$/g, '')
  return plain === '' ? undefined : plain
}

/**
 * A time of a foreign record as ISO 8601: ISO text with or without zone (then UTC), blank or `T` between date and time,
 * any number of decimals (cut to milliseconds), or a number of seconds or milliseconds since 1970. Undefined if it is none.
 */
export function time(value: unknown): string | undefined {
  if (typeof value === 'number') return fromEpoch(value)
  if (typeof value !== 'string') return undefined
  const trimmed = value.trim()
  if (/^\d{9,14}(\.\d+)?$/.test(trimmed)) return fromEpoch(Number(trimmed))
  const parts = /^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d(?::\d\d)?)(?:[.,](\d+))?\s*(Z|UTC|[+-]\d\d:?\d\d)?$/i.exec(trimmed)
  if (!parts) return undefined
  const [, date, clock, decimals = '', zone = 'Z'] = parts
  const offset =
    zone.length === 5 ? `${zone.slice(0, 3)}:${zone.slice(3)}` : zone.length === 3 ? 'Z' : zone.toUpperCase()
  const at = new Date(
    `${date}T${clock!.length === 5 ? `${clock}:00` : clock}.${decimals.slice(0, 3).padEnd(3, '0')}${offset}`,
  )
  return Number.isNaN(at.getTime()) ? undefined : at.toISOString()
}

/** Beyond this, a number of seconds would lie after the year 5000: it counts milliseconds. */
const SECONDS_UNTIL = 1e11

function fromEpoch(value: number): string | undefined {
  const at = new Date(value < SECONDS_UNTIL ? value * 1000 : value)
  return Number.isNaN(at.getTime()) ? undefined : at.toISOString()
}

/** The same value without the members that are undefined; undefined itself if none is left. */
export function compact<T extends object>(value: T): { [K in keyof T]: Exclude<T[K], undefined> } | undefined {
  const kept: Record<string, unknown> = {}
  let any = false
  for (const key in value) {
    if (value[key] === undefined) continue
    kept[key] = value[key]
    any = true
  }
  return any ? (kept as never) : undefined
}

export interface Loose {
  id?: unknown
  name?: unknown
  email?: unknown
}

/** An actor within the limits. */
export function actor(type: Actor['type'], who: Loose & { role?: unknown; team?: unknown }): Actor {
  return {
    type,
    ...compact({
      id: identifier(who.id),
      name: text(who.name, LIMITS.name),
      email: emailAddress(who.email),
      role: text(who.role),
      team: text(who.team),
    }),
  }
}

/** A target within the limits, or undefined if nothing names it. */
export function target(type: unknown, what: Loose): Target | undefined {
  const named = compact({
    id: identifier(what.id),
    name: text(what.name, LIMITS.name),
    email: emailAddress(what.email),
  })
  return named && { type: text(type) ?? 'unknown', ...named }
}

/** At most as many targets as an event may have; the second is true if that left some out. */
export function targets(list: readonly (Target | undefined)[]): { targets?: Target[]; cut: boolean } {
  const known = list.filter((item) => item !== undefined)
  return known.length === 0 ? { cut: false } : { targets: known.slice(0, TARGETS), cut: known.length > TARGETS }
}

export interface LooseContext {
  ip?: unknown
  user_agent?: unknown
  request_id?: unknown
  trace_id?: unknown
  session_id?: unknown
  location?: unknown
  auth_method?: Context['auth_method']
  api_key?: Context['api_key']
}

export function context(from: LooseContext): Context | undefined {
  return compact({
    ip: ipAddress(from.ip),
    user_agent: text(from.user_agent, LIMITS.userAgent),
    request_id: identifier(from.request_id),
    trace_id: identifier(from.trace_id),
    session_id: identifier(from.session_id),
    location: text(from.location),
    auth_method: from.auth_method,
    api_key: from.api_key,
  }) as Context | undefined
}

export function reason(value: unknown): string | undefined {
  return text(value, LIMITS.reason)
}

/**
 * Metadata from what is left of a record: nulls and empty members out, reserved names escaped with a second `$`, depth,
 * number of members and size bounded. What was too large stands as its size and SHA-256.
 */
export function metadata(rest: JsonObject): { [key: string]: JsonValue } | undefined {
  const entries: [string, JsonValue][] = []
  for (const [key, value] of Object.entries(rest)) {
    if (value === null || value === undefined || value === '' || isEmpty(value)) continue
    entries.push([safeKey(key), safe(value, 1)])
  }
  if (entries.length > METADATA_KEYS) {
    const more = entries.splice(METADATA_KEYS - 1)
    entries.push(['more', Object.fromEntries(more)])
  }
  return entries.length === 0 ? undefined : bounded(Object.fromEntries(entries))
}

function isEmpty(value: JsonValue): boolean {
  return Array.isArray(value) ? value.length === 0 : isObject(value) && Object.keys(value).length === 0
}

function safeKey(key: string): string {
  const whole = key.isWellFormed() ? key : key.toWellFormed()
  return whole.startsWith('$') && RESERVED_KEYS.has(whole) ? `$${whole}` : whole
}

function safe(value: JsonValue, depth: number): JsonValue {
  if (typeof value === 'string') return value.isWellFormed() ? value : value.toWellFormed()
  if (typeof value !== 'object' || value === null) return value
  if (depth >= METADATA_DEPTH) return stub(JSON.stringify(value))
  if (Array.isArray(value)) return value.map((element) => safe(element, depth + 1))
  const copy: JsonObject = {}
  for (const key of Object.keys(value)) set(copy, safeKey(key), safe(value[key]!, depth + 1))
  return copy
}

/** Assignment that makes `__proto__` a member like any other. */
function set(record: JsonObject, key: string, value: JsonValue): void {
  if (key === '__proto__')
    Object.defineProperty(record, key, { value, enumerable: true, configurable: true, writable: true })
  else record[key] = value
}

function bounded(members: { [key: string]: JsonValue }): { [key: string]: JsonValue } {
  if (JSON.stringify(members).length * 3 <= METADATA_BYTES) return members
  const sizes = Object.entries(members).map(([key, value]) => {
    const json = JSON.stringify(value)
    return { key, json, bytes: Buffer.byteLength(json) + Buffer.byteLength(key) }
  })
  let total = sizes.reduce((sum, { bytes }) => sum + bytes, 0)
  for (const { key, json, bytes } of sizes.sort((a, b) => b.bytes - a.bytes)) {
    if (total <= METADATA_BYTES) break
    members[key] = stub(json)
    total -= bytes - 120
  }
  return members
}

function stub(json: string): JsonObject {
  return { omitted_bytes: Buffer.byteLength(json), sha256: createHash('sha256').update(json).digest('hex') }
}

/** Takes a member out of a record, so that what remains at the end is what no other field holds. */
export function take(record: JsonObject, key: string): JsonValue | undefined {
  if (!Object.hasOwn(record, key)) return undefined
  const value = record[key]
  delete record[key]
  return value
}

/** A member of something that should be an object. */
export function at(value: unknown, ...path: string[]): JsonValue | undefined {
  let inner: unknown = value
  for (const key of path) {
    if (!isObject(inner) || !Object.hasOwn(inner, key)) return undefined
    inner = inner[key]
  }
  return inner as JsonValue | undefined
}

/** Objects of something that should be a list of them. */
export function objects(value: unknown): JsonObject[] {
  return Array.isArray(value) ? value.filter(isObject) : []
}

/** The event without its undefined members. */
export function event(parts: { [K in keyof AuditEvent]: AuditEvent[K] | undefined }): AuditEvent {
  return compact(parts) as AuditEvent
}
