/**
 * The flat shorthand: events as existing loggers write them, one level of fields, turned into the structured form.
 * Nothing is dropped: what has no place of its own goes to metadata under its own name, and the reply lists it.
 */

import { isIP } from 'node:net'
import Type from 'typebox'
import { Compile } from 'typebox/compile'
import { type Category, categories } from '../catalog/category.ts'
import { categoryOfWords, outcomeOfWords } from '../catalog/words.ts'
import { escapeSegment, isPointer, type Json, type JsonObject } from '../store/pointer.ts'
import { toProblems } from './check-event.ts'
import {
  type ActorInput,
  type ActorType,
  actionPattern,
  actorTypes,
  type ChangeInput,
  type ContextInput,
  type EventInput,
  idPattern,
  limits,
  type Outcome,
  type TargetInput,
  tenantPattern,
} from './event.ts'
import { type Problem, problem } from './problem.ts'
import { parseStrictText } from './strict-json.ts'

const text = (maxLength: number) => nullable(Type.String({ maxLength }))
const word = () => nullable(Type.String({ minLength: 1, maxLength: limits.word }))
const pattern = (source: string, maxLength: number) => nullable(Type.String({ pattern: source, maxLength }))
/** A column of a logger's table may be NULL: null is the same as absent. */
function nullable(schema: { type: string }) {
  return Type.Optional(Type.Unsafe<string | null>({ ...schema, type: [schema.type, 'null'] }))
}
const objectOrText = Type.Optional(
  Type.Unsafe<JsonObject | Json[] | string | null>({ type: ['object', 'array', 'string', 'null'] }),
)

/** The fields with a meaning of their own; any other is allowed and goes to metadata. */
export const FlatInput = Type.Object({
  event_id: pattern(idPattern, limits.id),
  tenant_id: pattern(tenantPattern, limits.tenant),
  tenant: pattern(tenantPattern, limits.tenant),
  action: pattern(actionPattern, limits.action),
  event_type: pattern(actionPattern, limits.action),
  category: Type.Optional(Type.Unsafe<Category | null>({ enum: [...categories, null] })),
  timestamp: text(64),
  occurred_at: text(64),
  actor_id: word(),
  user_id: word(),
  actor_type: word(),
  actor_name: text(limits.name),
  actor_email: text(limits.email),
  actor_role: text(limits.word),
  target_type: word(),
  target_id: word(),
  resource_type: word(),
  resource_id: word(),
  result: word(),
  outcome: word(),
  reason: text(limits.reason),
  ip_address: text(limits.ip),
  user_agent: text(limits.userAgent),
  request_id: word(),
  session_id: word(),
  changes_json: objectOrText,
  metadata_json: objectOrText,
  metadata: Type.Optional(
    Type.Unsafe<JsonObject | null>({ type: ['object', 'null'], maxProperties: limits.metadataKeys }),
  ),
})
type FlatInput = Type.Static<typeof FlatInput>

const flat = Compile(FlatInput)
const known = new Set(Object.keys(FlatInput.properties))

export interface Unfolded {
  ok: true
  event: EventInput
  /** Names of the fields that went to metadata. */
  moved: string[]
  /** What event_type beside an action says. */
  hint: { category: Category | undefined; outcome: Outcome | undefined }
}

/**
 * @param value an object without a member `actor`
 * @returns an event that fits the schema of the structured form, its meaning unchecked; or the problems
 */
export function unfold(value: JsonObject): Unfolded | { ok: false; problems: Problem[] } {
  if (!flat.Check(value)) return { ok: false, problems: flat.Errors(value).flatMap(toProblems) }
  return new Unfolding(value as FlatInput & JsonObject).run()
}

class Unfolding {
  private readonly given: FlatInput & JsonObject
  private readonly metadata = new Map<string, Json>()
  private readonly moved: string[] = []
  private readonly problems: Problem[] = []

  constructor(given: FlatInput & JsonObject) {
    this.given = given
  }

