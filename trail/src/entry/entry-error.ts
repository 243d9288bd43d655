/** Why bytes are not an entry. */
import { CodedError } from '../coded-error.ts'

export type EntryErrorCode =
  /** Another version or kind than this program knows: it could not be checked. */
  | 'unknown_version'
  | 'unknown_kind'
  /** The bytes break the grammar, or spell a value in another way than its only one. */
  | 'malformed'
  | 'too_long'

export class EntryError extends CodedError<EntryErrorCode> {
  override readonly name = 'EntryError'

  /** True when a newer program may well understand the bytes. */
  get unknown(): boolean {
    return this.code === 'unknown_version' || this.code === 'unknown_kind'
  }
}
