// An operation of the API as data: what OpenAPI says about it, what it needs and how it is answered. The server, the
// OpenAPI document and the tests are all made from the same list of these, so none of them can forget one.
import type { Readable } from 'node:stream'
import type { TSchema } from 'typebox'
import type { ProblemCode } from '../ingest/problem.ts'
import type { Principal } from '../tenants/api-keys.ts'
import type { Scope } from '../tenants/scopes.ts'

export interface Call {
  /** Null for public operations. */
  readonly principal: Principal | null
  readonly params: Readonly<Record<string, string>>
  readonly query: URLSearchParams
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  /** As sent, decompressed; empty where there is none. */
  readonly body: Buffer
  /** When the request was complete, milliseconds since 1970. */
  readonly arrivalMs: number
}

export interface Reply {
  readonly status: number
  /** An object is sent as JSON. */
  readonly body?: object | string | Buffer | Readable
  /** Media type of a body that is not an object. */
  readonly type?: string
  readonly headers?: Readonly<Record<string, string>>
}

interface Response {
  readonly description: string
  readonly content?: { readonly [mediaType: string]: TSchema }
}

export interface Operation {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  /** OpenAPI path template, for example /v1/events/{id}; `{path+}` takes the rest of the path. */
  readonly path: string
  readonly operationId: string
  readonly tag: string
  readonly summary: string
  readonly description?: string
  /** What the key must be allowed; null for a public operation. */
  readonly scope: Scope | null
  readonly params?: Readonly<Record<string, TSchema>>
  readonly query?: Readonly<Record<string, TSchema>>
  /** Whether any `metadata.<key>` is a query parameter, too. */
  readonly metadataQuery?: true
  readonly requestHeaders?: Readonly<Record<string, TSchema>>
  readonly body?: { readonly [mediaType: string]: TSchema }
  /** Whether the operation makes sense without a body, too. */
  readonly bodyOptional?: true
  /** Most bytes of the body, decompressed. */
  readonly bodyLimit?: number
  readonly responses: Readonly<Record<number, Response>>
  /** Codes this operation refuses with, beyond those that every operation may. */
  readonly problems: readonly ProblemCode[]
  handle(call: Call): Promise<Reply>
}
