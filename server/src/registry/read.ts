// The registry log as the world reads it: checkpoint with cosignatures, tiles, entries, keys. All of it is public.
import {
  decodeRegistryEntry,
  encodeBundle,
  formatVkey,
  HASH_BYTES,
  type NamedSuccessor,
  parseVkey,
  proveConsistency,
  proveInclusion,
  type ReadNode,
  readNodeFromTiles,
  type Succession,
  TILE_WIDTH,
  type TileId,
  tileWidth,
} from '@affidavit/trail'
import type { Database, Queryable } from '../store/database.ts'
import { sha256 } from '../store/sha256.ts'
import { readNamed } from './succession.ts'

export interface RegistryCheckpoint {
  readonly origin: string
  /** Entries of the registry log, and the epoch that is its last entry. */
  readonly size: number
  readonly epoch: number
  /** Signed note with the cosignatures there are. */
  readonly note: string
  /** Whether cosignatures enough for the policy are on it. */
  readonly quorum: boolean
}

export interface RegistryReaderOptions {
  readonly store: Database
  /** A policy is configured: a checkpoint with its quorum is preferred to a newer one without. */
  readonly preferQuorum: boolean
  /** 32 bytes. */
  readonly recoveryPublicKey: Uint8Array
}

/** An older checkpoint with its quorum is served for this long; then the newest one is, and says what it lacks. */
const quorum_patience = '10 minutes'
/**
 * One that lacks its quorum is served for this long before a newer one is. Were they shown as fast as they come, cosignatures
 * that take longer than an epoch would always be too late: what they vouch for is smaller than what was shown meanwhile.
 */
const hold_ms = 5_000

interface NoteRow {
  origin: string
  size: number
  epoch: number
  note: string
  quorum: boolean
  lines: string
}

export class RegistryReader {
  readonly #db: Queryable
  readonly #options: RegistryReaderOptions
  /** Entries under the largest checkpoint that was given out. Whoever saw it would call a smaller one a rollback. */
  #shown = 0
  /** Until when the one that was shown, without its quorum, is shown again. */
  #heldUntil_ms = 0

  constructor(options: RegistryReaderOptions) {
    this.#db = options.store.pool('reader')
    this.#options = options
  }

