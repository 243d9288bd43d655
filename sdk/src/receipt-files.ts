/**
 * Receipts as files: one NDJSON line each, appended to a file of this process that is closed and replaced by a new one
 * when it is full. A process that is killed leaves its file behind; the next one that uses the folder takes it over.
 * Several processes may share a folder.
 */
import { randomBytes } from 'node:crypto'
import { mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { KeptReceipt, ReceiptStore } from './receipt-store.ts'

export interface FileReceiptOptions {
  folder: string
  /** A file is closed once it has so many bytes. Default 4 MiB. */
  fileBytes?: number
  /** All files together; the oldest give way. Default 256 MiB. */
  totalBytes?: number
  /** Called with the number of bytes of receipts that gave way. */
  onDropped?: (bytes: number) => void
}

/** `<ms since 1970, 15 digits>-<process>-<random>-<n>`, then `.open` while it is written to, and `.ndjson` after. */
const NAME = /^\d{15}-(\d+)-([0-9a-f]{12})-\d+\.(open|ndjson)$/

/** Keeps receipts in a folder, which is made if need be. */
export function fileReceipts(options: FileReceiptOptions): ReceiptStore {
  return new ReceiptFiles(options)
}

class ReceiptFiles implements ReceiptStore {
  readonly #folder: string
  readonly #fileBytes: number
  readonly #totalBytes: number
  readonly #onDropped: ((bytes: number) => void) | undefined
  /** Tells this store's files from those of an earlier process that had the same number. */
  readonly #own = randomBytes(6).toString('hex')
  #opened = 0
  #current: { path: string; bytes: number } | undefined
  #pending: string[] = []
  /** Ends when the file that is written to is nobody's concern any more. */
  #turn: Promise<unknown> = Promise.resolve()

  constructor({ folder, fileBytes = 4 * 2 ** 20, totalBytes = 256 * 2 ** 20, onDropped }: FileReceiptOptions) {
    this.#folder = folder
    this.#fileBytes = fileBytes
    this.#totalBytes = totalBytes
    this.#onDropped = onDropped
  }

  /** What comes while a write is under way goes to disk with one write after it. */
  keep(receipts: readonly KeptReceipt[]): Promise<void> {
    for (const receipt of receipts) this.#pending.push(`${JSON.stringify(receipt)}\n`)
    return this.#inTurn(() => this.#append())
  }

  async #append(): Promise<void> {
    if (this.#pending.length === 0) return
    const lines = Buffer.from(this.#pending.join(''))
    this.#pending = []
    this.#current ??= await this.#begin()
    const file = await open(this.#current.path, 'a', 0o600)
    try {
      await file.appendFile(lines)
      await file.datasync()
    } finally {
      await file.close()
    }
    this.#current.bytes += lines.length
    if (this.#current.bytes < this.#fileBytes) return
    await this.#end()
    await this.#bound()
  }

  async review(review: (portion: readonly KeptReceipt[]) => Promise<readonly KeptReceipt[]>): Promise<void> {
    await this.#inTurn(() => this.#end())
    for (const name of await this.#files('ndjson')) {
      const path = join(this.#folder, name)
      const text = await readFile(path, 'utf8').catch(gone)
      if (text === undefined) continue // another process was here at the same time
      const kept = text.split('\n').flatMap(parse)
      const left = await review(kept)
      if (left.length === kept.length) continue
      if (left.length > 0) await this.#replace(path, left)
      else await rm(path, { force: true })
    }
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work)
    this.#turn = done.catch(() => {})
    return done
  }

  async #begin(): Promise<{ path: string; bytes: number }> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 })
    if (this.#opened === 0) await this.#adopt()
    const time = String(Date.now()).padStart(15, '0')
    return { path: join(this.#folder, `${time}-${process.pid}-${this.#own}-${this.#opened++}.open`), bytes: 0 }
  }

  /** Closes the file that is written to. */
  async #end(): Promise<void> {
    if (this.#current === undefined) return this.#adopt()
    const { path } = this.#current
    this.#current = undefined
    await rename(path, path.replace(/open$/, 'ndjson'))
  }

  /** Closes what processes that are no more left open. */
  async #adopt(): Promise<void> {
    for (const name of await this.#files('open')) {
      const [, process_id, own] = NAME.exec(name)!
      if (own === this.#own || (Number(process_id) !== process.pid && isAlive(Number(process_id)))) continue
      await rename(join(this.#folder, name), join(this.#folder, name.replace(/open$/, 'ndjson'))).catch(gone)
    }
  }

  /** Makes room by deleting the oldest closed files. */
  async #bound(): Promise<void> {
    const files = await this.#files('ndjson')
    const sizes = await Promise.all(
      files.map(async (name) => (await stat(join(this.#folder, name)).catch(gone))?.size ?? 0),
    )
    let total = sizes.reduce((sum, size) => sum + size, 0)
    let dropped = 0
    for (const [i, name] of files.entries()) {
      if (total <= this.#totalBytes) break
      await rm(join(this.#folder, name), { force: true })
      total -= sizes[i]!
      dropped += sizes[i]!
    }
    if (dropped > 0) this.#onDropped?.(dropped)
  }

  /** Oldest first. */
  async #files(state: 'open' | 'ndjson'): Promise<string[]> {
    const names = await readdir(this.#folder).catch(gone)
    return (names ?? []).filter((name) => NAME.exec(name)?.[3] === state).sort()
  }

  /** Writes a file anew, whole or not at all. */
  async #replace(path: string, receipts: readonly KeptReceipt[]): Promise<void> {
    const temporary = `${path}.${this.#own}`
    const file = await open(temporary, 'w', 0o600)
    try {
      await file.writeFile(receipts.map((receipt) => `${JSON.stringify(receipt)}\n`).join(''))
      await file.datasync()
    } finally {
      await file.close()
    }
    await rename(temporary, path)
  }
}

/** A line that a crash cut off, or that is none of ours, is no receipt. */
function parse(line: string): KeptReceipt[] {
  try {
    const value = JSON.parse(line) as Partial<KeptReceipt> | null
    const { tenant, trail, first, last, at, note } = value ?? {}
    const isReceipt =
      [tenant, trail, note].every((text) => typeof text === 'string') &&
      [first, last, at].every((number) => Number.isSafeInteger(number))
    return isReceipt ? [value as KeptReceipt] : []
  } catch {
    return []
  }
}

function isAlive(processId: number): boolean {
  try {
    process.kill(processId, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

/** A file or folder that is not there. */
function gone(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error
}
