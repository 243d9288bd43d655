// The sealer's few statements. The hot one carries whole batches in one round trip and one implicit transaction, so they
// are either stored and answered for, or not there at all.
import type { RowsParameter } from '../store/binary.ts'
import type { Pool, Queryable } from '../store/database.ts'
import { bodyDigestOf } from '../store/sealed-row.ts'
import { timestamptz } from '../store/values.ts'
import { emptyHead, type Head } from './chain.ts'
import type { Waiting } from './queue.ts'
import { type ShardBatch, type ShardRow, sealParameters } from './rows.ts'

const hexOf = (latin1: string) => Buffer.from(latin1, 'latin1').toString('hex')

/** An id that was sealed before, with the same body. */
export interface Repeat {
  readonly seq: number
  readonly hash: string
  readonly previous: string
  readonly sealedAt: string
  /** 32 hex digits. */
  readonly factsSalt: string
}

interface RawShard extends Record<string, unknown> {
  position: number
  fence: number
  key_epoch: number
  sealed_at: number
}

const shardRow = (row: RawShard | undefined): ShardRow => {
  if (row === undefined) throw new Error('the shard has no row')
  return { position: row.position, fence: row.fence, keyEpoch: row.key_epoch, sealedAtMs: row.sealed_at }
}

const seal = {
  name: 'seal',
  text: 'select affidavit.seal($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) as clock',
}

const weekMs = 7 * 86_400_000

export class SealStatements {
  readonly #db: Queryable
  readonly #pool: Pick<Pool, 'value'> | null

  /** @param pool where each statement is a transaction; null within one */
  constructor(db: Queryable, pool: Pick<Pool, 'value'> | null = null) {
    this.#db = db
    this.#pool = pool
  }

  async readShard(shard: number): Promise<ShardRow> {
    const { rows } = await this.#db.query<RawShard>(
      'select position, fence, key_epoch, sealed_at from affidavit.shards where shard = $1',
      [shard],
    )
    return shardRow(rows[0])
  }

  /** To be called within a transaction; holds the shard's row lock until its end. */
  async lockShard(shard: number): Promise<ShardRow> {
    const { rows } = await this.#db.query<RawShard>('select * from affidavit.lock_shard($1::smallint)', [shard])
    return shardRow(rows[0])
  }

  /** Waits for a commit in flight and disowns any that has not begun. */
  async fence(shard: number): Promise<ShardRow> {
    const { rows } = await this.#db.query<RawShard>('select * from affidavit.fence($1::smallint)', [shard])
    return shardRow(rows[0])
  }

  async readHeads(trails: readonly number[]): Promise<{ trail: number; head: Head }[]> {
    const { rows } = await this.#db.query<{ trail: number; size: number; hash: Buffer | null }>(
      'select trail, size, hash from affidavit.heads where trail = any($1::int[])',
      [trails],
    )
    return rows.map(({ trail, size, hash }) => ({
      trail,
      head: hash === null ? emptyHead : { size, hash: hash.toString('base64') },
    }))
  }

  /** Milliseconds since 1970. */
  async readClock(): Promise<number> {
    const { rows } = await this.#db.query<{ clock: number }>('select clock_timestamp() as clock')
    return rows[0]!.clock
  }

  /**
   * Stores batches of several shards, all or none.
   * @param batches as `sealParameters`
   * @returns the database's clock, milliseconds since 1970
   */
  async seal(encoder: RowsParameter, batches: readonly ShardBatch[]): Promise<number> {
    const parameters = sealParameters(encoder, batches)
    if (this.#pool !== null) return timestamptz((await this.#pool.value(seal, parameters))!)
    const { rows } = await this.#db.query<{ clock: number }>(seal, parameters)
    return rows[0]!.clock
  }

  /** The leaf hash (base64) that stands at a place of a shard's order, sealed on the day of `sealedAt`. */
  async hashAt(shard: number, position: number, sealedAt: string): Promise<string | null> {
    const { rows } = await this.#db.query<{ hash: Buffer | null }>(
      'select affidavit.hash_at($1::smallint, $2::bigint, $3::date) as hash',
      [shard, position, sealedAt.slice(0, 10)],
    )
    return rows[0]?.hash?.toString('base64') ?? null
  }

  /** For each item what its id was used for before: nothing, another body, or the same event. */
  async findRepeats(items: readonly Waiting[]): Promise<(Repeat | 'other' | undefined)[]> {
    const asked = items.filter((item) => item.sealable.id !== null)
    const { rows } = await this.#db.query<{
      id: string
      body: string | null
      trail: number
      seq: number
      day: string
    }>(
      `select e.id, e.body::text, e.trail, e.seq, e.day from unnest($1::uuid[]) as u (id)
         join affidavit.event_ids e on e.id = u.id and e.day >= date_trunc('week', $2::date)::date
         order by e.day`,
      [asked.map((item) => hexOf(item.sealable.id!)), new Date(Date.now() - weekMs).toISOString().slice(0, 10)],
    )
    const used = new Map(rows.map((row) => [row.id.replaceAll('-', ''), row]))
    const receipts = await this.#readSealed(rows)
    return items.map(({ sealable }) => {
      const { id, bytes } = sealable
      const row = id === null ? undefined : used.get(hexOf(id))
      if (row === undefined) return undefined
      if (row.body === null || row.body !== bodyDigestOf(bytes)) return 'other'
      return receipts.get(`${row.trail} ${row.seq}`) ?? 'other'
    })
  }

  async #readSealed(places: readonly { trail: number; seq: number; day: string }[]): Promise<Map<string, Repeat>> {
    if (places.length === 0) return new Map()
    const { rows } = await this.#db.query<{
      trail: number
      seq: number
      sealed_at: number
      hash: Buffer
      previous: Buffer | null
      facts_salt: string | null
    }>('select * from affidavit.sealed($1::int[], $2::bigint[], $3::date[])', [
      places.map((place) => place.trail),
      places.map((place) => place.seq),
      places.map((place) => place.day),
    ])
    return new Map(
      rows.map((row) => [
        `${row.trail} ${row.seq}`,
        {
          seq: row.seq,
          hash: row.hash.toString('base64'),
          previous: row.previous?.toString('base64') ?? emptyHead.hash,
          sealedAt: new Date(row.sealed_at).toISOString(),
          factsSalt: (row.facts_salt ?? '').replaceAll('-', ''),
        },
      ]),
    )
  }
}
