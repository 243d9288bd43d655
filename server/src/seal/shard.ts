/** What a lane knows of its shard, and what the shard must still say when the lane seals (affidavit.advance). */
export interface ShardRow {
  /** Entries sealed in the shard. */
  readonly position: number
  /** Raised to disown a commit whose answer was lost. */
  readonly fence: number
  /** Raised when keys are destroyed. */
  readonly keyEpoch: number
  /** Sealing time of the last entry, milliseconds since 1970. */
  readonly sealedAtMs: number
}
