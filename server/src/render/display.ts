/** How people, things and values are called in a sentence. Text only: whoever shows it escapes it. */

import { oneLine } from './text.ts'

/** The part of an event that sentences need. Everything may be missing, and null stands for a value not shown. */
export interface Party {
  type?: string | null
  id?: string | null
  name?: string | null
  email?: string | null
  internal?: boolean | null
  on_behalf_of?: Party | null
  impersonator?: Party | null
}

const erased = 'an erased person'

const nameless: Record<string, string> = {
  system: 'the system',
  anonymous: 'someone',
  api_key: 'an API key',
  service: 'a service',
  agent: 'an agent',
}

const labels: Record<string, string> = { api_key: 'API key', service: 'service', agent: 'agent' }

/**
 * @param operator the vendor's name, which stands for its staff and services
 * @param place words of ours, but never a name or an id, get a capital where a sentence begins
 */
export function actorName(actor: Party, operator: string, place: 'first' | 'later'): string {
  if (actor.internal === true) return `${operator} internal`
  const name = firstOf(actor.name, actor.email)
  if (name !== undefined) return name
  const label = labels[actor.type ?? '']
  if (!isText(actor.id)) return capital(isErased(actor) ? erased : (nameless[actor.type ?? ''] ?? 'someone'), place)
  return label === undefined ? oneLine(actor.id) : `${capital(label, place)} ${oneLine(actor.id)}`
}

function capital(text: string, place: 'first' | 'later'): string {
  return place === 'first' ? text[0]!.toUpperCase() + text.slice(1) : text
}

/** People by name alone, things with their type: "Mark Chen", "invoice inv_1822", "document Quarterly plan". */
export function targetName(target: Party): string {
  const type = words(target.type ?? '')
  const name = firstOf(target.name, target.email)
  const isPerson = people.has(target.type ?? '')
  if (name !== undefined) return isPerson || isText(target.email) || type === '' ? name : `${type} ${name}`
  if (isText(target.id)) return type === '' ? oneLine(target.id) : `${type} ${oneLine(target.id)}`
  return isErased(target) ? erased : type
}

const people = new Set(['user', 'person', 'member', 'employee', 'customer', 'contact', 'patient', 'client', 'guest'])

/** `billing_settings` → "billing settings", `api_key` → "API key". */
export function words(name: string): string {
  return oneLine(name.replaceAll(/[_-]+/g, ' ')).replace(/\bapi\b/gi, 'API')
}

/** A value of a change or of metadata; undefined when there is nothing to say. */
export function valueName(value: unknown): string | undefined {
  if (value === null || value === undefined || value === '') return undefined
  if (typeof value === 'object') return oneLine(JSON.stringify(value))
  return oneLine(String(value))
}

function firstOf(...candidates: (string | null | undefined)[]): string | undefined {
  const found = candidates.find(isText)
  return found === undefined ? undefined : oneLine(found)
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value.trim() !== ''
}

function isErased({ id, name, email }: Party): boolean {
  return id === null || name === null || email === null
}
