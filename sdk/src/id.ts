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
  const time = lastMs.toString(16).padStart(12, '0')
  const at = randomAt()
  const variant = HEX[0x80 | (random[at]! & 0x3f)]! + HEX[random[at + 1]!]!
  let tail = ''
  for (let i = at + 2; i < at + 8; i++) tail += HEX[random[i]!]!
  return `${time.slice(0, 8)}-${time.slice(8)}-7${counter.toString(16).padStart(3, '0')}-${variant}-${tail}`
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'))

/** Random bytes for 128 ids at a time: asking for eight bytes costs almost as much as asking for a thousand. */
const random = new Uint8Array(1024)
let used = random.length

function randomAt(): number {
  if (used === random.length) {
    crypto.getRandomValues(random)
    used = 0
  }
  used += 8
  return used - 8
}
