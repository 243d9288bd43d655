// The door: turns HTTP into calls of operations and their replies back into HTTP. Everything that every request has in
// common happens here once: limits, authentication, scopes, parameters, problems, headers.
import Fastify, { type FastifyError, type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import { Compile, type Validator } from 'typebox/compile'
import { unavailableDetail } from '../ingest/accept.ts'
import { type Problem, problem } from '../ingest/problem.ts'
import { StoreUnavailable } from '../store/database.ts'
import type { Log } from '../store/log.ts'
import { SealUnavailable } from '../store/sealable.ts'
import type { ApiKeys, Principal } from '../tenants/api-keys.ts'
import { BodyBudget, decoded } from './body.ts'
import type { Call, Operation, Reply } from './operation.ts'
import { Refused, refuse } from './refused.ts'

export interface ServerOptions {
  readonly operations: readonly Operation[]
  readonly apiKeys: Pick<ApiKeys, 'authenticate'>
  readonly log: Log
  /** Told of each answer, for the metrics. */
  readonly onAnswer: (operationId: string, status: number, seconds: number) => void
}

const defaultBodyLimit = 64 * 1024
const urlLimit = 16 * 1024

export function buildServer(options: ServerOptions): FastifyInstance {
  const { operations, log } = options
  const budget = new BodyBudget()
  const app = Fastify({
    logger: false,
    bodyLimit: defaultBodyLimit,
    requestTimeout: 60_000,
    keepAliveTimeout: 75_000,
    routerOptions: { maxParamLength: 1024 },
    http: { maxHeaderSize: urlLimit },
    return503OnClosing: true,
    clientErrorHandler: (_error, socket) => {
      if (socket.writable)
        socket.end(rawProblem(problem('invalid_request', 'This is not a complete HTTP/1.1 request.')))
    },
    frameworkErrors: (_error, _request, reply) =>
      void send(reply, problem('invalid_request', 'The address is not well-formed.')),
  })
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body))
  app.setErrorHandler((error: FastifyError, request, reply) => {
    const told = toRefused(error)
    if (told.problem.status >= 500 && told.problem.code !== 'unavailable')
      log.error({ err: error, url: request.routeOptions.url }, 'request failed')
    else if (told.problem.code === 'unavailable')
      log.warn({ err: error, url: request.routeOptions.url }, 'request could not be served')
    return send(reply, told.problem, told.headers)
  })
  app.setNotFoundHandler((request, reply) => notFound(operations, request, reply))
  app.addHook('onResponse', (request, reply, done) => {
    const { operationId } = request.routeOptions.config as { operationId?: string }
    options.onAnswer(operationId ?? 'none', reply.statusCode, reply.elapsedTime / 1000)
    done()
  })
  for (const operation of operations) addRoute(app, operation, options, budget)
  return app
}

function addRoute(app: FastifyInstance, operation: Operation, options: ServerOptions, budget: BodyBudget): void {
  const checks = compileParameters(operation)
  const bodyLimit = operation.bodyLimit ?? defaultBodyLimit
  app.route({
    method: operation.method,
    url: operation.path.replace(/\{(\w+)\+\}$/, '*').replace(/\{(\w+)\}/g, ':$1'),
    bodyLimit,
    config: { operationId: operation.operationId },
    handler: async (request, reply) => {
      const arrivalMs = Date.now()
      const principal = operation.scope === null ? null : await authenticate(options.apiKeys, request, operation)
      const given = (request.body as Buffer | undefined) ?? Buffer.alloc(0)
      const release = budget.take(given.length)
      try {
        checkMediaType(operation, request, given)
        const body =
          operation.body === undefined ? given : await decoded(given, request.headers['content-encoding'], bodyLimit)
        const params = pathParameters(operation, request.params as Record<string, string>)
        const query = new URLSearchParams(request.raw.url?.split('?', 2)[1] ?? '')
        checks(params, query)
        const call: Call = {
          principal,
          params,
          query,
          headers: request.headers,
          body,
          arrivalMs,
          signal: closing(request),
        }
        return answer(reply, await operation.handle(call), operation.scope !== null)
      } finally {
        release()
      }
    },
  })
}

async function authenticate(
  apiKeys: ServerOptions['apiKeys'],
  request: FastifyRequest,
  operation: Operation,
): Promise<Principal> {
  const result = await apiKeys.authenticate(request.headers.authorization)
  if (!result.ok) {
    if (result.reason === 'busy')
      throw refuse('unavailable', 'Too many unknown keys are being looked up.', undefined, { 'retry-after': '1' })
    throw refuse('unauthorized', keyProblems[result.reason], undefined, {
      'www-authenticate': 'Bearer realm="affidavit"',
    })
  }
  if (!result.principal.scopes.has(operation.scope!))
    throw refuse('missing_scope', `The operation needs the scope ${operation.scope}.`)
  return result.principal
}

const keyProblems = {
  missing: 'There is no Authorization: Bearer header.',
  malformed: 'The key is not a key of this system; a character may be missing.',
  unknown: 'The key is not known here.',
  revoked: 'The key was revoked.',
  expired: 'The key has expired.',
} as const

