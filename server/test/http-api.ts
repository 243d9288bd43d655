// A client that trusts no answer: each one is held to the OpenAPI document of the server that gave it. An undocumented
// status, media type, member or problem code fails the test that met it.
//
//   const api = await Api.of(server.url, server.key)
//   const { status, body } = await api.post('/v1/events', { action: 'a.b', actor: { id: 'u' } })
import { Compile, type Validator } from 'typebox/compile'

type Json = Record<string, unknown>

export interface Answer {
  readonly status: number
  readonly headers: Headers
  /** Parsed where it is JSON; a Buffer where it is none; undefined where there is none. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers whose shape the document has just been held to
  readonly body: any
}

export interface Ask {
  readonly method?: string
  /** null: none. Default: the client's own. */
  readonly key?: string | null
  /** An object is sent as JSON, bytes and text as they are. */
  readonly body?: object | string | Buffer | undefined
  readonly headers?: Readonly<Record<string, string>>
}

export interface DocumentedOperation {
  readonly method: string
  /** Path template. */
  readonly path: string
  readonly operationId: string
  readonly scope: string | null
  readonly parameters: readonly { name: string; in: string; schema: Json }[]
  readonly hasBody: boolean
}

interface Documented {
  readonly operation: DocumentedOperation
  readonly responses: Readonly<Record<string, { content?: Record<string, { schema: Json }>; 'x-codes'?: string[] }>>
  /** By status and media type. Compiled when first asked for: few tests see more than a few kinds of answers. */
  readonly validators: Map<string, () => Validator>
}

/** The document that was read last. */
let known: { text: string; operations: readonly Documented[] } | undefined

export class Api {
  readonly url: string
  readonly key: string
  readonly document: Json
  readonly #operations: readonly Documented[]
  /** Operation, status and code of every answer so far. */
  readonly seen: Set<string>

  private constructor(
    url: string,
    key: string,
    document: Json,
    operations: readonly Documented[],
    seen: Set<string> = new Set(),
  ) {
    this.url = url
    this.key = key
    this.document = document
    this.#operations = operations
    this.seen = seen
  }

  static async of(url: string, key: string): Promise<Api> {
    const text = await (await fetch(`${url}/openapi.json`)).text()
    // A server that was started again says the same.
    if (known?.text !== text) known = { text, operations: documented(JSON.parse(text) as Json) }
    return new Api(url, key, JSON.parse(text) as Json, known.operations)
  }

