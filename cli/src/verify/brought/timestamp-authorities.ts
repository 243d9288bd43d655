/** Whose timestamps the verifier believes: certificates in files that it names, `--tsa-ca`. */
import {
  type Certificate,
  FormatError,
  parseCertificates,
  type TimestampOptions,
  webCertificateCrypto,
} from '@affidavit/trail'
import { Failure } from '../../failure.ts'
import { readDocument } from '../given.ts'

/** Undefined where none was named. Throws Failure. */
export async function readAuthorities(paths: readonly string[] | undefined): Promise<TimestampOptions | undefined> {
  if (paths === undefined) return undefined
  const trusted = await Promise.all(paths.map(certificatesIn))
  return { crypto: webCertificateCrypto, trusted: trusted.flat() }
}

async function certificatesIn(path: string): Promise<Certificate[]> {
  const text = (await readDocument(path)).toString('utf8')
  try {
    return parseCertificates(text)
  } catch (error) {
    if (!(error instanceof FormatError)) throw error
    throw new Failure(`--tsa-ca ${path}: ${error.message}.`, 2, { cause: error })
  }
}
