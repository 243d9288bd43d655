/**
 * Requests to a server. It may be the party under check, so nothing it answers is trusted: every answer is bounded in
 * bytes and time, redirects are not followed (they would carry the key elsewhere).
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { type Endpoint, isLoopback } from './config.ts'
import { Failure, reasonOf } from './failure.ts'
import { printable } from './terminal.ts'

/** A refusal of the server (RFC 9457). */
export class ServerRefused extends Error {
  override readonly name = 'ServerRefused'
  readonly status: number
  readonly code: string
  /** JSON Pointer to the value to blame, where there is one. */
  readonly pointer: string | undefined

  constructor(status: number, code: string, detail: string, pointer?: string) {
    super(detail)
    this.status = status
    this.code = code
    this.pointer = pointer
  }
}

/** No answer, however often it was asked. */
export class Unreachable extends Failure {}

export interface Ask {
  readonly method?: 'GET' | 'POST' | 'PUT' | 'DELETE'
  /** Sent as JSON. */
  readonly body?: object
  /** Most bytes of the answer. */
  readonly limit?: number
}

const JSON_LIMIT = 64 * 2 ** 20
const ATTEMPTS = 4
/** Until the headers of an answer, and between two pieces of its body. */
const IDLE_MS = 60_000
/** An answer that takes longer than the idle time must come at this rate, lest it never ends. */
const LEAST_BYTES_PER_MS = 1
const PROBLEM_LIMIT = 64 * 1024
const LONGEST_WAIT_MS = 30_000

export class Remote {
  readonly url: string
  private readonly key: string
  private readonly retryMs: number
  private readonly idleMs: number

  /** @param retryMs wait before the second attempt; doubled each time @param idleMs longest wait for the next bytes */
  constructor({ url, key }: Endpoint, retryMs = 250, idleMs = IDLE_MS) {
    this.url = url
    this.key = key
    this.retryMs = retryMs
    this.idleMs = idleMs
  }

  /** Whether the key would travel in the clear. */
  get isExposed(): boolean {
    return this.url.startsWith('http:') && !isLoopback(this.url)
  }

  /** Throws ServerRefused, Unreachable, Failure. */
  async json(path: string, ask: Ask = {}): Promise<unknown> {
    const bytes = await this.bytes(path, { limit: JSON_LIMIT, ...ask })
    if (bytes.length === 0) return undefined
    try {
      return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
    } catch {
      throw new Failure(`${this.url} did not answer with JSON. Is it an Affidavit server?`)
    }
  }

  /** The whole body. Throws ServerRefused, Unreachable, Failure. */
  async bytes(path: string, ask: Ask & { limit: number }): Promise<Uint8Array> {
    return this.again(async () => {
      const parts: Uint8Array[] = []
      let total = 0
      for await (const part of await this.once(path, ask)) {
        total += part.length
        if (total > ask.limit) throw new Failure(`${this.url}${path} answers with more than ${ask.limit} bytes.`)
        parts.push(part)
      }
      // A plain array: a Buffer's own slice() is no copy, which code for browsers rightly does not expect.
      return new Uint8Array(Buffer.concat(parts))
    }, ask)
  }

  /** The body piece by piece; repeated only until the answer begins. Throws ServerRefused, Unreachable. */
  async stream(path: string, ask: Ask = {}): Promise<AsyncIterable<Uint8Array>> {
    return this.again(() => this.once(path, ask), ask)
  }

  private async again<T>(attempt: () => Promise<T>, ask: Ask): Promise<T> {
    for (let n = 1; ; n++) {
      try {
        return await attempt()
      } catch (error) {
        const wait = retryWait(error)
        const isSafe = (ask.method ?? 'GET') !== 'POST'
        if (wait === undefined || n === ATTEMPTS || !isSafe) throw told(error, this.url)
        await sleep(Math.max(wait, this.retryMs * 2 ** (n - 1)))
      }
    }
  }

