/** Whether the witnesses that the verifier believes have cosigned what the registry shows, and lately. */
import { meetsQuorum, NoteError, policyKeys, type TrustPolicy, verifyEd25519, verifyNote } from '@affidavit/trail'
import { failed, type RegistryFinding, unchecked } from './finding.ts'
import type { RegistryEpoch } from './walk.ts'

export interface Witnessed {
  /** Names of the witnesses that cosigned. */
  readonly cosigned: readonly string[]
  /** Enough of them, lately enough. */
  readonly isQuorum: boolean
  readonly findings: readonly RegistryFinding[]
}

/** Whether a policy wants cosignatures at all; one with `quorum none` only says which log is meant. */
export function asksWitnesses(policy: TrustPolicy | undefined): boolean {
  return policy !== undefined && policy.quorum !== 'none'
}

/** @param since oldest time of a cosignature that counts, ms since 1970 */
export async function checkWitnesses(note: string, policy: TrustPolicy | undefined, since: number): Promise<Witnessed> {
  if (policy === undefined) return { cosigned: [], isQuorum: false, findings: [] }
  try {
    const { cosigned } = await verifyNote(verifyEd25519, note, policyKeys(policy))
    const names = cosigned.map(({ key }) => policy.witnesses.find((one) => one.key === key)?.name ?? key.name)
    const fresh = cosigned.filter(({ time }) => time * 1000 >= since)
    const keys = (some: typeof cosigned) => some.map(({ key }) => key)
    if (!asksWitnesses(policy)) return { cosigned: names, isQuorum: false, findings: [] }
    if (meetsQuorum(policy, keys(fresh))) return { cosigned: names, isQuorum: true, findings: [] }
    return { cosigned: names, isQuorum: false, findings: [noQuorum(names, meetsQuorum(policy, keys(cosigned)), since)] }
  } catch (error) {
    if (!(error instanceof NoteError)) throw error
    const finding = failed('cosignature_wrong', `under the registry checkpoint: ${error.message}`)
    return { cosigned: [], isQuorum: false, findings: [finding] }
  }
}

function noQuorum(names: readonly string[], isOld: boolean, since: number): RegistryFinding {
  if (isOld) return unchecked('stale_view', `no quorum of witnesses has cosigned the registry since ${timeOf(since)}`)
  const by = names.length === 0 ? 'none of the witnesses' : `only ${names.join(', ')}`
  return unchecked('quorum_missing', `the registry is cosigned by ${by}: that is no quorum`)
}

/** Epochs are published when nothing happens, too, so an old one means an old view. */
export function ageFinding(newest: RegistryEpoch | undefined, since: number): RegistryFinding | undefined {
  if (newest === undefined || Date.parse(newest.entry.time) >= since) return undefined
  const { epoch, time } = newest.entry
  return unchecked(
    'stale_view',
    `the newest epoch, ${epoch}, is of ${time}, before ${timeOf(since)}: this may be an old view`,
  )
}

const timeOf = (ms: number) => `${new Date(ms).toISOString().slice(0, 19)}Z`
