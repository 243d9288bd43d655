/**
 * Splits an event into what must stay provable (facts), what a person may ask to be forgotten (personal, one line per
 * person), what few may read (confidential) and what only the operator sees. A cut value leaves a marker in the facts,
 * so that what belongs to whom is itself part of the evidence. docs/spec has the normative description.
 */

import type { Category } from '../catalog/category.ts'
import { comparePointers, escapeSegment, type Json, type JsonObject } from '../store/pointer.ts'
import { contentBytes, isTooLarge } from './content-size.ts'
import { cut } from './cut.ts'
import {
  type ChangeInput,
  type ContextInput,
  limits,
  type NormalActor,
  type NormalEvent,
  type TargetInput,
} from './event.ts'
import { emailIdentity, isEmail, isPersonActor, isPersonalId, isPersonalKey, isPersonTarget } from './personal.ts'
import type { Pattern, Policy } from './policy.ts'
import { type Problem, problem } from './problem.ts'

/** What the server adds to an event when it accepts it. */
export interface Stamp {
  id: string
  tenant: string
  /** YYYY-MM-DDTHH:MM:SS.mmmZ */
  receivedAt: string
  /** Public id and display name of the API key; absent for events of the platform itself. */
  key: { id: string; name: string } | undefined
}

/** Whose personal values a line holds. Ids are as sent; the tenant is given when it is not the event's own. */
export type Identity =
  | { kind: 'id'; type: string; id: string; tenant: string | undefined }
  | { kind: 'email'; email: string }
  | { kind: 'unknown' }

/** From the nearest to the deed to the farthest. */
export const roles = ['actor', 'on_behalf_of', 'impersonator', 'target', 'mentioned'] as const
export type Role = (typeof roles)[number]

export type Pair = [pointer: string, value: Json]

export interface PersonalLine {
  identity: Identity
  /** The first of `roles` in which the person takes part. */
  role: Role
  /** In order of pointer bytes. */
  pairs: Pair[]
  /** The persona: JSON array of the pairs. */
  content: string
}

export interface Split {
  ok: true
  /** Stored and hashed verbatim. */
  facts: string
  /** The object that `facts` is the text of; members that are undefined are not in the text. */
  stored: object
  category: Category
  /** Line n holds the values marked {"$personal": n}. */
  subjects: PersonalLine[]
  /** JSON array of [pointer, value], like a persona. */
  confidential: string | undefined
  operator: string | undefined
  /** Who acted, for the filter by actor, also when nothing was cut; undefined for an actor without id and e-mail. */
  actorIdentity: Identity | undefined
}

/** Lines of one entry (DESIGN: `personal` lines ≤ 100). */
export const maxLines = 100

/** @returns the parts, or the problem that the facts are too large or name too many people */
export function split(event: NormalEvent, stamp: Stamp, policy: Policy): Split | { ok: false; problem: Problem } {
  return new Splitting(event, stamp).run(policy)
}

interface OpenLine {
  key: string
  identity: Identity
  role: Role
  pairs: Pair[]
}

class Splitting {
  private readonly event: NormalEvent
  private readonly stamp: Stamp
  private readonly lines: OpenLine[] = []

  constructor(event: NormalEvent, stamp: Stamp) {
    this.event = event
    this.stamp = stamp
  }

