/** Event ids: UUIDv7 (RFC 9562 §5.7), made by the client so that a repeated request is the same event. */

let lastMs = 0
let counter = 0

/**
 * A UUIDv7 that sorts after every one this process made before, also within one millisecond and when the
 * clock steps back: the 12 bits after the version are a counter (RFC 9562 §6.2, method 1).
 */
export function uuidv7(nowMs: number = Date.now()): string {
  if (nowMs > lastMs) {
    lastMs = nowMs
    counter = Math.floor(Math.random() * 0x400)
  } else if (++counter > 0xfff) {
    lastMs++
    counter = 0
  }
  const bytes = crypto.getRandomValues(new Uint8Array(16))
  const view = new DataView(bytes.buffer)
  view.setUint32(0, Math.floor(lastMs / 0x10000))
  view.setUint16(4, lastMs % 0x10000)
  view.setUint16(6, 0x7000 | counter)
  view.setUint8(8, 0x80 | (view.getUint8(8) & 0x3f))
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
}
