/**
 * Cuts the body of a batch into its items before any of them is parsed, on bytes, so that an item with broken JSON,
 * broken UTF-8 or half a character loses only itself. Structural bytes are ASCII and never part of a longer UTF-8
 * sequence, so brackets and quotes can be followed without decoding.
 */

import { isUtf8 } from 'node:buffer'
import type { Json } from '../store/pointer.ts'
import { type Problem, problem } from './problem.ts'
import { parseStrict, parseStrictPart } from './strict-json.ts'

export interface BatchLimits {
  /** Items in one batch. */
  items: number
  /** Bytes of one item. */
  itemBytes: number
}

export const batchLimits: BatchLimits = { items: 10_000, itemBytes: 320 * 1024 }

/** An item in input order; a refused one keeps its place. Pointers of a problem are relative to the item. */
export type BatchItem =
  | { index: number; ok: true; value: Json; bytes: number }
  | { index: number; ok: false; problem: Problem }

/** The items of a batch, cut but not parsed: each is parsed when it is asked for, every time anew. */
export class BatchItems {
  readonly #body: Buffer
  readonly #ranges: Ranges
  readonly #limits: BatchLimits
  readonly #wellFormed: boolean

  constructor(body: Buffer, ranges: Ranges, limits: BatchLimits) {
    this.#body = body
    this.#ranges = ranges
    this.#limits = limits
    this.#wellFormed = isUtf8(body)
  }

  get length(): number {
    return this.#ranges.length / 2
  }

  at(index: number): BatchItem | undefined {
    if (index < 0 || index >= this.length) return undefined
    return item(
      index,
      this.#body,
      this.#ranges[2 * index]!,
      this.#ranges[2 * index + 1]!,
      this.#limits,
      this.#wellFormed,
    )
  }

  *[Symbol.iterator](): Generator<BatchItem> {
    for (let index = 0; index < this.length; index++) yield this.at(index)!
  }
}

export type Batch = { ok: true; items: BatchItems } | { ok: false; problem: Problem }

/**
 * NDJSON (blank lines are skipped; a last line without LF counts), a JSON array, or `{"events": […]}` without other
 * members. What it is follows from the bytes, not from Content-Type, which clients get wrong: `[` first is an array;
 * an object whose first key is "events" and holds an array is the wrapped form; else lines.
 *
 * The whole body is refused when it is blank, when its array is cut off or does not end the body, and when it has
 * more items than permitted. Never throws.
 */
export function splitBatch(body: Buffer, limits: BatchLimits = batchLimits): Batch {
  const start = skipSpace(body, hasByteOrderMark(body) ? 3 : 0)
  if (start === body.length) return refused('invalid_batch', 'The body holds no event.')
  const array = body[start] === open ? start : wrappedArray(body, start)
  const ranges = array === undefined ? lines(body, start, limits) : elements(body, array, array !== start, limits)
  if (!Array.isArray(ranges)) return { ok: false, problem: ranges }
  return { ok: true, items: new BatchItems(body, ranges, limits) }
}

const open = 0x5b
const close = 0x5d
const quote = 0x22

/** @param wellFormed whether the whole body is UTF-8, so that no item needs to be looked at for itself */
function item(
  index: number,
  body: Buffer,
  start: number,
  end: number,
  limits: BatchLimits,
  wellFormed: boolean,
): BatchItem {
  const bytes = end - start
  if (bytes > limits.itemBytes) {
    return { index, ok: false, problem: problem('event_too_large', `One event may be ${limits.itemBytes} bytes.`, '') }
  }
  const parsed = wellFormed ? parseStrictPart(body, start, end) : parseStrict(body.subarray(start, end))
  return parsed.ok ? { index, ok: true, value: parsed.value, bytes } : { index, ok: false, problem: parsed.problem }
}

/** Start and end offsets, alternating: two numbers per item instead of an object. */
type Ranges = number[]

function lines(body: Buffer, from: number, limits: BatchLimits): Ranges | Problem {
  const ranges: Ranges = []
  for (let start = from; start < body.length; start = skipSpace(body, start)) {
    if (ranges.length === 2 * limits.items) return tooMany(limits)
    const newline = body.indexOf(0x0a, start)
    const end = newline === -1 ? body.length : newline
    ranges.push(start, trimEnd(body, start, end))
    start = end
  }
  return ranges
}

/** The elements of the array whose bracket stands at `array`; `wrapped` expects the brace of `{"events"` after it. */
function elements(body: Buffer, array: number, wrapped: boolean, limits: BatchLimits): Ranges | Problem {
  const ranges: Ranges = []
  let at = skipSpace(body, array + 1)
  if (body[at] !== close) {
    for (;;) {
      if (ranges.length === 2 * limits.items) return tooMany(limits)
      const end = elementEnd(body, at)
      if (end === body.length) return problem('invalid_json', 'The array of events is cut off.', '')
      ranges.push(at, trimEnd(body, at, end))
      if (body[end] !== 0x2c) {
        at = end
        break
      }
      at = skipSpace(body, end + 1)
    }
  }
  if (body[at] !== close) return problem('invalid_json', 'The brackets of the array of events do not match.', '')
  at = skipSpace(body, at + 1)
  if (wrapped) {
    if (body[at] !== 0x7d) return problem('invalid_batch', 'Nothing may follow the array in {"events": […]}.', '')
    at = skipSpace(body, at + 1)
  }
  return at === body.length ? ranges : problem('invalid_json', 'Something follows the end of the batch.', '')
}

/** The offset of the comma or closing bracket that ends the element at `at`; the body's length when there is none. */
function elementEnd(body: Buffer, at: number): number {
  let depth = 0
  for (let i = at; i < body.length; i++) {
    const c = body[i]!
    if (c === quote) i = stringEnd(body, i)
    else if (c === 0x7b || c === open) depth++
    else if (c === 0x7d || c === close) {
      if (depth === 0) return i
      depth--
    } else if (c === 0x2c && depth === 0) return i
  }
  return body.length
}

/** The offset of the quote that ends the string at `at`. */
function stringEnd(body: Buffer, at: number): number {
  for (let i = at + 1; i < body.length; i++) {
    const c = body[i]!
    if (c === 0x5c) i++
    else if (c === quote) return i
  }
  return body.length
}

/** The offset of the array in `{"events": [`, or undefined when the body begins otherwise. */
function wrappedArray(body: Buffer, start: number): number | undefined {
  if (body[start] !== 0x7b) return undefined
  const key = skipSpace(body, start + 1)
  if (body.toString('latin1', key, key + 8) !== '"events"') return undefined
  const colon = skipSpace(body, key + 8)
  if (body[colon] !== 0x3a) return undefined
  const array = skipSpace(body, colon + 1)
  return body[array] === open ? array : undefined
}

function skipSpace(body: Buffer, at: number): number {
  while (at < body.length && isSpace(body[at]!)) at++
  return at
}

function trimEnd(body: Buffer, start: number, end: number): number {
  while (end > start && isSpace(body[end - 1]!)) end--
  return end
}

/** JSON's own four white-space bytes. */
function isSpace(c: number): boolean {
  return c === 0x20 || c === 0x0a || c === 0x0d || c === 0x09
}

function hasByteOrderMark(body: Buffer): boolean {
  return body[0] === 0xef && body[1] === 0xbb && body[2] === 0xbf
}

function tooMany(limits: BatchLimits): Problem {
  return problem('too_many_items', `One batch may hold ${limits.items} events.`, '')
}

function refused(code: Problem['code'], detail: string): Batch {
  return { ok: false, problem: problem(code, detail, '') }
}
