// Query parameters become the filter. One table below says of each parameter what it takes; validation, the OpenAPI schema
// and the documentation come from it.
import { CATEGORIES } from '@affidavit/trail'
import Type from 'typebox'
import { canonicalAddress } from './address.ts'
import { authMethods, type Filter, outcomes, type Page } from './filter.ts'
import { parseTime } from './time.ts'
import { wordsOf, wordUnits } from './words.ts'

/** One refused parameter. */
export interface ParameterProblem {
  readonly code: 'invalid_parameter' | 'missing_scope'
  readonly parameter: string
  /** One sentence; never repeats the value. */
  readonly detail: string
}

export type Parsed =
  | { readonly ok: true; readonly filter: Filter; readonly page: Page }
  | { readonly ok: false; readonly problems: readonly ParameterProblem[] }

export const defaultLimit = 100
export const maxLimit = 1000
/** Values of one parameter, and words of `q`. */
export const maxValues = 20
const maxMetadataKeys = 10
/** 9999-12-31T23:59:59.999Z. */
const lastTime = 253_402_300_799_999

interface Parameter {
  readonly description: string
  readonly maxLength: number
  readonly pattern?: RegExp
  readonly oneOf?: readonly string[]
  /** Values cannot contain a comma, so that a list may be written with commas, too. */
  readonly commas?: true
  /** Given at most once. */
  readonly single?: true
  readonly operatorOnly?: true
}

const lists = {
  actor: { description: 'Id or e-mail address of the actor', maxLength: 320 },
  action: {
    description: 'Action, or the beginning of one followed by *',
    maxLength: 128,
    pattern: /^(?:\*|[A-Za-z0-9_][A-Za-z0-9_.:/-]*\*?)$/,
    commas: true,
  },
  category: { description: 'Category', maxLength: 32, oneOf: CATEGORIES, commas: true },
  target: { description: 'Id or e-mail address of a target', maxLength: 320 },
  team: { description: 'Team of the actor', maxLength: 256 },
  outcome: { description: 'Outcome', maxLength: 16, oneOf: outcomes, commas: true },
  ip: { description: 'IP address of the request', maxLength: 64, commas: true },
  auth_method: { description: 'How the actor was authenticated', maxLength: 16, oneOf: authMethods, commas: true },
  request_id: { description: 'Id of the request', maxLength: 256 },
  trace_id: { description: 'Id of the trace', maxLength: 256 },
  session_id: { description: 'Id of the session; for operator keys only', maxLength: 256, operatorOnly: true },
} as const satisfies Record<string, Parameter>

const singles = {
  tenant: {
    description: 'Tenant; default: the tenant of the key',
    maxLength: 64,
    pattern: /^[A-Za-z0-9._-]+$/,
    single: true,
  },
  from: { description: 'occurred_at at or after this ISO 8601 date or time', maxLength: 64, single: true },
  to: { description: 'occurred_at before this ISO 8601 date or time', maxLength: 64, single: true },
  q: { description: 'Words that must all stand in the event', maxLength: 512, single: true },
  control: {
    description: 'Whether control entries are listed, too',
    maxLength: 5,
    oneOf: ['true', 'false'],
    single: true,
  },
  order: {
    description: 'Order of sealing: newest first (desc, the default) or oldest first (asc, for polling)',
    maxLength: 4,
    oneOf: ['asc', 'desc'],
    single: true,
  },
  limit: { description: `Events per page, at most ${maxLimit}`, maxLength: 4, pattern: /^[0-9]+$/, single: true },
  after: { description: 'Cursor: `next` of the page before', maxLength: 512, single: true },
} as const satisfies Record<string, Parameter>

const metadataParameter: Parameter = { description: 'Value of a top-level metadata key', maxLength: 1024 }

type ListName = keyof typeof lists
type SingleName = keyof typeof singles
const listNames = Object.keys(lists) as ListName[]

const isList = (name: string): name is ListName => Object.hasOwn(lists, name)
const isSingle = (name: string): name is SingleName => Object.hasOwn(singles, name)

/**
 * Reads query parameters as HTTP frameworks decode them: a repeated parameter is an array.
 * @param operator whether the caller may filter by what only the operator sees
 */