  run(): Unfolded | { ok: false; problems: Problem[] } {
    const { given } = this
    this.takeMetadata()
    const targetType = this.first('target_type', 'resource_type')
    const action = this.action(targetType)
    const hinted =
      action !== undefined && given.action != null && given.event_type != null ? given.event_type : undefined
    if (hinted !== undefined) this.move('event_type')
    const event: EventInput = {
      ...present('id', given.event_id),
      ...present('tenant', this.first('tenant_id', 'tenant')),
      action: action ?? '',
      ...present('category', given.category),
      ...present('occurred_at', this.first('timestamp', 'occurred_at')),
      actor: this.actor(),
      targets: this.targets(targetType, action),
      ...present('outcome', this.outcome()),
      ...present('reason', given.reason),
      ...present('context', this.context()),
      ...present('changes', this.changes()),
    }
    for (const name of Object.keys(given)) if (!known.has(name)) this.move(name)
    if (this.metadata.size > limits.metadataKeys) {
      this.refuse('too_many', `Fields of your own and metadata may have ${limits.metadataKeys} keys in all.`, '')
    }
    if (this.problems.length > 0) return { ok: false, problems: this.problems }
    if (this.metadata.size > 0) event.metadata = Object.fromEntries(this.metadata)
    return { ok: true, event, moved: this.moved, hint: hintOf(hinted) }
  }

  /** The first of two fields that say the same; the loser goes to metadata. */
  private first<K extends keyof FlatInput & string>(winner: K, loser: K): string | undefined {
    const value = this.given[winner] as string | null | undefined
    if (value == null) return (this.given[loser] as string | null | undefined) ?? undefined
    if (this.given[loser] != null) this.move(loser)
    return value
  }

  private move(name: string): void {
    this.moved.push(name)
    this.put(name, this.given[name]!)
  }

  /** Keeps what metadata has already: a second value of the same name gets a number. */
  private put(name: string, value: Json): void {
    let free = name
    for (let n = 2; this.metadata.has(free); n++) free = `${name}_${n}`
    this.metadata.set(free, value)
  }

  private takeMetadata(): void {
    const { metadata } = this.given
    if (metadata != null) for (const key of Object.keys(metadata)) this.metadata.set(key, metadata[key]!)
    const more = this.decoded('metadata_json')
    if (more == null) return
    if (typeof more !== 'object' || Array.isArray(more)) {
      this.refuse('wrong_type', 'Must be an object, or a string that holds one.', '/metadata_json')
      return
    }
    if (Object.keys(more).length > limits.metadataKeys) {
      this.refuse('too_many', `May have at most ${limits.metadataKeys} members.`, '/metadata_json')
      return
    }
    for (const key of Object.keys(more)) this.put(key, more[key]!)
  }

  private decoded(name: 'changes_json' | 'metadata_json'): Json | undefined {
    const value = this.given[name]
    if (typeof value !== 'string') return value
    const parsed = parseStrictText(value)
    if (parsed.ok) return parsed.value
    const { code, detail, pointer } = parsed.problem
    this.refuse(code, pointer ? `Inside the string, at ${pointer}: ${detail}` : detail, `/${name}`)
    return undefined
  }

  private action(targetType: string | undefined): string | undefined {
    const name = this.given.action ?? this.given.event_type
    if (name == null) {
      this.refuse('missing_field', 'action or event_type is required.', '/action')
      return undefined
    }
    if (name.includes('.') || targetType === undefined) return name
    const action = `${targetType.replace(/[^A-Za-z0-9_.:/-]/g, '_').replace(/^[^A-Za-z0-9_]/, '_')}.${name}`
    if (action.length > limits.action) {
      const field = this.given.target_type == null ? 'resource_type' : 'target_type'
      this.refuse('too_long', `Type and action may have ${limits.action} characters in all.`, `/${field}`)
    }
    return action
  }

  private actor(): ActorInput {
    const { given } = this
    return {
      ...present('type', this.actorType()),
      ...present('id', this.first('actor_id', 'user_id')),
      ...present('name', given.actor_name),
      ...present('email', given.actor_email),
      ...present('role', given.actor_role),
    }
  }

  private actorType(): ActorType | undefined {
    const type = this.given.actor_type?.toLowerCase()
    if (type === undefined) return undefined
    if (type === 'human') return 'user'
    if ((actorTypes as readonly string[]).includes(type)) return type as ActorType
    this.refuse('invalid_value', `Must be one of human, ${actorTypes.join(', ')}.`, '/actor_type')
    return undefined
  }

  private targets(type: string | undefined, action: string | undefined): TargetInput[] {
    const id = this.first('target_id', 'resource_id')
    if (type === undefined && id === undefined) return []
    const dot = action?.lastIndexOf('.') ?? -1
    return [{ type: type ?? (dot > 0 ? action!.slice(0, dot) : 'resource'), ...present('id', id) }]
  }

