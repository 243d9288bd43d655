/**
 * What is known about actions: the meaning behind the name that an event carries. A catalog is a value made of
 * entries, so that an operator or a tenant can lay its own over the standard ones.
 */

import type { Category } from './category.ts'
import { sentenceOf } from './sentence.ts'
import { categoryOfWords } from './words.ts'

/** Percent of events that would do where somebody samples. Nothing samples yet: every event is kept. */
export type SamplingTier = 100 | 50 | 10 | 1

/** What a producer should do: wait for the durable receipt (`record`), or queue the event in the background (`emit`). */
export type CaptureMode = 'await' | 'background'

export interface CatalogEntry {
  action: string
  /** Stands in the facts of each event; rises when the meaning changes. 0 = not registered. */
  version: number
  category: Category
  /**
   * What follows the actor. `<past|base>` is the verb, for "did", "failed to do" and "tried to do"; `{target}`,
   * `{target.1}`, `{path}`, `{before}`, `{after}` and `{metadata.key}` are values; `{target|metadata.dataset|data}`
   * takes the first that is there, the last may be plain text; `{thing member of project}` is the target with what it is
   * to the deed; `[…]` is left out when a value inside is missing.
   */
  sentence: string
  sampling: SamplingTier
  capture: CaptureMode
  /** Pointer patterns of personal values beyond the default ones. */
  personal: readonly string[]
  /** Pointer patterns of values that only readers with the right may see. */
  confidential: readonly string[]
}

/** A bound, so that hostile names cannot fill the memory; the derivation is cheap enough to be repeated. */
const derivedLimit = 10_000

export class Catalog {
  private readonly entries = new Map<string, CatalogEntry>()
  private readonly derived = new Map<string, CatalogEntry>()

  /** A later entry for the same action replaces the earlier one. */
  constructor(entries: Iterable<CatalogEntry>) {
    for (const entry of entries) this.entries.set(entry.action, entry)
  }

  /** The registered entry, or undefined. */
  find(action: string): CatalogEntry | undefined {
    return this.entries.get(action)
  }

  /** The registered entry, or one derived from the words of the action (version 0). */
  resolve(action: string): CatalogEntry {
    return this.entries.get(action) ?? this.derived.get(action) ?? this.derive(action)
  }

  /** All registered entries. */
  list(): Iterable<CatalogEntry> {
    return this.entries.values()
  }

  private derive(action: string): CatalogEntry {
    const category = categoryOfWords(action) ?? 'mutation'
    const entry: CatalogEntry = {
      action,
      version: 0,
      category,
      sentence: sentenceOf(action),
      sampling: 100,
      capture: captureOf(category),
      personal: [],
      confidential: [],
    }
    if (this.derived.size >= derivedLimit) this.derived.clear()
    this.derived.set(action, entry)
    return entry
  }
}

/** Evidence of access and administration is worth waiting for; reads and ordinary edits are many. */
export function captureOf(category: Category): CaptureMode {
  return category === 'data_access' || category === 'mutation' ? 'background' : 'await'
}
