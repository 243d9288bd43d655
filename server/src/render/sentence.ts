/** Turns an event into one sentence: "Sarah Johnson changed the role of Mark Chen from Member to Admin". */

import { actorName, type Party, targetName, valueName, words } from './display.ts'
import { type Part, parseTemplate, type Template } from './template.ts'
import { oneLine } from './text.ts'

/** What render reads of an event, as join returns it; anything may be missing or null. */
export interface Readable {
  action?: string
  actor?: Party | null
  targets?: readonly Party[] | null
  outcome?: string | null
  reason?: string | null
  changes?: readonly { path?: string; before?: unknown; after?: unknown }[] | null
  metadata?: { readonly [key: string]: unknown } | null
}

export interface Segment {
  /** Plain text, never HTML. */
  text: string
  kind: 'actor' | 'target' | 'value' | 'text'
}

export interface Sentence {
  segments: Segment[]
  /** The segments put together. */
  text: string
}

export interface RenderOptions {
  /** The vendor's name, shown for its staff: "Acme internal". */
  operator: string
}

/**
 * @param sentence a catalog template (CatalogEntry.sentence); one that cannot be parsed gives "… performed an action"
 */
export function render(event: Readable, sentence: string, { operator }: RenderOptions): Sentence {
  const template = templateOf(sentence)
  const out = new Line()
  addActor(out, event.actor ?? {}, operator)
  const { outcome, reason } = event
  if (outcome === 'failure') out.text(` failed to ${template.base}`)
  else if (outcome === 'denied') out.text(` tried to ${template.base}`)
  else out.text(` ${template.past}`)
  addParts(out, template.parts, event, template)
  if (outcome === 'denied') out.text(' but was denied')
  if (outcome !== 'success' && typeof reason === 'string' && reason.trim() !== '') {
    out.text(': ')
    out.add(/^[a-z0-9]+(?:[_-][a-z0-9]+)*$/i.test(reason) ? words(reason) : oneLine(reason), 'value')
  }
  return out.done()
}

/** "Dan as Sarah Johnson", "Agent 7 on behalf of Sarah Johnson". */
function addActor(out: Line, actor: Party, operator: string): void {
  const { impersonator, on_behalf_of: principal } = actor
  if (impersonator != null) {
    out.add(actorName(impersonator, operator, 'first'), 'actor')
    out.text(' as ')
  }
  out.add(actorName(actor, operator, impersonator == null ? 'first' : 'later'), 'actor')
  if (principal == null) return
  out.text(' on behalf of ')
  out.add(actorName(principal, operator, 'later'), 'actor')
}

function addParts(out: Line, parts: readonly Part[], event: Readable, template: Template): void {
  for (const part of parts) {
    if (part.kind === 'text') out.text(part.text)
    else if (part.kind === 'value') addValue(out, part, event, template)
    else if (part.kind === 'thing') addThing(out, part, event)
    else if (part.parts.every((inner) => inner.kind !== 'value' || hasValue(inner, event))) {
      addParts(out, part.parts, event, template)
    }
  }
}

/** "pinned member of project Apollo", "pinned member Mark Chen", "pinned project member". */
function addThing(out: Line, { thing, owner }: Extract<Part, { kind: 'thing' }>, event: Readable): void {
  const target = event.targets?.[0]
  const name = target == null ? '' : targetName(target)
  if (name === '') {
    out.text(`${owner} ${thing}`)
    return
  }
  const type = words(target!.type ?? '').toLowerCase()
  if (type !== thing) out.text(type === owner ? `${thing} of ` : `${thing} on `)
  out.add(name, 'target')
}

type Value = Extract<Part, { kind: 'value' }>

function hasValue(part: Value, event: Readable): boolean {
  return part.fallback !== undefined || part.names.some((name) => valueCalled(name, event) !== undefined)
}

function addValue(out: Line, part: Value, event: Readable, template: Template): void {
  for (const name of part.names) {
    const value = valueCalled(name, event)
    if (value === undefined) continue
    out.add(value, name.startsWith('target') ? 'target' : 'value')
    if (name === 'target') addFurtherTargets(out, event, template)
    return
  }
  out.text(part.fallback ?? 'something')
}

/** Only where the template has no place of its own for the second target. */
function addFurtherTargets(out: Line, event: Readable, template: Template): void {
  const further = (event.targets?.length ?? 0) - 1
  if (further <= 0 || namesSecondTarget(template.parts)) return
  if (further === 1) {
    const second = targetName(event.targets![1]!)
    if (second === '') return
    out.text(' and ')
    out.add(second, 'target')
  } else {
    out.text(` and ${further} others`)
  }
}

function namesSecondTarget(parts: readonly Part[]): boolean {
  return parts.some((part) =>
    part.kind === 'value' ? part.names.includes('target.1') : part.kind === 'group' && namesSecondTarget(part.parts),
  )
}

function valueCalled(name: string, event: Readable): string | undefined {
  if (name.startsWith('target')) {
    const target = event.targets?.[name === 'target' ? 0 : Number(name.slice('target.'.length))]
    return target == null ? undefined : targetName(target) || undefined
  }
  if (name.startsWith('metadata.')) {
    const key = name.slice('metadata.'.length)
    const { metadata } = event
    return metadata != null && Object.hasOwn(metadata, key) ? valueName(metadata[key]) : undefined
  }
  const change = event.changes?.[0]
  if (change === undefined) return undefined
  if (name === 'path') return words((change.path ?? '').replace(/^\//, '').replaceAll('/', ' ')) || undefined
  return valueName(name === 'before' ? change.before : change.after)
}

/** Collects segments, neighbouring text in one. */
class Line {
  private readonly segments: Segment[] = []

  add(text: string, kind: Segment['kind']): void {
    const last = this.segments.at(-1)
    if (kind === 'text' && last?.kind === 'text') last.text += text
    else this.segments.push({ text, kind })
  }

  text(text: string): void {
    this.add(text, 'text')
  }

  done(): Sentence {
    return { segments: this.segments, text: this.segments.map((segment) => segment.text).join('') }
  }
}

const unreadable: Template = { past: 'performed', base: 'perform', parts: [{ kind: 'text', text: ' an action' }] }

/** Templates come from the catalog, which is bounded; so is this. */
const parsed = new Map<string, Template>()

function templateOf(sentence: string): Template {
  let template = parsed.get(sentence)
  if (template === undefined) {
    const result = parseTemplate(sentence)
    template = result.ok ? result.template : unreadable
    if (parsed.size >= 10_000) parsed.clear()
    parsed.set(sentence, template)
  }
  return template
}
