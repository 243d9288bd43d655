// Parameters of `affidavit.seal`: the batches of one commit as one array of rows in PostgreSQL's binary format, and what
// they do to shards and heads.
import type { RowsParameter } from '../store/binary.ts'
import { fillPlace } from '../store/sealed-row.ts'
import type { ChainedBatch } from './chain.ts'

/** Where a shard stands, and what its next commit must find unchanged. */
export interface ShardRow {
  readonly position: number
  readonly fence: number
  readonly keyEpoch: number
  readonly sealedAtMs: number
}

/** What one commit does to one shard. */
export interface ShardBatch {
  readonly shard: number
  readonly state: ShardRow
  readonly batch: ChainedBatch
}

/** One row per event, as it was encoded when the event was prepared, with its place filled in; shard after shard. */
function placeRows(rows: RowsParameter, batches: readonly ShardBatch[]): Buffer {
  const places: number[] = []
  rows.reset()
  for (const { batch } of batches) for (const { item } of batch.items) places.push(rows.encoded(item.sealable.bytes))
  const parameter = rows.finish()
  let n = 0
  for (const { state, batch } of batches) {
    let { position } = state
    for (const { seq, hash } of batch.items) fillPlace(parameter, places[n++]!, seq, hash, position++)
  }
  return parameter
}

/**
 * @param rows the encoder of the connection's turn; what is returned is valid until its next use
 * @param batches in ascending order of shards, all chained for the same sealing time; at least one
 */
export function sealParameters(rows: RowsParameter, batches: readonly ShardBatch[]): (string | Buffer)[] {
  const shards: number[] = []
  const positions: number[] = []
  const counts: number[] = []
  const fences: number[] = []
  const keyEpochs: number[] = []
  const trails: number[] = []
  const before: number[] = []
  const after: number[] = []
  const hashes: string[] = []
  for (const { shard, state, batch } of batches) {
    shards.push(shard)
    positions.push(state.position)
    counts.push(batch.items.length)
    fences.push(state.fence)
    keyEpochs.push(state.keyEpoch)
    for (const extension of batch.extensions) {
      trails.push(extension.trail.number)
      before.push(extension.before)
      after.push(extension.after.size)
      hashes.push(byteaText(extension.after.hash))
    }
  }
  return [
    arrayText(shards),
    arrayText(positions),
    arrayText(counts),
    arrayText(fences),
    arrayText(keyEpochs),
    batches[0]!.batch.sealedAt,
    arrayText(trails),
    arrayText(before),
    arrayText(after),
    arrayText(hashes),
    placeRows(rows, batches),
  ]
}

/** Short arrays travel as text: a commit of one event would otherwise make nine buffers, each of which costs more. */
const arrayText = (elements: readonly (number | string)[]) => `{${elements.join(',')}}`

/** A bytea as it stands in the text of an array, from base64. */
const byteaText = (base64: string) => `"\\\\x${Buffer.from(base64, 'base64').toString('hex')}"`
