/**
 * Whose signatures count for a pack. Keys from outside, and those that the registry's successions lead to from them; where
 * nothing was brought, keys in the pack, which are worth no more than the pack.
 */
import type { Hash, VerifySignature } from '../hash.ts'
import { ED25519, readableVkeys, type VerifierKey, vkeyUnder } from '../note/note.ts'
import { parseTlogProof } from '../proof/tlog-proof.ts'
import { pinsFor } from '../registry/pins.ts'
import { followSuccession, parseSuccession } from '../registry/succession.ts'
import type { Findings } from '../walk/verdict.ts'
import type { PackReader } from './reader.ts'
import { isRegistryOf, readAs } from './registry.ts'

/** The `key` entries of the registry log, where it has any. */
export const SUCCESSION_MEMBER = 'registry/succession'

export interface PackKeys {
  /** For the trail's checkpoint. */
  readonly trail: readonly VerifierKey[]
  /** For the registry's checkpoint that the pack brings: the key in force. */
  readonly registry: (origin: string) => readonly VerifierKey[]
  /** For older checkpoints of the registry. */
  readonly earlier: (origin: string) => readonly VerifierKey[]
  readonly notes: readonly string[]
}

interface KeyOptions {
  readonly hash: Hash
  readonly verify: VerifySignature
  readonly vkeys?: readonly VerifierKey[]
}

/** @param paths of `vkeys` of the registry and of the proof with its checkpoint. Throws PackError */
export async function packKeys(
  pack: PackReader,
  { vkeys: vkeysPath, proof }: { readonly vkeys: string; readonly proof: string },
  options: KeyOptions,
  findings: Findings,
): Promise<PackKeys> {
  const { hash, vkeys } = options
  const { origin } = pack.manifest
  if (vkeys === undefined) {
    const keysIn = async (path: string) => readableVkeys(hash, (await pack.text(path)).split('\n'))
    const inPack = await keysIn('vkeys')
    const named = pack.has(vkeysPath) ? await keysIn(vkeysPath) : []
    const registry = (name: string) => named.filter((key) => key.type === ED25519 && key.name === name)
    const note = 'no key was given: the signature was checked with the key in the pack'
    return { trail: inPack, registry, earlier: registry, notes: [note] }
  }
  const pins = pinsFor(hash, vkeys, origin).filter(({ type }) => type === ED25519)
  const followed = await follow(pack, proof, pins, options, findings)
  const under = (keys: readonly VerifierKey[]) => (name: string) =>
    keys.filter(({ type }) => type === ED25519).map((key) => (key.name === name ? key : vkeyUnder(hash, key, name)))
  if (followed === undefined) return { trail: pins, registry: under(pins), earlier: under(pins), notes: [] }
  const { keys, inForce } = followed
  const steps = keys.length - pins.length
  return {
    trail: [...pins, ...under(keys)(origin)],
    registry: under(inForce),
    earlier: under(keys),
    notes:
      steps === 0 ? [] : [`the log key was followed through ${steps === 1 ? 'a succession' : `${steps} successions`}`],
  }
}

async function follow(
  pack: PackReader,
  proofPath: string,
  pins: readonly VerifierKey[],
  { hash, verify }: KeyOptions,
  findings: Findings,
) {
  const { origin } = pack.manifest
  if (!pack.has(SUCCESSION_MEMBER) || !pack.has(proofPath)) return undefined
  const succession = await readAs(pack, SUCCESSION_MEMBER, parseSuccession)
  const { checkpoint } = await readAs(pack, proofPath, parseTlogProof)
  if (succession.checkpoint !== checkpoint) {
    findings.fail('signature', 'other_checkpoint', `${SUCCESSION_MEMBER} is under another checkpoint than the epoch`)
    return undefined
  }
  const registry = checkpoint.slice(0, checkpoint.indexOf('\n'))
  if (!isRegistryOf(registry, origin)) {
    findings.fail('signature', 'other_registry', `${registry} is not the registry of ${origin}`)
    return undefined
  }
  const followed = await followSuccession(hash, verify, succession, pins)
  if (followed.outcome === 'followed') return followed
  findings.fail('signature', followed.code, followed.message)
  return undefined
}
