// The key provider that needs nothing but a folder outside PostgreSQL's, by default `<data>/keys`:
//
//   root.key                          64 hex digits; absent when the root comes from the environment
//   generations/3f/3f02…c1.0          one generation of one tenant's subject-wrap key, wrapped under the root;
//                                     empty once destroyed, so that its number never comes back
//
// Several processes may share the folder. Whoever can read it can open everything; whoever lost it has lost every
// persona: back it up apart from the database, and never with it.
import { randomBytes } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { KEY_BYTES, open, place, SEALED_OVERHEAD_BYTES, seal } from './aead.ts'
import { destroyFile, makeFolder, readIfThere, writeOnce } from './key-file.ts'
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

const generation_cache_entries = 4_096
/** A generation destroyed by another process is out of this one's memory after at most this long. */
const generation_freshness_ms = 60_000

/** @throws KeyUnusable `key_missing` */
export async function openKeyFolder(options: KeyFolderOptions): Promise<KeyProvider> {
  await makeFolder(options.folder)
  const root =
    options.rootKey === undefined ? await readRoot(options) : parseRoot(options.rootKey, 'The root key given')
  return new KeyFolder(options.folder, root)
}

async function readRoot({ folder, mayCreateRoot }: KeyFolderOptions): Promise<Buffer> {
  const file = join(folder, 'root.key')
  if (mayCreateRoot && (await readIfThere(file)) === undefined)
    await writeOnce(file, `${randomBytes(KEY_BYTES).toString('hex')}\n`)
  const text = await readIfThere(file)
  if (text === undefined)
    throw new KeyUnusable(
      'key_missing',
      `${file} is missing, and this database has keys wrapped under it. Restore the key folder from its backup.`,
    )
  return parseRoot(text.toString('latin1').trim(), file)
}

function parseRoot(text: string, from: string): Buffer {
  const key = /^[0-9a-f]{64}$/i.test(text) ? Buffer.from(text, 'hex') : Buffer.from(text, 'base64')
  if (key.length !== KEY_BYTES || (text.length !== 64 && key.toString('base64') !== text))
    throw new KeyUnusable('key_missing', `${from} is not 32 bytes as 64 hex digits or as base64.`)
  return key
}

class KeyFolder implements KeyProvider {
  readonly rootCheck: string
  readonly #root: Buffer
  readonly #folder: string
  /**
   * Unwrapped generations, each read again after a while: one that another process destroyed is gone from here soon. What
   * it wraps was wrapped anew or deleted before, so until then it opens nothing but rows of an old backup.
   */
  readonly #open = new Map<string, { readonly key: Buffer; readonly until_ms: number }>()

  constructor(folder: string, root: Buffer) {
    this.#folder = folder
    this.#root = root
    this.rootCheck = derive(root, 'affidavit/1 root check').subarray(0, 8).toString('hex')
  }

  async wrapUnderRoot(where: string, key: Uint8Array): Promise<Buffer> {
    return seal(this.#root, where, key)
  }

  async unwrapUnderRoot(where: string, wrapped: Uint8Array): Promise<Buffer> {
    return open(this.#root, where, wrapped)
  }

  async createGeneration(keyring: string, generation: number): Promise<void> {
    await makeFolder(this.#folderOf(keyring))
    const sealed = seal(this.#root, generationPlace(keyring, generation), randomBytes(KEY_BYTES))
    const made = await writeOnce(this.#fileOf(keyring, generation), sealed)
    if (!made) await this.#generation(keyring, generation)
  }

  async wrap(keyring: string, generation: number, where: string, key: Uint8Array): Promise<Buffer> {
    return seal(await this.#generation(keyring, generation), where, key)
  }

  async unwrap(keyring: string, generation: number, where: string, wrapped: Uint8Array): Promise<Buffer> {
    return open(await this.#generation(keyring, generation), where, wrapped)
  }

  async generations(keyring: string): Promise<number[]> {
    const names = await readdir(this.#folderOf(keyring)).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return []
      throw error
    })
    const numbers = names.filter((name) => /^[0-9a-f]{32}\.\d+$/.test(name) && name.startsWith(`${keyring}.`))
    const live: number[] = []
    for (const name of numbers) {
      const bytes = await readIfThere(join(this.#folderOf(keyring), name))
      if (bytes !== undefined && bytes.length > 0) live.push(Number(name.slice(33)))
    }
    return live.sort((a, b) => a - b)
  }

  async destroyGeneration(keyring: string, generation: number): Promise<void> {
    const file = this.#fileOf(keyring, generation)
    this.#open.delete(file)
    if ((await readIfThere(file)) === undefined) await writeOnce(file, '')
    else await destroyFile(file)
  }

  async #generation(keyring: string, generation: number): Promise<Buffer> {
    const file = this.#fileOf(keyring, generation)
    const cached = this.#open.get(file)
    if (cached !== undefined && cached.until_ms > Date.now()) return cached.key
    this.#open.delete(file)
    const sealed = await readIfThere(file)
    if (sealed === undefined)
      throw new KeyUnusable('key_missing', `${file} is missing. Restore the key folder from its backup.`)
    if (sealed.length < KEY_BYTES + SEALED_OVERHEAD_BYTES)
      throw new KeyUnusable('key_destroyed', `Generation ${generation} of keyring ${keyring} was destroyed.`)
    const key = open(this.#root, generationPlace(keyring, generation), sealed)
    if (this.#open.size >= generation_cache_entries) this.#open.delete(this.#open.keys().next().value!)
    this.#open.set(file, { key, until_ms: Date.now() + generation_freshness_ms })
    return key
  }

  #folderOf(keyring: string): string {
    if (!/^[0-9a-f]{32}$/.test(keyring)) throw new Error(`keyring ${JSON.stringify(keyring)} is no trail id`)
    return join(this.#folder, 'generations', keyring.slice(0, 2))
  }

  #fileOf(keyring: string, generation: number): string {
    return join(this.#folderOf(keyring), `${keyring}.${generation}`)
  }
}

const generationPlace = (keyring: string, generation: number) => place('generation', keyring, generation)
