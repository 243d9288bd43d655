// Whose trail a request reads, and how much of it: decided here once for all read operations.
import type { Reader } from '../query/row.ts'
import { OPERATOR_TENANT } from '../tenants/tenants.ts'
import type { Call } from './operation.ts'
import type { OwnTenants } from './own-tenants.ts'

/**
 * @param asked tenant id; null: the key's own, and for an operator key the operator's own trail
 * @throws Refused `not_found` for a tenant that is not there or that the key may not know of
 */
export async function readerOf(tenants: OwnTenants, call: Call, asked: string | null): Promise<Reader> {
  const { tenant, scopes } = call.principal!
  return {
    tenant: await tenants.visible(call.principal!, asked, OPERATOR_TENANT),
    operator: tenant === null && scopes.has('operator'),
    confidential: scopes.has('events:confidential'),
  }
}
