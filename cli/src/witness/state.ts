/**
 * What a witness remembers, in one file: its key, the logs that it knows, and the last checkpoint of each that it
 * cosigned. A checkpoint is in the file, synced, before its cosignature exists; a crash can therefore only make the
 * witness remember more than it told. The file is replaced as a whole by renaming, so it is never half written.
 *
 * Whoever puts back an older copy of this file makes the witness sign what contradicts itself: a lost file means a new
 * witness under a new key.
 */
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { open, readFile, rename, rm } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import {
  COSIGNATURE,
  ED25519,
  formatVkey,
  fromBase64,
  isKeyName,
  keyId,
  NoteError,
  type NoteSigner,
  parseVkey,
  toBase64,
  type VerifierKey,
} from '@affidavit/trail'
import { Failure, reasonOf } from '../failure.ts'
import { nodeSha256 as sha256 } from '../verify/node-hash.ts'

/** The last checkpoint of a log that was cosigned. */
export interface Head {
  readonly size: number
  /** 32 bytes. */
  readonly root: Uint8Array
  /** The log's signed note, as it came: evidence, should the log ever deny it. */
  readonly note: string
  /** Unix seconds of the cosignature. */
  readonly time: number
}

interface Kept {
  readonly format: 'affidavit-witness/1'
  readonly name: string
  /** PKCS #8, base64. */
  readonly key: string
  readonly vkey: string
  readonly logs: readonly string[]
  readonly heads: Readonly<Record<string, { size: number; root: string; note: string; time: number }>>
}

export class WitnessState {
  readonly name: string
  /** The witness's own key, as verifiers pin it. */
  readonly vkey: string
  readonly signer: NoteSigner
  readonly #path: string
  readonly #key: KeyObject
  readonly #logs: VerifierKey[] = []
  readonly #vkeys: string[] = []
  readonly #heads = new Map<string, Head>()
  readonly #lock: Lock
  /** What the file holds, as far as this process knows; undefined before it is made. */
  #text: string | undefined

