// The registry log as the anchors read it, straight from its tables: the newest signed checkpoint, consistency proofs
// between any two sizes, and the place where cosignatures are kept.
import {
  HASH_BYTES,
  meetsQuorum,
  proveConsistency,
  readNodeFromTiles,
  type TrustPolicy,
  verifyEd25519,
  verifyNote,
} from '@affidavit/trail'
import type { Queryable } from '../store/database.ts'
import { sha256 } from '../store/sha256.ts'

export interface RegistryHead {
  readonly origin: string
  readonly epoch: number
  readonly size: number
  /** 32 bytes. */
  readonly root: Uint8Array
  /** Signed by the log alone. */
  readonly note: string
  /** Time of the epoch. */
  readonly at_ms: number
  /** When cosignatures enough for the policy were there; null before. */
  readonly quorumAt_ms: number | null
}

export class RegistryLog {
  readonly #store: Queryable

  /** @param store role notary */
  constructor(store: Queryable) {
    this.#store = store
  }

  /** Undefined until the first epoch is signed. */
  head(): Promise<RegistryHead | undefined> {
    return this.#newest('anchor_head', '')
  }

  /** The newest one that the policy's quorum cosigned. */
  cosignedHead(): Promise<RegistryHead | undefined> {
    return this.#newest('anchor_cosigned_head', 'where n.quorum_at is not null')
  }

  async #newest(name: string, condition: string): Promise<RegistryHead | undefined> {
    const { rows } = await this.#store.query<RegistryHead>({
      name,
      text: `select r.origin, n.epoch, n.size, n.root, n.note, e.at as at_ms, n.quorum_at as "quorumAt_ms"
               from affidavit.registry_notes n join affidavit.registry_epochs e on e.number = n.epoch
                 cross join affidavit.registry r ${condition} order by n.size desc limit 1`,
    })
    return rows[0]
  }

  /** Signature lines of witnesses under the checkpoint of a size, each checked when it came. */
  async cosignatures(size: number): Promise<string[]> {
    const { rows } = await this.#store.query<{ line: string }>({
      name: 'anchor_cosignatures',
      text: 'select line from affidavit.registry_cosignatures where size = $1 order by witness collate "C"',
      values: [size],
    })
    return rows.map(({ line }) => line)
  }

  /** RFC 6962 consistency proof; empty from 0 or to the same size. */
  async consistency(from: number, to: number): Promise<Uint8Array[]> {
    if (from === 0 || from === to) return []
    const tiles = new Map<string, Promise<Uint8Array>>()
    const read = (level: number, index: number, width: number) => {
      const key = `${level}/${index}`
      const tile = tiles.get(key) ?? this.#tile(level, index)
      tiles.set(key, tile)
      return tile.then((hashes) => hashes.subarray(0, width * HASH_BYTES)) // it may have grown since
    }
    return proveConsistency(sha256, readNodeFromTiles(sha256, to, read), from, to)
  }

  /** Keeps a witness's signature line, and notes when that makes the policy's quorum. @returns whether it is met */
  async attach(head: RegistryHead, witness: string, line: string, time: Date, policy: TrustPolicy): Promise<boolean> {
    await this.#store.query('select affidavit.attach_cosignature($1, $2, $3, $4)', [head.size, witness, line, time])
    const lines = await this.cosignatures(head.size)
    const keys = policy.witnesses.map(({ key }) => key)
    const { cosigned } = await verifyNote(verifyEd25519, head.note + lines.join(''), keys)
    const isMet = meetsQuorum(
      policy,
      cosigned.map(({ key }) => key),
    )
    if (isMet) await this.noteQuorum(head.size)
    return isMet
  }

  async noteQuorum(size: number): Promise<void> {
    await this.#store.query('select affidavit.note_quorum($1)', [size])
  }

  async #tile(level: number, index: number): Promise<Uint8Array> {
    const { rows } = await this.#store.query<{ hashes: Buffer }>({
      name: 'anchor_tile',
      text: 'select hashes from affidavit.registry_tiles where level = $1 and index = $2',
      values: [level, index],
    })
    if (rows[0] === undefined) throw new Error(`tile ${level}/${index} of the registry log is missing`)
    return rows[0].hashes
  }
}
