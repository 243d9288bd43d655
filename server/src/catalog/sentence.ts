/**
 * A sentence for an action that nobody registered, derived from its name. The template language is the one of
 * catalog entries (see catalog.ts).
 */

import { verbOf } from './verbs.ts'
import { wordsOf } from './words.ts'

/**
 * `invoice.archived` → `<archived|archive> {target|invoice}`; `project.member.pinned` → `<pinned|pin> member of
 * {target|project}`; `read_document` → `<read|read> {target|document}`; no verb at all: `<performed|perform> …`.
 */
export function sentenceOf(action: string): string {
  const segments = dropOutcome(wordsOf(action))
  const last = segments.at(-1)
  if (last === undefined) return '<performed|perform> an action'
  const deed = verbAt(last, last.length - 1) ?? (last.length > 1 ? verbAt(last, 0) : undefined)
  if (deed === undefined) return `<performed|perform> ${segments.flat().join(' ')}[ on {target}]`
  const owners = segments.slice(0, -1).map((words) => words.join(' '))
  const thing = deed.rest.join(' ')
  const verb = `<${deed.past}|${deed.base}>`
  if (thing !== '' && owners.length > 0) return `${verb} ${thing} of {target|${owners.at(-1)}}`
  if (thing !== '') return `${verb} {target|${thing}}`
  if (owners.length === 0) return `${verb}[ {target}]`
  const [owner, ...parts] = owners
  return parts.length === 0 ? `${verb} {target|${owner}}` : `${verb} ${parts.join(' ')} of {target|${owner}}`
}

function verbAt(words: string[], index: number): { past: string; base: string; rest: string[] } | undefined {
  const verb = verbOf(words[index]!)
  return verb && { ...verb, rest: words.filter((_, i) => i !== index) }
}

/** `login_failed` tells of a login; that it failed is the outcome's to say. */
function dropOutcome(segments: string[][]): string[][] {
  return segments
    .map((words) => words.filter((word) => !outcomeWords.has(word)))
    .filter(
      (words, i, all) => words.length > 0 || all.length === 1 || (i === 0 && all.slice(1).every((w) => !w.length)),
    )
    .filter((words) => words.length > 0)
}

const outcomeWords = new Set(['failed', 'failure', 'fail', 'error', 'errored', 'unsuccessful', 'denied', 'success'])
