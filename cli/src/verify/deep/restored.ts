/**
 * An event as its readers see it: the sealed facts with the values that were cut into other parts back in their places.
 * Written from docs/spec/commitment.md and not shared with the server, which is the party under check.
 */
import { createHash } from 'node:crypto'
import type { Payload } from '@affidavit/trail'

export type Part = Readonly<Record<string, unknown>>

export const part = (value: unknown): Part =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Part) : {}
export const list = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : [])

/** A cut value: where it stood, and what it was. */
export type Pair = readonly [pointer: string, value: unknown]

export interface Restored {
  /** The facts alone, parsed; cut values are objects there. */
  readonly facts: Part
  /** With every value that was given. */
  readonly event: Part
  /** Values of the personal lines that are there. */
  readonly people: readonly (readonly Pair[])[]
  /** Some personal line was cut and is not there: erased, or withheld from this key. */
  readonly isPartial: boolean
}

const MARKERS = ['$personal', '$confidential', '$operator']

/** @returns undefined when the facts are gone, or are no JSON object in its only form */
export function restore(payload: Payload, personalLines: number): Restored | undefined {
  try {
    return restored(payload, personalLines)
  } catch (error) {
    // Deeper than anything that a server accepts.
    if (error instanceof RangeError) return undefined
    throw error
  }
}

function restored(payload: Payload, personalLines: number): Restored | undefined {
  const text = payload.facts?.content
  const facts = text === undefined ? undefined : parsed(text)
  if (typeof facts !== 'object' || facts === null || Array.isArray(facts)) return undefined
  // A name that stands there twice, or a number that no double holds, would be read otherwise by other readers.
  if (JSON.stringify(facts) !== text) return undefined
  const event = structuredClone(facts) as Record<string, unknown>
  const people = (payload.personal ?? []).map(({ content }) => pairsOf(content))
  const pairs = [...pairsOf(payload.confidential?.content), ...pairsOf(payload.operator?.content), ...people.flat()]
  // A container comes before its members, so values cut out of a cut value find their place again.
  pairs.sort(([a], [b]) => a.split('/').length - b.split('/').length)
  for (const [pointer, value] of pairs) put(event, pointer, value)
  clear(event)
  return { facts: facts as Part, event, people, isPartial: people.length < personalLines }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined // its commitment is checked elsewhere
  }
}

function pairsOf(content: string | undefined): Pair[] {
  return content === undefined ? [] : (list(parsed(content)).filter(isPair) as Pair[])
}

const isPair = (value: unknown) => Array.isArray(value) && value.length === 2 && typeof value[0] === 'string'

function put(event: Record<string, unknown>, pointer: string, value: unknown): void {
  const segments = pointer
    .split('/')
    .slice(1)
    .map((segment) => segment.replaceAll('~1', '/').replaceAll('~0', '~'))
  const last = segments.pop()
  let parent: unknown = event
  for (const segment of segments) {
    if (typeof parent !== 'object' || parent === null || !Object.hasOwn(parent, segment)) return
    parent = (parent as Part)[segment]
  }
  if (last !== undefined && typeof parent === 'object' && parent !== null && Object.hasOwn(parent, last))
    (parent as Record<string, unknown>)[last] = value
}

/** What was not given is shown as null. */
function clear(parent: object): void {
  const members = parent as Record<string, unknown>
  for (const [key, value] of Object.entries(members)) {
    if (typeof value !== 'object' || value === null) continue
    if (MARKERS.some((marker) => Object.hasOwn(value, marker))) members[key] = null
    else clear(value)
  }
}

/** 12 bytes that two JSON values share exactly when they are equal, whatever the order of their keys. */
export function digestOf(fields: readonly string[], event: Part): Buffer {
  const shown = fields.map((field) => [field, (Object.hasOwn(event, field) ? event[field] : undefined) ?? null])
  return createHash('sha256').update(JSON.stringify(shown, sorted)).digest().subarray(0, 12)
}

function sorted(_key: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
}
