// Brings everything in a key folder under the first key of the key management service: a folder that opened by itself, and
// what stands under a key that is to be retired. In this order, so that it can be cut off anywhere and repeated:
//
//   root          root.kms is written, opened again and compared
//   generations   each is opened, wrapped, opened again and compared, and only then takes the place of the old file
//   clear root    root.key is overwritten and removed, once nothing else needs it
//
// Servers may go on meanwhile if the folder is under the service already. A generation that one of them destroys at this
// moment stays destroyed: destroying leaves its mark first and looks again last, and so does replacing.
import { randomBytes } from 'node:crypto'
import { type FileHandle, open, rename, unlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { destroyFile, isDestroyed, readIfThere, syncFolder, writeOnce } from './key-file.ts'
import {
  type GenerationFile,
  generationFiles,
  goneMark,
  KMS_ROOT,
  parseRoot,
  readRootFile,
  rootCheckOf,
  underRoot,
} from './key-folder.ts'
import type { Blob, Context, Kms } from './kms.ts'
import {
  formatBlob,
  formatRoot,
  generationContext,
  parseBlob,
  type RootFile,
  readRoot,
  rootContext,
} from './kms-files.ts'
import { openRoot } from './kms-folder.ts'
import { KeyUnusable } from './unusable.ts'

export type RewrapStep = 'root' | 'generation' | 'clear root'

export interface RewrapOptions {
  readonly folder: string
  readonly kms: Kms
  /** Root key from the environment, where the folder has none. */
  readonly rootKey?: string
  /** Of a folder that opens by itself: its log's name and check, as the database knows them. */
  readonly deployment: () => Promise<{ readonly logName: string; readonly rootCheck: string }>
  /** After each change. */
  readonly onStep?: (step: RewrapStep) => void
}

export interface Rewrapped {
  /** Whether the root key was in the clear before. */
  readonly migrated: boolean
  /** Files that were wrapped anew, root.kms included. */
  readonly moved: number
  /** Files that were under the first key already. */
  readonly kept: number
}

/** @throws KeyUnusable with a sentence for the operator; repeat it then, it goes on where it stopped */
export async function rewrapFolder(options: RewrapOptions): Promise<Rewrapped> {
  const { folder, kms, onStep } = options
  const done = { moved: 0, kept: 0 }
  const found = await readRoot(folder)
  const { root, log } =
    found === undefined ? await rootInTheClear(options) : { root: await openRoot(folder, kms, found), log: found.log }
  if (found?.key === kms.wrapping) done.kept++
  else {
    await wrapRoot(folder, kms, log, root, found)
    done.moved++
    onStep?.('root')
  }
  for await (const at of generationFiles(folder)) {
    const outcome = await moveGeneration(kms, log, root, at)
    if (outcome === 'kept') done.kept++
    if (outcome !== 'moved') continue
    done.moved++
    onStep?.('generation')
  }
  const migrated = await removeClearRoot(folder)
  if (migrated) onStep?.('clear root')
  return { migrated: migrated || found === undefined, ...done }
}

/** Files that still stand under this key. @param arn of a key in the service */
export async function countUnder(folder: string, arn: string): Promise<number> {
  let count = (await readRoot(folder))?.key === arn ? 1 : 0
  for await (const { file } of generationFiles(folder)) {
    const held = await readIfThere(file)
    if (held !== undefined && !isDestroyed(held) && parseBlob(held, file).key === arn) count++
  }
  return count
}

async function rootInTheClear({ folder, rootKey, deployment }: RewrapOptions): Promise<{ root: Buffer; log: string }> {
  const root = rootKey === undefined ? await readRootFile(folder) : parseRoot(rootKey, 'The root key given')
  const { logName, rootCheck } = await deployment()
  if (rootCheckOf(root) !== rootCheck)
    throw new KeyUnusable(
      'key_mismatch',
      `The root key is not the one this database was started with (key folder ${folder}). Nothing was changed.`,
    )
  return { root, log: logName }
}

async function wrapRoot(folder: string, kms: Kms, log: string, root: Buffer, found: RootFile | undefined) {
  const file = join(folder, KMS_ROOT)
  const blob = await wrapAndCompare(kms, root, rootContext(log), file)
  const text = formatRoot({ ...blob, log, check: rootCheckOf(root) })
  if (found === undefined) await writeOnce(file, text)
  else await replace(file, text)
}

async function moveGeneration(
  kms: Kms,
  log: string,
  root: Buffer,
  { file, keyring, generation }: GenerationFile,
): Promise<'moved' | 'kept' | 'destroyed'> {
  const before = await open(file, 'r+')
  try {
    const held = await before.readFile()
    if (isDestroyed(held) || (await readIfThere(goneMark(file))) !== undefined) {
      if (held.length > 0) await destroyFile(file)
      return 'destroyed'
    }
    const context = generationContext(log, keyring, generation)
    const inTheFolder = underRoot(root)
    const isOwn = held.length === inTheFolder.leastBytes
    const wrapped = isOwn ? undefined : parseBlob(held, file)
    if (wrapped?.key === kms.wrapping) return 'kept'
    const key =
      wrapped === undefined
        ? await inTheFolder.open(keyring, generation, held)
        : await kms.unwrap(wrapped, context, file)
    await replace(file, formatBlob(await wrapAndCompare(kms, key, context, file)))
    if (await wasDestroyed(file, before, held)) {
      await destroyFile(file)
      return 'destroyed'
    }
    // What lay here before is in no folder any more; it shall not lie on the disk either.
    await before.write(randomBytes(held.length), 0, held.length, 0)
    await before.sync()
    return 'moved'
  } finally {
    await before.close()
  }
}

/** Whether another process destroyed a generation while its file was replaced. */
async function wasDestroyed(file: string, before: FileHandle, held: Buffer): Promise<boolean> {
  if ((await readIfThere(goneMark(file))) !== undefined) return true
  const now = Buffer.alloc(held.length + 1)
  const { bytesRead } = await before.read(now, 0, now.length, 0)
  return !now.subarray(0, bytesRead).equals(held)
}

async function wrapAndCompare(kms: Kms, key: Buffer, context: Context, file: string): Promise<Blob> {
  const blob = await kms.wrap(key, context)
  if (!(await kms.unwrap(blob, context, file)).equals(key))
    throw new Error(`KMS opens ${file} otherwise than it was wrapped`)
  return blob
}

/** Puts other bytes in a file's place, durably: whoever reads it finds the old ones or the new ones. */
async function replace(file: string, text: string): Promise<void> {
  const next = `${file}.${randomBytes(6).toString('hex')}.tmp`
  await writeOnce(next, text)
  await rename(next, file)
  await syncFolder(dirname(file))
}

/** @returns whether there was one */
async function removeClearRoot(folder: string): Promise<boolean> {
  const file = join(folder, 'root.key')
  if ((await readIfThere(file)) === undefined) return false
  await destroyFile(file)
  await unlink(file)
  await syncFolder(folder)
  return true
}
