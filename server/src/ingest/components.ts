/** The event schemas as components of the OpenAPI document: the validating ones, with their references made global. */

import { Actor, Change, Context, EventInput, Source, Target } from './event.ts'
import { FlatInput } from './shorthand.ts'

/**
 * `#/components/schemas/…` by name: StructuredEvent, FlatEvent and the parts of the former. What no schema can say
 * (times out of range, reserved keys, depth) is refused with 422 all the same.
 */
export function schemaComponents(): Record<string, object> {
  const event = plain(EventInput)
  const flat = plain(FlatInput)
  return {
    StructuredEvent: event,
    FlatEvent: {
      ...flat,
      properties: { ...(flat.properties as object), actor: false },
      anyOf: [{ required: ['action'] }, { required: ['event_type'] }],
    },
    EventActor: plain(Actor.$defs.Actor),
    EventTarget: plain(Target),
    EventContext: plain(Context),
    EventChange: plain(Change),
    EventSource: plain(Source),
  }
}

/** A copy in which the recursive actor, which carries its own definitions, is a reference. */
function plain(schema: object): Record<string, unknown> {
  const { $id: _, ...copy } = JSON.parse(JSON.stringify(schema), (_key, value: unknown) =>
    isActorReference(value) ? { $ref: '#/components/schemas/EventActor' } : value,
  ) as Record<string, unknown>
  return copy
}

function isActorReference(value: unknown): boolean {
  return typeof value === 'object' && value !== null && (value as { $ref?: unknown }).$ref === 'Actor'
}
