// The way of an event from parsed JSON to an acknowledged, durable entry. Every event of a batch goes its own way: one
// that is refused is told why, and the others go in.
//
//   normalise → tenant → split → people and actions (committed first) → prepare → seal
import type { Catalog } from '../catalog/catalog.ts'
import { searchTexts } from '../filter/people.ts'
import type { Identity as KeyIdentity } from '../keys/identity.ts'
import type { PersonLine, Resolved, Subjects } from '../keys/subjects.ts'
import type { TenantKeys } from '../keys/tenant-keys.ts'
import type { Sealable, SealedRun, SealOutcome } from '../store/sealable.ts'
import type { Tenant, Tenants } from '../tenants/tenants.ts'
import type { ActionNumbers } from './action-numbers.ts'
import type { NormalEvent } from './event.ts'
import { newEventId } from './event-id.ts'
import { normalise } from './normalise.ts'
import { policyFor } from './policies.ts'
import { type Prepared, prepare } from './prepare.ts'
import { type Problem, problem } from './problem.ts'
import { type Identity, type Split, split } from './split.ts'

/** Who sends events, as far as ingest cares. */
export interface Producer {
  /** Absent for the platform's own events. */
  readonly key: { readonly id: string; readonly name: string } | undefined
  /** Tenant id that the key is bound to; undefined for an operator key. */
  readonly tenant: string | undefined
  readonly mayCreateTenants: boolean
  /** Pointer patterns that the sender declares personal for these events. */
  readonly personal: readonly string[]
}

/** An item as it arrived: a JSON value, or the problem that kept it from being one. */
export type Incoming =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly problem: Problem }

export type Accepted =
  | {
      readonly ok: true
      readonly kind: 'sealed' | 'duplicate'
      readonly id: string
      readonly tenant: string
      /** 32 hex digits. */
      readonly trail: string
      readonly seq: number
      /** Base64. */
      readonly hash: string
      readonly previous: string
      readonly sealedAt: string
      readonly factsSalt: Buffer
      /** What a receipt is signed over; for a duplicate a run of this one event. */
      readonly run: SealedRun
      /** Fields of the flat form that were moved to metadata. */
      readonly moved: readonly string[]
    }
  | { readonly ok: false; readonly problem: Problem }

export interface IngestParts {
  readonly catalog: Catalog
  readonly tenants: Tenants<TenantKeys>
  readonly subjects: Subjects
  readonly actions: ActionNumbers
  /** Makes events durable; see seal/sealer.ts. */
  readonly seal: (sealables: readonly Sealable[]) => Promise<SealOutcome[]>
}

/** An event on its way: what is known of it so far. */
interface Traveller {
  readonly index: number
  readonly event: NormalEvent
  readonly moved: readonly string[]
  readonly id: string
  readonly clientId: boolean
  tenant?: Tenant<TenantKeys>
  split?: Split
  lines?: PersonLine[]
  /** Whether the first of `lines` is only there for the actor column. */
  actorOnly?: boolean
}

/** Events worked on before other requests get their turn: some 5 ms. */
const slice = 128
/** Times that an event is prepared again because keys were destroyed in between. */
const retries = 5

const rest = () => new Promise<void>((resolve) => setImmediate(resolve))

export class Ingest {
  readonly #parts: IngestParts

  constructor(parts: IngestParts) {
    this.#parts = parts
  }

  /**
   * Takes in a batch.
   * @param arrivalMs when the request arrived, milliseconds since 1970
   * @returns one result per item, in input order, once each is durable or refused
   * @throws StoreUnavailable, SealUnavailable if nothing of the batch was sealed
   */
  async accept(items: readonly Incoming[], producer: Producer, arrivalMs: number): Promise<Accepted[]> {
    const results = new Array<Accepted>(items.length)
    let travellers: Traveller[] = []
    for (let i = 0; i < items.length; i++) {
      if (i > 0 && i % slice === 0) await rest()
      const traveller = this.#normalise(items[i]!, i, producer, arrivalMs)
      if ('event' in traveller) travellers.push(traveller)
      else results[i] = { ok: false, problem: traveller }
    }
    travellers = await this.#findTenants(travellers, producer, results)
    travellers = await this.#split(travellers, producer, arrivalMs, results)
    for (let attempt = 0; travellers.length > 0; attempt++) {
      if (attempt === retries) throw new Error('keys were destroyed faster than events could be prepared')
      travellers = await this.#seal(travellers, results)
    }
    return results
  }

