// Which key provider a deployment has: a folder with its root key beside it or in the environment, or one whose keys a
// key management service wraps.
import { openKeyFolder } from './key-folder.ts'
import type { KmsSettings } from './kms.ts'
import type { KeyProvider } from './provider.ts'
import { KeyUnusable } from './unusable.ts'

/** Where keys are that are not in PostgreSQL. Clones into worker threads. */
export interface KeyPlace {
  /** Outside PostgreSQL's folder. */
  readonly folder: string
  /** Root key from the environment; else `root.key` in the folder. */
  readonly rootKey?: string
  /** Undefined: no service; the folder opens by itself. */
  readonly kms?: KmsSettings
  /** `KeyProvider.openedRoot` of the thread that had the root opened. */
  readonly openedRoot?: Uint8Array
}

export interface ProviderOptions extends KeyPlace {
  /** False once the database has keys wrapped under a root. */
  readonly mayCreateRoot: boolean
  /** Name of the log, if it is known. */
  readonly logName?: string
  /** Its name if the keys are made now. */
  readonly newLogName?: string
}

/** @throws KeyUnusable with a sentence for the operator */
export async function openProvider({ kms, ...options }: ProviderOptions): Promise<KeyProvider> {
  if (kms === undefined) return openKeyFolder(options)
  if (options.rootKey !== undefined)
    throw new KeyUnusable(
      'key_mismatch',
      'AFFIDAVIT_ROOT_KEY and AFFIDAVIT_KMS_KEY are both set: a root key that KMS wraps is in no environment. To move it there: affidavit keys rewrap.',
    )
  const { openKmsFolder } = await import('./kms-folder.ts') // the SDK is large: only who needs it loads it
  return openKmsFolder({ ...options, kms })
}
