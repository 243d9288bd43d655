// The door: turns HTTP into calls of operations and their replies back into HTTP. Everything that every request has in
// common happens here once: limits, authentication, scopes, parameters, problems, headers.
import type { Socket } from 'node:net'
import { Readable } from 'node:stream'
import Fastify, { type FastifyError, type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import { unavailableDetail, withheldDetail } from '../ingest/answer.ts'
import { type Problem, problem } from '../ingest/problem.ts'
import { isWithheld } from '../keys/unusable.ts'
import { StoreUnavailable } from '../store/database.ts'
import type { Log } from '../store/log.ts'
import { SealUnavailable } from '../store/sealable.ts'
import type { ApiKeys, Principal } from '../tenants/api-keys.ts'
import { authenticate, checkMediaType } from './admission.ts'
import { BodyBudget, type BodyShare } from './body.ts'
import { closeConnections } from './closing.ts'
import type { Operation, Reply } from './operation.ts'
import { checkParameters, matchesPath, pathParameters } from './parameters.ts'
import { Refused, refuse } from './refused.ts'

export interface ServerOptions {
  readonly operations: readonly Operation[]
  readonly apiKeys: Pick<ApiKeys, 'authenticate'>
  readonly log: Log
  /** Told of each answer, for the metrics. */
  readonly onAnswer: (operationId: string, status: number, seconds: number) => void
  /** For answers under way when the server is closed. */
  readonly patience_ms?: number
}

/** What is known of a request once it is let in. */
interface Admitted {
  readonly principal: Principal | null
  readonly share: BodyShare
  /** From then on the handler gives the share back. */
  handled: boolean
}

declare module 'fastify' {
  interface FastifyRequest {
    admitted: Admitted | null
  }
  interface FastifyContextConfig {
    operation?: Operation
  }
}

// Importing node:http reads all that it exports, WebSocket among it, and so loads a client that nobody here uses: 50 ms and
// 13 MB.
const { STATUS_CODES } = process.getBuiltinModule('node:http')

const defaultBodyLimit = 64 * 1024
/** Request line and header fields. */
const headerBytes = 16 * 1024

export function buildServer(options: ServerOptions): FastifyInstance {
  const { operations, log } = options
  const app = Fastify({
    logger: false,
    requestTimeout: 60_000,
    keepAliveTimeout: 75_000,
    routerOptions: { maxParamLength: headerBytes },
    http: { maxHeaderSize: headerBytes },
    return503OnClosing: true,
    clientErrorHandler: refuseConnection,
    frameworkErrors: (_error, _request, reply) =>
      void send(reply, problem('invalid_request', 'The address is not well-formed.')),
  })
  app.decorateRequest('admitted', null)
  app.removeAllContentTypeParsers()
  // The handler reads the body itself, when it knows that it wants it.
  app.addContentTypeParser('*', (_request, _payload, done) => done(null))
  app.setErrorHandler((error: FastifyError, request, reply) => {
    const told = toRefused(error)
    const url = request.routeOptions.url
    if (told.problem.code === 'internal_error') log.error({ err: error, url }, 'request failed')
    else if (told.problem.code === 'unavailable' || told.problem.code === 'keys_unavailable')
      log.warn({ err: error, url }, 'request could not be served')
    return send(reply, told.problem, told.headers)
  })
  app.setNotFoundHandler((request, reply) => notFound(operations, request, reply))
  app.addHook('onResponse', (request, reply, done) => {
    const id = request.routeOptions.config?.operation?.operationId ?? 'none'
    options.onAnswer(id, reply.statusCode, reply.elapsedTime / 1000)
    done()
  })
  closeConnections(app, log, options.patience_ms)
  const budget = new BodyBudget()
  for (const operation of operations) addRoute(app, operation, options, budget)
  return app
}

function addRoute(app: FastifyInstance, operation: Operation, { apiKeys }: ServerOptions, budget: BodyBudget): void {
  const check = checkParameters(operation)
  app.route({
    method: operation.method,
    url: operation.path.replace(/\{(\w+)\+\}$/, '*').replace(/\{(\w+)\}/g, ':$1'),
    config: { operation },
    onRequest: async (request, reply) => {
      const principal = await authenticate(apiKeys, operation, request.headers)
      checkMediaType(operation, request.headers)
      const admitted = { principal, share: budget.share(principal?.tenant ?? null), handled: false }
      request.admitted = admitted
      reply.raw.once('close', () => {
        if (!admitted.handled) admitted.share.release()
      })
    },
    handler: async (request, reply) => {
      const admitted = request.admitted!
      const { principal, share } = admitted
      admitted.handled = true
      try {
        const params = pathParameters(operation, request.params as Record<string, string>)
        const query = new URLSearchParams(request.raw.url?.split('?', 2)[1] ?? '')
        check(params, query)
        const given = await readBody(operation, request, share)
        const body = await share.decode(given, request.headers['content-encoding'], limitOf(operation))
        const call = { principal, params, query, headers: request.headers, body, arrivalMs: Date.now() }
        return answer(request, reply, await operation.handle(call), operation.scope !== null)
      } finally {
        share.release()
      }
    },
  })
}

const limitOf = ({ body, bodyLimit }: Operation): number => (body === undefined ? 0 : (bodyLimit ?? defaultBodyLimit))

async function readBody(operation: Operation, { method, raw }: FastifyRequest, share: BodyShare): Promise<Buffer> {
  const { 'content-length': length = '0', 'transfer-encoding': encoding } = raw.headers
  // A body of GET or HEAD means nothing (RFC 9110 §9.3.1).
  if ((length === '0' && encoding === undefined) || method === 'GET' || method === 'HEAD') return Buffer.alloc(0)
  if (operation.body === undefined) throw refuse('invalid_request', 'This operation takes no body.')
  return share.read(raw, limitOf(operation))
}

function answer(
  request: FastifyRequest,
  reply: FastifyReply,
  { status, body, type, headers }: Reply,
  isPrivate: boolean,
): FastifyReply {
  reply.code(status).header('x-content-type-options', 'nosniff')
  if (isPrivate && headers?.['cache-control'] === undefined) reply.header('cache-control', 'no-store')
  if (headers !== undefined) reply.headers(headers)
  if (body === undefined) return reply.send()
  if (type === undefined) return reply.type('application/json; charset=utf-8').send(JSON.stringify(body))
  reply.type(type)
  if (request.method !== 'HEAD' || !(body instanceof Readable)) return reply.send(body)
  body.destroy() // what nobody will read need not be made
  return reply.send()
}

function send(reply: FastifyReply, told: Problem, headers: Readonly<Record<string, string>> = {}): FastifyReply {
  return reply
    .code(told.status)
    .headers({ 'x-content-type-options': 'nosniff', 'cache-control': 'no-store', ...headers })
    .type('application/problem+json; charset=utf-8')
    .send(JSON.stringify(told))
}

function notFound(operations: readonly Operation[], request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const path = request.url.split('?', 1)[0]!
  const methods = operations.filter(({ path: template }) => matchesPath(template, path)).map(({ method }) => method)
  if (methods.length === 0)
    return send(reply, problem('not_found', 'There is nothing at this address; /openapi.json lists what there is.'))
  const allowed = methods.flatMap((method) => (method === 'GET' ? ['GET', 'HEAD'] : [method]))
  return send(reply, problem('method_not_allowed', `Use ${methods.join(' or ')}.`), { allow: allowed.join(', ') })
}

/** What is no HTTP never reaches a route: it is answered on the bare connection, unless an answer is under way there. */
function refuseConnection(error: NodeJS.ErrnoException, socket: Socket): void {
  const { _httpMessage: pending } = socket as { _httpMessage?: { headersSent: boolean } | null }
  if (error.code === 'ECONNRESET' || !socket.writable || pending?.headersSent === true) {
    socket.destroy()
    return
  }
  const told = connectionProblem(error.code)
  const body = JSON.stringify(told)
  socket.end(
    `HTTP/1.1 ${told.status} ${STATUS_CODES[told.status]}\r\ncontent-type: application/problem+json; charset=utf-8\r\n` +
      `content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
  )
}

function connectionProblem(code: string | undefined): Problem {
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return problem('request_timeout', 'The request was not complete in time.')
  if (code === 'HPE_HEADER_OVERFLOW')
    return problem('headers_too_large', `Address and header fields may have ${headerBytes} bytes in all.`)
  return problem('invalid_request', 'This is not a complete HTTP/1.1 request.')
}

function toRefused(error: FastifyError): Refused {
  if (error instanceof Refused) return error
  if (error instanceof StoreUnavailable) {
    const detail = error.isFull
      ? 'The storage is full. Nothing was stored.'
      : 'The database cannot be reached at the moment.'
    return refuse('unavailable', detail, undefined, { 'retry-after': '2' })
  }
  if (isWithheld(error)) return refuse('keys_unavailable', withheldDetail(error), undefined, { 'retry-after': '2' })
  if (error instanceof SealUnavailable)
    return refuse(
      error.code === 'trail_stopped' ? 'trail_stopped' : 'unavailable',
      unavailableDetail(error.code),
      undefined,
      { 'retry-after': '2' },
    )
  if (error.statusCode !== undefined && error.statusCode < 500)
    return refuse('invalid_request', 'The request could not be understood.')
  return refuse('internal_error', 'Something went wrong on our side.')
}
