// The Ed25519 key (RFC 8032) that signs every trail, and the recovery key that can name its successor when it is lost
// or stolen. Both are made at first start, in the key folder. A successor is announced in the registry log
// (registry/epoch.ts); until its predecessor is retired, both sign, so that whoever pinned either can verify.
//
//   log.key        the private key (PKCS #8), wrapped under the root
//   log.1.key      its successor, and so on; an empty file, or one of zeros, is a key that was retired
//   recovery.key   the private key as PEM: to be moved offline; the server never reads it again
//   recovery.pub   its public half, 64 hex digits
import { createPrivateKey, createPublicKey, generateKeyPairSync, hash, type KeyObject, sign } from 'node:crypto'
import { join } from 'node:path'
import { ED25519, formatSignature, formatVkey, keyId, type NoteSigner } from '@affidavit/trail'
import { place } from './aead.ts'
import { destroyFile, isDestroyed, readIfThere, writeOnce } from './key-file.ts'
import type { KeyProvider } from './provider.ts'
import { KeyUnusable } from './unusable.ts'

export interface LogKey {
  /** Keys that sign along until they are retired, the newest first. */
  readonly also: readonly LogKey[]
  /** 32 bytes. */
  readonly publicKey: Uint8Array
  /** Ed25519 signature, 64 bytes; about 40 µs. */
  sign(message: Uint8Array): Uint8Array
  /** Signs notes under a key name: `trailName(…)`, or the log name for the registry. */
  signer(name: string): NoteSigner
  /** The public key as a verifier pins it under a key name. */
  vkey(name: string): string
}

export interface LogKeys {
  /** The newest one. */
  log: LogKey
  /** Public half of the first one; null when it was retired. */
  firstPublicKey: Uint8Array | null
  /** 32 bytes. */
  recoveryPublicKey: Uint8Array
  /** Where the recovery key waits to be moved offline, or null when it has been. */
  recoveryFile: string | null
}

/** Origin of a trail's checkpoints, and the name of the key that signs them. */
export const trailName = (logName: string, trailId: string) => `${logName}/${trailId}`

const sha256 = (data: Uint8Array) => hash('sha256', data, 'buffer')
const utf8 = new TextEncoder()

/** Signature lines of a note with this text (it ends in LF), by a key and all that sign along with it. */
export function signatureLines(key: LogKey, name: string, text: string): string {
  const message = utf8.encode(text)
  return [key, ...key.also]
    .map((one) => formatSignature({ name, id: one.signer(name).id, signature: one.sign(message) }))
    .join('')
}

const fileName = (generation: number) => (generation === 0 ? 'log.key' : `log.${generation}.key`)
const logKeyPlace = (generation: number) => (generation === 0 ? place('log.key') : place('log.key', generation))

/**
 * @param mayCreate false once the database knows the keys' public halves: then a missing file is an error
 * @throws KeyUnusable
 */
export async function openLogKeys(folder: string, provider: KeyProvider, mayCreate: boolean): Promise<LogKeys> {
  if (mayCreate && (await readIfThere(join(folder, fileName(0)))) === undefined) await writeLogKey(folder, provider, 0)
  const keys: (LogKey | null)[] = []
  for (;;) {
    const wrapped = await readIfThere(join(folder, fileName(keys.length)))
    if (wrapped === undefined) break
    keys.push(isDestroyed(wrapped) ? null : await openLogKey(provider, keys.length, wrapped))
  }
  const [newest, ...older] = keys.filter((key) => key !== null).reverse()
  if (newest === undefined)
    throw new KeyUnusable(
      'key_missing',
      `${join(folder, 'log.key')} is missing. Restore the key folder from its backup; if it is lost for good, the recovery ` +
        'key can name a successor: affidavit keys recover.',
    )
  const log = { ...newest, also: older }
  return { log, firstPublicKey: keys[0]?.publicKey ?? null, ...(await openRecovery(folder, mayCreate)) }
}

