/** Which values are personal when nobody said so: by the field they stand in, and for ids by their shape. */

import { isIP } from 'node:net'
import type { ActorType } from './event.ts'

/** Actors of these types are people: their names are personal. A service's or an agent's name is not. */
export function isPersonActor(type: ActorType): boolean {
  return type === 'user' || type === 'anonymous'
}

const people = new Set(
  `user person member employee customer contact patient client guest visitor subscriber student teacher candidate
   applicant staff admin administrator owner assignee invitee recipient account_holder cardholder driver tenant_user
   team_member end_user profile identity human`.split(/\s+/),
)

/** Targets of these types are people: their names are personal. */
export function isPersonTarget(type: string): boolean {
  return people.has(type) || people.has(type.toLowerCase())
}

/**
 * An id that is itself an e-mail address or an international telephone number; for a person also an IP address, which
 * for a machine is only its name.
 */
export function isPersonalId(id: string, isPerson: boolean): boolean {
  return (
    isEmail(id) ||
    (isPerson && (id.includes('.') || id.includes(':')) && isIP(id) !== 0) ||
    (id.charCodeAt(0) === 0x2b && /^\+\d[\d\s().-]{5,30}$/.test(id))
  )
}

/** Looks like an e-mail address: enough to keep it out of the facts, not to write to it. */
export function isEmail(text: string): boolean {
  const at = text.indexOf('@')
  return at > 0 && at < text.length - 1 && text.length <= 320 && /^[^\s@/:]+@[^\s@/:]+$/.test(text)
}

/** The way an address stands for a person, however it was typed. */
export function emailIdentity(email: string): string {
  return email.trim().toLowerCase()
}

const always =
  /^(?:.+[_.-])?(?:e-?mail(?:[_-]?address)?|phone(?:[_-]?number)?|mobile(?:[_-]?number)?|ip(?:[_-]?addr(?:ess)?)?|user[_-]?agent|(?:first|last|full|given|family|middle|maiden|sur)[_-]?name|date[_-]?of[_-]?birth|birth[_-]?(?:date|day)|ssn|passport[_-]?(?:no|number))$/i
const ofPeople = /^(?:name|display[_-]?name|user[_-]?name|nick[_-]?name|address|street|avatar(?:[_-]?url)?)$/i

/**
 * Whether a key of metadata, or the last segment of a change's path, names a personal value.
 * @param aboutPerson true when the target is a person: then plain `name` is too
 */
export function isPersonalKey(key: string, aboutPerson: boolean): boolean {
  const kind = kinds.get(key) ?? learn(key)
  return kind === 2 || (aboutPerson && kind === 1)
}

/** Keys come from a small vocabulary; the bound keeps hostile ones from filling the memory. */
const kinds = new Map<string, 0 | 1 | 2>()

function learn(key: string): 0 | 1 | 2 {
  const spaced = key.length <= 64 ? key.replace(/([a-z0-9])([A-Z])/g, '$1_$2') : ''
  const kind = always.test(spaced) ? 2 : ofPeople.test(spaced) ? 1 : 0
  if (kinds.size >= 5000) kinds.clear()
  kinds.set(key.length <= 64 ? key : '', kind)
  return kind
}
