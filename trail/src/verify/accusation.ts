/** Whether an accusation proves what it says (docs/spec/accusation.md). */

import { equalBytes, toHex } from '../bytes.ts'
import { CodedError } from '../coded-error.ts'
import type { Hash, VerifySignature } from '../hash.ts'
import { parseCheckpoint } from '../note/checkpoint.ts'
import { ED25519, NoteError, type VerifierKey, verifyNote, vkeyUnder } from '../note/note.ts'
import type { Accusation, EpochHead, Head } from '../proof/accusation.ts'
import { parseReceipt, type Receipt } from '../proof/receipt.ts'
import { encodeRegistryEntry, logOfRegistry, MERGE_DELAY_MS } from '../registry/registry.ts'
import { checkSlotProof } from '../registry/slot-proof.ts'
import { followSuccession } from '../registry/succession.ts'
import { leafHash, verifyConsistency, verifyInclusion } from '../tree/tree.ts'

/** Stable reasons why an accusation proves nothing. */
export type AccusationFlaw =
  /** None of the keys given belongs to this log, or none of them signed: it could not be checked. */
  | 'unknown_key'
  /** A signature of a known key is wrong. */
  | 'bad_signature'
  /** What is signed is no receipt, or no checkpoint. */
  | 'malformed'
  /** The two statements are about different logs. */
  | 'other_log'
  /** The keys do not follow one another as the file says. */
  | 'bad_succession'
  /** The slot proof, or the proof of its epoch, does not hold. */
  | 'bad_head'
  /** The inclusion or consistency proof does not hold. */
  | 'bad_proof'
  /** The head is too small, or too early, to say anything about the statement. */
  | 'not_covered'
  /** Both statements can be true of one log. */
  | 'no_contradiction'

export type AccusationVerdict =
  | {
      readonly outcome: 'proven'
      /** Of the log that is convicted. */
      readonly origin: string
      /** The entry that is wrong or missing, where the accusation names one. */
      readonly seq?: number
      readonly message: string
    }
  /** `unchecked`: with the right key it might be proven. */
  | { readonly outcome: 'refuted' | 'unchecked'; readonly code: AccusationFlaw; readonly message: string }

class Refusal extends CodedError<AccusationFlaw> {}

/**
 * Judges an accusation by keys that came from elsewhere: log vkeys of the deployment, pinned by any name of it (a
 * trail's origin or the registry's), since one log key signs all of its logs.
 */
export async function verifyAccusation(
  hash: Hash,
  verify: VerifySignature,
  accusation: Accusation,
  keys: readonly VerifierKey[],
): Promise<AccusationVerdict> {
  try {
    const judge = new Judge(hash, verify, await withSuccessors(hash, verify, accusation, keys))
    if (accusation.kind === 'fork') return await judge.fork(accusation)
    return accusation.kind === 'shrunk' ? await judge.shrunk(accusation) : await judge.receipt(accusation)
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
    const outcome = error.code === 'unknown_key' ? 'unchecked' : 'refuted'
    return { outcome, code: error.code, message: error.message }
  }
}

/** The keys given, and those that the file's succession leads to from them. */
async function withSuccessors(
  hash: Hash,
  verify: VerifySignature,
  { succession }: Accusation,
  keys: readonly VerifierKey[],
): Promise<readonly VerifierKey[]> {
  if (succession === undefined) return keys
  const origin = originOf(succession.checkpoint)
  if (logOfRegistry(origin) === undefined) throw new Refusal('bad_succession', `${origin} is no registry`)
  const own = keys.filter(({ name }) => areOfOneLog(name, origin))
  const followed = await followSuccession(hash, verify, succession, own)
  if (followed.outcome === 'refused') throw new Refusal('bad_succession', followed.message)
  return [...keys, ...followed.keys]
}

interface KnownHead {
  readonly origin: string
  readonly size: number
  readonly root: Uint8Array
}