async function openLogKey(provider: KeyProvider, generation: number, wrapped: Buffer): Promise<LogKey> {
  const der = await provider.unwrapUnderRoot(logKeyPlace(generation), wrapped)
  return logKey(createPrivateKey({ key: der, format: 'der', type: 'pkcs8' }))
}

async function writeLogKey(folder: string, provider: KeyProvider, generation: number): Promise<void> {
  const key = pkcs8(generateKeyPairSync('ed25519').privateKey)
  await writeOnce(join(folder, fileName(generation)), await provider.wrapUnderRoot(logKeyPlace(generation), key))
}

/** Generations of the log key whose files are there, the oldest first, and whether each was retired. */
async function generations(folder: string): Promise<{ generation: number; retired: boolean }[]> {
  const found: { generation: number; retired: boolean }[] = []
  for (;;) {
    const wrapped = await readIfThere(join(folder, fileName(found.length)))
    if (wrapped === undefined) return found
    found.push({ generation: found.length, retired: isDestroyed(wrapped) })
  }
}

/** Generation of the newest log key, retired or not; null: there is no file of any. */
export async function newestLogKey(folder: string): Promise<number | null> {
  return (await generations(folder)).at(-1)?.generation ?? null
}

/** Makes the next log key. It signs from the next start of each process on. */
export async function addLogKey(folder: string, provider: KeyProvider): Promise<LogKey> {
  await writeLogKey(folder, provider, (await generations(folder)).length)
  return (await openLogKeys(folder, provider, false)).log
}

/** Destroys every log key but the newest; they sign no more from the next start of each process on. @returns how many */
export async function retireLogKeys(folder: string): Promise<number> {
  const old = (await generations(folder)).slice(0, -1).filter(({ retired }) => !retired)
  for (const { generation } of old) await destroyFile(join(folder, fileName(generation)))
  return old.length
}

export function logKey(privateKey: KeyObject): LogKey {
  const publicKey = rawPublicKey(privateKey)
  const signMessage = (message: Uint8Array) => sign(null, message, privateKey)
  return {
    also: [],
    publicKey,
    sign: signMessage,
    signer: (name) => ({ name, id: keyId(sha256, name, ED25519, publicKey), sign: signMessage }),
    vkey: (name) => formatVkey(sha256, name, publicKey),
  }
}

const advice = `This key alone can name a successor to this deployment's log key, once that is lost or stolen.
Move this file offline now (two copies, two places), and delete it here. The server does not need it.

`

async function openRecovery(
  folder: string,
  mayCreate: boolean,
): Promise<Pick<LogKeys, 'recoveryPublicKey' | 'recoveryFile'>> {
  const privateFile = join(folder, 'recovery.key')
  const publicFile = join(folder, 'recovery.pub')
  // The private half is written first: a crash in between leaves a pair that can be completed.
  if (mayCreate && (await readIfThere(publicFile)) === undefined) {
    const pair = generateKeyPairSync('ed25519')
    await writeOnce(privateFile, advice + pair.privateKey.export({ format: 'pem', type: 'pkcs8' }))
    const pem = await readIfThere(privateFile)
    await writeOnce(publicFile, `${Buffer.from(rawPublicKey(createPrivateKey(pem!))).toString('hex')}\n`)
  }
  const text = (await readIfThere(publicFile))?.toString('latin1').trim()
  if (text === undefined || !/^[0-9a-f]{64}$/.test(text))
    throw new KeyUnusable('key_missing', `${publicFile} is missing or not 64 hex digits. Restore it from its backup.`)
  const waits = (await readIfThere(privateFile)) !== undefined
  return { recoveryPublicKey: Buffer.from(text, 'hex'), recoveryFile: waits ? privateFile : null }
}

const pkcs8 = (key: KeyObject) => key.export({ format: 'der', type: 'pkcs8' })

/** The last 32 bytes of the SubjectPublicKeyInfo (RFC 8410 §4). */
function rawPublicKey(privateKey: KeyObject): Uint8Array {
  return createPublicKey(privateKey).export({ format: 'der', type: 'spki' }).subarray(-32)
}