  run(policy: Policy): Split | { ok: false; problem: Problem } {
    const { event, stamp } = this
    const operator: Pair[] = []
    const confidential: Pair[] = []
    // Lines are numbered in the order in which their markers appear here.
    const facts: Facts = {
      id: stamp.id,
      tenant: stamp.tenant,
      action: event.action,
      version: event.version,
      category: event.category,
      occurred_at: event.occurred_at,
      received_at: stamp.receivedAt,
      actor: this.actor(event.actor, 'actor', '/actor'),
      targets: event.targets.map((target, i) => this.target(target, i)),
      outcome: event.outcome,
      reason: event.reason,
      context: event.context && this.context(event.context, operator),
      changes: event.changes && event.changes.length > 0 ? this.changes(event.changes) : undefined,
      metadata: event.metadata && this.metadata(event.metadata),
      source: event.source as JsonObject | undefined,
      key: stamp.key,
    }
    for (const pattern of policy.personal) this.cutPersonal(facts, pattern)
    for (const pattern of policy.confidential) {
      cut(facts as unknown as JsonObject, pattern, (pointer, value) => {
        confidential.push([pointer, value])
        return { $confidential: true }
      })
    }
    return this.finish(facts, confidential, operator)
  }

  private finish(stored: Facts, confidential: Pair[], operator: Pair[]): Split | { ok: false; problem: Problem } {
    const facts = JSON.stringify(stored)
    if (this.lines.length > maxLines) {
      return { ok: false, problem: problem('too_many', `One event may concern ${maxLines} people.`, '') }
    }
    const mayBeLarge = facts.length > limits.factsBytes / 3
    if (mayBeLarge && Buffer.byteLength(facts) > limits.factsBytes) {
      return { ok: false, problem: problem('event_too_large', `Facts may have ${limits.factsBytes} bytes.`, '') }
    }
    const subjects = this.lines.map(closed)
    const few = confidential.length === 0 ? undefined : JSON.stringify(sorted(confidential))
    const own = operator.length === 0 ? undefined : JSON.stringify(sorted(operator))
    if (isTooLarge([facts, few ?? '', own ?? '', ...subjects.map(({ content }) => content)])) {
      const detail = `What is stored of one event may have ${contentBytes} bytes, each part counted as a JSON string.`
      return { ok: false, problem: problem('event_too_large', detail, '') }
    }
    return {
      ok: true,
      facts,
      stored,
      category: stored.category,
      subjects,
      confidential: few,
      operator: own,
      actorIdentity: this.actorIdentity(),
    }
  }

  private actorIdentity(): Identity | undefined {
    const identity = this.identityOf(this.event.actor)
    return identity.kind === 'unknown' ? undefined : identity
  }

  private identityOf({ type, id, email, tenant: home }: Person): Identity {
    if (id !== undefined) return { kind: 'id', type, id, tenant: home === this.stamp.tenant ? undefined : home }
    return email === undefined || email === '' ? unknown : { kind: 'email', email: emailIdentity(email) }
  }

  /** The number of a person's line, made when it is the first. */
  private line(identity: Identity, role: Role): number {
    const key = keyOf(identity)
    for (let n = 0; n < this.lines.length; n++) {
      const line = this.lines[n]!
      if (line.key !== key) continue
      if (roles.indexOf(role) < roles.indexOf(line.role)) line.role = role
      return n
    }
    return this.lines.push({ key, identity, role, pairs: [] }) - 1
  }

  private mark(line: number, pointer: string, value: Json): Marker {
    this.lines[line]!.pairs.push([pointer, value])
    return { $personal: line }
  }

  private actor(actor: NormalActor, role: Role, at: string): ActorFacts {
    const identity = this.identityOf(actor)
    const isPerson = isPersonActor(actor.type)
    const { id, name, email } = actor
    const idIsPersonal = id !== undefined && isPersonalId(id, isPerson)
    const nameIsPersonal = name !== undefined && isPerson
    const line = idIsPersonal || nameIsPersonal || email !== undefined ? this.line(identity, role) : -1
    return {
      type: actor.type,
      id: idIsPersonal ? this.mark(line, `${at}/id`, id) : id,
      name: nameIsPersonal ? this.mark(line, `${at}/name`, name) : name,
      email: email === undefined ? undefined : this.mark(line, `${at}/email`, email),
      role: actor.role,
      team: actor.team,
      internal: actor.internal,
      on_behalf_of: actor.on_behalf_of && this.actor(actor.on_behalf_of, 'on_behalf_of', `${at}/on_behalf_of`),
      impersonator: actor.impersonator && this.actor(actor.impersonator, 'impersonator', `${at}/impersonator`),
      tenant: actor.tenant,
    }
  }

