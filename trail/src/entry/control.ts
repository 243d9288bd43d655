/**
 * Control entries: what changes what a verifier may expect of a trail. One grammar per kind (docs/spec/control.md);
 * ids, seq ranges, counts and times stand here in the clear, anything a person wrote stands under the entry's facts.
 */
import { CATEGORIES, type Category } from './category.ts'
import { EntryError } from './entry-error.ts'

/** Days a payload is kept at most before it may be pruned. */
export type Retention = number | 'forever'

export interface Open {
  readonly kind: 'open'
  /** `<log name>/<trail id>`, also the name of the log keys. */
  readonly origin: string
  readonly retention: Retention
  readonly log: readonly string[]
  readonly recovery: readonly string[]
}

export interface Continues {
  readonly kind: 'continues'
  readonly trail: string
  readonly size: number
  /** Base64 root of the continued trail at `size`. */
  readonly root: string
}

export type Policy =
  | {
      readonly kind: 'policy'
      readonly about: 'retention'
      readonly category: Category | 'all'
      readonly retention: Retention
      /** `new`: for entries after this one. A time: from then on for earlier entries too. */
      readonly from: string
    }
  | { readonly kind: 'policy'; readonly about: 'capture'; readonly version: number }

export type Keys =
  | { readonly kind: 'keys'; readonly about: 'log' | 'recovery'; readonly vkeys: readonly string[] }
  | {
      readonly kind: 'keys'
      readonly about: 'data' | 'subject'
      readonly step: 'made' | 'destroyed'
      readonly generation: number
    }

/** What still concerns entries from the next `truncate`'s size on, restated in order. */
export interface State {
  readonly kind: 'state'
  /** 1-based. */
  readonly part: number
  readonly parts: number
  readonly restated: readonly Control[]
}

export type Hold =
  | { readonly kind: 'hold'; readonly hold: string; readonly scope: 'trail' }
  | {
      readonly kind: 'hold'
      readonly hold: string
      readonly scope: 'entries'
      readonly from: number
      readonly to: number
    }
  | { readonly kind: 'hold'; readonly hold: string; readonly scope: 'subjects'; readonly subjects: readonly string[] }

/** Every range is half open: `from` is in, `to` is not. */
export type Control =
  | Open
  | Continues
  | Policy
  | Keys
  | State
  | { readonly kind: 'prune'; readonly category: Category; readonly before: number }
  | { readonly kind: 'truncate'; readonly size: number }
  | { readonly kind: 'erase'; readonly subjects: readonly string[] }
  | { readonly kind: 'redact'; readonly seqs: readonly number[] }
  | Hold
  | { readonly kind: 'release'; readonly hold: string }
  | {
      readonly kind: 'sampled'
      readonly from: string
      readonly to: string
      readonly tier: number
      readonly count: number
    }
  | { readonly kind: 'lost'; readonly from: number; readonly to: number }
  | { readonly kind: 'close'; readonly reason: 'continued' | 'deleted' }

export type ControlKind = Control['kind']

/** The kinds a `state` entry may restate. */
const RESTATABLE: ReadonlySet<string> = new Set([
  'open',
  'continues',
  'policy',
  'keys',
  'prune',
  'erase',
  'redact',
  'hold',
  'sampled',
  'lost',
])

/** The text after `control ` in an entry. The caller vouches for the values; `decodeControl` judges them. */
export function encodeControl(control: Control): string {
  switch (control.kind) {
    case 'open': {
      const log = [control.log.length, ...control.log].join(' ')
      const recovery = [control.recovery.length, ...control.recovery].join(' ')
      return `open ${control.origin} ${control.retention} log ${log} recovery ${recovery}`
    }
    case 'continues':
      return `continues ${control.trail} ${control.size} ${control.root}`
    case 'policy':
      return control.about === 'capture'
        ? `policy capture ${control.version}`
        : `policy retention ${control.category} ${control.retention} ${control.from}`
    case 'keys':
      return 'vkeys' in control
        ? `keys ${control.about} ${control.vkeys.join(' ')}`
        : `keys ${control.about} ${control.step} ${control.generation}`
    case 'state':
      return `state ${control.part}/${control.parts} ${control.restated.map(encodeControl).join(' ; ')}`
    case 'prune':
      return `prune ${control.category} ${control.before}`
    case 'truncate':
      return `truncate ${control.size}`
    case 'erase':
      return `erase ${control.subjects.join(' ')}`
    case 'redact':
      return `redact ${control.seqs.join(' ')}`
    case 'hold':
      return `hold ${control.hold} ${encodeScope(control)}`
    case 'release':
      return `release ${control.hold}`
    case 'sampled':
      return `sampled ${control.from} ${control.to} ${control.tier} ${control.count}`
    case 'lost':
      return `lost ${control.from} ${control.to}`
    case 'close':
      return `close ${control.reason}`
  }
}

