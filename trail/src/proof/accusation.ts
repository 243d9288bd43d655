/**
 * Accusations: one text file that proves to anybody who knows the log's key that the log broke its word. It holds what
 * the log signed first and what it signed later, and the proof that both cannot be true of one append-only log
 * (docs/spec/accusation.md). The file needs no trust in who wrote it.
 */
import { toBase64 } from '../bytes.ts'
import { EntryError } from '../entry/entry-error.ts'
import { asNote, framed, hashLines, TextFile } from '../note/text-file.ts'
import { decodeRegistryEntry, type Epoch, encodeRegistryEntry } from '../registry/registry.ts'
import { formatSlotProof, parseSlotProof, type SlotProof } from '../registry/slot-proof.ts'
import { formatSuccession, parseSuccession, type Succession } from '../registry/succession.ts'
import { formatTlogProof, parseTlogProof, type TlogProof } from './tlog-proof.ts'

/** Three notes of at most 1 MB each, and what is around them. */
const MAX_ACCUSATION_BYTES = 3_500_000
const FIRST_LINE = /^affidavit\/[1-9][0-9]{0,15} accusation\n/

/** A trail's head as an epoch of the registry bound it. */
export interface EpochHead {
  readonly slot: SlotProof
  readonly entry: Epoch
  /** Proof of `entry` in the registry log, with the registry's signed checkpoint. */
  readonly registry: TlogProof
}

/** A head of a log: a checkpoint that it signed, or what stands in its slot. */
export type Head = { readonly checkpoint: string } | EpochHead

export type Accusation = Contradiction & {
  /** How the log's keys followed one another, where the two statements are not signed by one. */
  readonly succession?: Succession
}

type Contradiction =
  /** Under `head`, the entry that a receipt names last has leaf hash `leaf`: not the receipt's. */
  | {
      readonly kind: 'leaf'
      readonly receipt: string
      readonly head: Head
      readonly leaf: Uint8Array
      /** Inclusion proof of `leaf`. */
      readonly proof: readonly Uint8Array[]
    }
  /** An epoch that had to cover a receipt's entries lacks the last of them. */
  | { readonly kind: 'missing'; readonly receipt: string; readonly head: EpochHead }
  /** The first entries under `head`, as many as `said` counts, have the root `prefix`: not the one of `said`. */
  | {
      readonly kind: 'fork'
      readonly said: Head
      readonly head: Head
      readonly prefix: Uint8Array
      /** Consistency proof from `prefix` to `head`; empty where both have one size. */
      readonly proof: readonly Uint8Array[]
    }
  /** A later epoch, `head`, binds fewer entries than an earlier one. */
  | { readonly kind: 'shrunk'; readonly said: EpochHead; readonly head: EpochHead }

/** Whether a file claims to be an accusation, of whatever version. */
export function isAccusation(bytes: Uint8Array | string): boolean {
  return FIRST_LINE.test(typeof bytes === 'string' ? bytes : new TextDecoder().decode(bytes.subarray(0, 64)))
}

/** The text of the file (docs/spec/accusation.md). What it says is not checked here: `verifyAccusation` judges. */
export function formatAccusation(accusation: Accusation): string {
  const { kind } = accusation
  const said = 'said' in accusation ? formatHead(accusation.said, 'said') : framed('receipt', accusation.receipt)
  const { succession } = accusation
  const keys = succession === undefined ? '' : framed('succession', formatSuccession(succession))
  const what = `${said}${formatHead(accusation.head)}${formatContradiction(accusation)}`
  return `affidavit/1 accusation\nkind ${kind}\n${what}${keys}`
}

function formatHead(head: Head, name = 'checkpoint'): string {
  if ('checkpoint' in head) return framed(name, head.checkpoint)
  return (
    framed('slot', formatSlotProof(head.slot)) +
    framed('entry', encodeRegistryEntry(head.entry)) +
    framed('registry', formatTlogProof(head.registry))
  )
}

function formatContradiction(accusation: Accusation): string {
  if (accusation.kind === 'missing' || accusation.kind === 'shrunk') return ''
  const { proof } = accusation
  const hash =
    accusation.kind === 'leaf' ? `leaf ${toBase64(accusation.leaf)}` : `prefix ${toBase64(accusation.prefix)}`
  return `${hash}\nproof ${proof.length}\n${hashLines(proof)}`
}

/** Strict. Throws FormatError. Nothing is proven before `verifyAccusation`. */
export function parseAccusation(bytes: Uint8Array | string): Accusation {
  const file = new TextFile(bytes, 'the accusation', MAX_ACCUSATION_BYTES)
  file.header('accusation')
  const accusation = readKind(file)
  const succession = file.ended ? undefined : parseSuccession(file.document('succession'))
  file.end()
  return { ...accusation, ...(succession && { succession }) }
}

function readKind(file: TextFile): Contradiction {
  const kind = file.field('kind')
  if (kind === 'leaf') {
    const receipt = asNote(file.document('receipt'), 'the receipt')
    const head = readHead(file)
    return { kind, receipt, head, leaf: file.hash('leaf'), proof: file.countedHashes('proof') }
  }
  if (kind === 'missing') {
    const receipt = asNote(file.document('receipt'), 'the receipt')
    return { kind, receipt, head: readEpochHead(file) }
  }
  if (kind === 'fork') {
    const said = readHead(file, 'said')
    const head = readHead(file)
    return { kind, said, head, prefix: file.hash('prefix'), proof: file.countedHashes('proof') }
  }
  if (kind === 'shrunk') {
    const said = readEpochHead(file)
    return { kind, said, head: readEpochHead(file) }
  }
  throw file.malformed('is of no kind that this program knows')
}

function readHead(file: TextFile, name = 'checkpoint'): Head {
  if (!file.peek()?.startsWith(`${name} `)) return readEpochHead(file)
  return { checkpoint: asNote(file.document(name), 'the checkpoint') }
}

function readEpochHead(file: TextFile): EpochHead {
  const slot = parseSlotProof(file.document('slot'))
  const entry = readEpoch(file, file.document('entry'))
  return { slot, entry, registry: parseTlogProof(file.document('registry')) }
}

function readEpoch(file: TextFile, text: string): Epoch {
  try {
    const entry = decodeRegistryEntry(text)
    if (entry.kind === 'epoch') return entry
  } catch (error) {
    if (!(error instanceof EntryError)) throw error
  }
  throw file.malformed('holds no epoch where one belongs')
}
