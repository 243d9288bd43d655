// The OpenAPI 3.1 document, made from the very schemas that validate.
import Type, { type TSchema } from 'typebox'
import { schemaComponents } from '../ingest/components.ts'
import { type ProblemCode, problems } from '../ingest/problem.ts'
import type { Operation } from './operation.ts'
import { namedSchemas } from './schemas.ts'

/** Codes that any operation may answer with. */
const everywhere: readonly ProblemCode[] = [
  'invalid_request',
  'invalid_parameter',
  'internal_error',
  'unavailable',
  'keys_unavailable',
]
const authenticated: readonly ProblemCode[] = ['unauthorized', 'missing_scope']
const withBody: readonly ProblemCode[] = [
  'body_too_large',
  'unsupported_media_type',
  'unsupported_encoding',
  'invalid_gzip',
  'invalid_utf8',
  'request_timeout',
]
/** What strict parsing refuses in any JSON body. */
const withJson: readonly ProblemCode[] = [
  'invalid_json',
  'duplicate_key',
  'lone_surrogate',
  'number_not_exact',
  'too_deep',
]

/** GET /openapi.json for the given operations and itself. */
export function openApi(operations: readonly Operation[]): Operation {
  let text: string | undefined
  const self: Operation = {
    method: 'GET',
    path: '/openapi.json',
    operationId: 'openapi',
    tag: 'Status',
    summary: 'This document',
    scope: null,
    responses: {
      200: { description: 'OpenAPI 3.1', content: { 'application/json': Type.Object({ openapi: Type.String() }) } },
    },
    problems: [],
    handle: async () => {
      text ??= JSON.stringify(document([...operations, self]))
      return { status: 200, body: text, type: 'application/json; charset=utf-8' }
    },
  }
  return self
}

function document(operations: readonly Operation[]): object {
  const paths: Record<string, Record<string, object>> = {}
  for (const operation of operations) {
    const path = operation.path.replace(/\{(\w+)\+\}$/, '{$1}')
    paths[path] = { ...paths[path], [operation.method.toLowerCase()]: operationObject(operation) }
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Affidavit',
      version: '1',
      description:
        'The audit trail that a company runs for its customers, and that those customers can check without trusting it.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/' }],
    components: {
      securitySchemes: { key: { type: 'http', scheme: 'bearer', description: 'An API key: aff_…' } },
      schemas: { ...schemaComponents(), ...namedSchemas },
    },
    paths,
  }
}

function operationObject(operation: Operation): object {
  const { operationId, tag, summary, description, scope, params, query, requestHeaders, body, bodyOptional } = operation
  return {
    operationId,
    tags: [tag],
    summary,
    ...(description !== undefined && { description }),
    ...(scope !== null && { security: [{ key: [] }], 'x-scope': scope }),
    parameters: [
      ...parameters('path', params),
      ...parameters('query', query),
      ...(operation.metadataQuery === true ? [metadataParameter] : []),
      ...parameters('header', requestHeaders),
    ],
    ...(body !== undefined && { requestBody: { required: bodyOptional !== true, content: media(body) } }),
    responses: { ...successes(operation), ...refusals(operation) },
  }
}

function parameters(where: 'path' | 'query' | 'header', schemas: Operation['params']): object[] {
  return Object.entries(schemas ?? {}).map(([name, schema]) => ({
    name,
    in: where,
    required: where === 'path',
    ...('description' in schema && { description: schema.description }),
    schema,
  }))
}

/** Any member of an exploded object is a query parameter of its own, which is how OpenAPI says "any metadata.<key>". */
const metadataParameter = {
  name: 'metadata',
  in: 'query',
  required: false,
  style: 'form',
  explode: true,
  description: 'Any `metadata.<key>=value`: the value of a top-level metadata key, as text',
  schema: {
    type: 'object',
    maxProperties: 10,
    patternProperties: { '^metadata\\.[A-Za-z0-9_]+$': { type: 'string', minLength: 1, maxLength: 1024 } },
    additionalProperties: false,
  },
}

/** A named schema is referred to, any other stands where it is used. */
function reference(schema: TSchema): object {
  const name = Object.keys(namedSchemas).find((candidate) => namedSchemas[candidate] === schema)
  return name === undefined ? schema : { $ref: `#/components/schemas/${name}` }
}

const media = (content: Readonly<Record<string, TSchema>>) =>
  Object.fromEntries(Object.entries(content).map(([type, schema]) => [type, { schema: reference(schema) }]))

function successes({ responses }: Operation): object {
  return Object.fromEntries(
    Object.entries(responses).map(([status, { description, content }]) => [
      status,
      { description, ...(content !== undefined && { content: media(content) }) },
    ]),
  )
}

/** Refusals by status, each with the codes it may carry. */
function refusals(operation: Operation): object {
  const { body, responses } = operation
  const codes = new Set<ProblemCode>([
    ...everywhere,
    // Whatever changes something seals an entry that says so.
    ...(operation.method === 'GET' ? [] : (['trail_stopped'] as const)),
    ...(operation.scope === null ? [] : authenticated),
    ...(body === undefined ? [] : withBody),
    ...(body !== undefined && 'application/json' in body ? withJson : []),
    ...operation.problems,
  ])
  const byStatus = new Map<number, ProblemCode[]>()
  for (const code of codes) byStatus.set(problems[code].status, [...(byStatus.get(problems[code].status) ?? []), code])
  const described = Object.fromEntries([...byStatus].map(([status, group]) => [status, refusal(group)]))
  // A status that is both an answer and a refusal (readiness: 503) carries either.
  for (const [status, answer] of Object.entries(responses)) {
    const refused = described[status]
    if (refused !== undefined) {
      described[status] = {
        ...refused,
        description: `${answer.description}; ${refused.description}`,
        content: { ...media(answer.content ?? {}), ...refused.content },
      }
    }
  }
  return described
}

const refusal = (codes: readonly ProblemCode[]) => ({
  description: codes.map((code) => `\`${code}\`: ${problems[code].title}`).join('; '),
  content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } } as object,
  'x-codes': codes,
})
