/** Keeping receipts as they come: a store that fails must not make a sealed event look refused. */

import { NoteError, parseNote, parseReceipt } from '@affidavit/trail'
import { type KeptReceipt, memoryReceipts, type ReceiptStore } from './receipt-store.ts'

export interface ReceiptOptions {
  /** Where receipts wait: `fileReceipts({ folder })`, `memoryReceipts()`, or your own. Default: memory. */
  store?: ReceiptStore
  /**
   * Verifier keys of the log, from a contract or set-up link: one of any of its trails is enough. Without, the key that
   * the server names is believed, and only what contradicts itself is found.
   */
  vkeys?: readonly string[]
  /** Called when the store fails, or the server sent something that is no receipt. The event itself is sealed. */
  onError?: (error: unknown) => void
}

export class ReceiptKeeper {
  readonly store: ReceiptStore
  readonly vkeys: readonly string[]
  readonly #onError: (error: unknown) => void

  constructor({ store = memoryReceipts(), vkeys = [], onError = () => {} }: ReceiptOptions) {
    this.store = store
    this.vkeys = vkeys
    this.#onError = onError
  }

  /** Keeps signed notes; `tenants` names the tenant of each trail. Never rejects. */
  async keep({ notes, tenants }: { notes: readonly string[]; tenants: ReadonlyMap<string, string> }): Promise<void> {
    const at = Date.now()
    const kept: KeptReceipt[] = []
    try {
      for (const note of notes) {
        const { trail, first, last } = this.#read(note) ?? {}
        const tenant = trail === undefined ? undefined : tenants.get(trail)
        if (tenant !== undefined) kept.push({ tenant, trail: trail!, first: first!, last: last!, at, note })
      }
      await this.store.keep(kept)
    } catch (error) {
      this.#tell(error)
    }
  }

  #read(note: string) {
    try {
      return parseReceipt(parseNote(note).text)
    } catch (error) {
      if (!(error instanceof NoteError)) throw error
      this.#tell(error)
      return undefined
    }
  }

  #tell(error: unknown): void {
    try {
      this.#onError(error)
    } catch {
      // The listener's own fault; there is nobody to tell.
    }
  }
}
