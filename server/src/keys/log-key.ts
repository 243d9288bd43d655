// The Ed25519 key (RFC 8032) that signs every trail, and the recovery key that can name its successor when it is lost
// or stolen. Both are made at first start, in the key folder:
//
//   log.key        the private key (PKCS #8), wrapped under the root
//   recovery.key   the private key as PEM: to be moved offline; the server never reads it again
//   recovery.pub   its public half, 64 hex digits
import { createPrivateKey, createPublicKey, generateKeyPairSync, hash, type KeyObject, sign } from 'node:crypto'
import { join } from 'node:path'
import { ED25519, formatVkey, keyId, type NoteSigner } from '@affidavit/trail'
import { place } from './aead.ts'
import { readIfThere, writeOnce } from './key-file.ts'
import type { KeyProvider } from './provider.ts'
import { KeyUnusable } from './unusable.ts'

export interface LogKey {
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
  log: LogKey
  /** 32 bytes. */
  recoveryPublicKey: Uint8Array
  /** Where the recovery key waits to be moved offline, or null when it has been. */
  recoveryFile: string | null
}

/** Origin of a trail's checkpoints, and the name of the key that signs them. */
export const trailName = (logName: string, trailId: string) => `${logName}/${trailId}`

const logKeyPlace = place('log.key')
const sha256 = (data: Uint8Array) => hash('sha256', data, 'buffer')

/**
 * @param mayCreate false once the database knows the keys' public halves: then a missing file is an error
 * @throws KeyUnusable
 */
export async function openLogKeys(folder: string, provider: KeyProvider, mayCreate: boolean): Promise<LogKeys> {
  const file = join(folder, 'log.key')
  if (mayCreate && (await readIfThere(file)) === undefined)
    await writeOnce(file, await provider.wrapUnderRoot(logKeyPlace, pkcs8(generateKeyPairSync('ed25519').privateKey)))
  const wrapped = await readIfThere(file)
  if (wrapped === undefined)
    throw new KeyUnusable('key_missing', `${file} is missing. Restore the key folder from its backup.`)
  const der = await provider.unwrapUnderRoot(logKeyPlace, wrapped)
  const log = logKey(createPrivateKey({ key: der, format: 'der', type: 'pkcs8' }))
  return { log, ...(await openRecovery(folder, mayCreate)) }
}

export function logKey(privateKey: KeyObject): LogKey {
  const publicKey = rawPublicKey(privateKey)
  const signMessage = (message: Uint8Array) => sign(null, message, privateKey)
  return {
    publicKey,
    sign: signMessage,
    signer: (name) => ({ name, id: keyId(sha256, name, ED25519, publicKey), sign: signMessage }),
    vkey: (name) => formatVkey(sha256, name, publicKey),
  }
}

const advice = `This key alone can name a successor to this deployment's log key, once that is lost or stolen.
Move this file offline now (two copies, two places), and delete it here. The server does not need it.

`

async function openRecovery(folder: string, mayCreate: boolean): Promise<Omit<LogKeys, 'log'>> {
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
