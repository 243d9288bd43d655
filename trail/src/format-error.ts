/** Why a proof, policy, request or accusation could not be read. */
import { CodedError } from './coded-error.ts'

export type FormatErrorCode =
  /** The bytes break the grammar, or spell a value in another way than its only one. */
  | 'malformed'
  /** A newer format than this program knows. */
  | 'unknown_version'
  | 'too_large'
  /** A verifier key that is none, or of a type that cannot serve here. */
  | 'bad_key'
  /** A name or a key that may stand once stands twice. */
  | 'duplicate'
  /** A name that no line before defines. */
  | 'undefined_name'

export class FormatError extends CodedError<FormatErrorCode> {
  override readonly name = 'FormatError'
  /** From 1, where the file is one that people write. */
  readonly line: number | undefined

  constructor(code: FormatErrorCode, message: string, line?: number) {
    super(code, line === undefined ? message : `line ${line}: ${message}`)
    this.line = line
  }
}
