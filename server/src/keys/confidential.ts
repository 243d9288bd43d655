// Confidential values: encrypted under the tenant's data key, unsearchable, gone with the tenant.
//
// Sealed form: generation of the data key (2 bytes, big-endian) ‖ nonce ‖ ciphertext ‖ tag. The associated data names
// the tenant's keyring and the commitment that the entry holds, so a value cannot be shown for another event's.
import { open, place, seal } from './aead.ts'
import type { TenantKeys } from './tenant-keys.ts'
import { KeyUnusable } from './unusable.ts'

const GENERATION_BYTES = 2

/** The tenant whose value it is. */
export interface ConfidentialOwner {
  /** Id of the tenant's first trail. */
  readonly keyring: string
  readonly keys: TenantKeys
}

/** @param commitment of the value, 32 bytes */
export function encryptConfidential(owner: ConfidentialOwner, commitment: Uint8Array, content: string): Buffer {
  const generation = owner.keys.dataGeneration
  const prefix = Buffer.allocUnsafe(GENERATION_BYTES)
  prefix.writeUInt16BE(generation)
  return Buffer.concat([prefix, seal(owner.keys.dataKey(generation), valuePlace(owner, commitment), content)])
}

/** @throws KeyUnusable `key_tampered`, `key_destroyed` */
export function decryptConfidential(owner: ConfidentialOwner, commitment: Uint8Array, sealed: Buffer): string {
  if (sealed.length < GENERATION_BYTES) throw new KeyUnusable('key_tampered', 'A confidential value is cut off.')
  const key = owner.keys.dataKey(sealed.readUInt16BE(0))
  return open(key, valuePlace(owner, commitment), sealed.subarray(GENERATION_BYTES)).toString('utf8')
}

const valuePlace = (owner: ConfidentialOwner, commitment: Uint8Array) =>
  place('events.confidential', owner.keyring, Buffer.from(commitment).toString('hex'))