  /** One request; its body with a limit on the time between two pieces. */
  private async once(path: string, { method = 'GET', body }: Ask): Promise<AsyncIterable<Uint8Array>> {
    const idle = new AbortController()
    const timer = setTimeout(() => idle.abort(new Error('the server did not answer in time')), this.idleMs)
    try {
      const response = await fetch(this.url + path, {
        method,
        headers: {
          authorization: `Bearer ${this.key}`,
          'cache-control': 'no-cache',
          ...(body && { 'content-type': 'application/json' }),
        },
        ...(body && { body: JSON.stringify(body) }),
        redirect: 'manual',
        signal: idle.signal,
      })
      if (!response.ok) throw await refusal(response)
      return pieces(response, timer, this.idleMs)
    } catch (error) {
      clearTimeout(timer)
      throw error
    }
  }
}

async function* pieces(response: Response, timer: NodeJS.Timeout, idleMs: number): AsyncGenerator<Uint8Array> {
  // Only waiting counts: what the reader does with a piece is no fault of the server.
  let waited_ms = 0
  let bytes = 0
  let asked_ms = performance.now()
  try {
    for await (const piece of response.body ?? []) {
      waited_ms += performance.now() - asked_ms
      bytes += piece.length
      if (waited_ms > idleMs + bytes / LEAST_BYTES_PER_MS)
        throw new Failure(`${response.url} answers too slowly to be read.`)
      yield piece
      timer.refresh()
      asked_ms = performance.now()
    }
  } finally {
    clearTimeout(timer)
  }
}

class Refusal extends ServerRefused {
  readonly retryAfterMs: number

  constructor(status: number, code: string, detail: string, pointer: string | undefined, retryAfterMs: number) {
    super(status, code, detail, pointer)
    this.retryAfterMs = retryAfterMs
  }
}

async function refusal(response: Response): Promise<Refusal> {
  const text = await beginning(response)
  let told: { code?: unknown; detail?: unknown; pointer?: unknown } = {}
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value === 'object' && value !== null) told = value
  } catch {
    // a proxy's page, for example: the status says enough
  }
  const code = typeof told.code === 'string' ? printable(told.code) : `http_${response.status}`
  const detail = typeof told.detail === 'string' ? printable(told.detail) : `The server answers ${response.status}.`
  const pointer = typeof told.pointer === 'string' && told.pointer !== '' ? printable(told.pointer) : undefined
  const seconds = Number(response.headers.get('retry-after') ?? 0)
  return new Refusal(response.status, code, detail, pointer, Number.isFinite(seconds) ? seconds * 1000 : 0)
}

/** As much of a refusal's body as is worth reading. */
async function beginning(response: Response): Promise<string> {
  const parts: Uint8Array[] = []
  let total = 0
  for await (const part of response.body ?? []) {
    parts.push(part)
    total += part.length
    if (total > PROBLEM_LIMIT) break
  }
  return Buffer.concat(parts).toString('utf8', 0, PROBLEM_LIMIT)
}

/** How long to wait before another attempt (ms), or undefined when none can help. */
function retryWait(error: unknown): number | undefined {
  if (error instanceof Refusal) {
    if (![408, 429, 502, 503, 504].includes(error.status)) return undefined
    return Math.min(error.retryAfterMs, LONGEST_WAIT_MS)
  }
  return error instanceof Failure ? undefined : 0
}

function told(error: unknown, url: string): unknown {
  if (error instanceof Refusal) return [502, 503, 504].includes(error.status) ? unavailable(error, url) : error
  if (error instanceof Failure) return error
  const cause = (error as Error).cause ?? error
  const reason = printable(reasonOf((cause as AggregateError).errors?.[0] ?? cause))
  const advice = isLoopback(url)
    ? 'Start the server with "affidavit serve", or give the right address.'
    : 'Is the address right?'
  return new Unreachable(`${url} cannot be reached: ${reason}. ${advice}`, 2, { cause: error })
}

const unavailable = (error: Refusal, url: string) =>
  new Unreachable(`${url} cannot answer at the moment: ${error.message}`, 2, { cause: error })

/** A refusal as a failure of the command, with what to do about it. */
export function asFailure(error: unknown, exitCode: 1 | 2 = 1): unknown {
  if (!(error instanceof ServerRefused)) return error
  const advice: Readonly<Record<number, string>> = {
    401: ' Give another key with --key or AFFIDAVIT_KEY.',
    403: ' Use a key that may do this.',
  }
  const at = error.pointer === undefined ? '' : ` at ${error.pointer}`
  return new Failure(`${error.message}${advice[error.status] ?? ''} [${error.code}${at}]`, exitCode, { cause: error })
}