function checkMediaType(operation: Operation, request: FastifyRequest, body: Buffer): void {
  if (operation.body === undefined) {
    if (body.length > 0) throw refuse('invalid_request', 'This operation takes no body.')
    return
  }
  const type = request.headers['content-type']?.replace(/;.*/s, '').trim().toLowerCase()
  if (type === undefined || Object.hasOwn(operation.body, type)) return
  throw refuse('unsupported_media_type', `Send ${Object.keys(operation.body).join(' or ')}.`)
}

function pathParameters(operation: Operation, raw: Record<string, string>): Record<string, string> {
  const rest = /\{(\w+)\+\}$/.exec(operation.path)?.[1]
  const { '*': wildcard, ...params } = raw
  return rest === undefined ? params : { ...params, [rest]: wildcard ?? '' }
}

/** Checks declared parameters against their schemas; a parameter that nobody declared is a mistake worth telling. */
function compileParameters(operation: Operation): (params: Record<string, string>, query: URLSearchParams) => void {
  const compile = (schemas: Operation['params']) =>
    new Map<string, Validator>(Object.entries(schemas ?? {}).map(([name, schema]) => [name, Compile(schema)]))
  const inPath = compile(operation.params)
  const inQuery = compile(operation.query)
  const anyMetadata = inQuery.has('metadata.<key>')
  return (params, query) => {
    for (const [name, validator] of inPath) {
      if (!validator.Check(params[name]))
        throw refuse('invalid_parameter', `The path parameter ${name} is not well-formed.`)
    }
    for (const [name, value] of query) {
      const validator =
        inQuery.get(name) ?? (anyMetadata && /^metadata\../.test(name) ? inQuery.get('metadata.<key>') : undefined)
      if (validator === undefined)
        throw refuse('invalid_parameter', `The query parameter ${JSON.stringify(name.slice(0, 80))} is not known here.`)
      // A list may be repeated or written with commas: the operation takes it apart and checks each value.
      if (operation.query?.[name] !== undefined && 'items' in operation.query[name]) continue
      if (!validator.Check(value) && !validator.Check(asScalar(value)))
        throw refuse('invalid_parameter', `The query parameter ${name} is not well-formed.`)
    }
  }
}

/** Query values are text; a schema may say number or boolean. */
function asScalar(text: string): unknown {
  if (text === 'true' || text === 'false') return text === 'true'
  return /^-?\d{1,15}$/.test(text) ? Number(text) : text
}

function closing(request: FastifyRequest): AbortSignal {
  const controller = new AbortController()
  request.raw.once('close', () => {
    if (!request.raw.complete || request.raw.destroyed) controller.abort()
  })
  return controller.signal
}

function answer(reply: FastifyReply, { status, body, type, headers }: Reply, isPrivate: boolean): FastifyReply {
  reply.code(status).header('x-content-type-options', 'nosniff')
  if (isPrivate && headers?.['cache-control'] === undefined) reply.header('cache-control', 'no-store')
  if (headers !== undefined) reply.headers(headers)
  if (body === undefined) return reply.send()
  if (type !== undefined) return reply.type(type).send(body)
  return reply.type('application/json; charset=utf-8').send(JSON.stringify(body))
}

function send(reply: FastifyReply, told: Problem, headers: Readonly<Record<string, string>> = {}): FastifyReply {
  return reply
    .code(told.status)
    .headers({ 'x-content-type-options': 'nosniff', 'cache-control': 'no-store', ...headers })
    .type('application/problem+json; charset=utf-8')
    .send(JSON.stringify(told))
}

function rawProblem(told: Problem): string {
  const body = JSON.stringify(told)
  return `HTTP/1.1 ${told.status} Bad Request\r\ncontent-type: application/problem+json\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`
}

function notFound(operations: readonly Operation[], request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const path = request.url.split('?', 1)[0]!
  const allowed = operations.filter((operation) => matches(operation.path, path)).map((operation) => operation.method)
  if (allowed.length === 0) return send(reply, problem('not_found', 'There is nothing at this address.'))
  return send(reply, problem('method_not_allowed', `Use ${allowed.join(' or ')}.`), { allow: allowed.join(', ') })
}

function matches(template: string, path: string): boolean {
  const parts = template.split('/')
  const given = path.split('/')
  const rest = /\+\}$/.test(template)
  if (rest ? given.length < parts.length : given.length !== parts.length) return false
  return parts.every((part, i) => part.startsWith('{') || part === given[i])
}

function toRefused(error: FastifyError): Refused {
  if (error instanceof Refused) return error
  if (error instanceof StoreUnavailable)
    return refuse('unavailable', 'The database cannot be reached at the moment.', undefined, { 'retry-after': '2' })
  if (error instanceof SealUnavailable)
    return refuse('unavailable', unavailableDetail(error.code), undefined, { 'retry-after': '2' })
  if (error.code === 'FST_ERR_CTP_BODY_TOO_LARGE')
    return refuse('body_too_large', 'The body is larger than this operation takes.')
  if (error.code?.startsWith('FST_ERR_CTP')) return refuse('invalid_request', 'The body does not match its headers.')
  if (error.statusCode !== undefined && error.statusCode < 500)
    return refuse('invalid_request', 'The request could not be understood.')
  return refuse('internal_error', 'Something went wrong on our side.')
}
