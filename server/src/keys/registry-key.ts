// The registry secret: it blinds every slot of every epoch (docs/spec/registry.md) and says which epoch objects are ours.
// 32 random bytes in the key folder, `registry.key`, wrapped under the root. It is never replaced: without it the slots
// of old epochs cannot be shown any more.
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { KEY_BYTES, place } from './aead.ts'
import { readIfThere, writeOnce } from './key-file.ts'
import type { KeyProvider } from './provider.ts'
import { KeyUnusable } from './unusable.ts'

const secretPlace = place('registry.key')

/**
 * @param mayCreate false once there is an epoch: then a missing file is an error
 * @throws KeyUnusable
 */
export async function openRegistrySecret(folder: string, provider: KeyProvider, mayCreate: boolean): Promise<Buffer> {
  const file = join(folder, 'registry.key')
  if (mayCreate && (await readIfThere(file)) === undefined)
    await writeOnce(file, await provider.wrapUnderRoot(secretPlace, randomBytes(KEY_BYTES)))
  const wrapped = await readIfThere(file)
  if (wrapped === undefined)
    throw new KeyUnusable('key_missing', `${file} is missing. Restore the key folder from its backup.`)
  return provider.unwrapUnderRoot(secretPlace, wrapped)
}
