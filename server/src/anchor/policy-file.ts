// The file that AFFIDAVIT_WITNESS_POLICY names (C2SP tlog-policy).
import { readFile } from 'node:fs/promises'
import { FormatError, parsePolicy, type TrustPolicy } from '@affidavit/trail'
import { sha256 } from '../store/sha256.ts'
import { BadAnchors } from './settings.ts'

/** @throws BadAnchors */
export async function readPolicy(path: string): Promise<TrustPolicy> {
  const bytes = await readFile(path).catch((error: NodeJS.ErrnoException) => {
    throw new BadAnchors(`AFFIDAVIT_WITNESS_POLICY: ${path} cannot be read (${error.code}).`)
  })
  try {
    return parsePolicy(sha256, bytes)
  } catch (error) {
    if (!(error instanceof FormatError)) throw error
    throw new BadAnchors(`AFFIDAVIT_WITNESS_POLICY: ${path} cannot be used: ${error.message}.`)
  }
}
