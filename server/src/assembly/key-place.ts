// Where a deployment's keys are, as its settings say.
import type { Config } from '../config.ts'
import type { KeyPlace } from '../keys/open-provider.ts'

export const keyPlace = ({ keysDir, rootKey, kms }: Config): KeyPlace => ({
  folder: keysDir,
  ...(rootKey !== undefined && { rootKey }),
  ...(kms !== undefined && { kms }),
})