  private outcome(): Outcome | undefined {
    const { given } = this
    const field = given.result == null ? 'outcome' : 'result'
    const result = this.first('result', 'outcome')
    if (result === undefined) return undefined
    const outcome = results.get(result.toLowerCase())
    if (outcome === undefined) {
      this.refuse('invalid_value', `Must be one of ${[...results.keys()].join(', ')}.`, `/${field}`)
    }
    return outcome
  }

  private context(): ContextInput | undefined {
    const { given } = this
    const context: ContextInput = {
      ...present('ip', given.ip_address ?? this.metadataIp()),
      ...present('user_agent', given.user_agent),
      ...present('request_id', given.request_id),
      ...present('session_id', given.session_id),
    }
    for (const _ in context) return context
    return undefined
  }

  /** metadata.ip is the client's address wherever it is one; anything else stays where it is. */
  private metadataIp(): string | undefined {
    const ip = this.metadata.get('ip')
    if (typeof ip !== 'string' || isIP(ip) === 0) return undefined
    this.metadata.delete('ip')
    return ip
  }

  /** `{"role": {"before": …, "after": …}}`, or the structured list. Another value is what came after. */
  private changes(): ChangeInput[] | undefined {
    const value = this.decoded('changes_json')
    if (value == null) return undefined
    if (typeof value !== 'object') {
      this.refuse('wrong_type', 'Must be an object or array, or a string that holds one.', '/changes_json')
      return undefined
    }
    const changes = Array.isArray(value) ? value.map(listed) : Object.keys(value).map((key) => keyed(key, value[key]!))
    if (changes.length > limits.changes) {
      this.refuse('too_many', `May have at most ${limits.changes} changes.`, '/changes_json')
    } else if (changes.some((change) => change === undefined)) {
      this.refuse('invalid_value', 'Each change needs a path, and nothing but path, before and after.', '/changes_json')
    } else if (changes.some((change) => change!.path.length > limits.path)) {
      this.refuse('too_long', `A path may have ${limits.path} characters.`, '/changes_json')
    }
    return changes.length === 0 ? undefined : (changes as ChangeInput[])
  }

  private refuse(code: Problem['code'], detail: string, pointer: string): void {
    this.problems.push(problem(code, detail, pointer))
  }
}

const results = new Map<string, Outcome>([
  ['success', 'success'],
  ['ok', 'success'],
  ['allowed', 'success'],
  ['failure', 'failure'],
  ['failed', 'failure'],
  ['error', 'failure'],
  ['denied', 'denied'],
  ['forbidden', 'denied'],
])

function hintOf(eventType: string | undefined): Unfolded['hint'] {
  if (eventType === undefined) return { category: undefined, outcome: undefined }
  return { category: categoryOfWords(eventType), outcome: outcomeOfWords(eventType) }
}

function keyed(key: string, value: Json): ChangeInput {
  const path = `/${escapeSegment(key)}`
  return isChange(value) ? { path, ...value } : { path, after: value }
}

function listed(value: Json): ChangeInput | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
  const { path, ...rest } = value
  return typeof path === 'string' && isPointer(path) && isChange(rest, true) ? { path, ...rest } : undefined
}

function isChange(value: Json, mayBeEmpty = false): value is { before?: Json; after?: Json } {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
  const keys = Object.keys(value)
  return (mayBeEmpty || keys.length > 0) && keys.every((key) => key === 'before' || key === 'after')
}

/** `{[name]: value}`, or nothing when there is no value: the schema knows no null. */
function present<K extends string, V>(name: K, value: V | null | undefined): { [P in K]?: V } {
  return value == null ? {} : ({ [name]: value } as { [P in K]?: V })
}

/** Where a value of the structured form stood in the flat one, for pointers of problems. */
export function flatPointer(given: JsonObject, pointer: string): string {
  const either = (...names: string[]) => `/${names.find((name) => given[name] != null) ?? names[0]}`
  if (pointer === '/action') return either('action', 'event_type')
  if (pointer === '/occurred_at') return either('timestamp', 'occurred_at')
  if (pointer === '/context/ip') return '/ip_address'
  if (pointer.startsWith('/changes')) return '/changes_json'
  const key = /^\/metadata\/([^/]*)/.exec(pointer)?.[1]
  if (key === undefined) return pointer
  const name = key.replaceAll('~1', '/').replaceAll('~0', '~')
  const inMetadata =
    typeof given.metadata === 'object' && given.metadata !== null && Object.hasOwn(given.metadata, name)
  if (inMetadata) return pointer
  return Object.hasOwn(given, name) ? pointer.slice('/metadata'.length) : '/metadata_json'
}
