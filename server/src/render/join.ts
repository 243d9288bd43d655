/** The inverse of split: the event as a reader may see it, from its facts and the parts the reader was given. */

import { comparePointers, escapeSegment, type Json, type JsonObject, segmentsOf } from '../store/pointer.ts'

export interface Parts {
  /** Content of each personal line, by number; null or absent when it was erased. */
  personal: readonly (string | null | undefined)[]
  /** Contents; null or undefined when the reader may not see them. */
  confidential?: string | null | undefined
  operator?: string | null | undefined
}

export interface Joined {
  /** The event with `targets`, `context`, `changes` and `metadata` always present; what was not given to the reader is null. */
  event: JsonObject
  /** Pointers of values whose person was erased. */
  erased: string[]
  /** Pointers of values that this reader may not see. */
  withheld: string[]
}

/** @param facts the stored text; parts must be those of the same event */
export function join(facts: string, parts: Parts): Joined {
  const event = JSON.parse(facts) as JsonObject
  const pairs: [string, Json][] = []
  for (const content of [parts.confidential, parts.operator, ...parts.personal]) {
    if (content != null) for (const pair of JSON.parse(content) as [string, Json][]) pairs.push(pair)
  }
  // A container comes before its members, so values cut out of a cut value find their place again.
  pairs.sort((a, b) => comparePointers(a[0], b[0]))
  for (const [pointer, value] of pairs) put(event, pointer, value)
  const joined: Joined = { event, erased: [], withheld: [] }
  clearMarkers(event, '', joined)
  return { ...joined, event: { targets: [], context: {}, changes: [], metadata: {}, ...event } }
}

/** Own members only: the pointer was made from this event, and anything else is not written. */
function put(event: JsonObject, pointer: string, value: Json): void {
  const segments = segmentsOf(pointer)
  const last = segments.pop()!
  let parent: Json | undefined = event
  for (const segment of segments) {
    if (typeof parent !== 'object' || parent === null || !Object.hasOwn(parent, segment)) return
    parent = (parent as JsonObject)[segment]
  }
  if (typeof parent === 'object' && parent !== null && Object.hasOwn(parent, last)) (parent as JsonObject)[last] = value
}

function clearMarkers(parent: JsonObject | Json[], at: string, joined: Joined): void {
  const members = parent as JsonObject
  for (const key of Object.keys(parent)) {
    const value = members[key]
    if (typeof value !== 'object' || value === null) continue
    const pointer = `${at}/${escapeSegment(key)}`
    if (Object.hasOwn(value, '$personal')) joined.erased.push(pointer)
    else if (Object.hasOwn(value, '$confidential') || Object.hasOwn(value, '$operator')) joined.withheld.push(pointer)
    else {
      clearMarkers(value, pointer, joined)
      continue
    }
    members[key] = null
  }
}
