/**
 * How log keys followed one another: the `key` entries of a registry log with the proofs that they stand in it
 * (docs/spec/registry.md). Whoever pinned an earlier key follows from it, by signatures of each key over the next, to the
 * key in force; nothing else needs to be brought.
 */

import { EntryError } from '../entry/entry-error.ts'
import type { Hash, VerifySignature } from '../hash.ts'
import { parseCheckpoint } from '../note/checkpoint.ts'
import { ED25519, NoteError, type VerifierKey, verifyNote, vkeyUnder } from '../note/note.ts'
import { asNote, framed, hashLines, TextFile } from '../note/text-file.ts'
import { leafHash, verifyInclusion } from '../tree/tree.ts'
import { decodeRegistryEntry, encodeRegistryEntry, type Successor, verifySuccessor } from './registry.ts'

/** A note of at most 1 MB, and a thousand entries. */
const MAX_SUCCESSION_BYTES = 3_000_000

export interface NamedSuccessor {
  readonly entry: Successor
  /** Of the entry in the registry log. */
  readonly index: number
  /** Inclusion proof under the checkpoint. */
  readonly proof: readonly Uint8Array[]
}

export interface Succession {
  /** The registry's signed checkpoint, verbatim. */
  readonly checkpoint: string
  /** Ascending by index: all `key` entries under the checkpoint. */
  readonly successors: readonly NamedSuccessor[]
}

/** The text of a succession (docs/spec/registry.md). */
export function formatSuccession({ checkpoint, successors }: Succession): string {
  const parts = successors.map(
    ({ entry, index, proof }) =>
      `${framed('key', encodeRegistryEntry(entry))}index ${index}\nproof ${proof.length}\n${hashLines(proof)}`,
  )
  return `affidavit/1 succession\n${framed('checkpoint', checkpoint)}${parts.join('')}`
}

/** Strict. Throws FormatError. Nothing is proven before `followSuccession`. */
export function parseSuccession(bytes: Uint8Array | string): Succession {
  const file = new TextFile(bytes, 'the succession', MAX_SUCCESSION_BYTES)
  file.header('succession')
  const checkpoint = asNote(file.document('checkpoint'), 'the checkpoint')
  const successors: NamedSuccessor[] = []
  while (!file.ended) {
    const entry = readSuccessor(file)
    const index = file.decimal('index')
    if (index <= (successors.at(-1)?.index ?? -1)) throw file.malformed('is not in the order of the log')
    successors.push({ entry, index, proof: file.countedHashes('proof') })
  }
  return { checkpoint, successors }
}

function readSuccessor(file: TextFile): Successor {
  try {
    const entry = decodeRegistryEntry(file.document('key'))
    if (entry.kind === 'key') return entry
  } catch (error) {
    if (!(error instanceof EntryError)) throw error
  }
  throw file.malformed('holds no successor where one belongs')
}

export type FollowedKeys =
  | {
      readonly outcome: 'followed'
      /** Under the registry's origin: the pinned keys, then those that followed them, oldest first. */
      readonly keys: readonly VerifierKey[]
      /** Those whose signature the registry's checkpoint needs: the last one, or any pinned one where none followed. */
      readonly inForce: readonly VerifierKey[]
    }
  | {
      readonly outcome: 'refused'
      readonly code: 'false_successor' | 'succession_inclusion' | 'succession_not_signed'
      readonly message: string
    }

const refused = (code: Extract<FollowedKeys, { outcome: 'refused' }>['code'], message: string): FollowedKeys => ({
  outcome: 'refused',
  code,
  message,
})

/**
 * Follows from keys that came from elsewhere (under whatever name of the log; recovery keys among them). Entries before
 * the pinned keys are passed over: nothing can be said of them, and nothing rests on them.
 */
export async function followSuccession(
  hash: Hash,
  verify: VerifySignature,
  { checkpoint, successors }: Succession,
  pins: readonly VerifierKey[],
): Promise<FollowedKeys> {
  const origin = checkpoint.slice(0, checkpoint.indexOf('\n'))
  const pinned = pins.filter(({ type }) => type === ED25519).map((key) => vkeyUnder(hash, key, origin))
  const followed: VerifierKey[] = []
  const included: NamedSuccessor[] = []
  for (const named of successors) {
    const known = [...followed.slice(-1), ...pinned]
    const successor = await verifySuccessor(hash, verify, named.entry, known, origin)
    if (successor === undefined && followed.length > 0)
      return refused(
        'false_successor',
        `entry ${named.index} of ${origin} names a log key that no known key has signed`,
      )
    if (successor === undefined) continue
    followed.push(successor)
    included.push(named)
  }
  const inForce = followed.length > 0 ? followed.slice(-1) : pinned
  if (followed.length === 0) return { outcome: 'followed', keys: pinned, inForce }
  try {
    const { text, verified } = await verifyNote(verify, checkpoint, inForce)
    if (verified.length === 0)
      return refused('succession_not_signed', `${origin} is not signed by the key that its last succession names`)
    const { size, root } = parseCheckpoint(text)
    for (const { entry, index, proof } of included) {
      const leaf = leafHash(hash, new TextEncoder().encode(encodeRegistryEntry(entry)))
      if (!verifyInclusion(hash, leaf, index, size, proof, root))
        return refused('succession_inclusion', `the succession at ${index} does not stand in ${origin}`)
    }
  } catch (error) {
    if (!(error instanceof NoteError)) throw error
    return refused('succession_not_signed', `the checkpoint of ${origin}: ${error.message}`)
  }
  return { outcome: 'followed', keys: [...pinned, ...followed], inForce }
}
