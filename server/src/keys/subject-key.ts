// The key of one person: 32 random bytes, from which the key of their personas and the salt key of their personal lines
// are derived (see `derive`). With it goes every value and every salt; nothing else about the person is secret.
import { open, place, seal } from './aead.ts'
import { derive, first16, first16Text, keyText, macOfMessageAndByte } from './mac.ts'

const SALT_BYTES = 16
const MAX_LINE = 99

export class SubjectKey {
  readonly #key: string
  readonly #salt: string
  readonly #keyring: string
  readonly #subject: number

  /** @param keyring id of the tenant's first trail. @param key 32 bytes */
  constructor(keyring: string, subject: number, key: Uint8Array) {
    this.#keyring = keyring
    this.#subject = subject
    this.#key = keyText(key)
    this.#salt = keyText(derive(key, 'affidavit/1 subject salt'))
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
