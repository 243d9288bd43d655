// What every place that is no witness has in common: it takes a registry checkpoint and gives something back that shows
// that it did.
import type { AnchorKind } from './settings.ts'

/** A registry checkpoint as it leaves the house. */
export interface Document {
  readonly origin: string
  readonly epoch: number
  readonly size: number
  /** Base64. */
  readonly root: string
  /** Time of the epoch. */
  readonly at_ms: number
  /** The signed note with the cosignatures that are there by now: these bytes are anchored. */
  readonly note: string
}

export interface Placed {
  /** The bytes that the place has now, where they are not those of the document. */
  readonly note?: string
  /** What the place answered, if a verifier can use it. */
  readonly token?: Buffer
  /** Where it is and until when, for people and verifiers. */
  readonly details?: Readonly<Record<string, string | null>>
}

export interface Place {
  readonly name: string
  readonly kind: AnchorKind
  readonly every_ms: number
  /** Whether anybody may see and download what was placed. */
  readonly isPublic: boolean
  /**
   * Repeating it does no harm: nobody knows whether the first one arrived.
   * @throws WrongAnswer; anything else means that it should be tried again
   */
  place(document: Document): Promise<Placed>
  close(): void
}

/** The other side answered, and what it said is wrong: worth a person's look, never to be believed. */
export class WrongAnswer extends Error {
  override name = 'WrongAnswer'
}
