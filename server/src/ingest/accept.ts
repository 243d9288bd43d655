// The way of an event from JSON to an acknowledged, durable entry. Every event of a batch goes its own way: one that is
// refused is told why, and the others go in.
//
//   parse → normalise → tenant → split → people and actions (committed first) → prepare → seal
//
// Nearly every event finds its tenant, people and action in memory and runs through to `Ready` without a pause; its tree
// of objects is garbage before the next slice begins. That is what keeps the heap small: what waits is bytes.
import type { Catalog } from '../catalog/catalog.ts'
import { searchTexts } from '../filter/people.ts'
import type { Identity as KeyIdentity } from '../keys/identity.ts'
import type { PersonLine, Resolved, Subjects } from '../keys/subjects.ts'
import type { TenantKeys } from '../keys/tenant-keys.ts'
import { isWithheld } from '../keys/unusable.ts'
import { StoreUnavailable } from '../store/database.ts'
import { type Sealable, type SealOutcome, SealUnavailable } from '../store/sealable.ts'
import { OPERATOR_TENANT, type Tenant, type Tenants } from '../tenants/tenants.ts'
import type { ActionNumbers } from './action-numbers.ts'
import {
  type Accepted,
  answer,
  empty,
  pointerIn,
  type Ready,
  severalProblems,
  unavailableDetail,
  withheldDetail,
} from './answer.ts'
import type { NormalActor, NormalEvent } from './event.ts'
import { newEventId } from './event-id.ts'
import { normalise } from './normalise.ts'
import { policyFor } from './policies.ts'
import { prepare } from './prepare.ts'
import { type Problem, problem } from './problem.ts'
import { type Identity, type PersonalLine, type Split, split } from './split.ts'

/** Who sends events, as far as ingest cares. */
export interface Producer {
  /** Absent for the platform's own events. */
  readonly key: { readonly id: string; readonly name: string } | undefined
  /** Tenant id that the key is bound to; undefined for an operator key. */
  readonly tenant: string | undefined
  readonly mayCreateTenants: boolean
  /** Whether the key belongs to the operator's own staff or services: actors are flagged so unless they say otherwise. */
  readonly internal?: boolean
  /** Pointer patterns that the sender declares personal for these events. */
  readonly personal: readonly string[]
}

/** An item as it arrived: a JSON value, or the problem that kept it from being one. */
export type Incoming =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly problem: Problem }

export interface IngestParts {
  readonly catalog: Catalog
  readonly tenants: Tenants<TenantKeys>
  readonly subjects: Subjects
  readonly actions: ActionNumbers
  /** Makes events durable; see seal/sealer.ts. */
  readonly seal: (sealables: readonly Sealable[]) => Promise<SealOutcome[]>
  /** Told of each tenant that an event made. */
  readonly onTenantMade?: (tenant: Tenant<TenantKeys>, key: NonNullable<Producer['key']>) => void
  /** Told when what events need before they are sealed found no room on the database's disk. */
  readonly onFull?: () => void
}

/** The items of a batch, each parsed when it is asked for; an array will do. */
export interface Items {
  readonly length: number
  at(index: number): Incoming | undefined
}

/** A batch under work. */
interface Batch {
  readonly items: Items
  readonly producer: Producer
  readonly arrivalMs: number
  readonly receivedAt: string
  readonly results: Accepted[]
  /** By index; emptied when the event was settled. */
  readonly ready: (Ready | undefined)[]
}

/** An event that is understood. */
interface Traveller {
  readonly index: number
  readonly event: NormalEvent
  readonly moved: readonly string[]
  readonly id: string
  readonly clientId: boolean
}

/** One whose tenant is known, in its parts. */
interface Parted extends Traveller {
  readonly tenant: Tenant<TenantKeys>
  readonly split: Split
  readonly lines: readonly PersonLine[]
  /** Whether the first of `lines` is only there for the actor column. */
  readonly actorOnly: boolean
}

