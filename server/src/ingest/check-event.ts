/**
 * Whether a structured event may be stored: its schema, and what a schema cannot say. All problems of an event are
 * collected (the schema's first eight), each with the pointer of the value, or of the member that is missing.
 */

import { isIP } from 'node:net'
import { Compile } from 'typebox/compile'
import { platformPrefix } from '../catalog/platform-actions.ts'
import { escapeSegment } from '../store/pointer.ts'
import { type ActorInput, EventInput, limits } from './event.ts'
import { type Problem, problem } from './problem.ts'
import { parseTime } from './time.ts'

const structured = Compile(EventInput)

/** Problems of the schema; empty when the value is an EventInput. */
export function checkShape(value: unknown): Problem[] {
  return structured.Check(value) ? [] : structured.Errors(value).flatMap(toProblems)
}

export interface MeaningContext {
  /** Time of arrival, ms. */
  arrival: number
  /** The platform itself may use its own action prefix. */
  platform: boolean
}

/**
 * Problems beyond the schema: times, addresses, reserved names, depth of delegation and of free JSON.
 * @param at translates a pointer of the structured form to the form that was sent
 */
export function checkMeaning(event: EventInput, context: MeaningContext, at: (pointer: string) => string): Problem[] {
  const problems: Problem[] = []
  const add = (code: Problem['code'], detail: string, pointer: string) =>
    problems.push(problem(code, detail, at(pointer)))
  if (!context.platform && event.action.startsWith(platformPrefix)) {
    add('reserved_action', `Actions under ${platformPrefix} are written by the platform itself.`, '/action')
  }
  if (event.occurred_at !== undefined) {
    const occurred = parseTime(event.occurred_at)
    if (occurred === undefined) add('invalid_time', 'Not an ISO 8601 time of 1970 or later.', '/occurred_at')
    else if (occurred > context.arrival + limits.clockAhead) {
      add('invalid_time', 'The time lies more than a day ahead of the server.', '/occurred_at')
    }
  }
  const ip = event.context?.ip
  if (ip !== undefined && isIP(ip) === 0) add('invalid_value', 'Not an IPv4 or IPv6 address.', '/context/ip')
  const { actor } = event
  if (actor.on_behalf_of !== undefined || actor.impersonator !== undefined) checkDelegation(actor, add)
  checkFree(event.metadata, '/metadata', add)
  event.changes?.forEach((change, i) => {
    checkFree(change.before, `/changes/${i}/before`, add)
    checkFree(change.after, `/changes/${i}/after`, add)
  })
  return problems
}

type Add = (code: Problem['code'], detail: string, pointer: string) => void

function checkDelegation(actor: ActorInput, add: Add): void {
  let count = 0
  const visit = (one: ActorInput, depth: number, pointer: string): void => {
    count++
    if (depth > limits.delegationDepth) {
      add('too_deep', `Delegation may be ${limits.delegationDepth} levels deep.`, pointer)
      return
    }
    if (one.on_behalf_of !== undefined) visit(one.on_behalf_of, depth + 1, `${pointer}/on_behalf_of`)
    if (one.impersonator !== undefined) visit(one.impersonator, depth + 1, `${pointer}/impersonator`)
  }
  visit(actor, 0, '/actor')
  if (count > limits.actors) add('too_many', `One event may name ${limits.actors} actors and delegators.`, '/actor')
}

/** Keys that mark values set apart from the facts; a client's own would let it fake one. */
export const markers = ['$personal', '$confidential', '$operator'] as const
const reserved: ReadonlySet<string> = new Set(markers)

/** Deep enough for anything real, and below what strict parsing admits for a whole body. */
const freeDepth = 62

function checkFree(value: unknown, pointer: string, add: Add): void {
  if (typeof value !== 'object' || value === null) return
  const found = findBad(value, 0)
  if (found === undefined) return
  if (found.code === 'reserved_key') add(found.code, 'The key is reserved.', pointer + found.suffix)
  else add(found.code, `Values may nest ${freeDepth} levels deep.`, pointer + found.suffix)
}

function findBad(value: object, depth: number): { code: 'reserved_key' | 'too_deep'; suffix: string } | undefined {
  if (depth > freeDepth) return { code: 'too_deep', suffix: '' }
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) {
      const member: unknown = value[i]
      if (typeof member !== 'object' || member === null) continue
      const found = findBad(member, depth + 1)
      if (found !== undefined) return { code: found.code, suffix: `/${i}${found.suffix}` }
    }
    return undefined
  }
  for (const key in value) {
    if (key.charCodeAt(0) === 0x24 && reserved.has(key)) return { code: 'reserved_key', suffix: `/${key}` }
    const member = (value as Record<string, unknown>)[key]
    if (typeof member !== 'object' || member === null) continue
    const found = findBad(member, depth + 1)
    if (found !== undefined) return { code: found.code, suffix: `/${escapeSegment(key)}${found.suffix}` }
  }
  return undefined
}

interface SchemaError {
  keyword: string
  instancePath: string
  params: object
}

const formats: Readonly<Record<string, string>> = { 'date-time': '2026-03-10T18:33:14Z' }

/** One error of the schema as problems with our codes. The value itself is never repeated. */
export function toProblems({ keyword, instancePath: pointer, params }: SchemaError): Problem[] {
  const given = params as Record<string, unknown>
  switch (keyword) {
    case 'additionalProperties':
      return [] // named one by one as 'boolean'
    case 'boolean':
      return [problem('unknown_field', 'The field is not known here.', pointer)]
    case 'required':
      return (given.requiredProperties as string[]).map((name) =>
        problem('missing_field', `${name} is required.`, `${pointer}/${escapeSegment(name)}`),
      )
    case 'type':
      return [problem('wrong_type', `Must be ${[given.type].flat().join(' or ')}.`, pointer)]
    case 'enum':
      return [problem('invalid_value', `Must be one of ${(given.allowedValues as unknown[]).join(', ')}.`, pointer)]
    case 'minLength':
      return [problem('too_short', `Must have at least ${given.limit} character.`, pointer)]
    case 'maxLength':
      return [problem('too_long', `May have at most ${given.limit} characters.`, pointer)]
    case 'minItems':
      return [problem('too_short', `Must have at least ${given.limit} element.`, pointer)]
    case 'maxItems':
      return [problem('too_many', `May have at most ${given.limit} elements.`, pointer)]
    case 'maxProperties':
      return [problem('too_many', `May have at most ${given.limit} members.`, pointer)]
    case 'minimum':
    case 'maximum':
      return [
        problem('invalid_value', `Must be at ${keyword === 'minimum' ? 'least' : 'most'} ${given.limit}.`, pointer),
      ]
    case 'format':
      return [
        problem('invalid_value', `Must be a ${given.format}, for example ${formats[`${given.format}`]}.`, pointer),
      ]
    case 'uniqueItems':
      return [problem('invalid_value', 'Must name each value once.', pointer)]
    case 'pattern':
      return [problem('invalid_value', `Must match ${given.pattern}.`, pointer)]
    default:
      return [problem('invalid_value', 'The value is not allowed here.', pointer)]
  }
}
