/** The Affidavit log format. Everything here is pure: hash function, signature check and signer are handed in. */

export * from './bytes.ts'
export * from './entry/category.ts'
export { type CommitmentKind, commit, commitText, personalSalt, SALT_BYTES } from './entry/commitment.ts'
export * from './entry/content.ts'
export * from './entry/control.ts'
export * from './entry/entry.ts'
export { EntryError, type EntryErrorCode } from './entry/entry-error.ts'
export * from './format-error.ts'
export * from './hash.ts'
export * from './note/checkpoint.ts'
export * from './note/cosignature.ts'
export * from './note/note.ts'
export * from './note/policy.ts'
export * from './note/witness-request.ts'
export { COVER_MEMBERS, type Cover, coverPage } from './pack/cover.ts'
export * from './pack/evidence.ts'
export { SUCCESSION_MEMBER } from './pack/keys.ts'
export * from './pack/manifest.ts'
export * from './pack/pack.ts'
export { PackReader } from './pack/reader.ts'
export { formatConsistency, type RegistryPaths } from './pack/registry.ts'
export {
  anchorPaths,
  OPEN_FLAWS,
  type OpenTimestamp,
  TIMESTAMP_SKEW_MS,
  timestampsIn,
  unstamped,
} from './pack/timestamps.ts'
export { PackError, type PackErrorCode } from './pack-error.ts'
export * from './proof/accusation.ts'
export * from './proof/receipt.ts'
export * from './proof/tlog-proof.ts'
export { logNameOf, pinsFor } from './registry/pins.ts'
export * from './registry/registry.ts'
export * from './registry/slot-proof.ts'
export * from './registry/slot-tree.ts'
export * from './registry/succession.ts'
export {
  type Certificate,
  type CertificateCrypto,
  type CurveName,
  type HashName,
  type KeyKind,
  parseCertificates,
} from './timestamp/certificate.ts'
export {
  type CheckedTimestamp,
  type TimestampFlaw,
  type TimestampOptions,
  type TimestampVerdict,
  verifyTimestamp,
} from './timestamp/timestamp.ts'
export { CompactRange } from './tree/compact-range.ts'
export * from './tree/tiles.ts'
export * from './tree/tree.ts'
export { type AccusationFlaw, type AccusationVerdict, verifyAccusation } from './verify/accusation.ts'
export { type ContentOptions, ContentVerifier } from './verify/content-verifier.ts'
export * from './verify/verify.ts'
export { Absence } from './walk/absence.ts'
export * from './walk/verdict.ts'
export * from './walk/walk.ts'
export { sha256, verifyEd25519, webCertificateCrypto } from './web.ts'
export {
  type Deflate,
  type Deflated,
  DirectoryWriter,
  type Inflate,
  type RandomAccess,
  readMember,
  type ZipEntry,
} from './zip/zip.ts'
export { writtenRecords } from './zip/zip-directory.ts'
export { type ArrivedMember, arrivingMembers } from './zip/zip-stream.ts'
