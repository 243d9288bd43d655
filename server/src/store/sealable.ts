// An event on its way into the store: what ingest hands to a lane. Everything is computed that does not depend on its
// place in the trail. The lane adds seq, previous hash, sealing time and leaf hash, and nothing else.
import type { Entry } from '@affidavit/trail'
import { entryContent } from '@affidavit/trail'
import { encodeSealedRow, type SealedBytes, type SealedColumns } from './sealed-row.ts'

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

/** Milliseconds between occurrence and arrival beyond which an event counts as late, as detection counts it. */
export const lateAfter_ms = 15 * 60 * 1000

export interface Sealable {
  readonly trail: TrailRef
  /** The shard's key epoch when subjects were resolved; a lane refuses older ones (see `stale`). */
  readonly keyEpoch: number
  /** The keyed hash of the id as a latin1 string, to compare; null for control entries. */
  readonly id: string | null
  /** Whether this is the `open` entry, which must be a trail's first. */
  readonly opens: boolean
  /** The row (sealed-row.ts), then the content lines of the entry (docs/spec/entry.md). */
  readonly bytes: SealedBytes
}

/** @param entry what the entry is and commits to; its facts commitment also goes into the row */
export function sealable(
  trail: TrailRef,
  keyEpoch: number,
  entry: Pick<Entry, 'body' | 'facts' | 'confidential' | 'operator' | 'personal'>,
  columns: Omit<SealedColumns, 'trail' | 'tenant' | 'shard' | 'factsCommitment'>,
): Sealable {
  const { number, tenant, shard } = trail
  const row = { ...columns, trail: number, tenant, shard, factsCommitment: entry.facts }
  return {
    trail,
    keyEpoch,
    id: columns.id,
    opens: 'control' in entry.body && entry.body.control.kind === 'open',
    bytes: encodeSealedRow(row, entryContent(entry)),
  }
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
      /** 32 hex digits. */
      readonly factsSalt: string
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
  readonly code:
    | 'store_unavailable'
    | 'storage_full'
    | 'outcome_unknown'
    | 'lane_stopped'
    | 'trail_stopped'
    | 'overloaded'
  constructor(code: SealUnavailable['code'], message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}
