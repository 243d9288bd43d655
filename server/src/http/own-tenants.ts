// Whose tenant a request concerns. A key bound to a tenant always leads to that one: another id is refused without
// looking whether it exists, so neither the answer nor its time tells.
import type { TenantKeys } from '../keys/tenant-keys.ts'
import type { Principal } from '../tenants/api-keys.ts'
import type { Tenant, Tenants } from '../tenants/tenants.ts'
import { refuse } from './refused.ts'

/** Numbers never change their id; beyond this many they are asked for again. */
const remembered = 50_000

export class OwnTenants {
  readonly #tenants: Tenants<TenantKeys>
  readonly #ids = new Map<number, string>()

  constructor(tenants: Tenants<TenantKeys>) {
    this.#tenants = tenants
  }

  /** Id of the tenant that a key is bound to. @throws StoreUnavailable, KeyUnusable */
  async idOf(number: number): Promise<string> {
    const known = this.#ids.get(number)
    if (known !== undefined) return known
    const { id } = (await this.#tenants.byNumber([number])).get(number)!
    if (this.#ids.size >= remembered) this.#ids.clear()
    this.#ids.set(number, id)
    return id
  }

  /**
   * @param asked tenant id; null: the key's own, and for an operator key `fallback`
   * @throws Refused `not_found` for a tenant that is not there or that the key may not know of
   */
  async visible(principal: Principal, asked: string | null, fallback?: string): Promise<Tenant<TenantKeys>> {
    const own = principal.tenant === null ? undefined : await this.idOf(principal.tenant)
    const id = own ?? asked ?? fallback
    const isForeign = own !== undefined && asked !== null && asked !== own
    const tenant = isForeign || id === undefined ? undefined : await this.#tenants.get(id)
    if (tenant === undefined) throw refuse('not_found', 'There is no such tenant, or the key may not know of it.')
    return tenant
  }
}
