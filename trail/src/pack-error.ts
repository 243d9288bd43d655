/** Why a file could not be read as a pack. None of it says that the trail was tampered with. */
import { CodedError } from './coded-error.ts'

export type PackErrorCode =
  /** Another kind of file, or a ZIP file that somebody else's program wrote. */
  | 'not_a_pack'
  /** The file begins as a pack, but ends early or its end is no ZIP64 end. */
  | 'truncated'
  /** A byte differs from what the member's digest, its checksum or the format demand. */
  | 'damaged'
  /** A member is missing, unexpected, out of order or badly named. */
  | 'members'
  /** A member would inflate beyond its stated size, or that size exceeds a limit. */
  | 'too_large'
  /** The manifest or a content line is not in its only form. */
  | 'malformed'
  /** A newer format than this program knows. */
  | 'unknown_version'

export class PackError extends CodedError<PackErrorCode> {
  override readonly name = 'PackError'
}
