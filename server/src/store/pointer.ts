/**
 * JSON Pointers (RFC 6901), and patterns of them in which a `*` segment stands for every member or element: the
 * language in which catalog and policies name personal and confidential fields.
 */

/** One segment, escaped for use in a pointer. */
export function escapeSegment(segment: string): string {
  return segment.includes('~') || segment.includes('/') ? segment.replaceAll('~', '~0').replaceAll('/', '~1') : segment
}

/** The segments of a valid pointer, unescaped; '' has none. */
export function segmentsOf(pointer: string): string[] {
  if (pointer === '') return []
  const segments = pointer.slice(1).split('/')
  return pointer.includes('~') ? segments.map((s) => s.replaceAll('~1', '/').replaceAll('~0', '~')) : segments
}

/** The same grammar as RFC 6901 §3, for schemas. */
export const pointerPattern = '^(/([^~/]|~[01])*)*$'
const pointerShape = new RegExp(pointerPattern, 'u')

export function isPointer(text: string): boolean {
  return pointerShape.test(text)
}

/** Orders pointers by their UTF-8 bytes, as the content of a persona is ordered (UTF-16 order differs beyond U+FFFF). */
export function comparePointers(a: string, b: string): number {
  const end = Math.min(a.length, b.length)
  for (let i = 0; i < end; i++) {
    const x = a.charCodeAt(i)
    const y = b.charCodeAt(i)
    if (x === y) continue
    const xSurrogate = x >= 0xd800 && x <= 0xdfff
    const ySurrogate = y >= 0xd800 && y <= 0xdfff
    return xSurrogate === ySurrogate ? x - y : xSurrogate ? 1 : -1
  }
  return a.length - b.length
}

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json }
export type JsonObject = { [key: string]: Json }

/** The value at a pointer, or undefined; own members only, so `/__proto__` is a key like any other. */
export function valueAt(root: Json, pointer: string): Json | undefined {
  let value: Json | undefined = root
  for (const segment of segmentsOf(pointer)) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, segment)) return undefined
    value = (value as JsonObject)[segment]
  }
  return value
}
