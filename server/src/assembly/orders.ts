// Orders of a deployment: in its Objects, under its registry secret.
import { Orders } from '../erase/orders.ts'
import type { Keys } from '../keys/open-keys.ts'
import { openRegistrySecret } from '../keys/registry-key.ts'
import type { Pool } from '../store/database.ts'
import type { Objects } from '../store/objects.ts'

/** The registry's thread makes the secret at the first start, before anybody can ask for an erasure. */
export const ordersOf = (keys: Keys, objects: Objects, retention: Pool): Orders =>
  new Orders({ objects, retention, secret: () => openRegistrySecret(keys.folder, keys.provider, false) })