/** Events worked on before other requests get their turn: some 3 ms. */
const slice = 64
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
  async accept(items: Items, producer: Producer, arrivalMs: number): Promise<Accepted[]> {
    const receivedAt = new Date(arrivalMs).toISOString()
    const results = new Array<Accepted>(items.length)
    const batch: Batch = { items, producer, arrivalMs, receivedAt, results, ready: new Array(items.length) }
    let open = Array.from({ length: items.length }, (_, index) => index)
    const ids = new Map<number, string>()
    for (let attempt = 0; open.length > 0; attempt++) {
      if (attempt === retries) throw new Error('keys were destroyed faster than events could be prepared')
      try {
        await this.#prepare(batch, open, ids)
        open = await this.#seal(batch, ids)
      } catch (error) {
        if (error instanceof StoreUnavailable && error.isFull) this.#parts.onFull?.()
        // The others are sealed, and their senders must learn it: what has no id would be stored again by a repeat.
        if (attempt === 0 || !isForNow(error)) throw error
        const told = problem('unavailable', unavailableDetail('code' in error ? error.code : 'store_unavailable'))
        for (const index of open) results[index] ??= { ok: false, problem: told }
        break
      }
    }
    return results
  }

  /** Makes the given items ready or settles them. */
  async #prepare(batch: Batch, indexes: readonly number[], ids: ReadonlyMap<number, string>): Promise<void> {
    const homeless: Traveller[] = []
    const strangers: Parted[] = []
    for (const [n, index] of indexes.entries()) {
      if (n > 0 && n % slice === 0) await rest()
      const traveller = this.#normalise(batch, index, ids.get(index))
      if (traveller === undefined) continue
      const tenant = this.#parts.tenants.peek(traveller.event.tenant ?? OPERATOR_TENANT)
      if (tenant === undefined) homeless.push(traveller)
      else {
        const parted = this.#part(batch, traveller, tenant)
        if (parted !== undefined && !this.#makeReady(batch, parted)) strangers.push(parted)
      }
    }
    if (homeless.length > 0) strangers.push(...(await this.#house(batch, homeless)))
    if (strangers.length > 0) await this.#introduce(batch, strangers)
  }

  #normalise(batch: Batch, index: number, idBefore: string | undefined): Traveller | undefined {
    const { producer, arrivalMs, results } = batch
    const refuse = (told: Problem) => {
      results[index] = { ok: false, problem: told }
      return undefined
    }
    const item = batch.items.at(index)!
    if (!item.ok) return refuse(item.problem)
    const result = normalise(item.value, {
      arrival: arrivalMs,
      catalog: this.#parts.catalog,
      keyTenant: producer.tenant,
      platform: producer.key === undefined,
    })
    if (!result.ok) return refuse(severalProblems(result.problems))
    const { event, moved } = result
    if (producer.internal) event.actor.internal ??= true
    else if (producer.tenant !== undefined) {
      const claim = claimedInternal(event.actor, '/actor')
      if (claim !== undefined)
        return refuse(problem('invalid_value', "Only the operator's keys say who belongs to the operator.", claim))
    }
    if (producer.tenant !== undefined && event.tenant !== producer.tenant) {
      return refuse(problem('wrong_tenant', 'The key is bound to another tenant.', pointerIn(item.value, 'tenant')))
    }
    const id = event.id ?? idBefore ?? newEventId(arrivalMs)
    return { index, event, moved, id, clientId: event.id !== undefined }
  }

  /** The parts of an event of a known tenant; undefined if it is refused. */
  #part(batch: Batch, traveller: Traveller, tenant: Tenant<TenantKeys>): Parted | undefined {
    const { producer, receivedAt, results } = batch
    const { event, id, index } = traveller
    const refuse = (told: Problem) => {
      results[index] = { ok: false, problem: told }
      return undefined
    }
    if (tenant.state === 'closed') {
      const at = pointerIn(valueAt(batch, index), 'tenant')
      return refuse(problem('tenant_closed', 'The tenant was closed and takes no more events.', at))
    }
    const policy = policyFor(this.#parts.catalog.resolve(event.action), tenant.policy, producer.personal)
    if (policy === undefined) return refuse(problem('conflict', policyConflict))
    const result = split(event, { id, tenant: tenant.id, receivedAt, key: producer.key }, policy)
    if (!result.ok) return refuse(result.problem)
    // The actor column names the actor's subject even where nothing of the actor was cut.
    const actorOnly = result.actorIdentity !== undefined && result.subjects[0]?.role !== 'actor'
    const { moved, clientId } = traveller
    return {
      index,
      event,
      moved,
      id,
      clientId,
      tenant,
      split: result,
      lines: personLines(result, actorOnly),
      actorOnly,
    }
  }

  /** @returns false if the event's people or action are not in memory */
  #makeReady(batch: Batch, parted: Parted): boolean {
    const { actions, subjects } = this.#parts
    const action = actions.known(parted.tenant.number, parted.event.action)
    if (action === undefined) return false
    const resolved = subjects.known(parted)
    if (resolved === undefined) return false
    batch.ready[parted.index] = ready(parted, resolved, action)
    return true
  }

  /** Finds or makes the tenants of events; those whose tenant there is none of are refused. */
  async #house(batch: Batch, homeless: readonly Traveller[]): Promise<Parted[]> {
    const { tenants } = this.#parts
    const ids = new Set(homeless.map(({ event }) => event.tenant ?? OPERATOR_TENANT))
    const found = await tenants.load(ids)
    if (ids.has(OPERATOR_TENANT) && !found.has(OPERATOR_TENANT))
      found.set(OPERATOR_TENANT, (await tenants.operator()).tenant)
    const { key, mayCreateTenants } = batch.producer
    for (const id of mayCreateTenants ? ids : []) {
      if (found.has(id)) continue
      const { tenant, created } = await tenants.create(id)
      found.set(id, tenant)
      if (created && key !== undefined) this.#parts.onTenantMade?.(tenant, key)
    }
    return homeless.flatMap((traveller) => {
      const tenant = found.get(traveller.event.tenant ?? OPERATOR_TENANT)
      if (tenant !== undefined) return this.#part(batch, traveller, tenant) ?? []
      const told = 'There is no such tenant, and the key lacks the scope tenants:create.'
      const at = pointerIn(valueAt(batch, traveller.index), 'tenant')
      batch.results[traveller.index] = { ok: false, problem: problem('unknown_tenant', told, at) }
      return []
    })
  }

  /** Makes people and actions known, in a few round trips for all, and then the events ready. */
  async #introduce(batch: Batch, strangers: readonly Parted[]): Promise<void> {
    const { actions, subjects } = this.#parts
    const [numbers, resolved] = await Promise.all([
      actions.learn(strangers.map(({ tenant, event }) => ({ tenant: tenant.number, action: event.action }))),
      subjects.resolve(strangers).catch((error) => {
        if (!isWithheld(error)) throw error
        return this.#resolveApart(batch, strangers)
      }),
    ])
    for (const [n, parted] of strangers.entries()) {
      if (n > 0 && n % slice === 0) await rest()
      const people = resolved[n]
      if (people !== undefined) batch.ready[parted.index] = ready(parted, people, numbers[n]!)
    }
  }

  /** Tenant by tenant: those whose keys are not opened now are told so, and keep nobody else from being sealed. */
  async #resolveApart(batch: Batch, strangers: readonly Parted[]): Promise<(Resolved | undefined)[]> {
    const resolved = new Map<Parted, Resolved>()
    for (const ofTenant of Map.groupBy(strangers, ({ tenant }) => tenant.number).values()) {
      try {
        for (const [n, people] of (await this.#parts.subjects.resolve(ofTenant)).entries())
          resolved.set(ofTenant[n]!, people)
      } catch (error) {
        if (!isWithheld(error)) throw error
        const told = problem('keys_unavailable', withheldDetail(error))
        for (const { index } of ofTenant) batch.results[index] = { ok: false, problem: told }
      }
    }
    return strangers.map((parted) => resolved.get(parted))
  }

  /** Seals what is ready, in input order. @returns those that must be prepared again */
  async #seal(batch: Batch, ids: Map<number, string>): Promise<number[]> {
    const all = batch.ready.filter((one) => one !== undefined)
    if (all.length === 0) return []
    const outcomes = await this.#parts.seal(all.map(({ sealable }) => sealable))
    const again: number[] = []
    for (const [n, outcome] of outcomes.entries()) {
      const one = all[n]!
      batch.ready[one.index] = undefined
      if (outcome.kind === 'stale') {
        this.#parts.subjects.forgetShard(one.tenant.trail.shard, outcome.keyEpoch)
        ids.set(one.index, one.id)
        again.push(one.index)
      } else batch.results[one.index] = answer(one, outcome, outcome.kind === 'id_reused' && valueAt(batch, one.index))
    }
    empty(outcomes)
    return again
  }
}

