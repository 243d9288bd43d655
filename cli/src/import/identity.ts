/**
 * Ids that depend only on what a record says, so that importing it again finds it stored already.
 *
 * - `unique`: the source vouches for the id (CloudTrail's eventID): that is the id. A copy of a record is the same event.
 * - `shared`: the source's id is made unique by a digest of the record, so that different records under one id, as
 *   anonymised and hand-edited exports have them, are different events, and exact copies one.
 * - no id: a digest of the content; equal records are counted, because two equal lines are two events.
 */

import { createHash } from 'node:crypto'
import { Occurrences } from './occurrences.ts'

export type SourceId = { kind: 'unique' | 'shared'; id: string } | { kind: 'none' }

const FITTING = /^[A-Za-z0-9_.:-]{1,}$/
const LONGEST = 64
/** Bytes of the digest that stand in an id, as hexadecimal digits: 64 bits beside a source id, else 128. */
const SHARED_DIGITS = 16
const CONTENT_DIGITS = 32

export class Identities {
  readonly #prefix: string
  readonly #keepCopies: boolean
  readonly #seen = new Occurrences()

  /**
   * @param prefix begins every id: the name of the format
   * @param keepCopies whether records to which the source gives one id and one content are events of their own: true for
   *   what a vendor exports, where each record of the file counts; false where the id is the sender's own word
   */
  constructor(prefix: string, keepCopies = false) {
    this.#prefix = prefix
    this.#keepCopies = keepCopies
  }

  of(source: SourceId, content: string): string {
    if (source.kind === 'unique' && this.#fits(source.id, 0)) {
      return this.#numbered(`${this.#prefix}:${source.id}`, this.#keepCopies)
    }
    const digest = createHash('sha256').update(`affidavit import 1\n${this.#prefix}\n${content}`).digest('hex')
    if (source.kind === 'none') return this.#numbered(`${this.#prefix}:${digest.slice(0, CONTENT_DIGITS)}`, true)
    return this.#fits(source.id, SHARED_DIGITS + 1)
      ? this.#numbered(`${this.#prefix}:${source.id}:${digest.slice(0, SHARED_DIGITS)}`, this.#keepCopies)
      : this.#numbered(`${this.#prefix}:${digest.slice(0, CONTENT_DIGITS)}`, this.#keepCopies)
  }

  #fits(id: string, more: number): boolean {
    const room = LONGEST - this.#prefix.length - 1 - more - (this.#keepCopies ? 7 : 0)
    return id.length <= room && FITTING.test(id)
  }

  /** The first of equal ids stays as it is, the next gets `:2`. */
  #numbered(id: string, counting: boolean): string {
    if (!counting) return id
    const count = this.#seen.add(createHash('sha256').update(id).digest().readBigUInt64LE())
    return count === 1 ? id : `${id}:${count}`
  }
}
