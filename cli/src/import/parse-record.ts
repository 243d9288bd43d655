/** JSON text of a record as an object, with numbers that a double would change kept as text. */

import type { JsonValue } from '@affidavit/sdk'

export type JsonObject = { [key: string]: JsonValue }

/** A number, so not inside a string as a rule, long enough that JSON.parse might round it: worth the slow way. */
const LONG_NUMBER = /[:,[\s]-?\d[\d.]{15}/

/** Throws SyntaxError if the text is not JSON, TypeError if it is not an object. */
export function parseRecord(text: string): JsonObject {
  const value: unknown = LONG_NUMBER.test(text) ? JSON.parse(text, keepExact) : JSON.parse(text)
  if (!isObject(value)) throw new TypeError('not a JSON object')
  return value
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function keepExact(_key: string, value: unknown, context?: { source?: string }): unknown {
  if (typeof value !== 'number' || context?.source === undefined || String(value) === context.source) return value
  return /^-?\d{16,}$/.test(context.source) || !Number.isFinite(value) ? context.source : value
}
