// The people that ingest has in memory: found by a text, kept as rows of bytes outside V8's heap.
//
// There is one row for each of up to a hundred thousand people. As objects (a holder, its strings, a key with its own)
// they were nearly half of all objects in the old generation, and V8 visits every one of them whenever it collects it:
// on two cores that is what single events waited for. A row is bytes that nobody visits, in blocks of a thousand; only
// the text that finds it is an object.
//
// As in two-generations.ts there is a young and an old generation, each with rows of its own; the old one goes as a whole.
import { KEY_BYTES } from './aead.ts'
import { SaltKey, SubjectKey } from './subject-key.ts'
import { type CacheLimits, inOnePiece, textBytes } from './two-generations.ts'

/** A subject as it is known. `key` is null as long as no line with content needed it. */
export interface KnownSubject {
  readonly number: number
  /** 32 hex digits. */
  readonly keyId: string
  readonly shard: number
  readonly key: SubjectKey | null
}

/** Characters of a persona's fingerprint, each a byte: see `fingerprint` in subjects.ts. */
export const PRINT_BYTES = 16
const KEY_ID_BYTES = 32

// A row: number and latest persona as float64, then texts of one byte a character, then uint16 shard and flags.
const latestAt = 8
const keyIdAt = 16
const saltAt = keyIdAt + KEY_ID_BYTES
const keyAt = saltAt + KEY_BYTES
const printAt = keyAt + KEY_BYTES
const shardAt = printAt + PRINT_BYTES
const flagsAt = shardAt + 2
const rowBytes = flagsAt + 6
const flag = { key: 1, latest: 2 } as const

const blockRows = 1_024

/** The rows of one generation; they are wiped when they are given up. */
class Rows {
  readonly index = new Map<string, number>()
  readonly #blocks: Buffer[] = []
  /** Rows that were used, some of them given up since: what bounds a generation, however often somebody is replaced. */
  count = 0
  bytes = 0

  /** The block that holds a row. */
  block(row: number): Buffer {
    return this.#blocks[Math.floor(row / blockRows)]!
  }

  add(name: string): number {
    if (this.count % blockRows === 0) this.#blocks.push(Buffer.allocUnsafeSlow(blockRows * rowBytes))
    this.index.set(inOnePiece(name), this.count)
    this.bytes += weigh(name)
    return this.count++
  }

  delete(name: string): void {
    const row = this.index.get(name)
    if (row === undefined) return
    this.index.delete(name)
    this.block(row).fill(0, start(row), start(row) + rowBytes)
  }

  wipe(): void {
    for (const block of this.#blocks) block.fill(0)
  }
}

/** A row on its way from one generation to the other. */
const moved = Buffer.alloc(rowBytes)

/** Where a row begins in its block. */
const start = (row: number) => (row % blockRows) * rowBytes

export class KnownPeople {
  readonly #limits: CacheLimits
  #young = new Rows()
  #old = new Rows()

  constructor(limits: CacheLimits) {
    this.#limits = limits
  }

  /** @returns a row for the methods below, valid until the next call of `find` or `set`; −1 if nobody is known by it */
  find(name: string): number {
    const young = this.#young.index.get(name)
    if (young !== undefined) return young
    const old = this.#old.index.get(name)
    if (old === undefined) return -1
    this.#old.block(old).copy(moved, 0, start(old), start(old) + rowBytes)
    this.#old.delete(name)
    const row = this.#add(name)
    moved.copy(this.#young.block(row), start(row))
    moved.fill(0)
    return row
  }

  /** What was known by this name, and of the subject's latest persona, is replaced. @returns its row */
  set(name: string, subject: KnownSubject): number {
    this.delete(name)
    const row = this.#add(name)
    const block = this.#young.block(row)
    const at = start(row)
    block.fill(0, at, at + rowBytes)
    block.writeDoubleLE(subject.number, at)
    block.write(subject.keyId, at + keyIdAt, KEY_ID_BYTES, 'latin1')
    block.writeUInt16LE(subject.shard, at + shardAt)
    if (subject.key !== null) {
      subject.key.keep(block, at + saltAt, at + keyAt)
      block[at + flagsAt] = flag.key
    }
    return row
  }

  delete(name: string): void {
    this.#young.delete(name)
    this.#old.delete(name)
  }

  /** Walks everything: for the rare moment when somebody must be forgotten. */
  deleteWhere(drop: (number: number, shard: number) => boolean): void {
    for (const rows of [this.#young, this.#old])
      for (const [name, row] of rows.index) {
        const block = rows.block(row)
        if (drop(block.readDoubleLE(start(row)), block.readUInt16LE(start(row) + shardAt))) rows.delete(name)
      }
  }

  number(row: number): number {
    return this.#young.block(row).readDoubleLE(start(row))
  }

  keyId(row: number): string {
    return this.#text(row, keyIdAt, KEY_ID_BYTES)
  }

  /** Null if no line with content needed a key yet. */
  saltKey(row: number): SaltKey | null {
    if (!this.#has(row, flag.key)) return null
    return new SaltKey(this.#text(row, saltAt, KEY_BYTES))
  }

  /** Everything of a row as an object. @param keyring of its tenant */
  read(row: number, keyring: string): KnownSubject {
    const number = this.number(row)
    const key = this.#has(row, flag.key)
      ? new SubjectKey(keyring, number, this.#text(row, keyAt, KEY_BYTES), this.#text(row, saltAt, KEY_BYTES))
      : null
    const shard = this.#young.block(row).readUInt16LE(start(row) + shardAt)
    return { number, keyId: this.keyId(row), shard, key }
  }

  /** The persona seen last, which is nearly always the next one too, if it is the one of this fingerprint. */
  latest(row: number, print: string): number | undefined {
    if (!this.#has(row, flag.latest)) return undefined
    const block = this.#young.block(row)
    const at = start(row) + printAt
    for (let n = 0; n < PRINT_BYTES; n++) if (block[at + n] !== print.charCodeAt(n)) return undefined
    return block.readDoubleLE(start(row) + latestAt)
  }

  /** Fingerprint and number of the persona seen last, if there was one. */
  latestOf(row: number): { print: string; persona: number } | undefined {
    if (!this.#has(row, flag.latest)) return undefined
    const persona = this.#young.block(row).readDoubleLE(start(row) + latestAt)
    return { print: this.#text(row, printAt, PRINT_BYTES), persona }
  }

  setLatest(row: number, print: string, persona: number): void {
    const block = this.#young.block(row)
    const at = start(row)
    block.write(print, at + printAt, PRINT_BYTES, 'latin1')
    block.writeDoubleLE(persona, at + latestAt)
    block[at + flagsAt]! |= flag.latest
  }

  #has(row: number, which: number): boolean {
    return (this.#young.block(row)[start(row) + flagsAt]! & which) !== 0
  }

  #text(row: number, at: number, bytes: number): string {
    return this.#young.block(row).toString('latin1', start(row) + at, start(row) + at + bytes)
  }

  #add(name: string): number {
    const { entries, bytes } = this.#limits
    if (this.#young.count * 2 >= entries || (this.#young.bytes + weigh(name)) * 2 > bytes) {
      this.#old.wipe()
      this.#old = this.#young
      this.#young = new Rows()
    }
    return this.#young.add(name)
  }
}

/** At most: the row, the text, its place in the map. */
const weigh = (name: string) => textBytes(name) + rowBytes + 100
