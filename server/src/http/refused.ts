// A refused request, thrown from wherever it is noticed and turned into a problem (RFC 9457) at the door.
import { type Problem, type ProblemCode, problem } from '../ingest/problem.ts'

export class Refused extends Error {
  readonly problem: Problem
  readonly headers: Readonly<Record<string, string>>

  constructor(problem: Problem, headers: Readonly<Record<string, string>> = {}) {
    super(problem.detail)
    this.problem = problem
    this.headers = headers
  }
}

/** @param pointer JSON Pointer into the body, where one member is to blame */
export function refuse(
  code: ProblemCode,
  detail: string,
  pointer?: string,
  headers?: Readonly<Record<string, string>>,
): Refused {
  return new Refused(problem(code, detail, pointer), headers)
}
