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
  /** The key management service cannot be reached, or asks for patience: trying again later is right. */
  | 'kms_unreachable'
  /** The key management service does not let us use a key, or not any more. */
  | 'kms_refused'

export class KeyUnusable extends Error {
  override readonly name = 'KeyUnusable'
  readonly code: KeyTrouble

  constructor(code: KeyTrouble, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}

/** A key is where it should be, and the service that has to open it does not do so now. Nothing is lost. */
export const isWithheld = (error: unknown): error is KeyUnusable =>
  error instanceof KeyUnusable && (error.code === 'kms_unreachable' || error.code === 'kms_refused')
