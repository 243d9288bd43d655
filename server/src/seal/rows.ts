// Parameters of `affidavit.seal`: a batch as one array of rows in PostgreSQL's binary format, and what it does to heads.
import { ArrayParameter, oid, type RowsParameter } from '../store/binary.ts'
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

/** Writes one row per event, in the column order of `affidavit.sealed_row`. */
function writeRows(rows: RowsParameter, batch: ChainedBatch): { parameter: Buffer; ids: number } {
  let ids = 0
  rows.reset()
  for (const { item, seq, hash } of batch.items) {
    const { trail, facts, columns: c } = item.sealable
    if (c.id !== null) ids += 1
    rows.row()
    rows.int8(seq)
    rows.timestamptz(c.occurredAt)
    rows.int8(c.actor)
    rows.int8Bytes(c.target)
    rows.int8Bytes(c.request)
    rows.uuid(c.factsSalt)
    rows.int4(trail.number)
    rows.int4(trail.tenant)
    rows.int4(c.action)
    rows.int2(c.category)
    rows.int2(c.outcome)
    rows.int2(c.flags)
    rows.bytea(bytes(facts))
    rows.bytea(bytes(hash))
    rows.text(c.facts)
    rows.bytea(c.personal)
    rows.bytea(c.confidential)
    rows.bytea(c.operator)
    rows.text(c.control)
    rows.int8ArrayBytes(c.terms)
    rows.uuid(c.id)
    rows.uuid(c.bodyDigest)
  }
  return { parameter: rows.finish(), ids }
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
  const { parameter, ids } = writeRows(rows, batch)
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
