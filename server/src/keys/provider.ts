// Where keys come from that are not in PostgreSQL: the shape of a key management service. Wrapped keys are rows, so a
// person can be forgotten for good only if some key above theirs lives elsewhere and can be destroyed there.
//
//   root ─┬─► data key, index key of a tenant      (keeper.tenant_keys)
//         ├─► log key                              (key folder)
//         └─► generation of a tenant's subject-wrap key ─► bucket key ─► subject key ─► personas, salts
//
// Which generation wraps new buckets is in PostgreSQL (keeper.generations), so that a rotation is fenced like any row.
import type { Place } from './aead.ts'

export interface KeyProvider {
  /** First 8 bytes, in hex, of a one-way function of the root: tells roots apart and nothing else. */
  readonly rootCheck: string
  /** Name of the log that the keys are bound to; undefined: to none. */
  readonly logName?: string
  /** The root in the clear, for threads of this process, where a service would have to be asked for it again. */
  openedRoot?(): Uint8Array
  wrapUnderRoot(where: Place, key: Uint8Array): Promise<Buffer>
  /** @throws KeyUnusable `key_tampered` */
  unwrapUnderRoot(where: Place, wrapped: Uint8Array): Promise<Buffer>

  /**
   * Makes one generation of a tenant's subject-wrap key durable. One that is there already is left as it is.
   *
   * @param keyring names the tenant's keys: the id of its first trail, 32 hex digits
   * @throws KeyUnusable `key_destroyed`: the number was used and never comes back
   */
  createGeneration(keyring: string, generation: number): Promise<void>
  /** Wraps under a generation. @throws KeyUnusable `key_missing`, `key_destroyed`, `key_tampered` */
  wrap(keyring: string, generation: number, where: Place, key: Uint8Array): Promise<Buffer>
  /** @throws KeyUnusable as `wrap` */
  unwrap(keyring: string, generation: number, where: Place, wrapped: Uint8Array): Promise<Buffer>
  /** Generations that exist and were not destroyed, ascending. */
  generations(keyring: string): Promise<number[]>
  /** Destroys a generation for all processes and for good; everything wrapped under it is lost. Idempotent. */
  destroyGeneration(keyring: string, generation: number): Promise<void>
}
