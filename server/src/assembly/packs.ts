// Puts trails and packs together with the registry, whose proofs packs bring along.
import type { Config } from '../config.ts'
import type { Operation } from '../http/operation.ts'
import { stampedCopy } from '../http/pack-anchors.ts'
import { PackThread } from '../http/pack-thread.ts'
import { packOperations } from '../http/packs.ts'
import { type TrailParts, trailOperations } from '../http/trails.ts'
import { verifierOperations } from '../http/verifier.ts'
import { slotEvidence } from '../registry/evidence.ts'
import type { RegistryReader } from '../registry/read.ts'
import type { RegistryThread } from '../registry/thread.ts'
import type { Login } from '../store/database.ts'
import type { Log } from '../store/log.ts'
import { keyPlace } from './key-place.ts'

export interface PackAssembly {
  readonly config: Config
  readonly login: Login
  readonly logName: string
  readonly registry: RegistryReader
  readonly thread: RegistryThread
  readonly log: Log
}

export interface AssembledPacks {
  /** On trails and their packs, and the verifiers to take along. */
  readonly operations: Operation[]
  /** Breaks off what is being downloaded: it can be continued. To be called before connections are waited for. */
  stop(): Promise<void>
}

export function assemblePacks(
  { config, login, logName, registry, thread, log }: PackAssembly,
  parts: TrailParts,
): AssembledPacks {
  const packs = new PackThread({ login, keys: keyPlace(config), logName }, log)
  // A pack without the registry's proof is still a pack; its cover and its verdict say what is not in it.
  const orNothing = (error: unknown) => {
    log.warn({ err: error }, 'a pack was made without the proof of the registry')
    return undefined
  }
  const evidence = (tenant: number) => slotEvidence(registry, thread, tenant).catch(orNothing)
  const stamping = { store: parts.store.pool('reader'), registry, thread }
  const stamped = (tenant: number, size: number, begun: number | undefined) =>
    stampedCopy(stamping, tenant, size, begun).catch(orNothing)
  const registryVkeys = async () => (await registry.vkeys()) ?? []
  return {
    operations: [
      ...trailOperations(parts),
      ...packOperations({ tenants: parts.tenants, packs, evidence, stamped, registryVkeys }),
      ...verifierOperations,
    ],
    stop: () => packs.stop(),
  }
}
