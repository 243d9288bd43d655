// Key generations that trails announced as destroyed and that came back with a copy of the key folder: destroyed again,
// once no bucket stands under them.
import type { KeyProvider } from '../keys/provider.ts'
import type { Queryable } from '../store/database.ts'

/** @returns how many were destroyed */
export async function forgetRetired(keeper: Queryable, provider: KeyProvider): Promise<number> {
  const { rows } = await keeper.query<{ keyring: string; generation: number }>(
    `select distinct replace((select f.id from affidavit.trails f where f.tenant = t.tenant order by f.ordinal limit 1)::text, '-', '')
        as keyring, substr(e.control, 24)::int - 1 as generation
      from affidavit.events e join affidavit.trails t on t.number = e.trail
      where e.control like 'keys subject destroyed %'
        and not exists (select from keeper.buckets b where b.tenant = t.tenant and b.generation = substr(e.control, 24)::int - 1)`,
  )
  let destroyed = 0
  for (const { keyring, generation } of rows) {
    if (!(await provider.generations(keyring)).includes(generation)) continue
    await provider.destroyGeneration(keyring, generation)
    destroyed++
  }
  return destroyed
}