  private target(target: TargetInput, index: number): TargetFacts {
    const { type, id, name, email } = target
    const isPerson = email !== undefined || isPersonTarget(type)
    const idIsPersonal = id !== undefined && isPersonalId(id, isPerson)
    const nameIsPersonal = name !== undefined && isPerson
    if (!idIsPersonal && !nameIsPersonal && email === undefined) return target
    const line = this.line(this.identityOf(target), 'target')
    const at = `/targets/${index}`
    return {
      type,
      id: idIsPersonal ? this.mark(line, `${at}/id`, id) : id,
      name: nameIsPersonal ? this.mark(line, `${at}/name`, name) : name,
      email: email === undefined ? undefined : this.mark(line, `${at}/email`, email),
      tenant: target.tenant,
    }
  }

  private context(context: ContextInput, operator: Pair[]): ContextFacts {
    const { session_id, api_key } = context
    if (session_id !== undefined) operator.push(['/context/session_id', session_id])
    if (api_key?.id !== undefined) operator.push(['/context/api_key/id', api_key.id])
    return {
      ip: this.ofActor('/context/ip', context.ip),
      user_agent: this.ofActor('/context/user_agent', context.user_agent),
      request_id: context.request_id,
      trace_id: context.trace_id,
      session_id: session_id === undefined ? undefined : { $operator: true },
      location: this.ofActor('/context/location', context.location),
      auth_method: context.auth_method,
      api_key: api_key && withoutKeyId(api_key),
    }
  }

  private ofActor(pointer: string, value: string | undefined): Marker | undefined {
    return value === undefined ? undefined : this.mark(this.actorLine(), pointer, value)
  }

  private actorLine(): number {
    return this.line(this.identityOf(this.event.actor), 'actor')
  }

  private changes(changes: ChangeInput[]): Json[] {
    const aboutPerson = this.isAboutPerson()
    return changes.map((change, i) => {
      const key = change.path.slice(change.path.lastIndexOf('/') + 1)
      if (!isPersonalKey(key, aboutPerson)) return change as JsonObject
      const at = `/changes/${i}`
      const { path, before, after } = change as { path: string; before?: Json; after?: Json }
      return {
        path,
        ...(before === undefined ? undefined : { before: this.cutFree(`${at}/before`, before) }),
        ...(after === undefined ? undefined : { after: this.cutFree(`${at}/after`, after) }),
      }
    })
  }

  private metadata(metadata: JsonObject): JsonObject {
    const aboutPerson = this.isAboutPerson()
    let copy: JsonObject | undefined
    for (const key of Object.keys(metadata)) {
      if (!isPersonalKey(key, aboutPerson)) continue
      copy ??= { ...metadata }
      copy[key] = this.cutFree(`/metadata/${escapeSegment(key)}`, metadata[key]!)
    }
    return copy ?? metadata
  }

  private isAboutPerson(): boolean {
    const first = this.event.targets[0]
    return first !== undefined && (first.email !== undefined || isPersonTarget(first.type))
  }

  /** Booleans, null and empty strings say nothing about anyone. */
  private cutFree(pointer: string, value: Json): Json {
    if (value === null || value === '' || typeof value === 'boolean') return value
    return this.mark(this.lineOfValue(pointer, value), pointer, value)
  }

  /**
   * Whose a value outside actor and targets is: an e-mail address belongs to the person with that address; a change
   * to the target when that is a person; anything else to the actor.
   */
  private lineOfValue(pointer: string, value: Json): number {
    if (typeof value === 'string' && isEmail(value)) return this.lineOfEmail(value)
    const first = this.event.targets[0]
    if (first === undefined || !pointer.startsWith('/changes/') || !this.isAboutPerson()) return this.actorLine()
    return this.line(this.identityOf(first), 'target')
  }