function encodeScope(hold: Hold): string {
  if (hold.scope === 'entries') return `entries ${hold.from} ${hold.to}`
  if (hold.scope === 'subjects') return `subjects ${hold.subjects.join(' ')}`
  return 'trail'
}

/**
 * Parses the text after `control `. Throws EntryError: `unknown_kind` for a kind this version does not know,
 * `malformed` for one it knows but whose arguments break the grammar.
 */
export function decodeControl(text: string): Control {
  const tokens = new Tokens(text)
  const control = decodeKind(tokens.next('a control kind'), tokens)
  tokens.end()
  return control
}

function decodeKind(kind: string, tokens: Tokens): Control {
  switch (kind) {
    case 'open':
      return decodeOpen(tokens)
    case 'continues':
      return { kind, trail: tokens.id(), size: tokens.integer(), root: tokens.match(BASE64_32, 'a base64 hash') }
    case 'policy':
      return decodePolicy(tokens)
    case 'keys':
      return decodeKeys(tokens)
    case 'state':
      return decodeState(tokens)
    case 'prune':
      return { kind, category: tokens.oneOf(CATEGORIES), before: tokens.integer(1) }
    case 'truncate': {
      const size = tokens.integer(256)
      if (size % 256 !== 0) throw new EntryError('malformed', `truncate size ${size} is not a multiple of 256`)
      return { kind, size }
    }
    case 'erase':
      return { kind, subjects: tokens.ascendingIds() }
    case 'redact':
      return { kind, seqs: tokens.ascendingIntegers() }
    case 'hold':
      return decodeHold(tokens)
    case 'release':
      return { kind, hold: tokens.id() }
    case 'sampled': {
      const [from, to] = [tokens.time(), tokens.time()]
      if (from >= to) throw new EntryError('malformed', `empty range ${from} ${to}`)
      return { kind, from, to, tier: tokens.integer(), count: tokens.integer(1) }
    }
    case 'lost':
      return { kind, ...tokens.range() }
    case 'close':
      return { kind, reason: tokens.oneOf(['continued', 'deleted'] as const) }
    default:
      throw new EntryError('unknown_kind', `unknown control kind ${JSON.stringify(kind.slice(0, 40))}`)
  }
}

function decodeOpen(tokens: Tokens): Open {
  const origin = tokens.match(ORIGIN, 'an origin')
  const retention = tokens.retention()
  tokens.word('log')
  const log = tokens.vkeys(tokens.integer(1))
  tokens.word('recovery')
  return { kind: 'open', origin, retention, log, recovery: tokens.vkeys(tokens.integer()) }
}

function decodePolicy(tokens: Tokens): Policy {
  const about = tokens.next('a policy')
  if (about === 'capture') return { kind: 'policy', about, version: tokens.integer(1) }
  if (about !== 'retention')
    throw new EntryError('unknown_kind', `unknown policy ${JSON.stringify(about.slice(0, 40))}`)
  const category = tokens.oneOf([...CATEGORIES, 'all'] as const)
  const retention = tokens.retention()
  const from = tokens.peek() === 'new' ? tokens.next('new') : tokens.time()
  return { kind: 'policy', about, category, retention, from }
}

function decodeKeys(tokens: Tokens): Keys {
  const about = tokens.next('a key purpose')
  if (about === 'log' || about === 'recovery') return { kind: 'keys', about, vkeys: tokens.vkeys(tokens.left(1)) }
  if (about !== 'data' && about !== 'subject') {
    throw new EntryError('unknown_kind', `unknown keys ${JSON.stringify(about.slice(0, 40))}`)
  }
  return { kind: 'keys', about, step: tokens.oneOf(['made', 'destroyed'] as const), generation: tokens.integer(1) }
}

function decodeState(tokens: Tokens): State {
  const [part, parts] = tokens.match(PART, 'a part number').split('/').map(Number) as [number, number]
  if (!Number.isSafeInteger(parts) || part > parts) throw new EntryError('malformed', `part ${part} of ${parts}`)
  const restated = tokens
    .rest()
    .split(' ; ')
    .map((text) => {
      const kind = text.split(' ', 1)[0]!
      if (!RESTATABLE.has(kind))
        throw new EntryError('malformed', `state restates ${JSON.stringify(kind.slice(0, 40))}`)
      return decodeControl(text)
    })
  return { kind: 'state', part, parts, restated }
}

