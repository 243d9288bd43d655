/**
 * How large the content of one event may be. 256 events share a member of a pack, which may have 2^27 bytes
 * (docs/spec/pack.md): were one allowed a larger share, whoever may write events could keep a tenant from ever getting a
 * pack. What counts is the content as it stands there, as strings of JSON.
 */

/** One line of such a member; names, numbers and salts of its up to 103 parts have room beside `contentBytes`. */
const lineBytes = 2 ** 27 / 256
export const contentBytes = lineBytes - 16 * 1024

/**
 * Bytes that a UTF-16 unit takes at most. Control characters would take more, but content is JSON text already: there they
 * are spelled out.
 */
const widest = 3

/** @param parts JSON texts: facts, personas, confidential and operator parts */
export function isTooLarge(parts: readonly string[]): boolean {
  let units = 0
  for (const { length } of parts) units += length
  if (widest * units <= contentBytes) return false
  return parts.reduce((sum, part) => sum + Buffer.byteLength(JSON.stringify(part)), 0) > contentBytes
}
