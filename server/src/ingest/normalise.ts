/**
 * From any JSON value to an event that can be stored, or to the problems that forbid it. One form comes out, whichever
 * went in: the later stages never ask how an event was sent.
 */

import type { Catalog } from '../catalog/catalog.ts'
import { outcomeOfWords } from '../catalog/words.ts'
import type { JsonObject } from '../store/pointer.ts'
import { lateAfter_ms } from '../store/sealable.ts'
import { checkMeaning, checkShape } from './check-event.ts'
import type { ActorInput, EventInput, NormalActor, NormalEvent } from './event.ts'
import { type Problem, problem } from './problem.ts'
import { flatPointer, type Unfolded, unfold } from './shorthand.ts'
import { formatTime, parseTime } from './time.ts'

export interface NormaliseContext {
  /** When the request arrived, ms since 1970. */
  arrival: number
  catalog: Catalog
  /** Tenant of the API key; events may name another only if the caller then allows it. */
  keyTenant?: string | undefined
  /** True for events of the platform itself, which alone may use `affidavit.` actions. */
  platform?: boolean
}

export type Normalised =
  | { ok: true; event: NormalEvent /** Flat fields that went to metadata. */; moved: string[] }
  | { ok: false; problems: Problem[] }

/** @param value strictly parsed JSON (strict-json.ts); never throws for any JSON value */
export function normalise(value: unknown, context: NormaliseContext): Normalised {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return { ok: false, problems: [problem('wrong_type', 'An event must be object.', '')] }
  }
  const given = value as JsonObject
  return isStructured(given) ? structured(given, context) : flat(given, context)
}

const flatNames =
  `actor_id user_id actor_email actor_name actor_type actor_role event_id event_type tenant_id target_type
  target_id resource_type resource_id result ip_address user_agent request_id session_id timestamp changes_json
  metadata_json`.split(/\s+/)
const structuredNames = ['targets', 'context', 'changes', 'source']

/**
 * An event with an actor is structured. Without one it is flat, unless it has a structured part and no flat field at
 * all: then the actor was forgotten, and saying so keeps its targets and context from ending up in metadata.
 */
function isStructured(given: JsonObject): boolean {
  if (Object.hasOwn(given, 'actor')) return true
  const isPart = (name: string) => typeof given[name] === 'object' && given[name] !== null
  return structuredNames.some(isPart) && !flatNames.some((name) => Object.hasOwn(given, name))
}

const asSent = (pointer: string) => pointer
const noHint: Unfolded['hint'] = { category: undefined, outcome: undefined }

function structured(given: JsonObject, context: NormaliseContext): Normalised {
  const problems = checkShape(given)
  if (problems.length > 0) return { ok: false, problems }
  return complete(given as unknown as EventInput, noHint, [], context, asSent)
}

function flat(given: JsonObject, context: NormaliseContext): Normalised {
  const unfolded = unfold(given)
  if (!unfolded.ok) return unfolded
  const { event, hint, moved } = unfolded
  return complete(event, hint, moved, context, (pointer) => flatPointer(given, pointer))
}

function complete(
  input: EventInput,
  hint: Unfolded['hint'],
  moved: string[],
  { arrival, catalog, keyTenant, platform = false }: NormaliseContext,
  at: (pointer: string) => string,
): Normalised {
  const problems = checkMeaning(input, { arrival, platform }, at)
  if (problems.length > 0) return { ok: false, problems }
  const entry = catalog.resolve(input.action)
  const occurredMs = input.occurred_at === undefined ? arrival : parseTime(input.occurred_at)!
  const event: NormalEvent = {
    id: input.id,
    tenant: input.tenant ?? keyTenant,
    action: input.action,
    version: entry.version,
    category: input.category ?? hint.category ?? entry.category,
    occurred_at: formatTime(occurredMs),
    occurredMs,
    actor: normalActor(input.actor),
    targets: input.targets ?? [],
    outcome: input.outcome ?? outcomeOfWords(input.action) ?? hint.outcome ?? 'success',
    reason: input.reason,
    context: input.context,
    changes: input.changes,
    metadata: input.metadata as JsonObject | undefined,
    source: input.source,
    assumed: {
      category: input.category === undefined,
      occurred_at: input.occurred_at === undefined,
      outcome: input.outcome === undefined,
    },
    late: arrival - occurredMs > lateAfter_ms,
  }
  return { ok: true, event, moved }
}

function normalActor(actor: ActorInput): NormalActor {
  const identified = actor.id !== undefined || actor.email !== undefined || actor.name !== undefined
  return {
    type: actor.type ?? (identified ? 'user' : 'anonymous'),
    id: actor.id,
    name: actor.name,
    email: actor.email,
    role: actor.role,
    team: actor.team,
    internal: actor.internal,
    on_behalf_of: actor.on_behalf_of && normalActor(actor.on_behalf_of),
    impersonator: actor.impersonator && normalActor(actor.impersonator),
    tenant: actor.tenant,
  }
}

/**
 * What makes two events with one id the same event: everything the client said, nothing that we assumed, because
 * arrival and catalog may change between an event and its repeat. A list of all parts, null for what was not said. To be
 * hashed with a key; it holds personal values.
 */
export function fingerprint(event: NormalEvent): string {
  const { assumed } = event
  return JSON.stringify([
    event.tenant,
    event.action,
    assumed.category ? null : event.category,
    assumed.occurred_at ? null : event.occurred_at,
    event.actor,
    event.targets,
    assumed.outcome ? null : event.outcome,
    event.reason,
    event.context,
    event.changes,
    event.metadata,
    event.source,
  ])
}
