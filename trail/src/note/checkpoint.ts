/** C2SP tlog-checkpoint: the text of a signed tree head. */
import { fromBase64, toBase64 } from '../bytes.ts'
import { HASH_BYTES } from '../hash.ts'
import { NoteError } from './note.ts'

export interface Checkpoint {
  /** `<log name>/<trail id>` for a trail. */
  readonly origin: string
  readonly size: number
  readonly root: Uint8Array
  /** Extension lines; trails have none. */
  readonly extensions: readonly string[]
}

/** The note text: origin, size, base64 root, extensions, each on a line. */
export function formatCheckpoint(origin: string, size: number, root: Uint8Array): string {
  if (origin === '' || origin.includes('\n')) throw new NoteError('malformed', 'not an origin')
  if (!Number.isSafeInteger(size) || size < 0) throw new RangeError(`not a tree size: ${size}`)
  if (root.length !== HASH_BYTES) throw new RangeError('a root has 32 bytes')
  return `${origin}\n${size}\n${toBase64(root)}\n`
}

/** Parses a note's text. Throws NoteError `malformed`. */
export function parseCheckpoint(text: string): Checkpoint {
  const lines = text.split('\n')
  const end = lines.pop()
  const [origin, sizeText, rootText, ...extensions] = lines
  if (end !== '' || !origin || sizeText === undefined || rootText === undefined || extensions.includes('')) {
    throw new NoteError('malformed', 'not a checkpoint')
  }
  const size = Number(sizeText)
  if (!/^(?:0|[1-9][0-9]{0,15})$/.test(sizeText) || !Number.isSafeInteger(size)) {
    throw new NoteError('malformed', 'the checkpoint has no size')
  }
  const root = fromBase64(rootText)
  if (root?.length !== HASH_BYTES) throw new NoteError('malformed', 'the checkpoint has no root')
  return { origin, size, root, extensions }
}
