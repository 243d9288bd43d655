// How requests to forget are shown and found, for all operations that make or decide one.
import { CATEGORIES } from '@affidavit/trail'
import Type from 'typebox'
import type { Act, ActKind, ActState } from '../erase/acts.ts'
import { tenantPattern } from '../ingest/event.ts'
import type { TenantKeys } from '../keys/tenant-keys.ts'
import type { Principal } from '../tenants/api-keys.ts'
import type { Tenant } from '../tenants/tenants.ts'
import type { OwnTenants } from './own-tenants.ts'
import { refuse } from './refused.ts'
import { Hex16, object, orNull, Time } from './schemas.ts'

const kinds = ['erase', 'redact', 'release', 'retention', 'truncate', 'delete'] as const satisfies readonly ActKind[]
const states = ['waiting', 'approved', 'held', 'announced', 'done', 'rejected'] as const satisfies readonly ActState[]

export const TenantId = Type.String({ pattern: tenantPattern })
export const Reason = Type.String({
  minLength: 1,
  maxLength: 1_000,
  description: 'Why. Sealed under the facts of the control entry: it stays, so name no person',
})
const Key = object({ id: Type.String(), name: Type.String() })

export const ActShape = object({
  id: Type.String({ format: 'uuid' }),
  kind: Type.Enum([...kinds]),
  tenant: Type.String(),
  state: Type.Enum([...states], {
    description:
      'waiting for a second principal · approved · held by a legal hold, goes on after its release · announced: its control entry is sealed · done · rejected',
  }),
  subjects: Type.Optional(Type.Array(Hex16, { description: 'Subject key ids, as entries name them' })),
  seqs: Type.Optional(Type.Array(Type.Integer())),
  hold: Type.Optional(Hex16),
  category: Type.Optional(Type.Enum([...CATEGORIES, 'all'])),
  retention_days: Type.Optional(orNull(Type.Integer())),
  from: Type.Optional(Type.Enum(['new', 'notice'])),
  size: Type.Optional(Type.Integer()),
  reason: Type.String(),
  requested_by: Key,
  requested_at: Time,
  decided_by: orNull(Key),
  decided_at: orNull(Time),
  holds: Type.Array(Hex16, { description: 'Legal holds that it waits for' }),
  control_seq: orNull(Type.Integer({ description: 'Seq of its control entry' })),
  done_at: orNull(Time),
})

export const actList = {
  query: {
    tenant: TenantId,
    state: Type.Enum([...states]),
    limit: Type.Integer({ minimum: 1, maximum: 1000, default: 100 }),
  },
  shape: object({ data: Type.Array(ActShape) }),
}
export const kindQuery = Type.Enum([...kinds])
export const idParam = { id: Type.String({ pattern: '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' }) }

const time = (ms: number) => new Date(ms).toISOString()
const key = ({ keyId, name }: { keyId: string; name: string }) => ({ id: keyId, name })

/** @param tenant its id */
export function shownAct(act: Act, tenant: string) {
  const { wish } = act
  return {
    id: act.id,
    kind: wish.kind,
    tenant,
    state: act.state,
    ...(wish.kind === 'erase' && { subjects: wish.subjects.map(({ keyId }) => keyId) }),
    ...(wish.kind === 'redact' && { seqs: wish.seqs }),
    ...(wish.kind === 'release' && { hold: wish.hold }),
    ...(wish.kind === 'truncate' && { size: wish.size }),
    ...(wish.kind === 'retention' && { category: wish.category, retention_days: wish.days, from: wish.from }),
    reason: act.reason,
    requested_by: key(act.requested),
    requested_at: time(act.requested.at),
    decided_by: act.decided && key(act.decided),
    decided_at: act.decided && time(act.decided.at),
    holds: act.holds,
    control_seq: act.control,
    done_at: act.doneAt === null ? null : time(act.doneAt),
  }
}

/** Ids of the tenants of acts. */
export async function shownActs(own: OwnTenants, acts: readonly Act[]) {
  return Promise.all(acts.map(async (act) => shownAct(act, await own.idOf(act.tenant))))
}

/**
 * The tenant that something is asked for.
 * @throws Refused `not_found` for one that the key may not know of, `tenant_closed` for a deleted one: nothing may follow
 * the last entry of its trail
 */
export async function openTenant(own: OwnTenants, principal: Principal, id: string): Promise<Tenant<TenantKeys>> {
  const tenant = await own.visible(principal, id)
  if (tenant.state === 'closed') throw refuse('tenant_closed', 'The tenant was deleted, and everything of it with it.')
  return tenant
}

/** @throws Refused `not_found` for one of a tenant that the key may not know of */
export function visibleAct(principal: Principal, act: Act | undefined): Act {
  if (act === undefined || (principal.tenant !== null && principal.tenant !== act.tenant))
    throw refuse('not_found', 'There is no such request, or the key may not know of it.')
  return act
}
