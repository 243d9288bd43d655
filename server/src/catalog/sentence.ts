/**
 * A sentence for an action that nobody registered, derived from its name. The template language is the one of
 * catalog entries (see catalog.ts).
 */

import { aloneVerbOf, verbOf, verbStrength } from './verbs.ts'
import { wordsOf } from './words.ts'

/**
 * `invoice.archived` → `<archived|archive> {target|an invoice}`; `read_document` → `<read|read> {target|a document}`;
 * `project.member.pinned` → `<pinned|pin> {thing member of project}`; no verb: `<performed|perform> foo[ on {target}]`.
 */
export function sentenceOf(action: string): string {
  const segments = withoutOutcome(wordsOf(action))
  const last = segments.at(-1)
  if (last === undefined) return '<performed|perform> an action'
  const alone = last.map(aloneVerbOf).find((verb) => verb !== undefined) ?? signOf(last.join(' '))
  if (alone !== undefined) return `<${alone.past}|${alone.base}>`
  const at = deedIn(last)
  if (at === undefined) return `<performed|perform> ${segments.flat().join(' ')}[ on {target}]`
  const { past, base } = verbOf(last[at]!)!
  const things = segments.slice(0, -1).map((words) => words.join(' '))
  if (last.length > 1) things.push(last.filter((_, i) => i !== at).join(' '))
  // What stands further in front names the product, not the thing: `aws.iam.CreateAccessKey`.
  return `<${past}|${base}>${objectOf(things.slice(-2))}`
}

/** `sign_in`, `user_logged_out`: two words, one deed. */
function signOf(words: string): { past: string; base: string } | undefined {
  const way = /\b(?:sign|log|signed|logged) (in|out|on|off|up)\b/.exec(words)?.[1]
  return way === undefined ? undefined : aloneVerbOf(`sign${way.replace('on', 'in').replace('off', 'out')}`)
}

function objectOf(things: string[]): string {
  const [owner, ...parts] = things
  if (owner === undefined) return '[ {target}]'
  return parts.length === 0 ? ` {target|${withArticle(owner)}}` : ` {thing ${parts.join(' ')} of ${owner}}`
}

/**
 * The place of the verb: first or last word, whichever is more surely one. If both are, it is the last of two words
 * (`invite_accepted`), but the first of a phrase (`add_application_to_whitelist`).
 */
function deedIn(words: string[]): number | undefined {
  const first = verbStrength(words[0]!)
  const last = verbStrength(words.at(-1)!)
  if (first === 0 && last === 0) return undefined
  return last > first || (last === first && words.length < 3) ? words.length - 1 : 0
}

function withArticle(thing: string): string {
  if (/(?:[^s]s|data|access|billing|information|software|media)$/.test(thing)) return thing
  return `${/^[aeio]|^u(?!s|ni)/.test(thing) ? 'an' : 'a'} ${thing}`
}

/** `login_failed` tells of a login; that it failed is the outcome's to say. */
function withoutOutcome(segments: string[][]): string[][] {
  return segments.map((words) => words.filter((word) => !outcomeWords.has(word))).filter((words) => words.length > 0)
}

const outcomeWords = new Set(['failed', 'failure', 'fail', 'error', 'errored', 'unsuccessful', 'denied', 'success'])
