// Whose trail a request reads, and how much of it: decided here once for all read operations.

import type { TenantKeys } from '../keys/tenant-keys.ts'
import type { Reader } from '../query/row.ts'
import { OPERATOR_TENANT, type Tenant, type Tenants } from '../tenants/tenants.ts'
import type { Call } from './operation.ts'
import { refuse } from './refused.ts'

/**
 * @param asked tenant id; null: the key's own, and for an operator key the operator's own trail
 * @throws Refused `not_found` for a tenant that is not there or that the key may not know of
 */
export async function readerOf(tenants: Tenants<TenantKeys>, call: Call, asked: string | null): Promise<Reader> {
  const { tenant, scopes } = call.principal!
  return {
    tenant: await tenantOf(tenants, tenant, asked),
    operator: tenant === null && scopes.has('operator'),
    confidential: scopes.has('events:confidential'),
  }
}

async function tenantOf(
  tenants: Tenants<TenantKeys>,
  own: number | null,
  asked: string | null,
): Promise<Tenant<TenantKeys>> {
  if (own === null) {
    const tenant = await tenants.get(asked ?? OPERATOR_TENANT)
    if (tenant === undefined) throw refuse('not_found', 'There is no such tenant.')
    return tenant
  }
  // Always by the key's own number: an id that differs is refused without looking whether it exists.
  const tenant = (await tenants.byNumber([own])).get(own)
  if (tenant === undefined || (asked !== null && asked !== tenant.id))
    throw refuse('not_found', 'There is no such tenant, or the key may not know of it.')
  return tenant
}
