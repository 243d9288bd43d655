// Path and query parameters against the schemas that the OpenAPI document shows.
import type { TSchema } from 'typebox'
import { Compile, type Validator } from 'typebox/compile'
import type { Operation } from './operation.ts'
import { refuse } from './refused.ts'

export type CheckParameters = (params: Readonly<Record<string, string>>, query: URLSearchParams) => void

/**
 * A parameter that nobody declared is a mistake worth telling, and so is one that is repeated without being a list.
 * Lists may be repeated or written with commas: their operation takes them apart and checks each value.
 */
export function checkParameters(operation: Operation): CheckParameters {
  const inPath = compiled(operation.params)
  const inQuery = compiled(operation.query)
  return (params, query) => {
    for (const [name, validator] of inPath) {
      if (!validator!().Check(params[name]))
        throw refuse('invalid_parameter', `The path parameter ${name} ${rule(operation.params![name]!)}.`)
    }
    const seen = new Set<string>()
    for (const [name, value] of query) {
      if (operation.metadataQuery === true && name.startsWith('metadata.')) continue
      const validator = inQuery.get(name)
      if (validator === undefined)
        throw refuse('invalid_parameter', `There is no query parameter ${printable(name)} here.`)
      if (validator === null) continue
      if (seen.has(name)) throw refuse('invalid_parameter', `The query parameter ${name} can be given once.`)
      seen.add(name)
      if (!validator().Check(value) && !validator().Check(asScalar(value)))
        throw refuse('invalid_parameter', `The query parameter ${name} ${rule(operation.query![name]!)}.`)
    }
  }
}

/** Null for lists. Each is compiled when it is first asked: a start would wait for all of them, and most are never used. */
function compiled(schemas: Operation['params']): Map<string, (() => Validator) | null> {
  return new Map(
    Object.entries(schemas ?? {}).map(([name, schema]) => {
      let validator: Validator | undefined
      return [name, 'items' in schema ? null : () => (validator ??= Compile(schema))]
    }),
  )
}

/** Query values are text; a schema may say number or boolean. */
function asScalar(text: string): unknown {
  if (text === 'true' || text === 'false') return text === 'true'
  return /^-?\d{1,15}$/.test(text) ? Number(text) : text
}

/** What a value must be, as the end of a sentence. */
function rule(schema: TSchema): string {
  const { type, pattern, enum: values, minimum, maximum, maxLength } = schema as Record<string, unknown>
  if (Array.isArray(values)) return `must be ${values.join(' or ')}`
  if (type === 'boolean') return 'must be true or false'
  if (type === 'integer') return `must be a whole number from ${minimum} to ${maximum}`
  if (pattern !== undefined) return `must match ${pattern}`
  return maxLength === undefined ? 'is not well-formed' : `must have 1 to ${maxLength} characters`
}

/** A name that the client made up, fit for a sentence. */
function printable(name: string): string {
  const clean = name.replace(/[^\x21-\x7e]/g, '?')
  return clean.length > 60 ? `${clean.slice(0, 60)}…` : clean
}

/** The parameters of an operation's path, `{rest+}` included. */
export function pathParameters(operation: Operation, raw: Readonly<Record<string, string>>): Record<string, string> {
  const rest = /\{(\w+)\+\}$/.exec(operation.path)?.[1]
  const { '*': wildcard, ...params } = raw
  return rest === undefined ? params : { ...params, [rest]: wildcard ?? '' }
}

/** Whether a path, as it was sent, is one of the template's. */
export function matchesPath(template: string, path: string): boolean {
  const parts = template.split('/')
  const given = path.split('/')
  const rest = template.endsWith('+}')
  if (rest ? given.length < parts.length : given.length !== parts.length) return false
  return parts.every((part, i) => part.startsWith('{') || part === given[i])
}

/** A parameter that is given once is a string, one that is repeated an array, as the filter expects them. */
export function decoded(query: URLSearchParams): Record<string, string | string[]> {
  const found: Record<string, string | string[]> = Object.create(null)
  for (const name of new Set(query.keys())) {
    const values = query.getAll(name)
    found[name] = values.length === 1 ? values[0]! : values
  }
  return found
}
