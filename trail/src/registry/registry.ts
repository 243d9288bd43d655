/**
 * The registry: one log over all trails of a deployment. Each trail owns a fixed slot, each epoch binds one head per
 * slot, and only this log is shown to witnesses (docs/spec/registry.md). Here: the entries of its log.
 */
import { fromBase64, toBase64 } from '../bytes.ts'
import { isTime } from '../entry/control.ts'
import { EntryError } from '../entry/entry-error.ts'
import { HASH_BYTES, type Hash, type VerifySignature } from '../hash.ts'
import {
  ED25519,
  formatSignature,
  NoteError,
  type NoteSignature,
  parseNote,
  parseVkey,
  type VerifierKey,
  verifyNote,
} from '../note/note.ts'

/**
 * An epoch covers everything that was sealed earlier than its time less this (two epochs of a minute). A receipt whose
 * entry a later epoch lacks proves that the log broke its word.
 */
export const MERGE_DELAY_MS = 120_000

const MAX_ENTRY_BYTES = 16_384
/** Epoch numbers have at most ten digits. */
const MAX_EPOCH = 9_999_999_999
export const MIN_DEPTH = 8
/** A slot has 32 bits. */
export const MAX_DEPTH = 32

const HEADER = 'affidavit/1 registry\n'

export interface Epoch {
  readonly kind: 'epoch'
  readonly epoch: number
  /** When the heads were taken. */
  readonly time: string
  /** The slot tree has 2^depth leaves. */
  readonly depth: number
  /** Root of the slot tree. */
  readonly slots: Uint8Array
}

export interface Successor {
  readonly kind: 'key'
  /** vkey of the log key that signs from here on; its name is the registry's origin. */
  readonly vkey: string
  /** By the key before it, or the recovery key, over `successorText`. */
  readonly signatures: readonly NoteSignature[]
}

export interface ContinuedRegistry {
  readonly kind: 'continues'
  /** Of the registry that was lost, and the newest size and root of it that is known. */
  readonly origin: string
  readonly size: number
  readonly root: Uint8Array
}

export type RegistryEntry = Epoch | Successor | ContinuedRegistry

/** `<log name>/registry`; each registry that takes the place of a lost one counts one up: `<log name>/registry.1`. */
export function registryOrigin(logName: string, generation = 0): string {
  return `${logName}/registry${generation === 0 ? '' : `.${generation}`}`
}

const REGISTRY_ORIGIN = /^(.+)\/registry(?:\.[1-9][0-9]{0,8})?$/

/** The log name in the origin of one of its registries; undefined for any other origin. */
export function logOfRegistry(origin: string): string | undefined {
  return REGISTRY_ORIGIN.exec(origin)?.[1]
}

/** The slot that a trail's id binds it to: its first four bytes, big-endian. */
export function slotOf(trail: string): number {
  if (!/^[0-9a-f]{32}$/.test(trail)) throw new RangeError('a trail id has 32 hex digits')
  return Number.parseInt(trail.slice(0, 8), 16)
}

/** Whether an epoch of this time is an audit epoch, given its successor's: the last one of its UTC day. */
export function isLastOfDay(time: string, successor: string): boolean {
  return successor.slice(0, 10) > time.slice(0, 10)
}

/** What the old key (or the recovery key) signs, under the registry's origin, to name its successor. */
export function successorText(vkey: string): string {
  return `${HEADER}key ${vkey}\n`
}

/** The bytes of an entry. Throws EntryError `too_long`; nothing else is checked. */
export function encodeRegistryEntry(entry: RegistryEntry): string {
  const text = encode(entry)
  if (text.length > MAX_ENTRY_BYTES) throw new EntryError('too_long', 'the registry entry is too long')
  return text
}

function encode(entry: RegistryEntry): string {
  switch (entry.kind) {
    case 'epoch':
      return `${HEADER}epoch ${entry.epoch}\ntime ${entry.time}\ndepth ${entry.depth}\nslots ${toBase64(entry.slots)}\n`
    case 'key':
      return `${successorText(entry.vkey)}\n${entry.signatures.map(formatSignature).join('')}`
    case 'continues':
      return `${HEADER}continues ${entry.origin} ${entry.size} ${toBase64(entry.root)}\n`
  }
}

