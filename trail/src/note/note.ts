/**
 * C2SP signed-note: text, a blank line, signature lines. Ed25519 signatures (type 0x01) and cosignatures (0x04) are
 * verified; other keys and signatures are carried and ignored, so that a note may hold later algorithms' too.
 */
import { concatBytes, equalBytes, fromBase64, fromHex, toBase64, toHex } from '../bytes.ts'
import { CodedError } from '../coded-error.ts'
import type { Hash, VerifySignature } from '../hash.ts'
import { cosignatureMessage, openCosignature } from './cosignature.ts'

/** Signature types of C2SP signed-note. */
export const ED25519 = 1
export const COSIGNATURE = 4
const ED25519_KEY_BYTES = 32
const ED25519_SIGNATURE_BYTES = 64
const MAX_NOTE_BYTES = 1_000_000
const MAX_SIGNATURES = 100

export type NoteErrorCode = 'malformed' | 'bad_key' | 'bad_signature'

export class NoteError extends CodedError<NoteErrorCode> {
  override readonly name = 'NoteError'
}

/** A verifier key: `name+hex8(id)+base64(type ‖ public key)`. */
export interface VerifierKey {
  readonly name: string
  readonly id: Uint8Array
  readonly type: number
  readonly publicKey: Uint8Array
}

export interface NoteSignature {
  readonly name: string
  /** 4 bytes. */
  readonly id: Uint8Array
  readonly signature: Uint8Array
}

export interface Note {
  /** Ends in a newline. */
  readonly text: string
  readonly signatures: readonly NoteSignature[]
}

export interface NoteSigner {
  readonly name: string
  /** 4 bytes, see `keyId`. */
  readonly id: Uint8Array
  readonly sign: (message: Uint8Array) => Uint8Array | Promise<Uint8Array>
}

const utf8 = new TextEncoder()
const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Non-empty, no space of any kind, no plus, no control character. */
const KEY_NAME = /^[^\s+\p{Cc}\p{Zs}\p{Zl}\p{Zp}]+$/u

/** Whether a signed note may name a key so (C2SP signed-note); at most 1,000 characters. */
export function isKeyName(name: string): boolean {
  return name.length <= 1000 && KEY_NAME.test(name)
}

/** SHA-256(name ‖ 0x0A ‖ type ‖ public key)[:4]. */
export function keyId(hash: Hash, name: string, type: number, publicKey: Uint8Array): Uint8Array {
  return hash(concatBytes([utf8.encode(`${name}\n`), Uint8Array.of(type), publicKey])).slice(0, 4)
}

/** The vkey text of an Ed25519 public key (32 bytes); type `COSIGNATURE` for a witness's. */
export function formatVkey(hash: Hash, name: string, publicKey: Uint8Array, type: number = ED25519): string {
  if (!isKeyName(name)) throw new NoteError('bad_key', `not a key name: ${JSON.stringify(name.slice(0, 80))}`)
  if (publicKey.length !== ED25519_KEY_BYTES) throw new NoteError('bad_key', 'an Ed25519 key has 32 bytes')
  const id = keyId(hash, name, type, publicKey)
  return `${name}+${toHex(id)}+${toBase64(concatBytes([Uint8Array.of(type), publicKey]))}`
}

/** Strict. Throws NoteError `bad_key`; a key of another type is returned, not refused. */
export function parseVkey(hash: Hash, text: string): VerifierKey {
  const refuse = (why: string) => new NoteError('bad_key', `${why}: ${JSON.stringify(text.slice(0, 80))}`)
  const first = text.indexOf('+')
  const second = text.indexOf('+', first + 1)
  if (first < 1 || second < 0) throw refuse('not a verifier key')
  const name = text.slice(0, first)
  const id = fromHex(text.slice(first + 1, second))
  const typed = fromBase64(text.slice(second + 1))
  if (!isKeyName(name) || id?.length !== 4 || typed === undefined || typed.length < 2)
    throw refuse('not a verifier key')
  const [type, publicKey] = [typed[0]!, typed.slice(1)]
  const isEd25519 = type === ED25519 || type === COSIGNATURE
  if (isEd25519 && publicKey.length !== ED25519_KEY_BYTES) throw refuse('an Ed25519 key has 32 bytes')
  if (!equalBytes(id, keyId(hash, name, type, publicKey))) throw refuse('the key id does not belong to the key')
  return { name, id, type, publicKey }
}

/** No log has had so many keys. */
const MOST_KEYS = 1000

/**
 * Those of the first thousand vkeys that can be read. For keys that the party under check names: by broken ones it must
 * not keep a verifier from judging.
 */
export function readableVkeys(hash: Hash, texts: readonly string[]): VerifierKey[] {
  return texts.slice(0, MOST_KEYS).flatMap((text) => {
    try {
      return [parseVkey(hash, text)]
    } catch (error) {
      if (error instanceof NoteError) return []
      throw error
    }
  })
}

/** The same public key under another name: one log key signs every trail and the registry, each under its origin. */
export function vkeyUnder(hash: Hash, key: VerifierKey, name: string): VerifierKey {
  return { ...key, name, id: keyId(hash, name, key.type, key.publicKey) }
}