  /** The checkpoint to serve, or undefined before the first epoch. @throws StoreUnavailable */
  async checkpoint(): Promise<RegistryCheckpoint | undefined> {
    const { rows } = await this.#db.query<NoteRow>(
      {
        name: 'registry checkpoint',
        text: `select r.origin, n.size, n.epoch, n.note, n.quorum_at is not null as quorum,
          coalesce((select string_agg(c.line, '' order by c.cosigned_at, c.witness) from affidavit.registry_cosignatures c
            where c.size = n.size), '') as lines
        from affidavit.registry r, affidavit.registry_notes n
        where n.size = coalesce(
          case when $1::boolean then (select q.size from affidavit.registry_notes q
            where q.quorum_at is not null and q.size >= $2 and q.signed_at > clock_timestamp() - interval '${quorum_patience}'
            order by q.size desc limit 1) end,
          (select h.size from affidavit.registry_notes h where $3::boolean and h.size = $2),
          (select max(size) from affidavit.registry_notes))`,
      },
      [this.#options.preferQuorum, this.#shown, performance.now() < this.#heldUntil_ms],
    )
    const row = rows[0]
    if (row?.quorum === true || !this.#options.preferQuorum) this.#heldUntil_ms = 0
    else if (row !== undefined && row.size > this.#shown) this.#heldUntil_ms = performance.now() + hold_ms
    this.#shown = Math.max(this.#shown, row?.size ?? 0)
    return (
      row && { origin: row.origin, size: row.size, epoch: row.epoch, note: row.note + row.lines, quorum: row.quorum }
    )
  }

  /** Bytes of a tile or entry bundle, or undefined when the log has none of that width. @throws StoreUnavailable */
  async tile(tile: TileId): Promise<Uint8Array | undefined> {
    if (tile.level === 'entries') return this.#bundle(tile.index, tile.width)
    const { rows } = await this.#db.query<{ hashes: Buffer }>(
      { name: 'registry tile', text: 'select hashes from affidavit.registry_tiles where level = $1 and index = $2' },
      [tile.level, tile.index],
    )
    const length = tile.width * HASH_BYTES
    const hashes = rows[0]?.hashes
    return hashes === undefined || hashes.length < length ? undefined : hashes.subarray(0, length)
  }

  async #bundle(index: number, width: number): Promise<Uint8Array | undefined> {
    const first = index * TILE_WIDTH
    const { rows } = await this.#db.query<{ entry: string }>(
      {
        name: 'registry bundle',
        text: 'select entry from affidavit.registry_entries where index >= $1 and index < $2 order by index',
      },
      [first, first + width],
    )
    return rows.length < width ? undefined : encodeBundle(rows.map(({ entry }) => Buffer.from(entry, 'utf8')))
  }

  /** Where an epoch's entry stands in the log, and its text. @throws StoreUnavailable */
  async epochEntry(epoch: number): Promise<{ index: number; entry: string } | undefined> {
    const { rows } = await this.#db.query<{ index: number; entry: string }>(
      {
        name: 'registry epoch',
        text: `select l.index, l.entry from affidavit.registry_epochs e join affidavit.registry_entries l using (index)
        where e.number = $1`,
      },
      [epoch],
    )
    return rows[0]
  }

  /** The newest epoch before this one whose slots are kept for good. @throws StoreUnavailable */
  async auditEpochBefore(epoch: number): Promise<number | undefined> {
    const { rows } = await this.#db.query<{ number: number }>(
      {
        name: 'registry audit epoch',
        text: 'select number from affidavit.registry_epochs where audit and number < $1 order by number desc limit 1',
      },
      [epoch],
    )
    return rows[0]?.number
  }

  /** RFC 6962 audit path of an entry in the log at `size`. */
  inclusion(index: number, size: number): Promise<Uint8Array[]> {
    return proveInclusion(sha256, this.#nodes(size), index, size)
  }

  /** RFC 6962 proof that the log at `to` continues the log at `from`. */
  consistency(from: number, to: number): Promise<Uint8Array[]> {
    return proveConsistency(sha256, this.#nodes(to), from, to)
  }

  /** Every entry of the log at `size` that names a successor of the log key, with its proof. @throws StoreUnavailable */
  async successors(size: number): Promise<NamedSuccessor[]> {
    const { rows } = await this.#db.query<{ index: number; entry: string }>(
      {
        name: 'registry successors',
        text: `select index, entry from affidavit.registry_entries where kind = 'key' and index < $1 order by index`,
      },
      [size],
    )
    return Promise.all(
      rows.map(async ({ index, entry: text }) => {
        const entry = decodeRegistryEntry(text)
        if (entry.kind !== 'key') throw new Error(`entry ${index} of the registry log is no key entry`)
        return { entry, index, proof: await this.inclusion(index, size) }
      }),
    )
  }

  /** How log keys followed one another, under the checkpoint that is served; undefined before the first epoch. */
  async succession(): Promise<Succession | undefined> {
    const served = await this.checkpoint()
    return served && { checkpoint: served.note, successors: await this.successors(served.size) }
  }

  /** The keys that may have signed the log, as vkeys: the first log key, its successors, the recovery key. */
  async vkeys(): Promise<string[] | undefined> {
    const named = await readNamed(this.#db)
    if (named === null) return undefined
    const { name } = parseVkey(sha256, named[0]!)
    return [...new Set([...named, formatVkey(sha256, name, this.#options.recoveryPublicKey)])]
  }

  #nodes(size: number): ReadNode {
    return readNodeFromTiles(sha256, size, async (level, index) => {
      const tile = await this.tile({ level, index, width: tileWidth(level, index, size) })
      if (tile === undefined) throw new Error(`tile ${level}/${index} of the registry log is missing`)
      return tile
    })
  }
}
