// An event on its way into the store: what ingest hands to a lane. Everything is computed that does not depend on its
// place in the trail. The lane adds seq, previous hash, sealing time and leaf hash, and nothing else.
import type { Entry } from '@affidavit/trail'

/** The trail that an event goes to. */
export interface TrailRef {
  /** Number of the trail in the store. */
  readonly number: number
  /** 32 lower-case hex digits, as in entries. */
  readonly id: string
  readonly tenant: number
  readonly shard: number
}

/** Bits of the column `flags`. */
export const flag = { termsComplete: 1, internal: 2, clientId: 4, late: 8 } as const

export interface Sealable {
  readonly trail: TrailRef
  /** The shard's key epoch when subjects were resolved; a lane refuses older ones (see `stale`). */
  readonly keyEpoch: number
  readonly body: Entry['body']
  /** Commitments, standard base64. */
  readonly facts: string
  readonly confidential?: string
  readonly operator?: string
  readonly personal: Entry['personal']
  readonly columns: SealableColumns
}

/** Columns of `affidavit.events` that are known before sealing. Byte layouts: migrations/0001_ground.sql. */
export interface SealableColumns {
  readonly occurredAt: number
  readonly actor: number | null
  /** 8 bytes. */
  readonly target: Buffer | null
  readonly request: Buffer | null
  /** 16 bytes. */
  readonly factsSalt: Buffer
  readonly action: number | null
  readonly category: number
  readonly outcome: number
  readonly flags: number
  readonly facts: string
  readonly personal: Buffer | null
  readonly confidential: Buffer | null
  readonly operator: Buffer | null
  readonly control: string | null
  /** Packed 8-byte terms. */
  readonly terms: Buffer
  /** Keyed hashes, 16 bytes each; null for control entries. */
  readonly id: Buffer | null
  readonly bodyDigest: Buffer | null
}

/** Events of one trail that were sealed in one transaction: what one receipt covers. */
export interface SealedRun {
  readonly trail: TrailRef
  readonly first: number
  readonly last: number
  /** Leaf hash of `last`, base64. */
  readonly lastHash: string
  readonly sealedAt: string
}

export type SealOutcome =
  | {
      readonly kind: 'sealed'
      readonly seq: number
      readonly hash: string
      readonly previous: string
      readonly run: SealedRun
    }
  | {
      readonly kind: 'duplicate'
      readonly seq: number
      readonly hash: string
      readonly previous: string
      readonly sealedAt: string
      readonly factsSalt: Buffer
      readonly trail: TrailRef
    }
  | { readonly kind: 'id_reused' }
  /** Keys were destroyed since the event's people were resolved: resolve them again and resubmit. */
  | { readonly kind: 'stale'; readonly keyEpoch: number }
  /** Not sealed, as far as can be known (see `code`); repeating it with its id is safe (HTTP 503). */
  | { readonly kind: 'unavailable'; readonly error: SealUnavailable }
  /** The tenant fills its share of the lane (HTTP 429). */
  | { readonly kind: 'overloaded' }
  /** This one event cannot be stored, whatever is tried; the others of its batch were. */
  | { readonly kind: 'unsealable'; readonly reason: string }

/** Nothing was sealed, and it is safe to try again later (HTTP 503). */
export class SealUnavailable extends Error {
  readonly code: 'store_unavailable' | 'storage_full' | 'outcome_unknown' | 'lane_stopped' | 'overloaded'
  constructor(code: SealUnavailable['code'], message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}
