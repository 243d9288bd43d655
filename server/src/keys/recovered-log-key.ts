// A successor of a log key that was lost or stolen: nothing but the recovery key may name it, and that is offline. Three
// steps in two places:
//
//   begin     here: the next log key is made; what is to be signed goes to where the recovery key is     log.N.request
//   sign      there: the recovery key signs that entry of the registry log
//   install   here: the entry is kept for the next epoch, and every older log key is destroyed           log.N.announced
//
// Any of them may be repeated.
import { createPrivateKey } from 'node:crypto'
import { join } from 'node:path'
import {
  decodeRegistryEntry,
  EntryError,
  encodeRegistryEntry,
  formatVkey,
  NoteError,
  parseVkey,
  successorText,
  verifyEd25519,
  verifySuccessor,
} from '@affidavit/trail'
import { sha256 } from '../store/sha256.ts'
import { readIfThere, writeOnce } from './key-file.ts'
import { addLogKey, logKey, newestLogKey, openLogKeys, retireLogKeys } from './log-key.ts'
import type { KeyProvider } from './provider.ts'
import { KeyUnusable } from './unusable.ts'

const utf8 = new TextEncoder()
const requestOf = (folder: string, generation: number) => join(folder, `log.${generation}.request`)
const announcedOf = (folder: string, generation: number) => join(folder, `log.${generation}.announced`)

/**
 * Makes the next log key, unless one that was begun waits already.
 * @param origin of the registry
 * @returns what the recovery key has to sign
 * @throws KeyUnusable
 */
export async function beginLogRecovery(folder: string, provider: KeyProvider, origin: string): Promise<string> {
  const newest = await newestLogKey(folder)
  const waiting = newest === null ? undefined : await readIfThere(requestOf(folder, newest))
  if (waiting !== undefined && (await readIfThere(announcedOf(folder, newest!))) === undefined)
    return waiting.toString('utf8')
  // Where the first one was lost with its file, its place is taken by one that was retired.
  if (newest === null) await writeOnce(join(folder, 'log.key'), '')
  const key = await addLogKey(folder, provider)
  const text = successorText(key.vkey(origin))
  await writeOnce(requestOf(folder, (await newestLogKey(folder))!), text)
  return text
}

/**
 * Where the recovery key is; needs nothing else.
 * @param pem text of recovery.key
 * @returns the entry of the registry log
 * @throws KeyUnusable
 */
export function signLogSuccessor(request: string, pem: string): string {
  const vkey = /^affidavit\/1 registry\nkey (\S+)\n$/.exec(request)?.[1]
  try {
    if (vkey === undefined) throw new NoteError('malformed', 'it names no successor')
    const { name } = parseVkey(sha256, vkey)
    const key = logKey(createPrivateKey(pem))
    const { id } = key.signer(name)
    const signatures = [{ name, id, signature: key.sign(utf8.encode(successorText(vkey))) }]
    return encodeRegistryEntry({ kind: 'key', vkey, signatures })
  } catch (error) {
    if (error instanceof NoteError)
      throw new KeyUnusable('key_mismatch', `This is not what keys recover asked to be signed: ${error.message}.`)
    throw new KeyUnusable('key_mismatch', `The recovery key cannot be read: ${(error as Error).message}.`)
  }
}

/**
 * Keeps the signed entry for the next epoch, and destroys every older log key.
 * @returns vkey of the successor
 * @throws KeyUnusable when the recovery key did not sign it, or it names another key than the newest
 */
export async function installLogSuccessor(folder: string, provider: KeyProvider, text: string): Promise<string> {
  const { log, recoveryPublicKey } = await openLogKeys(folder, provider, false)
  const vkey = await signedBy(recoveryPublicKey, text)
  const origin = vkey.slice(0, vkey.indexOf('+'))
  if (vkey !== log.vkey(origin))
    throw new KeyUnusable('key_mismatch', `It names another key than the newest in ${folder}: ${vkey}.`)
  await writeOnce(announcedOf(folder, (await newestLogKey(folder))!), text)
  await retireLogKeys(folder)
  return vkey
}

async function signedBy(recovery: Uint8Array, text: string): Promise<string> {
  try {
    const entry = decodeRegistryEntry(text)
    if (entry.kind === 'key') {
      const { name } = parseVkey(sha256, entry.vkey)
      const keys = [parseVkey(sha256, formatVkey(sha256, name, recovery))]
      if ((await verifySuccessor(sha256, verifyEd25519, entry, keys, name)) !== undefined) return entry.vkey
    }
  } catch (error) {
    if (!(error instanceof EntryError || error instanceof NoteError)) throw error
  }
  throw new KeyUnusable('key_mismatch', "This is no successor that this deployment's recovery key signed.")
}

/** The entry that the recovery key signed for the newest log key, or null. */
export async function readAnnounced(folder: string): Promise<string | null> {
  const newest = await newestLogKey(folder)
  if (newest === null) return null
  return (await readIfThere(announcedOf(folder, newest)))?.toString('utf8') ?? null
}
