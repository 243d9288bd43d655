/** What passes from a format's reader to the sender: an event ready to send, or the reason why there is none. */

/** Place in the input: the line it begins on, or its number where the input is one JSON document. Both count from 1. */
export interface Place {
  unit: 'line' | 'record'
  number: number
}

/** A piece of the input before it is understood. */
export type RawRecord = { place: Place; ok: true; text: string } | { place: Place; ok: false; reason: string }

/** `text` is the event as one line of JSON. */
export type Item =
  | { place: Place; ok: true; text: string; action: string }
  | { place: Place; ok: false; reason: string }

/** "line 12" or "record 12". */
export function describePlace(place: Place): string {
  return `${place.unit} ${place.number}`
}
