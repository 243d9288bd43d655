// Where a deployment's keys are, as its settings say.
import type { Config } from '../config.ts'
import type { Keys } from '../keys/open-keys.ts'
import type { KeyPlace } from '../keys/open-provider.ts'

export const keyPlace = ({ keysDir, rootKey, kms }: Config): KeyPlace => ({
  folder: keysDir,
  ...(rootKey !== undefined && { rootKey }),
  ...(kms !== undefined && { kms }),
})

/** The same for a thread that goes on when a service is away: it has the root from here. */
export function threadKeys(config: Config, { provider }: Keys): KeyPlace {
  const openedRoot = provider.openedRoot?.()
  return { ...keyPlace(config), ...(openedRoot !== undefined && { openedRoot }) }
}