  private constructor(path: string, kept: Kept, text: string | undefined, lock: Lock) {
    this.#path = path
    this.#text = text
    this.#lock = lock
    this.#key = createPrivateKey({ key: Buffer.from(kept.key, 'base64'), format: 'der', type: 'pkcs8' })
    const publicKey = createPublicKey(this.#key).export({ format: 'der', type: 'spki' }).subarray(-32)
    this.name = kept.name
    this.vkey = formatVkey(sha256, kept.name, publicKey, COSIGNATURE)
    this.signer = {
      name: kept.name,
      id: keyId(sha256, kept.name, COSIGNATURE, publicKey),
      sign: (message) => sign(null, message, this.#key),
    }
    for (const vkey of kept.logs) this.#addLog(vkey)
    for (const [origin, { size, root, note, time }] of Object.entries(kept.heads))
      this.#heads.set(origin, { size, root: fromBase64(root)!, note, time })
  }

  /**
   * Opens the file, or makes it, with `logs` added to those that it has. No other process may have it open.
   * @param name needed when the file is made; later it must be the same or absent
   * @throws Failure with a sentence
   */
  static async open(path: string, name: string | undefined, logs: readonly string[]): Promise<WitnessState> {
    const file = resolve(path)
    const lock = await Lock.take(`${file}.lock`)
    try {
      const text = await readText(file)
      const kept = text === undefined ? make(file, name) : parse(file, text)
      if (name !== undefined && name !== kept.name)
        throw new Failure(`${file} is the file of ${kept.name}. Another name needs another file.`)
      const state = new WitnessState(file, kept, text, lock)
      const isNew = logs.map((vkey) => state.#addLog(vkey)).includes(true)
      if (isNew || kept.vkey !== state.vkey) await state.#write()
      return state
    } catch (error) {
      await lock.release()
      throw error
    }
  }

  /** Origins of the logs and, where there is one, the last checkpoint cosigned. */
  get logs(): { origin: string; head: Head | undefined }[] {
    const origins = [...new Set(this.#logs.map(({ name }) => name))]
    return origins.map((origin) => ({ origin, head: this.#heads.get(origin) }))
  }

  /** Keys of a log by its origin; empty for an unknown one. */
  keysOf(origin: string): readonly VerifierKey[] {
    return this.#logs.filter(({ name }) => name === origin)
  }

  head(origin: string): Head | undefined {
    return this.#heads.get(origin)
  }

  /** Durable when it resolves. Calls must not overlap. If it fails, the head before it stands. */
  async advance(origin: string, head: Head): Promise<void> {
    const before = this.#heads.get(origin)
    this.#heads.set(origin, head)
    try {
      await this.#write()
    } catch (error) {
      // The file may or may not have been replaced; memory must not be behind it, and this head was told to nobody.
      const stored = await readText(this.#path).catch(() => undefined)
      const isThere = stored !== undefined && parse(this.#path, stored).heads[origin]?.note === head.note
      if (!isThere) restore(this.#heads, origin, before)
      throw error
    }
  }

  async close(): Promise<void> {
    await this.#lock.release()
  }

  /** @returns whether it was new */
  #addLog(vkey: string): boolean {
    if (this.#vkeys.includes(vkey)) return false
    this.#logs.push(parseLog(vkey))
    this.#vkeys.push(vkey)
    return true
  }

  async #write(): Promise<void> {
    const heads = [...this.#heads].map(([origin, head]) => [origin, { ...head, root: toBase64(head.root) }])
    const kept: Kept = {
      format: 'affidavit-witness/1',
      name: this.name,
      key: this.#key.export({ format: 'der', type: 'pkcs8' }).toString('base64'),
      vkey: this.vkey,
      logs: this.#vkeys,
      heads: Object.fromEntries(heads),
    }
    // The lock cannot see into other containers; whoever writes there too must at least be noticed.
    if ((await readText(this.#path)) !== this.#text)
      throw new Failure(`${this.#path} was changed by somebody else: another witness may run on it. Nothing is signed.`)
    const text = `${JSON.stringify(kept, null, 2)}\n`
    const draft = `${this.#path}.new`
    await writeSynced(draft, text)
    await rename(draft, this.#path)
    this.#text = text
    await syncFolder(dirname(this.#path))
  }
}

function restore(heads: Map<string, Head>, origin: string, before: Head | undefined): void {
  if (before === undefined) heads.delete(origin)
  else heads.set(origin, before)
}

function parseLog(vkey: string): VerifierKey {
  try {
    const key = parseVkey(sha256, vkey)
    if (key.type === ED25519) return key
  } catch (error) {
    if (!(error instanceof NoteError)) throw error
  }
  throw new Failure(
    `${JSON.stringify(vkey.slice(0, 100))} is no verifier key of a log. The log's operator gives it out, for example ` +
      'at /v1/registry/vkeys: name+hash+key.',
  )
}

function make(path: string, name: string | undefined): Kept {
  if (name === undefined)
    throw new Failure(`${path} is not there yet: give the witness a name with --name, like witness.example.com/w1.`)
  if (!isKeyName(name)) throw new Failure('--name is one word without + and spaces, like witness.example.com/w1.')
  const { privateKey } = generateKeyPairSync('ed25519')
  const key = privateKey.export({ format: 'der', type: 'pkcs8' }).toString('base64')
  return { format: 'affidavit-witness/1', name, key, vkey: '', logs: [], heads: {} }
}

async function readText(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new Failure(`${path} cannot be read: ${reasonOf(error)}.`)
  }
}

function parse(path: string, text: string): Kept {
  try {
    const kept: unknown = JSON.parse(text)
    if (isKept(kept)) return kept
  } catch {
    // said below
  }
  throw new Failure(
    `${path} is no file of a witness. It is written by "affidavit witness" only; do not edit its heads.`,
  )
}

function isKept(value: unknown): value is Kept {
  const { format, name, key, logs, heads } = (value ?? {}) as Partial<Kept>
  const isHead = (head: { size: number; root: string; note: string; time: number } | null) =>
    Number.isSafeInteger(head?.size) && fromBase64(String(head?.root))?.length === 32 && typeof head?.note === 'string'
  return (
    format === 'affidavit-witness/1' &&
    [name, key].every((text) => typeof text === 'string') &&
    Array.isArray(logs) &&
    logs.every((text) => typeof text === 'string') &&
    typeof heads === 'object' &&
    heads !== null &&
    Object.values(heads).every(isHead)
  )
}

async function writeSynced(path: string, text: string): Promise<void> {
  const file = await open(path, 'w', 0o600)
  try {
    await file.writeFile(text)
    await file.sync()
  } finally {
    await file.close()
  }
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path)
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}

/** This process, and no other one that had its id. */
const self = `${process.pid} ${Math.floor(performance.timeOrigin)}\n`

/** A file with the process id of whoever has the state open: two witnesses on one file would forget what they signed. */
class Lock {
  readonly #path: string

  private constructor(path: string) {
    this.#path = path
  }

  static async take(path: string): Promise<Lock> {
    for (let attempt = 1; ; attempt++) {
      try {
        const file = await open(path, 'wx', 0o600)
        await file.writeFile(self)
        await file.close()
        return new Lock(path)
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST')
          throw new Failure(`${path} cannot be written: ${reasonOf(error)}.`)
      }
      const text = await readFile(path, 'utf8').catch(() => '')
      const holder = Number.parseInt(text, 10)
      // In a container a witness often comes back under the id that it had: then the file is its predecessor's.
      if (attempt > 2 || text === self || (holder !== process.pid && isAlive(holder)))
        throw new Failure(`another witness runs on this file (process ${holder}; if not, delete ${path}).`)
      await rm(path, { force: true })
    }
  }

  async release(): Promise<void> {
    await rm(this.#path, { force: true })
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}