  /** The same document and record, another key. */
  with(key: string): Api {
    return new Api(this.url, key, this.document, this.#operations, this.seen)
  }

  get operations(): readonly DocumentedOperation[] {
    return this.#operations.map(({ operation }) => operation)
  }

  get = (path: string, ask: Ask = {}) => this.ask(path, ask)
  post = (path: string, body: Ask['body'], ask: Ask = {}) => this.ask(path, { method: 'POST', body, ...ask })
  put = (path: string, body?: Ask['body'], ask: Ask = {}) => this.ask(path, { method: 'PUT', body, ...ask })
  delete = (path: string, ask: Ask = {}) => this.ask(path, { method: 'DELETE', ...ask })

  /** The answer, held to the document. @throws Error that names what is not as documented */
  async ask(path: string, { method = 'GET', key = this.key, body, headers = {} }: Ask): Promise<Answer> {
    const isObject = body !== undefined && typeof body === 'object' && !Buffer.isBuffer(body)
    const sent = isObject ? JSON.stringify(body) : body
    const response = await fetch(this.url + path, {
      method,
      headers: {
        ...(key !== null && { authorization: `Bearer ${key}` }),
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(sent !== undefined && { body: sent as string }),
    })
    return this.judge(method, path, response.status, response.headers, Buffer.from(await response.arrayBuffer()))
  }

  /** Holds an answer, however it was got, to the document. */
  judge(method: string, path: string, status: number, headers: Headers, bytes: Buffer): Answer {
    const type = headers.get('content-type')?.replace(/;.*/, '')
    const isJson = type === 'application/json' || type === 'application/problem+json'
    const body = bytes.length === 0 ? undefined : isJson ? (JSON.parse(bytes.toString()) as Json) : bytes
    const answer: Answer = { status, headers, body }
    const found = this.#find(method === 'HEAD' ? 'GET' : method, path)
    const fail = (why: string) => {
      throw new Error(`${method} ${path} → ${status}: ${why}\n${bytes.toString('latin1', 0, 2000)}`)
    }
    if (found === undefined) {
      if (status < 400 || status >= 500) fail('nothing is documented at this address')
      return answer
    }
    const { responses, validators, operation } = found
    const code = type === 'application/problem+json' ? ((body as Json | undefined)?.code ?? '') : ''
    this.seen.add(`${operation.operationId} ${status}${code === '' ? '' : ` ${code}`}`)
    const response = responses[status] ?? fail('the status is not documented')
    if (method === 'HEAD') return answer
    if (bytes.length === 0) return response?.content === undefined ? answer : fail('an answer without its body')
    const validator = validators.get(`${status} ${type}`)
    if (validator === undefined) return fail(`the media type ${type} is not documented`) as never
    if (isJson && !validator().Check(body))
      fail(`not as documented: ${JSON.stringify(validator().Errors(body).slice(0, 5))}`)
    if (type === 'application/problem+json') this.#judgeProblem(status, body as Json, response?.['x-codes'] ?? [], fail)
    return answer
  }

  #judgeProblem(status: number, problem: Json, codes: readonly string[], fail: (why: string) => void): void {
    if (problem.status !== status) fail('the status of the problem is another one')
    if (!codes.includes(problem.code as string)) fail(`the code ${problem.code} is not documented for it`)
    if (problem.type !== `urn:affidavit:problem:${problem.code}`) fail('type and code differ')
    if (!/^[^\s].*[.?]$/s.test(problem.detail as string)) fail('the detail is no sentence')
  }

  #find(method: string, path: string): Documented | undefined {
    const segments = path.split('?', 1)[0]!.split('/')
    return this.#operations.find(({ operation }) => {
      const template = operation.path.split('/')
      const isRest = template.at(-1) === '{path}'
      const fits = isRest ? segments.length >= template.length : segments.length === template.length
      return (
        operation.method === method &&
        fits &&
        template.every((part, i) => (part.startsWith('{') ? segments[i] !== '' : part === segments[i]))
      )
    })
  }
}

function documented(document: Json): Documented[] {
  const paths = document.paths as Record<string, Record<string, Json>>
  return Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => {
      const responses = operation.responses as Documented['responses']
      const validators = new Map<string, () => Validator>()
      for (const [status, { content }] of Object.entries(responses))
        for (const [type, { schema }] of Object.entries(content ?? {}))
          validators.set(
            `${status} ${type}`,
            once(() => Compile(resolved(schema, document))),
          )
      return {
        operation: {
          method: method.toUpperCase(),
          path,
          operationId: operation.operationId as string,
          scope: (operation['x-scope'] as string | undefined) ?? null,
          parameters: operation.parameters as DocumentedOperation['parameters'],
          hasBody: operation.requestBody !== undefined,
        },
        responses,
        validators,
      }
    }),
  )
}

function once<Value>(make: () => Value): () => Value {
  let made: Value | undefined
  return () => {
    made ??= make()
    return made
  }
}

/** Answers have no recursive schemas, so references can be put in place. */
function resolved(schema: Json, document: Json): Json {
  return JSON.parse(JSON.stringify(schema), (_key, value: unknown) => {
    const reference = (value as { $ref?: string } | null)?.$ref
    if (typeof reference !== 'string') return value
    const [, , , name] = reference.split('/')
    return resolved((document.components as { schemas: Record<string, Json> }).schemas[name!]!, document)
  }) as Json
}
