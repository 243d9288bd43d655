/**
 * JSON that is evidence. JSON.parse silently keeps the last of two equal keys, rounds numbers, and lets half
 * characters through: each would change what was said. Such a text is refused with the exact pointer instead.
 *
 * Nearly every text passes a quick look at its bytes (plain-json.ts). The others are read by the scanner. It is iterative
 * and linear, and it runs on texts that JSON.parse accepted, so it trusts the grammar and looks only for what JSON.parse
 * hides.
 */

import { isUtf8 } from 'node:buffer'
import { escapeSegment, type Json } from '../store/pointer.ts'
import { depthLimit, isPlain } from './plain-json.ts'
import { type Problem, problem } from './problem.ts'

export type Parsed = { ok: true; value: Json } | { ok: false; problem: Problem }

/** Parses UTF-8 bytes; a byte order mark is not part of JSON and refused. Never throws. */
export function parseStrict(bytes: Buffer): Parsed {
  if (!isUtf8(bytes)) return refused('invalid_utf8', 'The text is not valid UTF-8.', '')
  return parseStrictPart(bytes, 0, bytes.length)
}

/** As parseStrict for a part of well-formed UTF-8 that begins and ends with whole characters. Never throws. */
export function parseStrictPart(body: Buffer, start: number, end: number): Parsed {
  const text = body.toString('utf8', start, end)
  const parsed = parseWellFormed(text)
  return !parsed.ok || isPlain(body, start, end) ? parsed : careful(text, parsed)
}

/** As parseStrict, for text that is already a string. Never throws. */
export function parseStrictText(text: string): Parsed {
  if (!text.isWellFormed()) return refused('lone_surrogate', 'The text holds half of a surrogate pair.', '')
  const parsed = parseWellFormed(text)
  return parsed.ok ? careful(text, parsed) : parsed
}

function parseWellFormed(text: string): Parsed {
  try {
    return { ok: true, value: JSON.parse(text) as Json }
  } catch (error) {
    return refused('invalid_json', syntaxDetail(error), '')
  }
}

const careful = (text: string, parsed: Parsed): Parsed => new Scanner(text).scan() ?? parsed

/** V8 quotes the text in its messages; only the position is repeated, because the text may be personal. */
function syntaxDetail(error: unknown): string {
  const position = /at position (\d+)/.exec(String(error))?.[1]
  return position === undefined ? 'The text is not valid JSON.' : `The text is not valid JSON at character ${position}.`
}

function refused(code: Problem['code'], detail: string, pointer: string): { ok: false; problem: Problem } {
  return { ok: false, problem: problem(code, detail, pointer) }
}

const quote = 0x22
const backslash = 0x5c

/** Below this many keys a linear search beats a Set. */
const fewKeys = 12

interface Level {
  isObject: boolean
  keys: string[]
  /** Stands in for `keys` once an object has more than a few. */
  seen: Set<string> | undefined
  index: number
}

class Scanner {
  private readonly text: string
  private at = 0
  /** Reused between siblings, so that a million small objects cost no million sets. */
  private readonly levels: Level[] = []
  private depth = 0

  constructor(text: string) {
    this.text = text
  }

  /** The first refusal in the order of the text, or undefined. */
  scan(): { ok: false; problem: Problem } | undefined {
    const { text } = this
    const end = text.length
    let expectKey = false
    while (this.at < end) {
      const c = text.charCodeAt(this.at)
      if (c === quote) {
        const start = this.at
        const sound = this.skipString()
        if (expectKey) {
          expectKey = false
          if (!sound) return refused('lone_surrogate', 'A key holds half of a surrogate pair.', this.pointer(1))
          if (!this.addKey(start))
            return refused('duplicate_key', 'The key stands twice in its object.', this.pointer())
        } else if (!sound) {
          return refused('lone_surrogate', 'The string holds half of a surrogate pair.', this.pointer())
        }
      } else if (c === 0x7b || c === 0x5b) {
        if (this.depth === depthLimit) {
          return refused('too_deep', `Arrays and objects may nest ${depthLimit} levels deep.`, this.pointer())
        }
        this.push(c === 0x7b)
        expectKey = c === 0x7b
        this.at++
      } else if (c === 0x7d || c === 0x5d) {
        this.depth--
        expectKey = false
        this.at++
      } else if (c === 0x2c) {
        const level = this.levels[this.depth - 1]!
        expectKey = level.isObject
        level.index++
        this.at++
      } else if (c === 0x2d || (c >= 0x30 && c <= 0x39)) {
        if (!this.skipNumber()) {
          return refused('number_not_exact', 'A double cannot hold this number exactly as written.', this.pointer())
        }
      } else {
        this.at++
      }
    }
    return undefined
  }

