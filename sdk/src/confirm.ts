/**
 * Holds kept receipts against what the log shows now. A receipt promises a place and a hash before any checkpoint covers
 * them; within two epochs of the registry a signed checkpoint must have both. Where it has not, the log broke its word,
 * and two signatures of its own prove that to anybody: the accusation, a text that `affidavit verify` understands.
 */
import {
  type Accusation,
  contradicts,
  formatAccusation,
  MERGE_DELAY_MS,
  NoteError,
  type Receipt,
  verifyAccusation,
  verifyEd25519,
  verifyReceipt,
} from '@affidavit/trail'
import { AffidavitError } from './error.ts'
import type { KeptReceipt } from './receipt-store.ts'
import type { ReceiptKeeper } from './receipts.ts'
import { type Ask, epochHeadOf, nodeSha256, openTrail, type TrailView } from './trail-view.ts'

/** A receipt that nothing has confirmed, and why. It stays kept. */
export interface ReceiptProblem {
  /**
   * `contradicted`: the log has signed something else. `overdue`: the merge delay is over and no checkpoint covers the
   * entry. `unsigned`: no known key of the log has signed it, so it proves nothing. `unchecked`: the server could not be
   * asked, or what it shows proves nothing.
   */
  kind: 'contradicted' | 'overdue' | 'unsigned' | 'unchecked'
  receipt: KeptReceipt
  reason: string
  /** The accusation, for whoever is to judge: `affidavit verify FILE --vkey …`. */
  accusation?: string
}

export interface Confirmation {
  /** Receipts that a signed checkpoint agrees with; they are no longer kept. */
  confirmed: number
  /** Receipts so young that no checkpoint needs to cover them yet. */
  waiting: number
  contradicted: number
  overdue: number
  unsigned: number
  unchecked: number
  /** The first thousand receipts that are neither confirmed nor waiting. */
  problems: ReceiptProblem[]
}

/** Clocks differ, and an epoch takes a moment to be served: nobody is called late earlier than this. */
const PATIENCE_MS = MERGE_DELAY_MS + 60_000
const MOST_PROBLEMS = 1000
/** Each holds some tiles. */
const KEPT_VIEWS = 16

type Verdict = { kind: 'confirmed' | 'waiting' } | Omit<ReceiptProblem, 'receipt'>

/** Reviews everything that is kept. Rejects only when the store fails. */
export async function confirmReceipts({ store, vkeys }: ReceiptKeeper, ask: Ask): Promise<Confirmation> {
  const result: Confirmation = {
    confirmed: 0,
    waiting: 0,
    contradicted: 0,
    overdue: 0,
    unsigned: 0,
    unchecked: 0,
    problems: [],
  }
  const views = new Map<string, Promise<TrailView | string>>()
  const viewOf = ({ tenant, trail }: KeptReceipt) => {
    const known = views.get(trail)
    const view = known ?? openTrail(ask, tenant, trail, vkeys).catch(reasonOf)
    if (known === undefined) views.set(trail, view)
    if (views.size > KEPT_VIEWS) views.delete(views.keys().next().value!)
    return view
  }
  await store.review(async (portion) => {
    const left: KeptReceipt[] = []
    // Trail by trail, in the order of entries: then each trail and each of its tiles is asked for once.
    const ordered = [...portion].sort((a, b) => (a.trail === b.trail ? a.last - b.last : a.trail < b.trail ? -1 : 1))
    for (const receipt of ordered) {
      const verdict = await judge(receipt, await viewOf(receipt), ask).catch(
        (error): Verdict => ({ kind: 'unchecked', reason: reasonOf(error) }),
      )
      result[verdict.kind] += 1
      if (verdict.kind !== 'confirmed') left.push(receipt)
      if ('reason' in verdict && result.problems.length < MOST_PROBLEMS) result.problems.push({ receipt, ...verdict })
    }
    return left
  })
  return result
}

/** The server's own failures are reasons; anything else is a mistake of this program. */
function reasonOf(error: unknown): string {
  if (error instanceof AffidavitError || error instanceof NoteError || error instanceof RangeError) return error.message
  throw error
}

async function judge(kept: KeptReceipt, view: TrailView | string, ask: Ask): Promise<Verdict> {
  if (typeof view === 'string') return { kind: 'unchecked', reason: view }
  const { receipt, verified } = await verifiedReceipt(kept, view)
  if (verified.length === 0) return { kind: 'unsigned', reason: 'no known key of the log has signed the receipt' }
  if (receipt.last < view.checkpoint.size) return underCheckpoint(kept, receipt, view)
  if (Date.now() - Date.parse(receipt.sealedAt) < PATIENCE_MS) return { kind: 'waiting' }
  return missing(kept, view, ask)
}

/** Receipts may be signed by a key that came after those known so far. */
async function verifiedReceipt({ note }: KeptReceipt, view: TrailView) {
  const checked = await verifyReceipt(verifyEd25519, note, view.keys)
  if (checked.verified.length > 0 || !(await view.follow())) return checked
  return verifyReceipt(verifyEd25519, note, view.keys)
}

/** With how the keys follow one another, where the pinned ones alone do not convict. */
function accusing(view: TrailView, accusation: Accusation): Accusation {
  const { succession } = view
  return succession === undefined ? accusation : { ...accusation, succession }
}

async function underCheckpoint(kept: KeptReceipt, receipt: Receipt, view: TrailView): Promise<Verdict> {
  const at = await view.leafAt(receipt.last)
  if (at === undefined)
    return { kind: 'unchecked', reason: 'the tiles that the server shows are not those it has signed' }
  if (!contradicts(receipt, at.leaf)) return { kind: 'confirmed' }
  const head = { checkpoint: view.note }
  const accusation = formatAccusation(accusing(view, { kind: 'leaf', receipt: kept.note, head, ...at }))
  return {
    kind: 'contradicted',
    reason: `the log has signed another entry at ${receipt.last} than its receipt promised`,
    accusation,
  }
}

/** Late is what the newest checkpoint does not have; proven is what an epoch should have had. */
async function missing(kept: KeptReceipt, view: TrailView, ask: Ask): Promise<Verdict> {
  const late = `the checkpoint covers ${view.checkpoint.size} entries, the receipt is for entry ${kept.last}`
  let head: Awaited<ReturnType<typeof epochHeadOf>>
  try {
    head = await epochHeadOf(ask, kept.tenant)
  } catch (error) {
    return { kind: 'overdue', reason: `${late}; the registry cannot be asked: ${reasonOf(error)}` }
  }
  const make = () => accusing(view, { kind: 'missing', receipt: kept.note, head })
  const judge = (one: Accusation) => verifyAccusation(nodeSha256, verifyEd25519, one, view.keys)
  let accusation = make()
  let judged = await judge(accusation)
  if (judged.outcome === 'unchecked' && (await view.follow())) {
    accusation = make()
    judged = await judge(accusation)
  }
  if (judged.outcome !== 'proven') return { kind: 'overdue', reason: late }
  return { kind: 'contradicted', reason: judged.message, accusation: formatAccusation(accusation) }
}
