/** A stamped checkpoint of the registry as a pack carries it: the registry's members anew, under the stamped bytes. */
import type { TimestampAuthority } from '../../server/test/timestamp-authority.ts'
import { anchorPaths, parseTlogProof, REGISTRY_MEMBERS } from '../src/index.ts'
import { registryMembers } from './packed-registry.ts'
import { ascii, type SampleTrail } from './sample-trail.ts'
import { stamped } from './timestamps.ts'

/** Members under anchors/ of a pack of `packed` of which the stamped epoch binds `size` entries. */
export async function timestampMembers(
  trail: SampleTrail,
  { n, size, packed, authority }: { n: number; size: number; packed: number; authority: TimestampAuthority },
): Promise<Map<string, Uint8Array>> {
  const registry = await registryMembers(trail, { size, packed })
  const paths = anchorPaths(n)
  const { checkpoint } = parseTlogProof(registry.get(REGISTRY_MEMBERS.proof)!)
  const text = (name: 'epoch' | 'proof' | 'slot' | 'consistency') => ascii.encode(registry.get(REGISTRY_MEMBERS[name])!)
  const proof = new TextEncoder().encode(registry.get(REGISTRY_MEMBERS.proof)!)
  const note = new TextEncoder().encode(checkpoint)
  return new Map([
    [paths.checkpoint, note],
    [paths.token, await stamped(authority, note)],
    [paths.epoch, text('epoch')],
    [paths.proof, proof],
    [paths.slot, text('slot')],
    [paths.consistency, text('consistency')],
  ])
}
