// The key provider whose root lies in no file: the key folder as in key-folder.ts, but what would open by itself there is
// wrapped by a key that never leaves a key management service:
//
//   root.kms                          the root key, wrapped by the service
//   generations/3f/3f02…c1.0          one generation, wrapped by the service on its own; empty once destroyed
//   generations/3f/3f02…c1.0.gone     the second mark of a destroyed one
//
// A generation is not wrapped under the root: the root is opened at each start and stays in memory, so whoever once had
// it would open every old copy of the folder. Opened by the service one by one, an old copy opens only as long as the
// service's key exists, and each opening stands in the service's own log with keyring and generation.
import { join } from 'node:path'
import { makeFolder, readIfThere, writeOnce } from './key-file.ts'
import { type Envelope, KeyFolder, KMS_ROOT, rootCheckOf } from './key-folder.ts'
import type { Kms, KmsSettings } from './kms.ts'
import {
  formatBlob,
  formatRoot,
  generationContext,
  parseBlob,
  type RootFile,
  readRoot,
  rootContext,
} from './kms-files.ts'
import type { KeyProvider } from './provider.ts'
import { KeyUnusable } from './unusable.ts'

export interface KmsFolderOptions {
  readonly folder: string
  readonly kms: KmsSettings
  /** The root as another thread of this process had it opened; the service is then asked for generations only. */
  readonly openedRoot?: Uint8Array
  /** False once the database has keys wrapped under a root: then a missing root.kms is an error, not a first start. */
  readonly mayCreateRoot: boolean
  /** Name of the log, if it is known: keys of another one are refused. */
  readonly logName?: string
  /** Its name if the keys are made now. */
  readonly newLogName?: string
}

/** @throws KeyUnusable with a sentence for the operator */
export async function openKmsFolder(options: KmsFolderOptions): Promise<KeyProvider> {
  await makeFolder(options.folder)
  const connect = connector(options.kms)
  const held = (await readRoot(options.folder)) ?? (await makeRoot(options, await connect()))
  if (options.logName !== undefined && held.log !== options.logName)
    throw new KeyUnusable(
      'key_mismatch',
      `The keys in ${options.folder} belong to the log ${held.log}, not to ${options.logName}.`,
    )
  if ((await readIfThere(join(options.folder, 'root.key'))) !== undefined)
    throw new KeyUnusable(
      'key_mismatch',
      `The root key still lies in the clear in ${join(options.folder, 'root.key')}: finish with affidavit keys rewrap.`,
    )
  const { openedRoot } = options
  const root =
    openedRoot === undefined
      ? await openRoot(options.folder, await connect(), held)
      : checked(options.folder, Buffer.from(openedRoot), held)
  return new KmsFolder(options.folder, root, wrappedBy(connect, held.log), held.log)
}

class KmsFolder extends KeyFolder {
  readonly logName: string
  readonly #root: Buffer

  constructor(folder: string, root: Buffer, envelope: Envelope, logName: string) {
    super(folder, root, envelope)
    this.logName = logName
    this.#root = root
  }

  openedRoot(): Uint8Array {
    return new Uint8Array(this.#root)
  }
}

/** Connects at the first use, and anew after a failure. The SDK is large: who needs the root alone does not load it. */
function connector(settings: KmsSettings): () => Promise<Kms> {
  let connected: Promise<Kms> | undefined
  const connect = async () => {
    const { Kms } = await import('./kms.ts')
    return Kms.connect(settings)
  }
  return () => {
    connected ??= connect().catch((error) => {
      connected = undefined
      throw error
    })
    return connected
  }
}

async function makeRoot(options: KmsFolderOptions, kms: Kms): Promise<RootFile> {
  const { folder, mayCreateRoot } = options
  const log = options.logName ?? options.newLogName
  if ((await readIfThere(join(folder, 'root.key'))) !== undefined)
    throw new KeyUnusable(
      'key_mismatch',
      `The keys in ${folder} are not wrapped by KMS yet. Stop every server process, then run: affidavit keys rewrap`,
    )
  if (!mayCreateRoot || log === undefined)
    throw new KeyUnusable(
      'key_missing',
      `${join(folder, KMS_ROOT)} is missing, and this database has keys wrapped under it. Restore the key folder from its backup.`,
    )
  const { plain, ...blob } = await kms.generate(rootContext(log))
  await writeOnce(join(folder, KMS_ROOT), formatRoot({ ...blob, log, check: rootCheckOf(plain) }))
  return (await readRoot(folder))!
}

/** @throws KeyUnusable */
export async function openRoot(folder: string, kms: Kms, held: RootFile): Promise<Buffer> {
  const file = join(folder, KMS_ROOT)
  return checked(folder, await kms.unwrap(held, rootContext(held.log), file), held)
}

function checked(folder: string, root: Buffer, held: RootFile): Buffer {
  if (rootCheckOf(root) === held.check) return root
  const file = join(folder, KMS_ROOT)
  throw new KeyUnusable('key_tampered', `${file} is not what was written there. Restore it from its backup.`)
}

function wrappedBy(connect: () => Promise<Kms>, log: string): Envelope {
  return {
    leastBytes: 1,
    isReplaced: true,
    async make(keyring, generation) {
      const { plain: _, ...blob } = await (await connect()).generate(generationContext(log, keyring, generation))
      return Buffer.from(formatBlob(blob))
    },
    async open(keyring, generation, held) {
      const file = `Generation ${generation} of keyring ${keyring}`
      const blob = parseBlob(held, file)
      return (await connect()).unwrap(blob, generationContext(log, keyring, generation), file)
    },
  }
}
