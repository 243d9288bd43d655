// A tenant with its keys, as the server makes one, for tests of what works on behalf of tenants.
import { randomBytes } from 'node:crypto'
import type { KeyProvider } from '../src/keys/provider.ts'
import { KeyChest, type TenantKeys } from '../src/keys/tenant-keys.ts'
import { type Tenant, Tenants } from '../src/tenants/tenants.ts'
import type { TestDatabase } from './database.ts'

export const testTenants = (database: TestDatabase, provider: KeyProvider): Tenants<TenantKeys> =>
  new Tenants({ keeper: database.store.pool('keeper'), chest: new KeyChest(provider) })

/** Its id is random unless given. */
export async function newTenant(
  database: TestDatabase,
  provider: KeyProvider,
  id = `t-${randomBytes(8).toString('hex')}`,
): Promise<Tenant<TenantKeys>> {
  return (await testTenants(database, provider).create(id)).tenant
}
