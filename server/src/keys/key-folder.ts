// The key provider that needs nothing but a folder outside PostgreSQL's, by default `<data>/keys`:
//
//   root.key                          64 hex digits; absent when the root comes from the environment
//   generations/3f/3f02…c1.0          one generation of one tenant's subject-wrap key, wrapped under the root;
//                                     empty once destroyed, so that its number never comes back
//
// How root and generations lie in their files is an `Envelope`: here under the root, in kms-folder.ts under a key that
// never leaves a key management service.
//
// Several processes may share the folder. Whoever can read it can open everything; whoever lost it has lost every
// persona: back it up apart from the database, and never with it.
import { randomBytes } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { KEY_BYTES, kept, open, place, SEALED_OVERHEAD_BYTES, seal } from './aead.ts'
import { destroyFile, isDestroyed, makeFolder, readIfThere, writeOnce } from './key-file.ts'
import { derive } from './mac.ts'
import type { KeyProvider } from './provider.ts'
import { KeyUnusable } from './unusable.ts'

export interface KeyFolderOptions {
  folder: string
  /** Root key from the environment: 32 bytes as 64 hex digits or padded base64. */
  rootKey?: string
  /** False once the database has keys wrapped under a root: then a missing root.key is an error, not a first start. */
  mayCreateRoot: boolean
}

/** How the key of a generation lies in its file. */
export interface Envelope {
  /** No file that can be opened is shorter. */
  readonly leastBytes: number
  /**
   * Whether a file may be replaced while others use it (kms-rewrap.ts). Then a destroyed one has a second mark beside it,
   * `<file>.gone`, so that neither a race nor a crash brings it back.
   */
  readonly isReplaced: boolean
  /** What the file of a new key holds. */
  make(keyring: string, generation: number): Promise<Uint8Array>
  /** @throws KeyUnusable */
  open(keyring: string, generation: number, held: Buffer): Promise<Buffer>
}

const generation_cache_entries = 4_096
/** A generation destroyed by another process is out of this one's memory after at most this long. */
const generation_freshness_ms = 60_000

/** @throws KeyUnusable `key_missing` */
export async function openKeyFolder(options: KeyFolderOptions): Promise<KeyProvider> {
  await makeFolder(options.folder)
  if ((await readIfThere(join(options.folder, KMS_ROOT))) !== undefined)
    throw new KeyUnusable(
      'key_mismatch',
      `The keys in ${options.folder} are wrapped by a key management service, as ${KMS_ROOT} says: name its key in AFFIDAVIT_KMS_KEY.`,
    )
  const root =
    options.rootKey === undefined ? await readRoot(options) : parseRoot(options.rootKey, 'The root key given')
  return new KeyFolder(options.folder, root, underRoot(root))
}

/** Name of the root key's file where a key management service wraps it. */
export const KMS_ROOT = 'root.kms'

/** Generations sealed under a root that this process holds. */
export function underRoot(root: Uint8Array): Envelope {
  return {
    leastBytes: KEY_BYTES + SEALED_OVERHEAD_BYTES,
    isReplaced: false,
    make: async (keyring, generation) => seal(root, generationPlace(keyring, generation), randomBytes(KEY_BYTES)),
    open: async (keyring, generation, held) => open(root, generationPlace(keyring, generation), held),
  }
}

/** @throws KeyUnusable `key_missing` when a file's root key is not there or is none */
export async function readRootFile(folder: string): Promise<Buffer> {
  const file = join(folder, 'root.key')
  const text = await readIfThere(file)
  if (text === undefined)
    throw new KeyUnusable(
      'key_missing',
      `${file} is missing, and this database has keys wrapped under it. Restore the key folder from its backup.`,
    )
  return parseRoot(text.toString('latin1').trim(), file)
}

async function readRoot({ folder, mayCreateRoot }: KeyFolderOptions): Promise<Buffer> {
  const file = join(folder, 'root.key')
  if (mayCreateRoot && (await readIfThere(file)) === undefined)
    await writeOnce(file, `${randomBytes(KEY_BYTES).toString('hex')}\n`)
  return readRootFile(folder)
}

/** @throws KeyUnusable `key_missing` */
export function parseRoot(text: string, from: string): Buffer {
  const key = /^[0-9a-f]{64}$/i.test(text) ? Buffer.from(text, 'hex') : Buffer.from(text, 'base64')
  if (key.length !== KEY_BYTES || (text.length !== 64 && key.toString('base64') !== text))
    throw new KeyUnusable('key_missing', `${from} is not 32 bytes as 64 hex digits or as base64.`)
  return key
}

interface OpenGeneration {
  readonly key: Buffer
  /** What its file held when it was opened. */
  readonly held: Buffer
  until_ms: number
}

/** A root in memory, and generations in files below a folder. */
export class KeyFolder implements KeyProvider {
  readonly rootCheck: string
  readonly #root: Buffer
  readonly #folder: string
  readonly #envelope: Envelope
  /**
   * Opened generations. Each file is looked at again after a while: a generation that another process destroyed is gone
   * from here soon. What it wraps was wrapped anew or deleted before, so until then it opens nothing but rows of an old
   * backup. While its file stays as it was, a generation stays open: nobody need be asked for it again.
   */
  readonly #open = new Map<string, OpenGeneration>()
  /** Those that are being opened: whoever asks meanwhile waits for the same answer. */
  readonly #opening = new Map<string, Promise<Buffer>>()