export function parseFilter(query: Readonly<Record<string, unknown>>, operator: boolean): Parsed {
  const problems: ParameterProblem[] = []
  const refuse = (parameter: string, detail: string, code: ParameterProblem['code'] = 'invalid_parameter') => {
    problems.push({ code, parameter, detail })
  }
  const found: Record<ListName, string[]> = Object.fromEntries(listNames.map((name) => [name, []])) as never
  const one: Partial<Record<SingleName, string>> = {}
  const metadata: [string, string[]][] = []
  for (const [name, raw] of Object.entries(query)) {
    if (isList(name)) found[name] = values(name, lists[name], raw, operator, refuse)
    else if (isSingle(name)) {
      const value = values(name, singles[name], raw, operator, refuse)[0]
      if (value !== undefined) one[name] = value
    } else if (name.startsWith('metadata.') && name.length > 'metadata.'.length) {
      metadata.push([name.slice('metadata.'.length), values(name, metadataParameter, raw, operator, refuse)])
    } else refuse(name, 'There is no such parameter.')
  }
  if (metadata.length > maxMetadataKeys)
    refuse('metadata', `At most ${maxMetadataKeys} metadata keys can be asked for.`)
  const ip = found.ip.map((text) => canonicalAddress(text))
  if (ip.includes(undefined)) refuse('ip', 'An IPv4 or IPv6 address is expected.')
  const from = time('from', one.from, refuse)
  const to = time('to', one.to, refuse)
  if (from !== null && to !== null && from >= to) refuse('to', '`to` must lie after `from`.')
  const words = searchedWords(one.q, refuse)
  const limit = Number(one.limit ?? defaultLimit)
  if (limit < 1 || limit > maxLimit) refuse('limit', `A number from 1 to ${maxLimit} is expected.`)
  if (problems.length > 0) return { ok: false, problems }
  const filter = { ...found, ip: ip as string[], metadata, words, from, to, control: one.control === 'true' }
  return { ok: true, filter, page: { order: one.order === 'asc' ? 'asc' : 'desc', limit, after: one.after ?? null } }
}

type Refuse = (parameter: string, detail: string, code?: ParameterProblem['code']) => void

function values(name: string, rule: Parameter, raw: unknown, operator: boolean, refuse: Refuse): string[] {
  if (rule.operatorOnly === true && !operator) {
    refuse(name, 'Only an operator key may use this parameter.', 'missing_scope')
    return []
  }
  const given = Array.isArray(raw) ? raw : [raw]
  if (rule.single === true && given.length > 1) {
    refuse(name, 'The parameter can be given once.')
    return []
  }
  const all = new Set<string>()
  for (const text of given) {
    const parts = rule.commas === true && typeof text === 'string' ? text.split(',') : [text]
    for (const part of parts) {
      const problem = valueProblem(rule, part)
      if (problem !== undefined) {
        refuse(name, problem)
        return []
      }
      all.add(part as string)
    }
  }
  if (all.size > maxValues) {
    refuse(name, `At most ${maxValues} values can be given.`)
    return []
  }
  return [...all]
}

function valueProblem(rule: Parameter, value: unknown): string | undefined {
  if (typeof value !== 'string') return 'A text is expected.'
  if (value === '') return 'The value is empty; leave the parameter out instead.'
  if (value.length > rule.maxLength) return `The value is longer than ${rule.maxLength} characters.`
  if (rule.oneOf !== undefined && !rule.oneOf.includes(value)) return `One of ${rule.oneOf.join(', ')} is expected.`
  if (rule.pattern !== undefined && !rule.pattern.test(value)) return `The value does not match ${rule.pattern.source}.`
  return undefined
}

function time(name: string, text: string | undefined, refuse: Refuse): number | null {
  if (text === undefined) return null
  const value = parseTime(text)
  // Events lie between 1970 and a day from now, so times beyond what the store can compare with mean the same.
  if (value !== undefined) return Math.min(Math.max(value, 0), lastTime)
  const hint = / \d\d:?\d\d$/.test(text) ? ' A + in a URL is written %2B.' : ''
  refuse(name, `An ISO 8601 date or time is expected, such as 2026-03-10 or 2026-03-10T18:33:14Z.${hint}`)
  return null
}

const overlong = new RegExp(`[\\p{L}\\p{N}\\p{M}]{${wordUnits + 1}}`, 'u')

function searchedWords(text: string | undefined, refuse: Refuse): string[] {
  if (text === undefined) return []
  const words = wordsOf(text)
  if (overlong.test(text.normalize('NFKC'))) refuse('q', `A word has at most ${wordUnits} letters or digits.`)
  else if (words.length === 0) refuse('q', 'A word of letters or digits is expected.')
  if (words.length > maxValues) refuse('q', `At most ${maxValues} words can be asked for.`)
  return words
}

const valueSchema = (rule: Parameter) =>
  Type.String({
    minLength: 1,
    maxLength: rule.maxLength,
    ...(rule.oneOf === undefined ? {} : { enum: [...rule.oneOf] }),
    ...(rule.pattern === undefined ? {} : { pattern: rule.pattern.source }),
  })

const parameterSchema = (rule: Parameter) =>
  Type.Optional(
    rule.single === true
      ? Type.String({ ...valueSchema(rule), description: rule.description })
      : Type.Array(valueSchema(rule), { maxItems: maxValues, description: rule.description }),
  )

/** The parameters as a JSON Schema object, for OpenAPI. Lists are arrays (style form, explode). */
export const FilterParameters = Type.Object(
  Object.fromEntries(Object.entries({ ...singles, ...lists }).map(([name, rule]) => [name, parameterSchema(rule)])),
)
