// Whole objects under keys, written once: epochs, archives, packs. A folder today; the bucket of an S3 with object lock
// takes the same calls. `put` never replaces, so two writers of one key agree on the first, and a crash leaves the
// object whole or absent.
import type { Readable } from 'node:stream'

/** An expected outcome: `exists` means that another put of this key came first and its content stands. */
export type Put = 'written' | 'exists'

export interface Stat {
  key: string
  size: number
  /** Milliseconds since 1970. */
  modified_at: number
}

export interface Objects {
  /** Stores an object durably unless the key is taken. On return it survives a power cut. */
  put(key: string, content: Uint8Array | Readable): Promise<Put>
  /** The whole content, or undefined. For objects that fit memory. */
  get(key: string): Promise<Buffer | undefined>
  /** A stream of bytes `from` (default 0) to before `to` (default the end), or undefined. */
  read(key: string, from?: number, to?: number): Promise<Readable | undefined>
  stat(key: string): Promise<Stat | undefined>
  /** Keys that begin with `prefix` in the order of their UTF-16 code units, after `after` if given. */
  list(prefix: string, after?: string): AsyncIterable<Stat>
  /** True when there was such an object. */
  delete(key: string): Promise<boolean>
}

/** A key that no store may be asked for; thrown by every call. */
export class BadKey extends Error {
  override name = 'BadKey'
}

const longest_key = 512
const longest_segment = 200
const segment = /^[a-z0-9][a-z0-9._=-]*$/

/**
 * Keys are slash-separated segments of a–z, 0–9, `.`, `_`, `=` and `-`, each beginning with a letter or digit: what
 * every file system, whatever it thinks of case, and every S3 keeps apart. `..`, absolute and empty paths are thereby
 * impossible. A tenant's id has capitals: use its trail id. No key may be the beginning of another up to a slash.
 * @throws BadKey
 */
export function checkKey(key: string): void {
  const segments = key.length <= longest_key ? key.split('/') : []
  const good = segments.every((part) => part.length <= longest_segment && segment.test(part) && !part.endsWith('.'))
  if (segments.length === 0 || !good) throw new BadKey(`no object key: ${JSON.stringify(key.slice(0, 80))}`)
}
