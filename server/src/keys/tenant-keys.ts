// A tenant's own keys, unwrapped: the data key (confidential values) and the index key, from which everything that
// makes the tenant's content findable is derived. Two tenants' tokens of one name have nothing in common.
//
// Tokens are keyed hashes (TokenKey) of `<what> LF <text>`, of 16 or 8 bytes; <what> holds no LF.
import { randomBytes } from 'node:crypto'
import { KEY_BYTES, kept, place } from './aead.ts'
import { derive, MacKey, TokenKey } from './mac.ts'
import type { KeyProvider } from './provider.ts'
import { KeyUnusable } from './unusable.ts'

/** A row of keeper.tenant_keys. */
export interface WrappedKey {
  kind: 'data' | 'index'
  generation: number
  wrapped: Buffer
}

export class TenantKeys {
  /** Generation under which new confidential values are encrypted. */
  readonly dataGeneration: number
  readonly #dataKeys: ReadonlyMap<number, MacKey>
  readonly #tokens: TokenKey
  /** Private, so that an object that holds these keys can be logged. */
  readonly #termKey: Uint8Array

  constructor(dataKeys: ReadonlyMap<number, MacKey>, indexKey: Uint8Array) {
    this.#dataKeys = dataKeys
    this.dataGeneration = Math.max(...dataKeys.keys())
    this.#termKey = kept(derive(indexKey, 'affidavit/1 index terms').subarray(0, 8))
    this.#tokens = new TokenKey(derive(indexKey, 'affidavit/1 index tokens'))
  }

  /** Keys the terms of events, 8 bytes. */
  get termKey(): Uint8Array {
    return this.#termKey
  }

  /** AES-256-GCM key of one generation. @throws KeyUnusable `key_destroyed` */
  dataKey(generation: number): Buffer {
    const key = this.#dataKeys.get(generation)
    if (key === undefined) throw new KeyUnusable('key_destroyed', `There is no data key of generation ${generation}.`)
    return key.bytes()
  }

  /** Column `event_ids.id`, 16 bytes as latin1 text. */
  idToken(id: string): string {
    return this.#tokens.token(`id\n${id}`)
  }

  /** The same as 32 hex digits. */
  idHex(id: string): string {
    return Buffer.from(this.idToken(id), 'latin1').toString('hex')
  }

  /** Column `event_ids.body`, 8 bytes as latin1 text: of the normalised event before defaults. */
  bodyToken(body: string): string {
    return this.#tokens.token(`body\n${body}`).slice(0, 8)
  }

  /** Column `subjects.token`, 16 bytes. @param identity see `identityText` */
  subjectToken(identity: string): Buffer {
    return this.#token('subject', identity)
  }

  /** Column `subjects.id_token`: a signed 64-bit number. */
  subjectIdToken(id: string): bigint {
    return this.#token('subject id', id).readBigInt64BE(0)
  }

  /** Column `personas.digest`, 16 bytes. */
  personaToken(subject: number, content: string): Buffer {
    return this.#token('persona', `${subject}\n${content}`)
  }

  /** Column `persona_tokens.token`: a signed 64-bit number. @param text see `searchText` */
  searchToken(text: string): bigint {
    return this.#token('search', searchText(text)).readBigInt64BE(0)
  }

  #token(what: string, text: string): Buffer {
    return Buffer.from(this.#tokens.token(`${what}\n${text}`), 'latin1')
  }
}

/** What two spellings of a name, word or address have in common: NFKC, lower case, no space around. */
export const searchText = (text: string) => text.normalize('NFKC').trim().toLowerCase()

/** Makes and opens tenants' keys; `tenants` takes one, without knowing what it opens. */
export class KeyChest {
  readonly #provider: KeyProvider

  constructor(provider: KeyProvider) {
    this.#provider = provider
  }

  /** New keys of a tenant that is about to be made, wrapped. @param keyring id of its first trail */
  async make(keyring: string): Promise<{ data: Buffer; index: Buffer }> {
    const wrap = (kind: string) => this.#provider.wrapUnderRoot(keyPlace(keyring, kind, 0), randomBytes(KEY_BYTES))
    return { data: await wrap('data'), index: await wrap('index') }
  }

  /** Keys in place of those of a deleted tenant: they open nothing, and no token made with them is stored anywhere. */
  gone(): TenantKeys {
    return new TenantKeys(new Map(), randomBytes(KEY_BYTES))
  }

  /** A further generation of a data key, wrapped. */
  async nextDataKey(keyring: string, generation: number): Promise<Buffer> {
    return this.#provider.wrapUnderRoot(keyPlace(keyring, 'data', generation), randomBytes(KEY_BYTES))
  }

  /** @throws KeyUnusable */
  async open(keyring: string, rows: readonly WrappedKey[]): Promise<TenantKeys> {
    const dataKeys = new Map<number, MacKey>()
    let index: Buffer | undefined
    for (const { kind, generation, wrapped } of rows) {
      const key = await this.#provider.unwrapUnderRoot(keyPlace(keyring, kind, generation), wrapped)
      if (kind === 'data') dataKeys.set(generation, new MacKey(key))
      else index = key
    }
    if (index === undefined || dataKeys.size === 0)
      throw new KeyUnusable('key_destroyed', `The keys of keyring ${keyring} are gone.`)
    return new TenantKeys(dataKeys, index)
  }
}

const keyPlace = (keyring: string, kind: string, generation: number) =>
  place('tenant_keys.wrapped', keyring, kind, generation)