  #normalise(item: Incoming, index: number, producer: Producer, arrivalMs: number): Traveller | Problem {
    if (!item.ok) return item.problem
    const platform = producer.key === undefined
    const result = normalise(item.value, {
      arrival: arrivalMs,
      catalog: this.#parts.catalog,
      keyTenant: producer.tenant,
      platform,
    })
    if (!result.ok) return severalProblems(result.problems)
    const { event, moved } = result
    if (producer.tenant !== undefined && event.tenant !== producer.tenant) {
      return problem('wrong_tenant', 'The key is bound to another tenant.', tenantPointer(item.value))
    }
    return { index, event, moved, id: event.id ?? newEventId(arrivalMs), clientId: event.id !== undefined }
  }

  async #findTenants(travellers: Traveller[], producer: Producer, results: Accepted[]): Promise<Traveller[]> {
    const { tenants } = this.#parts
    const unknown = new Set<string>()
    for (const one of travellers) {
      const { tenant } = one.event
      if (tenant === undefined) one.tenant = (await tenants.operator()).tenant
      else {
        const known = tenants.peek(tenant)
        if (known === undefined) unknown.add(tenant)
        else one.tenant = known
      }
    }
    const refused = new Map<string, Problem>()
    if (unknown.size > 0) await this.#loadTenants(unknown, producer, travellers, refused)
    return travellers.filter((one) => {
      const refusal =
        refused.get(one.event.tenant ?? '') ??
        (one.tenant!.state === 'closed'
          ? problem('tenant_closed', 'The tenant was closed and takes no more events.', '/tenant')
          : undefined)
      if (refusal !== undefined) results[one.index] = { ok: false, problem: refusal }
      return refusal === undefined
    })
  }

  async #loadTenants(
    unknown: Set<string>,
    producer: Producer,
    travellers: Traveller[],
    refused: Map<string, Problem>,
  ): Promise<void> {
    const { tenants } = this.#parts
    const loaded = await tenants.load([...unknown])
    for (const id of unknown) {
      if (loaded.has(id)) continue
      if (producer.mayCreateTenants) loaded.set(id, (await tenants.create(id)).tenant)
      else
        refused.set(
          id,
          problem('unknown_tenant', 'There is no such tenant, and the key lacks the scope tenants:create.', '/tenant'),
        )
    }
    for (const one of travellers) {
      const tenant = one.tenant ?? loaded.get(one.event.tenant!)
      if (tenant !== undefined) one.tenant = tenant
    }
  }

  async #split(
    travellers: Traveller[],
    producer: Producer,
    arrivalMs: number,
    results: Accepted[],
  ): Promise<Traveller[]> {
    const receivedAt = new Date(arrivalMs).toISOString()
    const through: Traveller[] = []
    for (let i = 0; i < travellers.length; i++) {
      if (i > 0 && i % slice === 0) await rest()
      const one = travellers[i]!
      const tenant = one.tenant!
      const policy = policyFor(this.#parts.catalog.resolve(one.event.action), tenant.policy, producer.personal)
      const result = split(one.event, { id: one.id, tenant: tenant.id, receivedAt, key: producer.key }, policy)
      if (!result.ok) {
        results[one.index] = { ok: false, problem: result.problem }
        continue
      }
      one.split = result
      const lines: PersonLine[] = result.subjects.map((line) => ({
        identity: keyIdentity(line.identity),
        content: line.content,
        search: () => searchTexts(line.pairs),
      }))
      // The actor column names the actor's subject even where nothing of the actor was cut.
      one.actorOnly = result.actorIdentity !== undefined && result.subjects[0]?.role !== 'actor'
      if (one.actorOnly) lines.unshift({ identity: keyIdentity(result.actorIdentity!) })
      one.lines = lines
      through.push(one)
    }
    return through
  }

  /** @returns those that must be prepared again */
  async #seal(travellers: Traveller[], results: Accepted[]): Promise<Traveller[]> {
    const { actions, seal, subjects } = this.#parts
    const numbers = await actions.learn(
      travellers.map((one) => ({ tenant: one.tenant!.number, action: one.event.action })),
    )
    const resolved = await this.#resolve(travellers)
    const sealables: Sealable[] = []
    for (let i = 0; i < travellers.length; i++) {
      if (i > 0 && i % slice === 0) await rest()
      sealables.push(prepare(prepared(travellers[i]!, resolved[i]!, numbers[i]!)))
    }
    const outcomes = await seal(sealables)
    const again: Traveller[] = []
    for (const [i, outcome] of outcomes.entries()) {
      const one = travellers[i]!
      if (outcome.kind === 'stale') {
        subjects.forgetShard(one.tenant!.trail.shard, outcome.keyEpoch)
        again.push(one)
      } else results[one.index] = answer(one, sealables[i]!, outcome)
    }
    return again
  }

  /** Subjects of all events, in a few round trips for those that are new. */
  async #resolve(travellers: readonly Traveller[]): Promise<Resolved[]> {
    const { subjects } = this.#parts
    const resolved = travellers.map((one) => subjects.known({ tenant: one.tenant!, lines: one.lines! }))
    const unknown = travellers.flatMap((_, i) => (resolved[i] === undefined ? [i] : []))
    if (unknown.length === 0) return resolved as Resolved[]
    const groups = unknown.map((i) => ({ tenant: travellers[i]!.tenant!, lines: travellers[i]!.lines! }))
    const learned = await subjects.resolve(groups)
    for (const [n, i] of unknown.entries()) resolved[i] = learned[n]
    return resolved as Resolved[]
  }
}

