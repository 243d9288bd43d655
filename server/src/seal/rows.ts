// Parameters of `affidavit.seal`: the batches of one commit as one array of rows in PostgreSQL's binary format, and what
// they do to shards and heads.
import { ArrayParameter, oid, type RowsParameter } from '../store/binary.ts'
import { fillPlace } from '../store/sealed-row.ts'
import type { ChainedBatch } from './chain.ts'

/** Where a shard stands, and what its next commit must find unchanged. */
export interface ShardRow {
  readonly position: number
  readonly fence: number
  readonly keyEpoch: number
  readonly sealedAtMs: number
}

/** Base64 of a hash as its 32 bytes. */
const bytes = (base64: string): Buffer => Buffer.from(base64, 'base64')

/** What one commit does to one shard. */
export interface ShardBatch {
  readonly shard: number
  readonly state: ShardRow
  readonly batch: ChainedBatch
}

/** One row per event, as it was encoded when the event was prepared, with its place filled in; shard after shard. */
function placeRows(rows: RowsParameter, batches: readonly ShardBatch[]): { parameter: Buffer; ids: number } {
  let ids = 0
  const places: number[] = []
  rows.reset()
  for (const { batch } of batches) {
    for (const { item } of batch.items) {
      const { id, bytes } = item.sealable
      if (id !== null) ids += 1
      places.push(rows.encoded(bytes))
    }
  }
  const parameter = rows.finish()
  let n = 0
  for (const { batch } of batches)
    for (const { seq, hash } of batch.items) fillPlace(parameter, places[n++]!, seq, hash)
  return { parameter, ids }
}

/**
 * @param rows the encoder of the connection's turn; what is returned is valid until its next use
 * @param batches in ascending order of shards, all chained for the same sealing time; at least one
 */
export function sealParameters(rows: RowsParameter, batches: readonly ShardBatch[]): unknown[] {
  const shards = new ArrayParameter(oid.int2)
  const positions = new ArrayParameter(oid.int8)
  const counts = new ArrayParameter(oid.int4)
  const fences = new ArrayParameter(oid.int8)
  const keyEpochs = new ArrayParameter(oid.int8)
  const trails = new ArrayParameter(oid.int4)
  const before = new ArrayParameter(oid.int8)
  const after = new ArrayParameter(oid.int8)
  const hashes = new ArrayParameter(oid.bytea)
  for (const { shard, state, batch } of batches) {
    shards.int2(shard)
    positions.int8(state.position)
    counts.int4(batch.items.length)
    fences.int8(state.fence)
    keyEpochs.int8(state.keyEpoch)
    for (const extension of batch.extensions) {
      trails.int4(extension.trail.number)
      before.int8(extension.before)
      after.int8(extension.after.size)
      hashes.bytea(bytes(extension.after.hash))
    }
  }
  const { parameter, ids } = placeRows(rows, batches)
  return [
    shards.finish(),
    positions.finish(),
    counts.finish(),
    fences.finish(),
    keyEpochs.finish(),
    batches[0]!.batch.sealedAt,
    trails.finish(),
    before.finish(),
    after.finish(),
    hashes.finish(),
    parameter,
    ids,
  ]
}
