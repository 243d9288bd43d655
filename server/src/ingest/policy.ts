/** Which values, beyond the default ones, a tenant or an action sets apart; compiled once, used for every event. */

import { isPointer, segmentsOf } from '../store/pointer.ts'
import { type Problem, problem } from './problem.ts'

/** A pointer pattern as segments; '*' stands for every member or element. */
export type Pattern = readonly string[]

export interface Policy {
  personal: readonly Pattern[]
  confidential: readonly Pattern[]
}

export interface PolicySource {
  personal?: readonly string[]
  confidential?: readonly string[]
}

/** Where a pattern may lead: everything else is needed in the clear, for columns, chains and filters. */
const roots: Record<string, number> = { targets: 3, context: 2, changes: 1, metadata: 1, reason: 1, actor: 2 }

/** The policy that sets nothing apart beyond the defaults. */
export const openPolicy: Policy = { personal: [], confidential: [] }

/** Several sources (action, tenant) as one policy, or the problems, whose pointers lie in `/personal/n` and so on. */
export function compilePolicy(
  ...sources: readonly PolicySource[]
): { ok: true; policy: Policy } | { ok: false; problems: Problem[] } {
  const problems: Problem[] = []
  const compile = (part: 'personal' | 'confidential') =>
    sources.flatMap((source) =>
      (source[part] ?? []).flatMap((text, i) => {
        if (isUsable(text)) return [segmentsOf(text)]
        problems.push(
          problem(
            'invalid_value',
            'Must be a JSON Pointer into actor, targets, reason, context, changes or metadata; * matches any segment.',
            `/${part}/${i}`,
          ),
        )
        return []
      }),
    )
  const policy = { personal: compile('personal'), confidential: compile('confidential') }
  if (policy.personal.some((outer) => policy.confidential.some((inner) => contains(outer, inner)))) {
    problems.push(problem('conflict', 'A personal pointer may not contain a confidential one.', '/confidential'))
  }
  return problems.length > 0 ? { ok: false, problems } : { ok: true, policy }
}

/** Personal values are shown to more readers than confidential ones, so one may not hide inside the other. */
function contains(outer: Pattern, inner: Pattern): boolean {
  return outer.length <= inner.length && outer.every((s, i) => s === '*' || inner[i] === '*' || s === inner[i])
}

function isUsable(text: string): boolean {
  if (!isPointer(text)) return false
  const segments = segmentsOf(text)
  const least = Object.hasOwn(roots, segments[0] ?? '') ? roots[segments[0]!]! : Number.POSITIVE_INFINITY
  return segments.length >= least && segments.length <= 32 && !inTheClear.test(text)
}

/** Types, paths and flags say what kind of thing happened; they identify nobody. */
const inTheClear =
  /^\/(?:actor(?:\/(?:on_behalf_of|impersonator|\*))*\/(?:type|internal|tenant)|targets\/[^/]+\/(?:type|tenant)|changes\/[^/]+\/path|context\/auth_method)$/
