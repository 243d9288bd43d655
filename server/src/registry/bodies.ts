// What all slots hold in the newest epoch, in memory: an epoch needs every one of them, and few change. It holds for
// the epoch after which it was kept; when the database stands elsewhere, somebody else was at work, and all is read again.
import { formatCheckpoint } from '@affidavit/trail'
import { trailName } from '../keys/log-key.ts'
import type { Queryable } from '../store/database.ts'
import type { Bodies } from './slots.ts'
import { readBodies } from './statements.ts'

interface Head {
  readonly slot: number
  readonly trail: string
  readonly size: number
  /** Base64. */
  readonly root: string
}

export class BodyMemory {
  readonly #db: Queryable
  readonly #logName: string
  #epoch = -1
  #bodies: PackedBodies

  constructor(db: Queryable, logName: string) {
    this.#db = db
    this.#logName = logName
    this.#bodies = new PackedBodies(logName)
  }

  /** The bodies of `epoch` with some slots changed, until the next call. */
  async withChanges(epoch: number, changes: Iterable<Head>): Promise<Bodies> {
    const isHeld = this.#epoch === epoch
    // A change that is then not committed drops all of it.
    this.#epoch = -1
    if (!isHeld) await this.#read(epoch)
    for (const head of changes) this.#bodies.put(head)
    return this.#bodies
  }

  /** To be called once the epoch is committed whose changes were asked for last. */
  keep(epoch: number): void {
    this.#epoch = epoch
  }

  async #read(epoch: number): Promise<void> {
    this.#bodies = new PackedBodies(this.#logName)
    if (epoch === 0) return
    for await (const rows of readBodies(this.#db, epoch))
      for (const row of rows) this.#bodies.put({ ...row, root: row.root.toString('base64') })
  }
}

/** Bodies of one chunk of memory. */
const chunk_bodies = 4_096

/**
 * Bodies one after the other in few large pieces of memory: some 170 bytes each, of which the heap sees next to nothing.
 * @internal exported for its test
 */
export class PackedBodies implements Bodies {
  readonly #logName: string
  /** Room for the longest body, and its length in two bytes. */
  readonly #stride: number
  readonly #chunks: Buffer[] = []
  /** By slot: the body's place, from 1; 0: none. */
  #places = new Uint32Array(256)
  #count = 0

  constructor(logName: string) {
    this.#logName = logName
    const longest = bodyOf(logName, '0'.repeat(32), Number.MAX_SAFE_INTEGER, Buffer.alloc(32).toString('base64'))
    this.#stride = 2 + Buffer.byteLength(longest)
  }

  get size(): number {
    return this.#count
  }

  /** A view of the body, as long as the slot does not change. */
  get(slot: number): Uint8Array | undefined {
    const place = this.#places[slot] ?? 0
    if (place === 0) return undefined
    const { chunk, at } = this.#at(place)
    return chunk.subarray(at + 2, at + 2 + chunk.readUInt16BE(at))
  }

  put({ slot, trail, size, root }: Head): void {
    const { chunk, at } = this.#at(this.#placeOf(slot))
    chunk.writeUInt16BE(chunk.write(bodyOf(this.#logName, trail, size, root), at + 2, 'utf8'), at)
  }

  #placeOf(slot: number): number {
    if (slot >= this.#places.length) {
      const places = new Uint32Array(2 ** Math.ceil(Math.log2(slot + 1)))
      places.set(this.#places)
      this.#places = places
    }
    const known = this.#places[slot]!
    if (known > 0) return known
    this.#count += 1
    this.#places[slot] = this.#count
    return this.#count
  }

  #at(place: number): { chunk: Buffer; at: number } {
    const row = place - 1
    const chunk = Math.floor(row / chunk_bodies)
    this.#chunks[chunk] ??= Buffer.allocUnsafeSlow(chunk_bodies * this.#stride)
    return { chunk: this.#chunks[chunk], at: (row % chunk_bodies) * this.#stride }
  }
}

const bodyOf = (logName: string, trail: string, size: number, root: string) =>
  formatCheckpoint(trailName(logName, trail), size, Buffer.from(root, 'base64'))