const isForNow = (error: unknown) => error instanceof StoreUnavailable || error instanceof SealUnavailable

const policyConflict = "A value declared personal holds one that the tenant's policy keeps confidential."

function personLines(parts: Split, actorOnly: boolean): PersonLine[] {
  const lines: PersonLine[] = []
  for (const line of parts.subjects) lines.push(new Line(line, parts))
  if (actorOnly) {
    const identity = parts.actorIdentity!
    lines.unshift({ identity: keyIdentity(identity), openId: openId(identity, parts) })
  }
  return lines
}

/** What is asked only for new people is computed only then. */
class Line implements PersonLine {
  readonly identity: KeyIdentity
  readonly content: string
  readonly #line: PersonalLine
  readonly #parts: Split

  constructor(line: PersonalLine, parts: Split) {
    this.identity = keyIdentity(line.identity)
    this.content = line.content
    this.#line = line
    this.#parts = parts
  }

  get openId(): string | undefined {
    return openId(this.#line.identity, this.#parts)
  }

  search(): Iterable<string> {
    return searchTexts(this.#line.pairs)
  }
}

function ready(parted: Parted, resolved: Resolved, action: number): Ready {
  const { actorOnly, event, split: parts, tenant, id, clientId, index, moved } = parted
  const isActor = actorOnly || parts.subjects[0]?.role === 'actor'
  const sealable = prepare({
    event,
    split: parts,
    tenant,
    id,
    clientId,
    action,
    keyEpoch: resolved.keyEpoch,
    actor: isActor ? resolved.lines[0]!.subject : null,
    lines: actorOnly ? resolved.lines.slice(1) : resolved.lines,
  })
  return { index, id, tenant, moved, sealable }
}

function keyIdentity(identity: Identity): KeyIdentity {
  if (identity.kind === 'unknown') return 'unknown'
  if (identity.kind === 'email' || identity.tenant === undefined) return identity
  // A person whose home is another tenant is not the person of the same id at home.
  return { type: `${identity.type}@${identity.tenant}`, id: identity.id }
}

/** An id that stands in the facts of this event, cut out of none of its fields. */
function openId(identity: Identity, { subjects }: Split): string | undefined {
  if (identity.kind !== 'id') return undefined
  const isCut = subjects.some(({ pairs }) => pairs.some(([, value]) => value === identity.id))
  return isCut ? undefined : identity.id
}

/** An event as it was sent, for problems that are noticed late. */
function valueAt(batch: Batch, index: number): unknown {
  const item = batch.items.at(index)
  return item?.ok === true ? item.value : undefined
}

/** Where an actor, or whoever stands behind it, is said to be the operator's own. */
function claimedInternal({ internal, on_behalf_of, impersonator }: NormalActor, pointer: string): string | undefined {
  if (internal === true) return `${pointer}/internal`
  return (
    (on_behalf_of && claimedInternal(on_behalf_of, `${pointer}/on_behalf_of`)) ??
    (impersonator && claimedInternal(impersonator, `${pointer}/impersonator`))
  )
}
