// Puts trails and packs together with the registry, whose proofs packs bring along.
import type { Operation } from '../http/operation.ts'
import { type PackParts, packOperations } from '../http/packs.ts'
import { trailOperations } from '../http/trails.ts'
import { verifierOperations } from '../http/verifier.ts'
import { slotEvidence } from '../registry/evidence.ts'
import type { RegistryReader } from '../registry/read.ts'
import type { RegistryThread } from '../registry/thread.ts'
import type { Log } from '../store/log.ts'

export interface PackAssembly extends Omit<PackParts, 'evidence' | 'registryVkeys'> {
  readonly registry: RegistryReader
  readonly thread: RegistryThread
  readonly log: Log
}

/** Operations on trails and their packs, and the verifiers to take along. */
export function assemblePacks({ registry, thread, log, ...parts }: PackAssembly): Operation[] {
  const evidence = async (tenant: number) => {
    try {
      return await slotEvidence(registry, thread, tenant)
    } catch (error) {
      // A pack without the registry's proof is still a pack; its cover and its verdict say what is not in it.
      log.warn({ err: error }, 'a pack was made without the proof of the registry')
      return undefined
    }
  }
  const registryVkeys = async () => (await registry.vkeys()) ?? []
  return [...trailOperations(parts), ...packOperations({ ...parts, evidence, registryVkeys }), ...verifierOperations]
}
