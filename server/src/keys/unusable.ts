// One error for every key that cannot be used. Its message names the place of the key, never a byte of it.

export type KeyTrouble =
  /** Wrapped bytes do not open: changed, moved from another place, or wrapped under another key. */
  | 'key_tampered'
  /** The key was destroyed on purpose: what it opened is gone. */
  | 'key_destroyed'
  /** A key file is missing, unreadable or not what it should be. */
  | 'key_missing'
  /** The key folder or log name is not the one that this database was started with. */
  | 'key_mismatch'

export class KeyUnusable extends Error {
  override readonly name = 'KeyUnusable'
  readonly code: KeyTrouble

  constructor(code: KeyTrouble, message: string) {
    super(message)
    this.code = code
  }
}
