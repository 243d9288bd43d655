// A registry log straight in the database, without trails and epochs' work: for tests of whatever reads its tables, of
// any length in no time. Leaves are random; the tree, the tiles and the signatures are real.
import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { CompactRange, formatCheckpoint, nodeHash, signNote } from '@affidavit/trail'
import type pg from 'pg'
import { type LogKey, logKey } from '../src/keys/log-key.ts'
import { sha256 } from '../src/store/sha256.ts'

export class TestRegistry {
  readonly origin: string
  readonly key: LogKey = logKey(generateKeyPairSync('ed25519').privateKey)
  readonly #database: pg.Client
  /** By tile level: all hashes at tree level 8·l. */
  readonly #levels: Uint8Array[][] = [[]]
  #range = new CompactRange(sha256)

  constructor(superuser: pg.Client, origin = 'log.test/registry') {
    this.#database = superuser
    this.origin = origin
  }

  get vkey(): string {
    return this.key.vkey(this.origin)
  }

  get size(): number {
    return this.#range.size
  }

  /** Appends epochs and signs the newest. @returns its note */
  async append(epochs = 1): Promise<string> {
    const from = this.size
    for (let n = 0; n < epochs; n++) {
      const leaf = Uint8Array.from(randomBytes(32))
      this.#range.append(leaf)
      this.#grow(0, leaf)
    }
    const text = formatCheckpoint(this.origin, this.size, this.#range.root())
    const note = await signNote(text, [this.key.signer(this.origin)])
    await this.#database.query('begin')
    await this.#writeTiles(from)
    await this.#database.query(
      `insert into affidavit.registry_epochs (number, index, at, depth, root)
         select n, n - 1, clock_timestamp(), 8, '\\x00' from generate_series($1::bigint, $2::bigint) as n`,
      [from + 1, this.size],
    )
    await this.#database.query(
      'insert into affidavit.registry_notes (size, epoch, root, note) values ($1, $1, $2, $3)',
      [this.size, this.#range.root(), note],
    )
    await this.#database.query(
      'update affidavit.registry set origin = $1, epoch = $2, size = $2, at = clock_timestamp()',
      [this.origin, this.size],
    )
    await this.#database.query('commit')
    return note
  }

  /** Forgets everything after `size`, as a database that was put back does. */
  async rollBack(size: number): Promise<void> {
    await this.#database.query('delete from affidavit.registry_notes where size > $1', [size])
    await this.#database.query('delete from affidavit.registry_cosignatures where size > $1', [size])
    await this.#database.query('update affidavit.registry set epoch = $1, size = $1', [size])
  }

  #grow(level: number, hash: Uint8Array): void {
    const hashes = this.#levels[level] ?? []
    this.#levels[level] = hashes
    hashes.push(hash)
    if (hashes.length % 256 === 0) this.#grow(level + 1, rootOf(hashes.slice(-256)))
  }

  async #writeTiles(from: number): Promise<void> {
    for (const [level, hashes] of this.#levels.entries()) {
      const first = Math.floor(from / 256 ** (level + 1))
      for (let index = first; index * 256 < hashes.length; index++)
        await this.#database.query(
          `insert into affidavit.registry_tiles (level, index, hashes) values ($1, $2, $3)
             on conflict (level, index) do update set hashes = excluded.hashes`,
          [level, index, Buffer.concat(hashes.slice(index * 256, index * 256 + 256))],
        )
    }
  }
}

function rootOf(hashes: readonly Uint8Array[]): Uint8Array {
  if (hashes.length === 1) return hashes[0]!
  const pairs = Array.from({ length: hashes.length / 2 }, (_, n) =>
    nodeHash(sha256, hashes[2 * n]!, hashes[2 * n + 1]!),
  )
  return rootOf(pairs)
}