function decodeHold(tokens: Tokens): Hold {
  const hold = tokens.id()
  const scope = tokens.oneOf(['trail', 'entries', 'subjects'] as const)
  if (scope === 'entries') return { kind: 'hold', hold, scope, ...tokens.range() }
  if (scope === 'subjects') return { kind: 'hold', hold, scope, subjects: tokens.ascendingIds() }
  return { kind: 'hold', hold, scope }
}

const BASE64_32 = /^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/
const ID = /^[0-9a-f]{32}$/
const PART = /^[1-9][0-9]{0,15}\/[1-9][0-9]{0,15}$/
const INTEGER = /^(?:0|[1-9][0-9]{0,15})$/
/** A signed-note key name: printable ASCII without space and plus; it ends in `/<trail id>`. */
const ORIGIN = /^[!-*,-~]{1,255}\/[0-9a-f]{32}$/
const VKEY = /^[!-*,-~]{1,288}\+[0-9a-f]{8}\+[A-Za-z0-9+/]{4,8192}={0,2}$/

/** Reads the space-separated words of one control line from left to right. */
class Tokens {
  private readonly words: readonly string[]
  private at = 0

  constructor(text: string) {
    this.words = text.split(' ')
  }

  peek(): string | undefined {
    return this.words[this.at]
  }

  next(expected: string): string {
    const word = this.words[this.at++]
    if (word === undefined || word === '') throw new EntryError('malformed', `expected ${expected}`)
    return word
  }

  /** How many words are left, at least `min`. */
  left(min: number): number {
    const left = this.words.length - this.at
    if (left < min) throw new EntryError('malformed', `expected at least ${min} more`)
    return left
  }

  rest(): string {
    const rest = this.words.slice(this.at).join(' ')
    this.at = this.words.length
    return rest
  }

  end(): void {
    if (this.at < this.words.length) throw new EntryError('malformed', 'words after the last argument')
  }

  match(pattern: RegExp, expected: string): string {
    const word = this.next(expected)
    if (!pattern.test(word)) throw new EntryError('malformed', `expected ${expected}`)
    return word
  }

  word(expected: string): void {
    if (this.next(expected) !== expected) throw new EntryError('malformed', `expected ${expected}`)
  }

  oneOf<const T extends string>(words: readonly T[]): T {
    const word = this.next(`one of ${words.join(', ')}`)
    const known = words.find((candidate) => candidate === word)
    if (known === undefined) throw new EntryError('malformed', `expected one of ${words.join(', ')}`)
    return known
  }

  id(): string {
    return this.match(ID, '32 lower-case hex digits')
  }

  integer(min = 0): number {
    const value = Number(this.match(INTEGER, 'a decimal number'))
    if (!Number.isSafeInteger(value) || value < min)
      throw new EntryError('malformed', `number below ${min} or too large`)
    return value
  }

  range(): { from: number; to: number } {
    const [from, to] = [this.integer(), this.integer()]
    if (from >= to) throw new EntryError('malformed', `empty range ${from} ${to}`)
    return { from, to }
  }

  time(): string {
    const word = this.next('a time')
    if (!isTime(word)) throw new EntryError('malformed', 'expected a time YYYY-MM-DDTHH:MM:SS.mmmZ')
    return word
  }

  retention(): Retention {
    if (this.peek() === 'forever') return this.next('forever') as 'forever'
    return this.integer(1)
  }

  vkeys(count: number): string[] {
    if (count > this.left(0)) throw new EntryError('malformed', `expected ${count} keys`)
    return Array.from({ length: count }, () => this.match(VKEY, 'a verifier key'))
  }

  ascendingIds(): string[] {
    return this.ascending(this.left(1), () => this.id())
  }

  ascendingIntegers(): number[] {
    return this.ascending(this.left(1), () => this.integer())
  }

  private ascending<T extends string | number>(count: number, read: () => T): T[] {
    const values = Array.from({ length: count }, read)
    for (let i = 1; i < values.length; i++) {
      if (values[i - 1]! >= values[i]!) throw new EntryError('malformed', 'values are not strictly ascending')
    }
    return values
  }
}

const TIME =
  /^([0-9]{4})-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\.[0-9]{3}Z$/
const MONTH_DAYS = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]

/** Whether `text` is exactly `YYYY-MM-DDTHH:MM:SS.mmmZ` and names a day of the Gregorian calendar; no leap seconds. */
export function isTime(text: string): boolean {
  const parts = TIME.exec(text)
  if (parts === null) return false
  const [year, month, day] = [Number(parts[1]), Number(parts[2]), Number(parts[3])]
  const leap = year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0)
  return day <= (month === 2 && leap ? 29 : MONTH_DAYS[month - 1]!)
}
