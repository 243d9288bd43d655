// A JSON body against its schema, refused with the same codes and pointers as an event.
import { severalProblems } from '../ingest/answer.ts'
import { toProblems } from '../ingest/check-event.ts'
import { type ProblemCode, problem } from '../ingest/problem.ts'
import { parseStrict } from '../ingest/strict-json.ts'
import { Refused, refuse } from './refused.ts'

/** What a body may be refused with once it is JSON. */
export const bodyProblems: readonly ProblemCode[] = [
  'unknown_field',
  'missing_field',
  'wrong_type',
  'invalid_value',
  'too_short',
  'too_long',
  'too_many',
]

interface Checker<T> {
  Check(value: unknown): value is T
  Errors(value: unknown): Parameters<typeof toProblems>[0][]
}

/** @throws Refused with all problems of the body */
export function jsonBody<T>(body: Buffer, checker: Checker<T>): T {
  if (body.length === 0) throw refuse('invalid_json', 'A JSON object is needed as body.', '')
  const parsed = parseStrict(body)
  if (!parsed.ok) throw new Refused(parsed.problem)
  if (checker.Check(parsed.value)) return parsed.value
  const problems = checker.Errors(parsed.value).flatMap(toProblems)
  throw new Refused(
    problems.length > 0 ? severalProblems(problems) : problem('invalid_value', 'The value is not allowed here.', ''),
  )
}
