/** The Affidavit log format. Everything here is pure: hash function, signature check and signer are handed in. */
export { Absence } from './absence.ts'
export * from './accusation.ts'
export { type AccusationFlaw, type AccusationVerdict, verifyAccusation } from './accusation-verdict.ts'
export * from './bytes.ts'
export * from './category.ts'
export {
  type Certificate,
  type CertificateCrypto,
  type CurveName,
  type HashName,
  type KeyKind,
  parseCertificates,
} from './certificate.ts'
export * from './checkpoint.ts'
export { type CommitmentKind, commit, commitText, personalSalt, SALT_BYTES } from './commitment.ts'
export { CompactRange } from './compact-range.ts'
export * from './content.ts'
export { type ContentOptions, ContentVerifier } from './content-verifier.ts'
export * from './control.ts'
export * from './cosignature.ts'
export { COVER_MEMBERS, type Cover, coverPage } from './cover.ts'
export * from './entry.ts'
export { EntryError, type EntryErrorCode } from './entry-error.ts'
export * from './format-error.ts'
export * from './hash.ts'
export * from './manifest.ts'
export * from './note.ts'
export * from './pack.ts'
export { PackError, type PackErrorCode } from './pack-error.ts'
export * from './pack-evidence.ts'
export { SUCCESSION_MEMBER } from './pack-keys.ts'
export { PackReader } from './pack-reader.ts'
export { formatConsistency, type RegistryPaths } from './pack-registry.ts'
export { anchorPaths, OPEN_FLAWS, TIMESTAMP_SKEW_MS, timestampsIn } from './pack-timestamps.ts'
export { pinsFor } from './pins.ts'
export * from './policy.ts'
export * from './receipt.ts'
export * from './registry.ts'
export * from './slot-proof.ts'
export * from './slot-tree.ts'
export * from './succession.ts'
export * from './tiles.ts'
export {
  type CheckedTimestamp,
  type TimestampFlaw,
  type TimestampOptions,
  type TimestampVerdict,
  verifyTimestamp,
} from './timestamp.ts'
export * from './tlog-proof.ts'
export * from './tree.ts'
export * from './verdict.ts'
export * from './verify.ts'
export * from './walk.ts'
export { sha256, verifyEd25519, webCertificateCrypto } from './web.ts'
export * from './witness-request.ts'
export {
  type Deflate,
  type Deflated,
  DirectoryWriter,
  type Inflate,
  type RandomAccess,
  readMember,
  type ZipEntry,
} from './zip.ts'
export { writtenRecords } from './zip-directory.ts'
export { type ArrivedMember, arrivingMembers } from './zip-stream.ts'
