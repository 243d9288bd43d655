// Opens a deployment's keys at start, making them at the first. What is fixed then (log name, public keys, a check
// value of the root) is kept in the database, so that a server started with another key folder, another root or another
// log name stops with a sentence instead of writing what nobody can open or verify.
import { randomBytes } from 'node:crypto'
import { isKeyName } from '@affidavit/trail'
import type { Queryable } from '../store/database.ts'
import { type LogKey, openLogKeys } from './log-key.ts'
import { type KeyPlace, openProvider } from './open-provider.ts'
import type { KeyProvider } from './provider.ts'
import { KeyUnusable } from './unusable.ts'

export interface OpenKeysOptions extends KeyPlace {
  /** Pool of the role `keeper`. */
  keeper: Queryable
  /** Default: `affidavit.invalid/<random>`, fixed at first start. */
  logName?: string
}

export interface Keys {
  provider: KeyProvider
  folder: string
  logKey: LogKey
  logName: string
  /** 32 bytes. */
  recoveryPublicKey: Uint8Array
  /** Where the recovery key still waits to be moved offline, or null. */
  recoveryFile: string | null
}

/** Row `deployment` of affidavit.settings. */
interface Deployment {
  log_name: string
  log_key: string
  recovery_key: string
  root_check: string
}

/** @throws KeyUnusable with a message for the operator; StoreUnavailable */
export async function openKeys(options: OpenKeysOptions): Promise<Keys> {
  if (options.logName !== undefined && !isKeyName(options.logName))
    throw new KeyUnusable('key_mismatch', 'The log name may hold no space, no plus sign and no control character.')
  const known = await options.keeper.query<{ value: Deployment }>(
    `select value from affidavit.settings where name = 'deployment'`,
  )
  const mayCreate = known.rows.length === 0
  const settled = known.rows[0]?.value
  const logName = options.logName ?? settled?.log_name
  const newLogName = `affidavit.invalid/${randomBytes(8).toString('hex')}`
  const { folder, rootKey, kms } = options
  const provider = await openProvider({
    folder,
    mayCreateRoot: mayCreate,
    newLogName,
    ...(logName !== undefined && { logName }),
    ...(rootKey !== undefined && { rootKey }),
    ...(kms !== undefined && { kms }),
  })
  if (settled) refuseUnless(settled.root_check === provider.rootCheck, 'root key', options.folder)
  const logKeys = await openLogKeys(options.folder, provider, mayCreate)
  const { log, firstPublicKey, recoveryPublicKey, recoveryFile } = logKeys
  const ours: Deployment = {
    // Keys that were made for a log, by a start that ended before it could say so here, are of that log.
    log_name: logName ?? provider.logName ?? newLogName,
    // A retired key is known by its successors' entries in the registry log alone.
    log_key: firstPublicKey === null ? (settled?.log_key ?? '') : hex(firstPublicKey),
    recovery_key: hex(recoveryPublicKey),
    root_check: provider.rootCheck,
  }
  const stored = settled ?? (await settle(options.keeper, ours))
  refuseUnless(stored.root_check === ours.root_check, 'root key', options.folder)
  refuseUnless(stored.log_key === ours.log_key, 'log key', options.folder)
  refuseUnless(stored.recovery_key === ours.recovery_key, 'recovery key', options.folder)
  if (options.logName !== undefined && stored.log_name !== options.logName)
    throw new KeyUnusable(
      'key_mismatch',
      `This deployment's log name is ${stored.log_name} since its first start; it is part of every checkpoint and cannot become ${options.logName}.`,
    )
  return { provider, folder: options.folder, logKey: log, logName: stored.log_name, recoveryPublicKey, recoveryFile }
}

async function settle(keeper: Queryable, deployment: Deployment): Promise<Deployment> {
  const { rows } = await keeper.query<{ value: Deployment }>('select affidavit.settle_deployment($1) as value', [
    JSON.stringify(deployment),
  ])
  return rows[0]!.value
}

function refuseUnless(same: boolean, what: string, folder: string): void {
  if (!same)
    throw new KeyUnusable(
      'key_mismatch',
      `The ${what} is not the one this database was started with (key folder ${folder}). Start with the folder and root key that belong to the database.`,
    )
}

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')