/** A note's text must end in a newline and hold no other control character. */
function isNoteText(text: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused here
  return text.endsWith('\n') && text.length > 1 && !/[\u0000-\u0009\u000b-\u001f]/.test(text)
}

/** One signature line of a note, with its newline. */
export function formatSignature(signature: NoteSignature): string {
  return `— ${signature.name} ${toBase64(concatBytes([signature.id, signature.signature]))}\n`
}

/** Signs `text` (ending in a newline) with each signer in order. */
export async function signNote(text: string, signers: readonly NoteSigner[]): Promise<string> {
  if (!isNoteText(text)) throw new NoteError('malformed', 'a note text ends in a newline and has no control characters')
  const message = utf8.encode(text)
  let note = `${text}\n`
  for (const { name, id, sign } of signers) note += formatSignature({ name, id, signature: await sign(message) })
  return note
}

/** Parses without verifying. Throws NoteError `malformed`. */
export function parseNote(bytes: Uint8Array | string): Note {
  const whole = typeof bytes === 'string' ? bytes : decodeUtf8(bytes)
  if (whole.length > MAX_NOTE_BYTES) throw new NoteError('malformed', 'the note is too long')
  const end = whole.lastIndexOf('\n\n')
  if (end < 0) throw new NoteError('malformed', 'the note has no signatures')
  const text = whole.slice(0, end + 1)
  if (!isNoteText(text)) throw new NoteError('malformed', 'the note holds control characters')
  return { text, signatures: parseSignatures(whole.slice(end + 2)) }
}

/** Signature lines alone, such as a witness's answer. Throws NoteError `malformed`. */
export function parseSignatures(lines: string): NoteSignature[] {
  if (!isNoteText(lines)) throw new NoteError('malformed', 'the signatures hold control characters')
  const signatures = lines.slice(0, -1).split('\n').map(parseSignature)
  if (signatures.length > MAX_SIGNATURES) throw new NoteError('malformed', 'the note has too many signatures')
  return signatures
}

/** The note with these signatures behind its own; those that it has already are not repeated. */
export function addSignatures(note: string, signatures: readonly NoteSignature[]): string {
  const lines = new Set(note.slice(note.lastIndexOf('\n\n') + 2).split('\n'))
  return signatures.map(formatSignature).reduce((whole, line) => {
    if (lines.has(line.slice(0, -1))) return whole
    lines.add(line.slice(0, -1))
    return whole + line
  }, note)
}

function decodeUtf8(bytes: Uint8Array): string {
  if (bytes.length > MAX_NOTE_BYTES) throw new NoteError('malformed', 'the note is too long')
  try {
    return strictUtf8.decode(bytes)
  } catch {
    throw new NoteError('malformed', 'the note is not UTF-8')
  }
}

function parseSignature(line: string): NoteSignature {
  const match = /^— ([^ ]+) ([A-Za-z0-9+/=]+)$/.exec(line)
  const blob = match === null ? undefined : fromBase64(match[2]!)
  if (match === null || blob === undefined || blob.length < 5 || !isKeyName(match[1]!)) {
    throw new NoteError('malformed', 'a signature line is malformed')
  }
  return { name: match[1]!, id: blob.slice(0, 4), signature: blob.slice(4) }
}

/** A witness's cosignature that was checked. */
export interface Cosigned {
  readonly key: VerifierKey
  /** Seconds since 1970; the newest, if the key cosigned more than once. */
  readonly time: number
}

export interface VerifiedNote extends Note {
  /**
   * Those of the given signing keys whose signature is there and right; empty when the note knows none of them.
   * Cosigners never stand here: they say that the log has grown, not that they wrote the text.
   */
  readonly verified: readonly VerifierKey[]
  /** Those of the given cosigning keys (type 0x04) whose cosignature is there and right. */
  readonly cosigned: readonly Cosigned[]
}

/**
 * Parses a note and checks the signatures of the keys given; those of other keys are ignored. Throws NoteError:
 * `malformed`, or `bad_signature` when a given key's signature is there and wrong.
 */
export async function verifyNote(
  verify: VerifySignature,
  bytes: Uint8Array | string,
  keys: readonly VerifierKey[],
): Promise<VerifiedNote> {
  const note = parseNote(bytes)
  const message = utf8.encode(note.text)
  const verified: VerifierKey[] = []
  const cosigned = new Map<VerifierKey, number>()
  for (const { name, id, signature } of note.signatures) {
    const key = keys.find((candidate) => candidate.name === name && equalBytes(candidate.id, id))
    if (key?.type === ED25519) {
      const right = signature.length === ED25519_SIGNATURE_BYTES && (await verify(key.publicKey, message, signature))
      if (!right) throw new NoteError('bad_signature', `the signature of ${name} is wrong`)
      if (!verified.includes(key)) verified.push(key)
    } else if (key?.type === COSIGNATURE) {
      const opened = openCosignature(signature)
      const right =
        opened !== undefined &&
        (await verify(key.publicKey, cosignatureMessage(opened.time, note.text), opened.signature))
      if (!right) throw new NoteError('bad_signature', `the cosignature of ${name} is wrong`)
      cosigned.set(key, Math.max(opened.time, cosigned.get(key) ?? 0))
    }
  }
  return { ...note, verified, cosigned: Array.from(cosigned, ([key, time]) => ({ key, time })) }
}
