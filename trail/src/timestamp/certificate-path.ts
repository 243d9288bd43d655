/**
 * Whether a certificate was issued, directly or through others, by one that the verifier trusts (RFC 5280 §6). Names are
 * compared byte for byte; revocation is not looked at: nothing is asked of a network.
 */
import { equalBytes } from '../bytes.ts'
import {
  type Certificate,
  type CertificateCrypto,
  type HashName,
  type SignatureAlgorithm,
  subjectName,
} from './certificate.ts'
import { DER, DerError, DerReader, integerOf, onlyElement } from './der.ts'

/** Undefined: it leads there. Else why not. */
export type PathFlaw = { readonly code: 'untrusted' | 'expired' | 'unsupported'; readonly message: string }

export interface PathOptions {
  readonly crypto: CertificateCrypto
  readonly trusted: readonly Certificate[]
  /** Certificates that may stand in between. */
  readonly others: readonly Certificate[]
  /** When all of them must be valid; ms since 1970. */
  readonly at: number
  /** An extended key usage that those in between must allow where they have one. */
  readonly purpose: string
}

const MOST_BETWEEN = 8
/** A hostile bag of certificates that all name each other would otherwise cost their factorial. */
const MOST_SIGNATURES = 64
const ANY_PURPOSE = '2.5.29.37.0'

/**
 * Searches a chain (RFC 5280 §6) from a certificate to one that is trusted, with a bound on signatures checked.
 * @returns undefined when there is one, else what was wrong with the best that was found
 */
export async function findPath(certificate: Certificate, options: PathOptions): Promise<PathFlaw | undefined> {
  return new Search(options).from(certificate)
}

class Search {
  private readonly options: PathOptions
  private left = MOST_SIGNATURES
  private flaw: PathFlaw | undefined

  constructor(options: PathOptions) {
    this.options = options
  }

  async from(certificate: Certificate): Promise<PathFlaw | undefined> {
    if (await this.leads(certificate, [])) return undefined
    const message = `no certificate that you trust issued that of ${subjectName(certificate)}`
    return this.flaw ?? { code: 'untrusted', message }
  }

  /** @param below authorities between this certificate and the last one, that one not counted */
  private async leads(certificate: Certificate, below: readonly Certificate[]): Promise<boolean> {
    if (!this.isUsable(certificate)) return false
    const { trusted, others } = this.options
    // Who trusts this very certificate need not ask who issued it.
    if (trusted.some(({ bytes }) => equalBytes(bytes, certificate.bytes))) return true
    for (const issuer of trusted) if (await this.issued(issuer, certificate, below.length)) return true
    if (below.length === MOST_BETWEEN) return false
    for (const issuer of others) {
      if (issuer === certificate || below.includes(issuer)) continue
      if (!(await this.issued(issuer, certificate, below.length)) || !this.allows(issuer)) continue
      if (await this.leads(issuer, [...below, certificate])) return true
    }
    return false
  }

  private isUsable(certificate: Certificate): boolean {
    const { notBefore, notAfter, unknown } = certificate
    const { at } = this.options
    const name = subjectName(certificate)
    if (at < notBefore || at > notAfter) {
      this.flaw ??= { code: 'expired', message: `the certificate of ${name} was not valid at ${isoOf(at)}` }
      return false
    }
    if (unknown.length > 0) {
      const message = `the certificate of ${name} has a critical extension that this program does not know (${unknown[0]})`
      this.flaw ??= { code: 'unsupported', message }
      return false
    }
    return true
  }

  private allows({ purposes }: Certificate): boolean {
    return purposes === undefined || purposes.oids.some((oid) => oid === this.options.purpose || oid === ANY_PURPOSE)
  }

  private async issued(issuer: Certificate, certificate: Certificate, below: number): Promise<boolean> {
    if (!equalBytes(issuer.subject, certificate.issuer) || !issuer.isAuthority || issuer.mostBelow < below) return false
    if (!this.isUsable(issuer) || this.left-- <= 0) return false
    const { algorithm, signed, signature } = certificate
    if (algorithm?.hash === undefined || issuer.key === undefined) {
      const message = `the signature on the certificate of ${subjectName(certificate)} is of a kind that this program does not know`
      this.flaw ??= { code: 'unsupported', message }
      return false
    }
    return verifySigned(this.options.crypto, issuer, algorithm, algorithm.hash, signed, signature)
  }
}

const isoOf = (ms: number) => new Date(ms).toISOString()

/** Whether a certificate's key signed a message. @param signature as CMS and X.509 have it */
export async function verifySigned(
  crypto: CertificateCrypto,
  { key, spki }: Certificate,
  { kind }: SignatureAlgorithm,
  hash: HashName,
  message: Uint8Array,
  signature: Uint8Array,
): Promise<boolean> {
  if (key?.kind !== kind) return false
  if (key.kind === 'rsa') return crypto.verify(key, spki, hash, message, signature)
  const raw = rawSignature(signature, { 'P-256': 32, 'P-384': 48, 'P-521': 66 }[key.curve])
  return raw !== undefined && crypto.verify(key, spki, hash, message, raw)
}

/** ECDSA-Sig-Value (RFC 3279 §2.2.3) as r ‖ s of fixed length. */
function rawSignature(der: Uint8Array, length: number): Uint8Array | undefined {
  try {
    const fields = new DerReader(onlyElement(der, DER.sequence).content)
    const raw = new Uint8Array(2 * length)
    for (const at of [length, 2 * length]) {
      const number = integerOf(fields.next(DER.integer))
      const digits = number[0] === 0 ? number.subarray(1) : number
      if (number[0]! >= 0x80 || digits.length > length) return undefined
      raw.set(digits, at - digits.length)
    }
    fields.end()
    return raw
  } catch (error) {
    if (error instanceof DerError) return undefined
    throw error
  }
}
