/** HTTP as Affidavit speaks it: bearer key, JSON, problems as errors, a deadline, and repeats where they can help. */

import { AffidavitError, readProblem } from './error.ts'
import { isRetryable, parseRetryAfter, retryDelayMs, sleep } from './retry.ts'

/** Where the server is and who is calling. */
export interface Endpoint {
  /** Base address without a trailing slash. */
  url: string
  key: string
  fetch: typeof fetch
}

export interface Request {
  method: 'GET' | 'POST'
  path: string
  headers?: Record<string, string>
  body?: string | Uint8Array<ArrayBuffer>
  /** The answer is not JSON but bytes, at most so many; the reply's body is a Uint8Array. */
  mostBytes?: number
}

export interface Limits {
  /** Bound of one attempt, in milliseconds. */
  attemptMs: number
  /** Bound of all attempts and waits together, in milliseconds. */
  totalMs: number
  signal?: AbortSignal
}

export interface Reply {
  status: number
  body: unknown
}

/** Sends until it succeeds, until the refusal is final, or until `totalMs` is over. Throws AffidavitError only. */
export async function send(endpoint: Endpoint, request: Request, limits: Limits): Promise<Reply> {
  const deadline = performance.now() + limits.totalMs
  for (let attempt = 1; ; attempt++) {
    const left = deadline - performance.now()
    try {
      return await attemptOnce(endpoint, request, Math.min(limits.attemptMs, left), limits.signal)
    } catch (error) {
      if (!(error instanceof AffidavitError) || !isRetryable(error)) throw error
      const wait = retryDelayMs(attempt, error.retryAfterMs)
      if (performance.now() + wait >= deadline) throw error
      await sleep(wait, limits.signal)
      if (limits.signal?.aborted) throw error
    }
  }
}

/** One request, one answer. Throws AffidavitError for everything but a 2xx with a JSON body. */
export async function attemptOnce(
  endpoint: Endpoint,
  request: Request,
  timeoutMs: number,
  signal?: AbortSignal,
): Promise<Reply> {
  const timeout = AbortSignal.timeout(Math.max(1, Math.ceil(timeoutMs)))
  try {
    const response = await endpoint.fetch(endpoint.url + request.path, {
      method: request.method,
      headers: {
        authorization: `Bearer ${endpoint.key}`,
        accept: request.mostBytes === undefined ? 'application/json' : '*/*',
        ...request.headers,
      },
      ...(request.body === undefined ? {} : { body: request.body }),
      // Followed, a redirect would carry the key to another address; left alone, it is a refusal like any other.
      redirect: 'manual',
      signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
    })
    if (response.ok && request.mostBytes !== undefined)
      return { status: response.status, body: await readBytes(response, request.mostBytes) }
    return readReply(response, await response.text())
  } catch (error) {
    if (error instanceof AffidavitError) throw error
    if (signal?.aborted)
      throw new AffidavitError({ status: 0, code: 'closed', detail: 'the call was aborted' }, { cause: error })
    if (timeout.aborted) {
      throw new AffidavitError(
        { status: 0, code: 'timeout', detail: 'the server did not answer in time' },
        { cause: error },
      )
    }
    const reason =
      error instanceof Error ? String((error.cause as Error | undefined)?.message || error.message) : 'unknown'
    throw new AffidavitError(
      { status: 0, code: 'network', detail: `no answer from ${endpoint.url}: ${reason}` },
      { cause: error },
    )
  }
}

async function readBytes(response: Response, most: number): Promise<Uint8Array> {
  const parts: Uint8Array[] = []
  let total = 0
  for await (const part of response.body ?? []) {
    total += part.length
    if (total > most)
      throw new AffidavitError({
        status: 200,
        code: 'unexpected_reply',
        detail: `the answer has more than ${most} bytes`,
      })
    parts.push(part)
  }
  return new Uint8Array(Buffer.concat(parts))
}

function readReply(response: Response, text: string): Reply {
  let body: unknown
  try {
    body = JSON.parse(text)
  } catch {
    body = undefined
  }
  if (response.ok && body !== undefined) return { status: response.status, body }
  if (response.ok) {
    throw new AffidavitError({ status: response.status, code: 'unexpected_reply', detail: 'the answer is not JSON' })
  }
  const retryAfterMs = parseRetryAfter(response.headers.get('retry-after'))
  const problem = readProblem(body)
  throw new AffidavitError(
    { ...problem, status: response.status, code: problem.code ?? `http_${response.status}` },
    retryAfterMs === undefined ? {} : { retryAfterMs },
  )
}

const GZIP_FROM_BYTES = 1024

/** A body of NDJSON lines with its headers, gzipped when that pays. */
export async function ndjsonBody(lines: readonly string[]): Promise<Required<Pick<Request, 'headers' | 'body'>>> {
  const text = lines.join('\n')
  const headers: Record<string, string> = { 'content-type': 'application/x-ndjson' }
  if (text.length < GZIP_FROM_BYTES) return { headers, body: text }
  const zipped = new Blob([text]).stream().pipeThrough(new CompressionStream('gzip'))
  headers['content-encoding'] = 'gzip'
  return { headers, body: new Uint8Array(await new Response(zipped).arrayBuffer()) }
}
