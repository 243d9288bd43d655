// What the files of a key folder hold whose keys a key management service wraps (kms-folder.ts): JSON, one line.
import { join } from 'node:path'
import { readIfThere } from './key-file.ts'
import { KMS_ROOT } from './key-folder.ts'
import type { Blob, Context } from './kms.ts'
import { KeyUnusable } from './unusable.ts'

/** What root.kms holds, as JSON. */
export interface RootFile extends Blob {
  readonly format: 'affidavit/1 root'
  readonly log: string
  /** `KeyProvider.rootCheck`. */
  readonly check: string
}

export const rootContext = (log: string): Context => ({ purpose: 'affidavit/1 root', log })
export const generationContext = (log: string, keyring: string, generation: number): Context => ({
  purpose: 'affidavit/1 generation',
  log,
  keyring,
  generation: String(generation),
})

/** Undefined: there is none. @throws KeyUnusable `key_tampered` */
export async function readRoot(folder: string): Promise<RootFile | undefined> {
  const file = join(folder, KMS_ROOT)
  const text = await readIfThere(file)
  return text && parseRootFile(text, file)
}

/** @throws KeyUnusable `key_tampered` */
export function parseRootFile(text: Buffer, file: string): RootFile {
  const { format, log, check } = parse(text) as Partial<RootFile>
  if (format !== 'affidavit/1 root' || typeof log !== 'string' || typeof check !== 'string')
    throw new KeyUnusable('key_tampered', `${file} is not what was written there. Restore it from its backup.`)
  return { format, log, check, ...parseBlob(text, file) }
}

export const formatRoot = (root: Omit<RootFile, 'format'>) =>
  `${JSON.stringify({ format: 'affidavit/1 root', log: root.log, check: root.check, ...blobOf(root) })}\n`

const blobOf = ({ key, blob }: Blob): Blob => ({ key, blob })
export const formatBlob = (blob: Blob) => `${JSON.stringify(blobOf(blob))}\n`

/** @throws KeyUnusable `key_tampered`, `key_mismatch` */
export function parseBlob(held: Buffer, file: string): Blob {
  const { key, blob } = parse(held) as Partial<Blob>
  if (typeof key === 'string' && typeof blob === 'string') return { key, blob }
  throw new KeyUnusable(
    'key_mismatch',
    `${file} is not wrapped by KMS: run affidavit keys rewrap, or restore it from its backup.`,
  )
}

function parse(held: Buffer): object {
  try {
    const value: unknown = JSON.parse(held.toString())
    return typeof value === 'object' && value !== null ? value : {}
  } catch {
    return {}
  }
}
