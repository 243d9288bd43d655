// Accepting and sealing as a server does it, in this process and without HTTP, for tests that get between the sealer
// and its database.

import { opening } from '../src/assembly/opening.ts'
import { standardCatalog } from '../src/catalog/standard-actions.ts'
import { Ingest } from '../src/ingest/accept.ts'
import { ActionNumbers } from '../src/ingest/action-numbers.ts'
import type { Keys } from '../src/keys/open-keys.ts'
import { Subjects } from '../src/keys/subjects.ts'
import { KeyChest, type TenantKeys } from '../src/keys/tenant-keys.ts'
import { Sealer, type SealerLimits } from '../src/seal/sealer.ts'
import type { Database } from '../src/store/database.ts'
import { silent } from '../src/store/log.ts'
import { Tenants } from '../src/tenants/tenants.ts'
import type { TestDatabase } from './database.ts'

/** @param sealing what the sealer goes through; everything else takes the direct way */
export async function pipeline(
  database: TestDatabase,
  keys: Keys,
  sealing: Database,
  limits: Partial<SealerLimits> = {},
): Promise<[Sealer, Ingest]> {
  const pool = database.store.pool('ingest')
  const keeper = database.store.pool('keeper')
  const sealer = await Sealer.open({
    pool: sealing.pool('sealer'),
    log: silent,
    connections: 3,
    opening: (trail, keyEpoch) => opening(keys, trail, keyEpoch, null),
    limits,
  })
  const ingest = new Ingest({
    catalog: standardCatalog(),
    tenants: new Tenants<TenantKeys>({ keeper, chest: new KeyChest(keys.provider) }),
    subjects: new Subjects({ ingest: pool, keeper, provider: keys.provider }),
    actions: new ActionNumbers(pool),
    seal: (sealables) => sealer.submit(sealables),
  })
  return [sealer, ingest]
}