function prepared(one: Traveller, resolved: Resolved, action: number): Prepared {
  const isActor = one.actorOnly === true || one.split!.subjects[0]?.role === 'actor'
  return {
    event: one.event,
    split: one.split!,
    tenant: one.tenant!,
    id: one.id,
    clientId: one.clientId,
    action,
    keyEpoch: resolved.keyEpoch,
    actor: isActor ? resolved.lines[0]!.subject : null,
    lines: one.actorOnly === true ? resolved.lines.slice(1) : resolved.lines,
  }
}

function answer(one: Traveller, sealable: Sealable, outcome: SealOutcome): Accepted {
  const told = { ok: true, id: one.id, tenant: one.tenant!.id, trail: one.tenant!.trail.id, moved: one.moved } as const
  switch (outcome.kind) {
    case 'sealed':
      return {
        ...told,
        kind: 'sealed',
        seq: outcome.seq,
        hash: outcome.hash,
        previous: outcome.previous,
        sealedAt: outcome.run.sealedAt,
        factsSalt: sealable.columns.factsSalt,
        run: outcome.run,
      }
    case 'duplicate': {
      const { trail, seq, hash, previous, sealedAt, factsSalt } = outcome
      const run = { trail, first: seq, last: seq, lastHash: hash, sealedAt }
      return { ...told, kind: 'duplicate', trail: trail.id, seq, hash, previous, sealedAt, factsSalt, run }
    }
    case 'id_reused':
      return { ok: false, problem: problem('id_reused', 'This id stands for an event with other content.', '/id') }
    case 'overloaded':
      return {
        ok: false,
        problem: problem('rate_limited', "The tenant's queue is full; repeat the event with the same id."),
      }
    case 'unavailable':
      return { ok: false, problem: problem('unavailable', unavailableDetail(outcome.error.code)) }
    case 'unsealable':
      return { ok: false, problem: problem('internal_error', outcome.reason) }
    case 'stale':
      throw new Error('a stale outcome is prepared again, not answered')
  }
}

/** What a client may know of it; the cause is in the server's log. */
export function unavailableDetail(code: string): string {
  if (code === 'storage_full') return 'The storage is full. The event was not stored.'
  if (code === 'outcome_unknown')
    return 'The database went away while the event was stored. Repeat it with the same id to learn whether it was.'
  return 'The event was not stored. Repeat it later with the same id.'
}

/** One problem stands for the first; the others are listed in it. */
function severalProblems(problems: readonly Problem[]): Problem {
  const [first, ...others] = problems as [Problem, ...Problem[]]
  return others.length === 0
    ? first
    : {
        ...first,
        errors: problems.map(({ code, detail, pointer }) => ({
          code,
          detail,
          ...(pointer !== undefined && { pointer }),
        })),
      }
}

function tenantPointer(value: unknown): string {
  return typeof value === 'object' &&
    value !== null &&
    Object.hasOwn(value, 'tenant_id') &&
    !Object.hasOwn(value, 'actor')
    ? '/tenant_id'
    : '/tenant'
}

function keyIdentity(identity: Identity): KeyIdentity {
  if (identity.kind === 'unknown') return 'unknown'
  if (identity.kind === 'email') return { email: identity.email }
  // A person whose home is another tenant is not the person of the same id at home.
  return {
    type: identity.tenant === undefined ? identity.type : `${identity.type}@${identity.tenant}`,
    id: identity.id,
  }
}