class Judge {
  private readonly hash: Hash
  private readonly verify: VerifySignature
  private readonly keys: readonly VerifierKey[]

  constructor(hash: Hash, verify: VerifySignature, keys: readonly VerifierKey[]) {
    this.hash = hash
    this.verify = verify
    this.keys = keys.filter(({ type }) => type === ED25519)
  }

  async receipt(accusation: Extract<Accusation, { receipt: string }>): Promise<AccusationVerdict> {
    const head = await this.head(accusation.head)
    const receipt = await this.signedReceipt(accusation.receipt, head.origin)
    return accusation.kind === 'leaf'
      ? this.otherLeaf(receipt, head, accusation)
      : this.missing(receipt, head, accusation.head)
  }

  private otherLeaf(
    receipt: Receipt,
    head: KnownHead,
    { leaf, proof }: Extract<Accusation, { kind: 'leaf' }>,
  ): AccusationVerdict {
    const { last } = receipt
    if (head.size <= last) throw new Refusal('not_covered', 'the head does not reach the entry that the receipt names')
    if (!verifyInclusion(this.hash, leaf, last, head.size, proof, head.root))
      throw new Refusal('bad_proof', 'the inclusion proof does not hold')
    if (equalBytes(leaf, receipt.leaf)) throw new Refusal('no_contradiction', 'the entry is the one of the receipt')
    const message =
      `a receipt promised entry ${last} with hash ${toHex(receipt.leaf)}; ` +
      `under a later head of ${head.size} entries it has hash ${toHex(leaf)}`
    return { outcome: 'proven', origin: head.origin, seq: last, message }
  }

  private missing(receipt: Receipt, head: KnownHead, { entry }: EpochHead): AccusationVerdict {
    if (Date.parse(entry.time) <= Date.parse(receipt.sealedAt) + MERGE_DELAY_MS)
      throw new Refusal('not_covered', 'the epoch is too early: it need not cover the receipt')
    if (head.size > receipt.last) throw new Refusal('no_contradiction', 'the epoch reaches the entry of the receipt')
    const message =
      `a receipt promised entry ${receipt.last}, sealed ${receipt.sealedAt}; ` +
      `epoch ${entry.epoch} of ${entry.time} binds a trail of only ${head.size} entries`
    return { outcome: 'proven', origin: head.origin, seq: Math.max(head.size, receipt.first), message }
  }

  /** Bodies of one origin never shrink from one epoch to a later one, and a registry numbers its epochs. */
  async shrunk({ said, head }: Extract<Accusation, { kind: 'shrunk' }>): Promise<AccusationVerdict> {
    const [earlier, later] = [await this.epochHead(said), await this.epochHead(head)]
    const [before, after] = [said.entry, head.entry]
    if (earlier.origin !== later.origin) throw new Refusal('other_log', 'the epochs bind different trails')
    // A registry that takes the place of a lost one binds what was left.
    if (originOf(said.registry.checkpoint) !== originOf(head.registry.checkpoint))
      throw new Refusal('other_log', 'the epochs are of different registries')
    if (before.epoch >= after.epoch) throw new Refusal('not_covered', 'the epochs are not in this order')
    if (earlier.size <= later.size) throw new Refusal('no_contradiction', 'the later epoch does not bind less')
    const message =
      `epoch ${before.epoch} of ${before.time} binds ${earlier.size} entries; ` +
      `epoch ${after.epoch} of ${after.time} binds only ${later.size}`
    return { outcome: 'proven', origin: later.origin, seq: later.size, message }
  }

