/**
 * C2SP tlog-cosignature, Ed25519 (note signature type 0x04): a witness's statement that at this time the checkpoint was
 * the largest it had seen of this log, and consistent with all before. Verified by `verifyNote`.
 */
import { concatBytes } from './bytes.ts'
import type { NoteSignature, NoteSigner } from './note.ts'

const TIME_BYTES = 8
const SIGNATURE_BYTES = 64

const utf8 = new TextEncoder()

/** What a cosigner signs: header, time, and the checkpoint's note text. `time` is in seconds since 1970. */
export function cosignatureMessage(time: number, body: string): Uint8Array {
  return utf8.encode(`cosignature/v1\ntime ${time}\n${body}`)
}

/**
 * Cosigns a checkpoint's note text at `time` (seconds since 1970). The signer's id must be that of a cosigning key:
 * `keyId(hash, name, COSIGNATURE, publicKey)`. The caller must have checked that the log has only grown.
 */
export async function cosign(body: string, signer: NoteSigner, time: number): Promise<NoteSignature> {
  if (!Number.isSafeInteger(time) || time < 1) throw new RangeError(`not a time in seconds: ${time}`)
  const stamp = new Uint8Array(TIME_BYTES)
  new DataView(stamp.buffer).setBigUint64(0, BigInt(time))
  const signature = await signer.sign(cosignatureMessage(time, body))
  return { name: signer.name, id: signer.id, signature: concatBytes([stamp, signature]) }
}

/**
 * Time and Ed25519 signature of a cosignature's bytes (without the key id); undefined when it cannot be one. A time
 * beyond 2^53 seconds is refused too: it could only lie in the future.
 */
export function openCosignature(bytes: Uint8Array): { time: number; signature: Uint8Array } | undefined {
  if (bytes.length !== TIME_BYTES + SIGNATURE_BYTES) return undefined
  const time = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0))
  return Number.isSafeInteger(time) ? { time, signature: bytes.subarray(TIME_BYTES) } : undefined
}
