/** The one error class that the SDK throws, made from a problem document (RFC 9457) or from a failed connection. */

/** The members of a problem document that Affidavit sends. */
export interface Problem {
  status?: number
  code?: string
  title?: string
  detail?: string
  pointer?: string
}

/**
 * A request that was refused, or that got no answer.
 * `status` is the HTTP status, 0 if no answer came; `code` is stable and made for programs
 * (`network`, `timeout`, `closed` and `unexpected_reply` are the SDK's own); `pointer` names the offending value (JSON Pointer).
 */
export class AffidavitError extends Error {
  override readonly name = 'AffidavitError'
  readonly status: number
  readonly code: string
  readonly pointer: string | undefined
  readonly detail: string | undefined
  /** How long the server asked us to wait before trying again, in milliseconds. */
  readonly retryAfterMs: number | undefined

  constructor(
    problem: Problem & { code: string; status: number },
    options?: { cause?: unknown; retryAfterMs?: number },
  ) {
    const what = problem.detail ?? problem.title ?? `request failed with status ${problem.status}`
    super(problem.pointer === undefined ? what : `${what} (${problem.pointer})`, { cause: options?.cause })
    this.status = problem.status
    this.code = problem.code
    this.pointer = problem.pointer
    this.detail = problem.detail
    this.retryAfterMs = options?.retryAfterMs
  }
}

/** Reads a problem document out of any parsed JSON; members of the wrong type are left out. */
export function readProblem(value: unknown): Problem {
  if (typeof value !== 'object' || value === null) return {}
  const from = value as Record<string, unknown>
  const problem: Problem = {}
  for (const key of ['code', 'title', 'detail', 'pointer'] as const) {
    if (typeof from[key] === 'string') problem[key] = from[key]
  }
  if (typeof from.status === 'number') problem.status = from.status
  return problem
}
