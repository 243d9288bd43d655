/** Takes values out of an event's tree where a pattern of pointers names them, and leaves markers in their places. */

import { escapeSegment, type Json, type JsonObject } from '../store/pointer.ts'
import type { Pattern } from './policy.ts'

/** What stands in a value's place from now on. */
type Replace = (pointer: string, value: Json) => Json

/**
 * Replaces what a pattern names. The tree shares parts with the event that came in, so the containers on the way are
 * copied. Values that are marked already, and absent ones, are passed over.
 */
export function cut(root: JsonObject, pattern: Pattern, replace: Replace): void {
  cutIn(root, pattern, 0, '', replace)
}

function cutIn(parent: JsonObject | Json[], pattern: Pattern, depth: number, at: string, replace: Replace): void {
  const segment = pattern[depth]!
  const keys = segment === '*' ? Object.keys(parent) : Object.hasOwn(parent, segment) ? [segment] : []
  const members = parent as JsonObject
  for (const key of keys) {
    const value = members[key]
    if (value === undefined || isMarker(value)) continue
    const pointer = `${at}/${escapeSegment(key)}`
    if (depth === pattern.length - 1) {
      members[key] = replace(pointer, value)
    } else if (typeof value === 'object' && value !== null) {
      const copy = Array.isArray(value) ? [...value] : { ...value }
      members[key] = copy
      cutIn(copy, pattern, depth + 1, pointer, replace)
    }
  }
}

function isMarker(value: Json): boolean {
  return (
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    (Object.hasOwn(value, '$personal') || Object.hasOwn(value, '$confidential') || Object.hasOwn(value, '$operator'))
  )
}
