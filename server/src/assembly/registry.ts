// The registry within a server: its thread, and what the door shows of it.
import type { Config } from '../config.ts'
import { logKeyOperations } from '../http/log-key.ts'
import type { OwnTenants } from '../http/own-tenants.ts'
import type { PlatformRecorder } from '../http/platform-events.ts'
import { registerRegistryMetrics, registryOperations } from '../http/registry.ts'
import type { Metrics } from '../http/status.ts'
import type { Keys } from '../keys/open-keys.ts'
import { RegistryReader } from '../registry/read.ts'
import { RegistryThread } from '../registry/thread.ts'
import type { Background } from '../store/background.ts'
import type { Database, Login } from '../store/database.ts'
import type { Log } from '../store/log.ts'
import { threadKeys } from './key-place.ts'

/** Starts the registry's thread. */
export const startRegistry = (
  config: Config,
  login: Login,
  keys: Keys,
  log: Log,
  background: Background,
): Promise<RegistryThread> =>
  RegistryThread.start(
    {
      login,
      keys: threadKeys(config, keys),
      logName: keys.logName,
      objects: config.objects,
      interval_ms: config.registryIntervalMs,
    },
    log,
    background,
  )

/** What reads the registry log, for the operations below and for packs. */
export const registryReader = (config: Config, store: Database, keys: Keys): RegistryReader =>
  new RegistryReader({
    store,
    preferQuorum: config.witnessPolicy !== undefined,
    recoveryPublicKey: keys.recoveryPublicKey,
  })

export interface RegistryOfServer {
  readonly registry: RegistryReader
  readonly thread: RegistryThread
  readonly keys: Keys
  readonly tenants: OwnTenants
  readonly recorder: PlatformRecorder
  readonly metrics: Metrics
}

/** The registry's operations and metrics. */
export function openRegistry(config: Config, { registry, thread, keys, tenants, recorder, metrics }: RegistryOfServer) {
  registerRegistryMetrics(metrics.registry, () => thread.status())
  return [
    ...registryOperations({ registry, thread, tenants, hasPolicy: config.witnessPolicy !== undefined }),
    ...logKeyOperations({ keys, registry, recorder }),
  ]
}
