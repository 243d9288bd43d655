// Parameters of `affidavit.seal`: a batch as one array of rows in PostgreSQL's binary format, and what it does to heads.
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

/** One row per event, as it was encoded when the event was prepared, with its place filled in. */
function placeRows(rows: RowsParameter, batch: ChainedBatch): { parameter: Buffer; ids: number } {
  let ids = 0
  const places: number[] = []
  rows.reset()
  for (const { item } of batch.items) {
    const { id, bytes } = item.sealable
    if (id !== null) ids += 1
    places.push(rows.encoded(bytes))
  }
  const parameter = rows.finish()
  for (const [n, { seq, hash }] of batch.items.entries()) fillPlace(parameter, places[n]!, seq, hash)
  return { parameter, ids }
}

/** @param rows the encoder of the connection's slot; what is returned is valid until its next use */
export function sealParameters(rows: RowsParameter, shard: number, state: ShardRow, batch: ChainedBatch): unknown[] {
  const trails = new ArrayParameter(oid.int4)
  const before = new ArrayParameter(oid.int8)
  const after = new ArrayParameter(oid.int8)
  const hashes = new ArrayParameter(oid.bytea)
  for (const extension of batch.extensions) {
    trails.int4(extension.trail.number)
    before.int8(extension.before)
    after.int8(extension.after.size)
    hashes.bytea(bytes(extension.after.hash))
  }
  const { parameter, ids } = placeRows(rows, batch)
  return [
    shard,
    state.position,
    batch.items.length,
    state.fence,
    state.keyEpoch,
    batch.sealedAt,
    trails.finish(),
    before.finish(),
    after.finish(),
    hashes.finish(),
    parameter,
    ids,
  ]
}