const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const EPOCH = /^epoch (0|[1-9][0-9]{0,9})\ntime ([0-9TZ:.-]{24})\ndepth ([1-9][0-9]?)\nslots ([A-Za-z0-9+/=]{44})\n$/
const CONTINUES = /^continues ([!-*,-~]{1,512}) (0|[1-9][0-9]{0,15}) ([A-Za-z0-9+/=]{44})\n$/

/**
 * Strict: accepts exactly what `encodeRegistryEntry` writes. Throws EntryError: `unknown_version`, `unknown_kind`,
 * `malformed`, `too_long`. Signatures are not verified, see `verifySuccessor`.
 */
export function decodeRegistryEntry(bytes: Uint8Array | string): RegistryEntry {
  if (bytes.length > MAX_ENTRY_BYTES) throw new EntryError('too_long', 'the registry entry is too long')
  const text = typeof bytes === 'string' ? bytes : decodeText(bytes)
  if (!text.startsWith(HEADER)) {
    const unknown = /^affidavit\/[1-9][0-9]* registry\n/.test(text)
    throw new EntryError(unknown ? 'unknown_version' : 'malformed', 'not a registry entry of version 1')
  }
  const rest = text.slice(HEADER.length)
  const kind = /^[a-z]+ /.exec(rest)?.[0]
  if (kind === 'epoch ') return decodeEpoch(rest)
  if (kind === 'key ') return decodeSuccessor(text)
  if (kind === 'continues ') return decodeContinues(rest)
  throw new EntryError(kind === undefined ? 'malformed' : 'unknown_kind', 'a registry entry of another kind')
}

function decodeText(bytes: Uint8Array): string {
  try {
    return strictUtf8.decode(bytes)
  } catch {
    throw new EntryError('malformed', 'the registry entry is not UTF-8')
  }
}

function decodeEpoch(text: string): Epoch {
  const match = EPOCH.exec(text)
  const [epoch, depth] = [Number(match?.[1]), Number(match?.[3])]
  const slots = match === null ? undefined : fromBase64(match[4]!)
  const isGood = match !== null && isTime(match[2]!) && depth >= MIN_DEPTH && depth <= MAX_DEPTH && epoch <= MAX_EPOCH
  if (!isGood || slots?.length !== HASH_BYTES) throw new EntryError('malformed', 'not an epoch')
  return { kind: 'epoch', epoch, time: match[2]!, depth, slots }
}

function decodeSuccessor(text: string): Successor {
  try {
    const note = parseNote(text)
    const vkey = /^key ([^\n]+)\n$/.exec(note.text.slice(HEADER.length))?.[1]
    if (vkey === undefined || !/^[^\s]+\+[0-9a-f]{8}\+[A-Za-z0-9+/=]+$/.test(vkey))
      throw new EntryError('malformed', 'a successor entry names one verifier key')
    return { kind: 'key', vkey, signatures: note.signatures }
  } catch (error) {
    if (error instanceof NoteError) throw new EntryError('malformed', error.message)
    throw error
  }
}

function decodeContinues(text: string): ContinuedRegistry {
  const match = CONTINUES.exec(text)
  const size = Number(match?.[2])
  const root = match === null ? undefined : fromBase64(match[3]!)
  if (match === null || !Number.isSafeInteger(size) || root?.length !== HASH_BYTES)
    throw new EntryError('malformed', 'not a continuation of a registry')
  return { kind: 'continues', origin: match[1]!, size, root }
}

/**
 * The key that a `key` entry names, if one of `keys` (the log key before it or the recovery key, under the registry's
 * `origin`) signed; undefined otherwise. A successor that is no Ed25519 key of this origin is none.
 */
export async function verifySuccessor(
  hash: Hash,
  verify: VerifySignature,
  entry: Successor,
  keys: readonly VerifierKey[],
  origin: string,
): Promise<VerifierKey | undefined> {
  try {
    const successor = parseVkey(hash, entry.vkey)
    if (successor.name !== origin || successor.type !== ED25519) return undefined
    const { verified } = await verifyNote(verify, encode(entry), keys)
    return verified.some(({ name }) => name === origin) ? successor : undefined
  } catch (error) {
    if (error instanceof NoteError) return undefined
    throw error
  }
}
