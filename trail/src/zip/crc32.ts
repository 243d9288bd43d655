/** CRC-32 as ZIP has it (polynomial 0xEDB88320), eight bytes a step: contents are large and neither Node nor browsers are at hand. */
const TABLES: readonly Uint32Array[] = makeTables()

function makeTables(): Uint32Array[] {
  const first = Uint32Array.from({ length: 256 }, (_, byte) => {
    let crc = byte
    for (let bit = 0; bit < 8; bit++) crc = (crc & 1) === 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1
    return crc
  })
  const tables = [first]
  for (let n = 1; n < 8; n++) tables.push(tables[n - 1]!.map((crc) => (crc >>> 8) ^ first[crc & 0xff]!))
  return tables
}

/** CRC-32 as ZIP has it (polynomial 0xEDB88320), unsigned. */
export function crc32(data: Uint8Array): number {
  const [t0, t1, t2, t3, t4, t5, t6, t7] = TABLES as [
    Uint32Array,
    Uint32Array,
    Uint32Array,
    Uint32Array,
    Uint32Array,
    Uint32Array,
    Uint32Array,
    Uint32Array,
  ]
  let crc = 0xffffffff
  let at = 0
  for (const end = data.length - 7; at < end; at += 8) {
    crc =
      t7[(crc ^ data[at]!) & 0xff]! ^
      t6[((crc >>> 8) ^ data[at + 1]!) & 0xff]! ^
      t5[((crc >>> 16) ^ data[at + 2]!) & 0xff]! ^
      t4[(crc >>> 24) ^ data[at + 3]!]! ^
      t3[data[at + 4]!]! ^
      t2[data[at + 5]!]! ^
      t1[data[at + 6]!]! ^
      t0[data[at + 7]!]!
  }
  for (; at < data.length; at++) crc = (crc >>> 8) ^ t0[(crc ^ data[at]!) & 0xff]!
  return (crc ^ 0xffffffff) >>> 0
}
