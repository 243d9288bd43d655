// Ids for events that come without one: UUIDv7 (RFC 9562 §5.7), whose first 48 bits are the time in milliseconds, so
// that ids sort by arrival and an index over them grows at its end.
import { randomSalt } from './salts.ts'

/** @param nowMs milliseconds since 1970 */
export function newEventId(nowMs: number): string {
  const bytes = randomSalt()
  bytes.writeUIntBE(nowMs, 0, 6)
  bytes[6] = (bytes[6]! & 0x0f) | 0x70
  bytes[8] = (bytes[8]! & 0x3f) | 0x80
  const hex = bytes.toString('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
}
