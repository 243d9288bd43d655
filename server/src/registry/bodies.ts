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
  #bodies = new Map<number, Uint8Array>()

  constructor(db: Queryable, logName: string) {
    this.#db = db
    this.#logName = logName
  }

  /** Slots in use. */
  get slots(): number {
    return this.#bodies.size
  }

  /** The bodies of `epoch` with some slots changed; to be used at once. */
  async withChanges(epoch: number, changes: readonly Head[]): Promise<Bodies> {
    if (this.#epoch !== epoch) await this.#read(epoch)
    // The tree is built in one go right after: a change that is then not committed drops all of it.
    this.#epoch = -1
    this.#put(changes)
    return this.#bodies
  }

  /** To be called once the epoch is committed whose changes were asked for last. */
  keep(epoch: number): void {
    this.#epoch = epoch
  }

  async #read(epoch: number): Promise<void> {
    this.#bodies = new Map()
    if (epoch === 0) return
    const rows = await readBodies(this.#db, epoch)
    this.#put(rows.map((row) => ({ ...row, root: row.root.toString('base64') })))
  }

  #put(heads: readonly Head[]): void {
    for (const { slot, trail, size, root } of heads) {
      const text = formatCheckpoint(trailName(this.#logName, trail), size, Buffer.from(root, 'base64'))
      this.#bodies.set(slot, Buffer.from(text, 'utf8'))
    }
  }
}
