// `affidavit keys recover`: works on the key folder itself, with every server stopped.
import { readFile } from 'node:fs/promises'
import type { Config } from '../config.ts'
import { openProvider } from '../keys/open-provider.ts'
import { beginLogRecovery, installLogSuccessor, signLogSuccessor } from '../keys/recovered-log-key.ts'
import { keyPlace } from './key-place.ts'

const providerOf = (config: Config) => openProvider({ ...keyPlace(config), mayCreateRoot: false })

/** @param origin of the registry @returns what the recovery key has to sign @throws KeyUnusable */
export const beginRecovery = async (config: Config, origin: string): Promise<string> =>
  beginLogRecovery(config.keysDir, await providerOf(config), origin)

/** Needs two files and nothing of a deployment. @throws KeyUnusable */
export const signSuccessor = async (request: string, recoveryKey: string): Promise<string> =>
  signLogSuccessor(await readFile(request, 'utf8'), await readFile(recoveryKey, 'utf8'))

/** @param file with the signed entry @returns vkey of the successor @throws KeyUnusable */
export const installSuccessor = async (config: Config, file: string): Promise<string> =>
  installLogSuccessor(config.keysDir, await providerOf(config), await readFile(file, 'utf8'))