  private push(isObject: boolean): void {
    const level = this.levels[this.depth++]
    if (level === undefined) {
      this.levels.push({ isObject, keys: [], seen: undefined, index: 0 })
      return
    }
    level.isObject = isObject
    level.keys.length = 0
    level.seen = undefined
    level.index = 0
  }

  /** Moves past the string that begins here; false when it holds an unpaired surrogate escape. */
  private skipString(): boolean {
    const { text } = this
    let i = this.at + 1
    let sound = true
    for (;;) {
      const c = text.charCodeAt(i)
      if (c === quote) break
      if (c !== backslash) {
        i++
        continue
      }
      if (text.charCodeAt(i + 1) !== 0x75) {
        i += 2
        continue
      }
      const unit = this.hex(i + 2)
      i += 6
      if (unit < 0xd800 || unit > 0xdfff) continue
      const next = text.charCodeAt(i) === backslash && text.charCodeAt(i + 1) === 0x75 ? this.hex(i + 2) : 0
      if (unit <= 0xdbff && next >= 0xdc00 && next <= 0xdfff) i += 6
      else sound = false
    }
    this.at = i + 1
    return sound
  }

  private hex(from: number): number {
    return Number.parseInt(this.text.slice(from, from + 4), 16)
  }

  /** Notes the key that was just skipped; false when its object has it already. */
  private addKey(start: number): boolean {
    const raw = this.text.slice(start + 1, this.at - 1)
    const key = raw.includes('\\') ? (JSON.parse(`"${raw}"`) as string) : raw
    const level = this.levels[this.depth - 1]!
    const known = level.seen === undefined ? level.keys.includes(key) : level.seen.has(key)
    if (level.seen === undefined && level.keys.length === fewKeys) level.seen = new Set(level.keys)
    if (level.seen !== undefined) {
      level.seen.add(key)
      level.keys[0] = key
    } else {
      level.keys.push(key)
    }
    return !known
  }

  private skipNumber(): boolean {
    const { text } = this
    const start = this.at
    let i = start + 1
    let plain = true
    for (; ; i++) {
      const c = text.charCodeAt(i)
      if (c >= 0x30 && c <= 0x39) continue
      if (c !== 0x2e && c !== 0x65 && c !== 0x45 && c !== 0x2b && c !== 0x2d) break
      plain = false
    }
    this.at = i
    return (plain && i - start <= 15) || isExact(text.slice(start, i))
  }

  /** Where the scanner stands; `above` leaves out the innermost segments. */
  private pointer(above = 0): string {
    let pointer = ''
    for (const level of this.levels.slice(0, this.depth - above)) {
      const last = level.seen === undefined ? level.keys.at(-1) : level.keys[0]
      pointer += level.isObject ? `/${escapeSegment(last ?? '')}` : `/${level.index}`
    }
    return pointer
  }
}

/**
 * True when the double nearest to a JSON number has the same decimal value in its shortest form (ECMA-262
 * Number::toString), that is, when storing and printing it loses nothing: 1.0, 1e3 and 0.1 are, 2^53 + 1 is not.
 */
export function isExact(token: string): boolean {
  const value = Number(token)
  return Number.isFinite(value) && decimal(token) === decimal(String(value))
}

/** A decimal number as significant digits and exponent of ten, the same for all spellings; -0 is 0. */
function decimal(token: string): string {
  const negative = token.startsWith('-')
  const e = token.search(/[eE]/)
  const mantissa = token.slice(negative ? 1 : 0, e === -1 ? undefined : e)
  const point = mantissa.indexOf('.')
  const digits = point === -1 ? mantissa : mantissa.slice(0, point) + mantissa.slice(point + 1)
  let exponent = (e === -1 ? 0 : Number(token.slice(e + 1))) - (point === -1 ? 0 : mantissa.length - point - 1)
  let start = 0
  let end = digits.length
  while (start < end && digits.charCodeAt(start) === 0x30) start++
  if (start === end) return '0'
  while (digits.charCodeAt(end - 1) === 0x30) end--
  exponent += digits.length - end
  return `${negative ? '-' : ''}${digits.slice(start, end)}e${exponent}`
}