  constructor(folder: string, root: Buffer, envelope: Envelope) {
    this.#folder = folder
    this.#root = root
    this.#envelope = envelope
    this.rootCheck = rootCheckOf(root)
  }

  async wrapUnderRoot(where: string, key: Uint8Array): Promise<Buffer> {
    return seal(this.#root, where, key)
  }

  async unwrapUnderRoot(where: string, wrapped: Uint8Array): Promise<Buffer> {
    return open(this.#root, where, wrapped)
  }

  async createGeneration(keyring: string, generation: number): Promise<void> {
    await makeFolder(folderOf(this.#folder, keyring))
    const file = generationFile(this.#folder, keyring, generation)
    const made =
      (await readIfThere(file)) === undefined && (await writeOnce(file, await this.#envelope.make(keyring, generation)))
    if (!made || (await this.#isGone(file))) await this.#generation(keyring, generation)
  }

  async wrap(keyring: string, generation: number, where: string, key: Uint8Array): Promise<Buffer> {
    return seal(await this.#generation(keyring, generation), where, key)
  }

  async unwrap(keyring: string, generation: number, where: string, wrapped: Uint8Array): Promise<Buffer> {
    return open(await this.#generation(keyring, generation), where, wrapped)
  }

  async generations(keyring: string): Promise<number[]> {
    const live: number[] = []
    for (const name of await namesIn(folderOf(this.#folder, keyring))) {
      if (!isGenerationFile(name) || !name.startsWith(`${keyring}.`)) continue
      const file = join(folderOf(this.#folder, keyring), name)
      const bytes = await readIfThere(file)
      if (bytes !== undefined && !isDestroyed(bytes) && !(await this.#isGone(file))) live.push(Number(name.slice(33)))
    }
    return live.sort((a, b) => a - b)
  }

  async destroyGeneration(keyring: string, generation: number): Promise<void> {
    await makeFolder(folderOf(this.#folder, keyring))
    const file = generationFile(this.#folder, keyring, generation)
    this.#open.delete(file)
    if (this.#envelope.isReplaced) await writeOnce(goneMark(file), '')
    await writeOnce(file, '')
    // Once more, if it was replaced meanwhile.
    while ((await readIfThere(file))?.length !== 0) await destroyFile(file)
    this.#open.delete(file) // where it was being opened meanwhile
  }

  #generation(keyring: string, generation: number): Promise<Buffer> {
    const file = generationFile(this.#folder, keyring, generation)
    const cached = this.#open.get(file)
    if (cached !== undefined && cached.until_ms > Date.now()) return Promise.resolve(cached.key)
    const opening = this.#opening.get(file) ?? this.#look(file, keyring, generation)
    this.#opening.set(file, opening)
    return opening
  }

  async #look(file: string, keyring: string, generation: number): Promise<Buffer> {
    try {
      const before = this.#open.get(file)
      const held = await this.#read(file, keyring, generation).catch((error) => {
        this.#open.delete(file)
        throw error
      })
      const key = before?.held.equals(held) ? before.key : kept(await this.#envelope.open(keyring, generation, held))
      // Destroyed while it was opened: then it stays out.
      await this.#read(file, keyring, generation)
      this.#open.delete(file)
      if (this.#open.size >= generation_cache_entries) this.#open.delete(this.#open.keys().next().value!)
      this.#open.set(file, { key, held: kept(held), until_ms: Date.now() + generation_freshness_ms })
      return key
    } finally {
      this.#opening.delete(file)
    }
  }

  async #read(file: string, keyring: string, generation: number): Promise<Buffer> {
    const held = await readIfThere(file)
    if (held === undefined)
      throw new KeyUnusable('key_missing', `${file} is missing. Restore the key folder from its backup.`)
    if (held.length < this.#envelope.leastBytes || isDestroyed(held) || (await this.#isGone(file)))
      throw new KeyUnusable('key_destroyed', `Generation ${generation} of keyring ${keyring} was destroyed.`)
    return held
  }

  async #isGone(file: string): Promise<boolean> {
    return this.#envelope.isReplaced && (await readIfThere(goneMark(file))) !== undefined
  }
}

/** Tells roots apart: `KeyProvider.rootCheck`. */
export const rootCheckOf = (root: Uint8Array) => derive(root, 'affidavit/1 root check').subarray(0, 8).toString('hex')

export const goneMark = (file: string) => `${file}.gone`

const isGenerationFile = (name: string) => /^[0-9a-f]{32}\.\d+$/.test(name)

export interface GenerationFile {
  readonly file: string
  readonly keyring: string
  readonly generation: number
}

/** All files of generations, those of destroyed ones included. */
export async function* generationFiles(folder: string): AsyncGenerator<GenerationFile> {
  const all = join(folder, 'generations')
  for (const part of (await namesIn(all)).sort())
    for (const name of (await namesIn(join(all, part))).sort())
      if (isGenerationFile(name))
        yield { file: join(all, part, name), keyring: name.slice(0, 32), generation: Number(name.slice(33)) }
}

async function namesIn(folder: string): Promise<string[]> {
  return readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return []
    throw error
  })
}

function folderOf(folder: string, keyring: string): string {
  if (!/^[0-9a-f]{32}$/.test(keyring)) throw new Error(`keyring ${JSON.stringify(keyring)} is no trail id`)
  return join(folder, 'generations', keyring.slice(0, 2))
}

const generationFile = (folder: string, keyring: string, generation: number) =>
  join(folderOf(folder, keyring), `${keyring}.${generation}`)

const generationPlace = (keyring: string, generation: number) => place('generation', keyring, generation)