  async fork({ prefix, proof, ...heads }: Extract<Accusation, { kind: 'fork' }>): Promise<AccusationVerdict> {
    const said = await this.head(heads.said)
    const { head } = heads
    const known = await this.head(head)
    if (known.origin !== said.origin) throw new Refusal('other_log', 'the checkpoints are of different logs')
    if (said.size === 0 || said.size > known.size)
      throw new Refusal('not_covered', 'the head is smaller than the checkpoint, or the checkpoint is empty')
    // A valid proof from `prefix` shows that this, and nothing else, is the root of the head's first entries.
    if (!verifyConsistency(this.hash, said.size, known.size, proof, prefix, known.root))
      throw new Refusal('bad_proof', 'the consistency proof does not hold')
    if (equalBytes(prefix, said.root)) throw new Refusal('no_contradiction', 'the head continues the checkpoint')
    const message =
      `${'entry' in heads.said ? `epoch ${heads.said.entry.epoch}` : 'a signed checkpoint'} states root ${toHex(said.root)} for the first ${said.size} entries; ` +
      `under another head of ${known.size} entries they have root ${toHex(prefix)}`
    return { outcome: 'proven', origin: said.origin, message }
  }

  private head(head: Head): Promise<KnownHead> {
    return 'checkpoint' in head ? this.signedCheckpoint(head.checkpoint) : this.epochHead(head)
  }

  private async epochHead({ slot, entry, registry }: EpochHead): Promise<KnownHead> {
    const body = parseCheckpoint(slot.body)
    const checkpoint = await this.signedCheckpoint(registry.checkpoint)
    if (logOfRegistry(checkpoint.origin) === undefined || !areOfOneLog(body.origin, checkpoint.origin))
      throw new Refusal('other_log', "the registry is not that of the trail's log")
    const leaf = leafHash(this.hash, new TextEncoder().encode(encodeRegistryEntry(entry)))
    const isThere =
      slot.index === registry.index &&
      verifyInclusion(this.hash, leaf, registry.index, checkpoint.size, registry.proof, checkpoint.root)
    if (!isThere) throw new Refusal('bad_head', 'the epoch is not in the registry log')
    const flaw = checkSlotProof(this.hash, slot, entry)
    if (flaw !== undefined) throw new Refusal('bad_head', `the slot proof does not hold (${flaw})`)
    return body
  }

  private async signedCheckpoint(note: string): Promise<KnownHead> {
    const origin = originOf(note)
    const text = await this.signedText(note, origin)
    try {
      return parseCheckpoint(text)
    } catch (error) {
      throw asRefusal(error)
    }
  }

  private async signedReceipt(note: string, origin: string): Promise<Receipt> {
    const text = await this.signedText(note, origin)
    try {
      const receipt = parseReceipt(text)
      if (origin.endsWith(`/${receipt.trail}`)) return receipt
    } catch (error) {
      throw asRefusal(error)
    }
    throw new Refusal('other_log', 'the receipt is of another trail')
  }

  /** The text of a note that the log of this origin signed. */
  private async signedText(note: string, origin: string): Promise<string> {
    const own = this.keys
      .filter(({ name }) => areOfOneLog(name, origin))
      .map((key) => vkeyUnder(this.hash, key, origin))
    try {
      const { text, verified } = await verifyNote(this.verify, note, own)
      if (verified.length > 0) return text
    } catch (error) {
      throw asRefusal(error)
    }
    throw new Refusal('unknown_key', `no key given for ${origin} signed what it is said to have signed`)
  }
}

const originOf = (note: string): string => note.slice(0, note.indexOf('\n'))

const logOf = (origin: string): string | undefined => /^(.+)\/[0-9a-f]{32}$/.exec(origin)?.[1] ?? logOfRegistry(origin)

/** Whether one log key signs for both origins: those of a deployment's trails and registries. */
function areOfOneLog(origin: string, other: string): boolean {
  const logName = logOf(origin)
  return origin === other || (logName !== undefined && logName === logOf(other))
}

function asRefusal(error: unknown): unknown {
  if (!(error instanceof NoteError)) return error
  return new Refusal(error.code === 'bad_signature' ? 'bad_signature' : 'malformed', error.message)
}
