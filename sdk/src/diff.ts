/** `changes` of an event from two versions of a record. */

import type { Change, JsonValue } from './event.ts'

const DEEPEST = 64

/**
 * The differences between two JSON-like values, one entry per changed leaf, ordered by first appearance in `before`,
 * then in `after`. Paths are JSON Pointers (RFC 6901). Objects are compared member by member; a list is one value,
 * because positions say little about which element changed. `undefined` means absent; dates become ISO strings.
 */
export function diff(before: unknown, after: unknown): Change[] {
  const changes: Change[] = []
  compare(plain(before), plain(after), '', 0, changes)
  return changes
}

function compare(before: unknown, after: unknown, path: string, depth: number, changes: Change[]): void {
  if (isRecord(before) && isRecord(after) && depth < DEEPEST) {
    for (const key of new Set([...Object.keys(before), ...Object.keys(after)])) {
      const name = key.replaceAll('~', '~0').replaceAll('/', '~1')
      compare(own(before, key), own(after, key), `${path}/${name}`, depth + 1, changes)
    }
    return
  }
  if (before === after || JSON.stringify(sorted(before)) === JSON.stringify(sorted(after))) return
  const change: Change = { path }
  if (before !== undefined) change.before = before as JsonValue
  if (after !== undefined) change.after = after as JsonValue
  changes.push(change)
}

/** What JSON would keep of a value: dates as text, functions and symbols gone. Throws TypeError on a cycle or a BigInt. */
function plain(value: unknown): unknown {
  const text = JSON.stringify(value)
  return text === undefined ? undefined : JSON.parse(text)
}

/** The same value with the members of every object in one order, so that order alone is no difference. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted)
  if (!isRecord(value)) return value
  return Object.keys(value)
    .sort()
    .map((key) => [key, sorted(own(value, key))])
}

function own(record: Record<string, unknown>, key: string): unknown {
  return Object.hasOwn(record, key) ? record[key] : undefined
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