  private lineOfEmail(value: string): number {
    const { actor, targets } = this.event
    const email = emailIdentity(value)
    const isSame = (other: string | undefined) => other !== undefined && emailIdentity(other) === email
    if (isSame(actor.email)) return this.actorLine()
    const target = targets.find((one) => isSame(one.email))
    if (target === undefined) return this.line({ kind: 'email', email }, 'mentioned')
    return this.line(this.identityOf(target), 'target')
  }

  /** A value that a policy names: of the actor or target it stands in, else as in lineOfValue. */
  private cutPersonal(facts: Facts, pattern: Pattern): void {
    cut(facts as unknown as JsonObject, pattern, (pointer, value) =>
      this.mark(this.lineAt(pointer, value), pointer, value),
    )
  }

  private lineAt(pointer: string, value: Json): number {
    const { event } = this
    const segments = pointer.split('/')
    if (segments[1] === 'targets') {
      const target = event.targets[Number(segments[2])]!
      return this.line(this.identityOf(target), 'target')
    }
    if (segments[1] !== 'actor') return segments[1] === 'context' ? this.actorLine() : this.lineOfValue(pointer, value)
    let actor = event.actor
    let role: Role = 'actor'
    for (const segment of segments.slice(2)) {
      if (segment !== 'on_behalf_of' && segment !== 'impersonator') break
      actor = actor[segment]!
      role = segment
    }
    return this.line(this.identityOf(actor), role)
  }
}

const unknown: Identity = { kind: 'unknown' }

interface Person {
  type: string
  id?: string | undefined
  email?: string | undefined
  tenant?: string | undefined
}

type Marker = { $personal: number }
type ActorFacts = { [K in keyof NormalActor]: NormalActor[K] | Marker | ActorFacts | undefined }
type TargetFacts = { [K in keyof TargetInput]: string | Marker | undefined }
type ContextFacts = Record<string, Json | undefined>

/** The members of the facts, in the order in which they are serialised; JSON.stringify leaves undefined ones out. */
interface Facts {
  id: string
  tenant: string
  action: string
  version: number
  category: Category
  occurred_at: string
  received_at: string
  actor: ActorFacts
  targets: TargetFacts[]
  outcome: string
  reason: string | undefined
  context: ContextFacts | undefined
  changes: Json[] | undefined
  metadata: JsonObject | undefined
  source: JsonObject | undefined
  key: { id: string; name: string } | undefined
}

/** Equal exactly for the same subject: the type's length stands in front, and a tenant holds no slash. */
function keyOf(identity: Identity): string {
  if (identity.kind === 'id') return `${identity.type.length}:${identity.type}${identity.tenant ?? ''}/${identity.id}`
  return identity.kind === 'email' ? `e${identity.email}` : 'u'
}

function closed({ identity, role, pairs }: OpenLine): PersonalLine {
  return { identity, role, pairs: sorted(pairs), content: JSON.stringify(pairs) }
}

function withoutKeyId({ id, name }: NonNullable<ContextInput['api_key']>): JsonObject {
  const visible: JsonObject = {}
  if (id !== undefined) visible.id = { $operator: true }
  if (name !== undefined) visible.name = name
  return visible
}

/** Up to here insertion is quicker than a general sort, and allocates nothing. */
const fewPairs = 16

/** In place. */
function sorted(pairs: Pair[]): Pair[] {
  if (pairs.length > fewPairs) return pairs.sort((a, b) => comparePointers(a[0], b[0]))
  for (let n = 1; n < pairs.length; n++) {
    const pair = pairs[n]!
    let place = n
    for (; place > 0 && comparePointers(pairs[place - 1]![0], pair[0]) > 0; place--) pairs[place] = pairs[place - 1]!
    pairs[place] = pair
  }
  return pairs
}
