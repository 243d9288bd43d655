/**
 * C2SP tlog-cosignature, Ed25519 (note signature type 0x04): a witness's statement that at this time the checkpoint was
 * the largest it had seen of this log, and consistent with all before. Verified by `verifyNote`.
 */
import { concatBytes } from '../bytes.ts'

const TIME_BYTES = 8
const SIGNATURE_BYTES = 64
/** 9999-12-31T23:59:59Z: a later time no calendar here can show, and no honest witness states. */
const MAX_TIME = 253_402_300_799

const utf8 = new TextEncoder()

/** What a cosigner signs: header, time, and the checkpoint's note text. `time` is in seconds since 1970. */
export function cosignatureMessage(time: number, body: string): Uint8Array {
  return utf8.encode(`cosignature/v1\ntime ${time}\n${body}`)
}

/** The bytes of a cosignature (without the key id): the time as uint64 big-endian, the Ed25519 signature. */
export function closeCosignature(time: number, signature: Uint8Array): Uint8Array {
  const stamp = new Uint8Array(TIME_BYTES)
  new DataView(stamp.buffer).setBigUint64(0, BigInt(time))
  return concatBytes([stamp, signature])
}

/**
 * Time (seconds since 1970) and Ed25519 signature of a cosignature's bytes (without the key id); undefined when it cannot
 * be one, or states a time after the year 9999.
 */
export function openCosignature(bytes: Uint8Array): { time: number; signature: Uint8Array } | undefined {
  if (bytes.length !== TIME_BYTES + SIGNATURE_BYTES) return undefined
  const time = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0))
  return time <= MAX_TIME ? { time, signature: bytes.subarray(TIME_BYTES) } : undefined
}
