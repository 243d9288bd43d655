// What can keep the embedded PostgreSQL from running, told apart by code.

export type EmbeddedCode =
  /** npm did not install PostgreSQL for this platform, or its programs cannot be run here. */
  | 'embedded_missing'
  /** Another server uses the data folder. */
  | 'embedded_in_use'
  /** The data folder belongs to another major version of PostgreSQL. */
  | 'embedded_version'
  /** PostgreSQL did not come up. */
  | 'embedded_failed'

/** The message is a sentence for the person who starts the server: what is wrong and what to do. */
export class EmbeddedError extends Error {
  override name = 'EmbeddedError'
  readonly code: EmbeddedCode

  constructor(code: EmbeddedCode, message: string) {
    super(message)
    this.code = code
  }
}
