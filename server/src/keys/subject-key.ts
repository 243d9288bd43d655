// The key of one person: 32 random bytes, from which the key of their personas and the salt key of their personal lines
// are derived (see `derive`). With it goes every value and every salt; nothing else about the person is secret.
import { KEY_BYTES, open, place, seal } from './aead.ts'
import { derive, first16, first16Text, keyText, macOfMessageAndByte } from './mac.ts'

const SALT_BYTES = 16
const MAX_LINE = 99

/** What reveals the salts of one person's lines, and nothing else. Prints as nothing: the key is a private field. */
export class SaltKey {
  readonly #salt: string

  /** @param salt 32 latin1 characters */
  constructor(salt: string) {
    this.#salt = salt
  }

  /**
   * Salt of personal line `line` (0–99), 16 bytes: the same as `personalSalt` of the trail package, which specifies it.
   *
   * @param factsSalt 16 bytes
   */
  salt(factsSalt: Uint8Array, line: number): Buffer {
    if (factsSalt.length !== SALT_BYTES) throw new RangeError(`a salt has ${SALT_BYTES} bytes, not ${factsSalt.length}`)
    if (!Number.isInteger(line) || line < 0 || line > MAX_LINE) throw new RangeError(`no personal line ${line}`)
    return first16(macOfMessageAndByte(this.#salt, factsSalt, line))
  }

  /** The same as 16 latin1 characters. */
  saltText(factsSalt: Uint8Array, line: number): string {
    return first16Text(macOfMessageAndByte(this.#salt, factsSalt, line))
  }

  protected keepSalt(into: Buffer, at: number): void {
    into.write(this.#salt, at, KEY_BYTES, 'latin1')
  }
}

export class SubjectKey extends SaltKey {
  readonly #key: string
  readonly #keyring: string
  readonly #subject: number

  /**
   * For those who kept what follows from a key; others use `of`.
   *
   * @param keyring id of the tenant's first trail. @param key 32 latin1 characters. @param salt as many
   */
  constructor(keyring: string, subject: number, key: string, salt: string) {
    super(salt)
    this.#keyring = keyring
    this.#subject = subject
    this.#key = key
  }

  /** @param keyring id of the tenant's first trail. @param key 32 bytes */
  static of(keyring: string, subject: number, key: Uint8Array): SubjectKey {
    return new SubjectKey(keyring, subject, keyText(key), keyText(derive(key, 'affidavit/1 subject salt')))
  }

  /** Writes the salt key and the key itself, 32 bytes each. */
  keep(into: Buffer, saltAt: number, keyAt: number): void {
    this.keepSalt(into, saltAt)
    into.write(this.#key, keyAt, KEY_BYTES, 'latin1')
  }

  /** Column `personas.content`. */
  sealPersona(content: string): Buffer {
    return seal(this.#encryptionKey(), this.#place(), content)
  }

  /** @throws KeyUnusable `key_tampered` */
  openPersona(sealed: Uint8Array): string {
    return open(this.#encryptionKey(), this.#place(), sealed).toString('utf8')
  }

  #encryptionKey(): Buffer {
    return derive(Buffer.from(this.#key, 'latin1'), 'affidavit/1 subject encryption')
  }

  #place(): string {
    return place('personas.content', this.#keyring, this.#subject)
  }
}
