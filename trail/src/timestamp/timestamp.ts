/**
 * Timestamps of RFC 3161: an authority outside signs the hash of a document together with the time, so that nobody can
 * claim later that the document was made later. Checked offline, under certificates that the verifier brings
 * (docs/spec/anchors.md).
 */
import { equalBytes, toHex } from '../bytes.ts'
import { CodedError } from '../coded-error.ts'
import {
  type Certificate,
  type CertificateCrypto,
  type HashName,
  readCertificate,
  readHashAlgorithm,
  readSignatureAlgorithm,
  type SignatureAlgorithm,
  subjectName,
} from './certificate.ts'
import { findPath, verifySigned } from './certificate-path.ts'
import {
  booleanOf,
  context,
  DER,
  type DerElement,
  DerError,
  DerReader,
  elementsOf,
  integerOf,
  numberOf,
  oidOf,
  onlyElement,
  timeOf,
} from './der.ts'

/** Stable reasons why a token shows nothing. */
export type TimestampFlaw =
  /** No response of RFC 3161, or not in its strict form. */
  | 'malformed'
  /** The authority refused: there is no token. */
  | 'rejected'
  /** The token is for other bytes. */
  | 'other_document'
  | 'bad_signature'
  /** No certificate that is trusted issued the signer's. */
  | 'untrusted'
  /** A certificate was not valid at the token's time. */
  | 'expired'
  /** The signer's certificate is not one for timestamps alone. */
  | 'bad_purpose'
  /** The signature does not name the certificate that it is checked with (ESSCertID). */
  | 'not_named'
  /** An algorithm or an extension that this program does not know: with another program it might hold. */
  | 'unsupported'

export interface CheckedTimestamp {
  readonly outcome: 'held'
  /** What the authority vouches for; ms since 1970, cut. */
  readonly time: number
  /** How far the true time may lie from it, as the authority says; 0 where it says nothing. */
  readonly accuracyMs: number
  /** Name in the signer's certificate. */
  readonly authority: string
  /** OID of the policy that it works by. */
  readonly policy: string
  /** Serial number of the token, hex. */
  readonly serial: string
}

export type TimestampVerdict =
  | CheckedTimestamp
  | { readonly outcome: 'refused' | 'unchecked'; readonly code: TimestampFlaw; readonly message: string }

export interface TimestampOptions {
  readonly crypto: CertificateCrypto
  /** Certificates that the verifier trusts to issue those of authorities. */
  readonly trusted: readonly Certificate[]
}

const MAX_RESPONSE_BYTES = 128 * 1024
const MOST_CERTIFICATES = 64

const OID = {
  signedData: '1.2.840.113549.1.7.2',
  info: '1.2.840.113549.1.9.16.1.4',
  contentType: '1.2.840.113549.1.9.3',
  messageDigest: '1.2.840.113549.1.9.4',
  signingCertificate: '1.2.840.113549.1.9.16.2.12',
  signingCertificateV2: '1.2.840.113549.1.9.16.2.47',
  timeStamping: '1.3.6.1.5.5.7.3.8',
} as const

class Refusal extends CodedError<TimestampFlaw> {}

/** Whether an authority's whole response (DER, TimeStampResp) vouches for `document`. Never throws for what it reads. */
export async function verifyTimestamp(
  response: Uint8Array,
  document: Uint8Array,
  options: TimestampOptions,
): Promise<TimestampVerdict> {
  try {
    return await check(response, document, options)
  } catch (error) {
    if (error instanceof DerError) return { outcome: 'refused', code: 'malformed', message: error.message }
    if (!(error instanceof Refusal)) throw error
    const outcome = error.code === 'unsupported' ? 'unchecked' : 'refused'
    return { outcome, code: error.code, message: error.message }
  }
}

async function check(response: Uint8Array, document: Uint8Array, options: TimestampOptions): Promise<CheckedTimestamp> {
  if (response.length > MAX_RESPONSE_BYTES) throw new Refusal('malformed', 'the token is too long')
  const token = readToken(readResponse(response))
  const info = readInfo(token.content)
  const { crypto, trusted } = options
  if (info.hash !== 'SHA-256' || !equalBytes(info.imprint, await crypto.digest('SHA-256', document)))
    throw new Refusal('other_document', 'the token is for another document')
  const signer = await checkSignature(token, options)
  if (!signer.maySign || !isForTimestamps(signer))
    throw new Refusal('bad_purpose', `the certificate of ${subjectName(signer)} is not one for timestamps only`)
  const flaw = await findPath(signer, {
    crypto,
    trusted,
    others: token.certificates,
    at: info.time,
    purpose: OID.timeStamping,
  })
  if (flaw !== undefined) throw new Refusal(flaw.code, flaw.message)
  const { time, accuracyMs, policy, serial } = info
  return { outcome: 'held', time, accuracyMs, authority: subjectName(signer), policy, serial }
}

/** RFC 3161 §2.3: exactly this purpose, marked critical. */
function isForTimestamps({ purposes }: Certificate): boolean {
  return purposes?.isCritical === true && purposes.oids.length === 1 && purposes.oids[0] === OID.timeStamping
}

// ─── What is in it ──────────────────────────────────────────────────────────────────────────────────────────────────

/** TimeStampResp. @returns the token */
function readResponse(bytes: Uint8Array): DerElement {
  const outer = new DerReader(onlyElement(bytes, DER.sequence).content)
  const status = numberOf(outer.into(DER.sequence).next(DER.integer))
  const token = outer.optional(DER.sequence)
  outer.end()
  if (status > 1 || token === undefined) throw new Refusal('rejected', `the authority refused (status ${status})`)
  return token
}

interface Token {
  /** TSTInfo, as signed. */
  readonly content: Uint8Array
  /** Those that can be read. */
  readonly certificates: readonly Certificate[]
  readonly signer: SignerInfo
}

interface SignerInfo {
  /** Which certificate it is said to be. */
  readonly issuerAndSerial: DerElement
  readonly hash: HashName
  readonly attributes: DerElement
  readonly algorithm: SignatureAlgorithm
  readonly signature: Uint8Array
}

/** ContentInfo with SignedData of version 3 (RFC 5652 §5.1) over TSTInfo, by one signer, with nothing that is not signed. */
function readToken(token: DerElement): Token {
  const outer = new DerReader(token.content)
  expectOid(outer.next(DER.oid), OID.signedData)
  const explicit = outer.next(context(0, true))
  outer.end()
  const fields = new DerReader(onlyElement(explicit.content, DER.sequence).content)
  expectVersion(fields.next(DER.integer), 3)
  const hashes = elementsOf(fields.next(DER.set).content).map(asSequence).map(readHashAlgorithm)
  const encapsulated = fields.into(DER.sequence)
  expectOid(encapsulated.next(DER.oid), OID.info)
  const content = onlyElement(encapsulated.next(context(0, true)).content, DER.octets).content
  encapsulated.end()
  const certificates = fields.optional(context(0, true))
  if (fields.optional(context(1, true)) !== undefined)
    throw new Refusal('unsupported', 'the token has revocation lists')
  const signers = elementsOf(fields.next(DER.set).content).map(asSequence)
  fields.end()
  if (signers.length !== 1) throw new DerError('the token has not one signer')
  const signer = readSigner(signers[0]!)
  if (hashes.length !== 1 || hashes[0] !== signer.hash)
    throw new DerError('the token names other hashes than its signer')
  return { content, certificates: certificates === undefined ? [] : readBag(certificates), signer }
}

function asSequence(element: DerElement): DerElement {
  if (element.tag !== DER.sequence) throw new DerError('a sequence is missing')
  return element
}

function expectOid(element: DerElement, oid: string): void {
  if (oidOf(element) !== oid) throw new DerError('the token is no signed timestamp')
}

function expectVersion(element: DerElement, version: number): void {
  if (numberOf(element) !== version) throw new DerError('a part of the token is of another version')
}

/** A bag of certificates may hold some that nobody needs, in whatever form. */
function readBag({ content }: DerElement): Certificate[] {
  return elementsOf(content)
    .slice(0, MOST_CERTIFICATES)
    .flatMap(({ tag, whole }) => {
      try {
        return tag === DER.sequence ? [readCertificate(whole)] : []
      } catch (error) {
        if (error instanceof DerError) return []
        throw error
      }
    })
}

function readSigner({ content }: DerElement): SignerInfo {
  const fields = new DerReader(content)
  const version = numberOf(fields.next(DER.integer))
  if (version === 3) throw new Refusal('unsupported', 'the token names its signer by the identifier of a key')
  if (version !== 1) throw new DerError('the signature is of another version')
  const issuerAndSerial = fields.next(DER.sequence)
  const hash = readHashAlgorithm(fields.next(DER.sequence))
  const attributes = fields.next(context(0, true))
  const algorithm = readSignatureAlgorithm(fields.next(DER.sequence))
  const signature = fields.next(DER.octets).content
  if (fields.optional(context(1, true)) !== undefined)
    throw new Refusal('unsupported', 'the token has attributes that are not signed')
  fields.end()
  if (hash === undefined || hash === 'SHA-1' || algorithm === undefined)
    throw new Refusal('unsupported', 'the token is signed by an algorithm that this program does not know')
  if (algorithm.hash !== undefined && algorithm.hash !== hash)
    throw new DerError('the token names another hash than its signature')
  return { issuerAndSerial, hash, attributes, algorithm, signature }
}

interface Info {
  readonly policy: string
  readonly hash: HashName | undefined
  readonly imprint: Uint8Array
  readonly serial: string
  readonly time: number
  readonly accuracyMs: number
}

/** TSTInfo (RFC 3161 §2.4.2). */
function readInfo(bytes: Uint8Array): Info {
  const fields = new DerReader(onlyElement(bytes, DER.sequence).content)
  expectVersion(fields.next(DER.integer), 1)
  const policy = oidOf(fields.next(DER.oid))
  const message = fields.into(DER.sequence)
  const hash = readHashAlgorithm(message.next(DER.sequence))
  const imprint = message.next(DER.octets).content
  message.end()
  const serial = toHex(integerOf(fields.next(DER.integer)))
  const time = timeOf(fields.next(DER.time))
  const accuracy = fields.optional(DER.sequence)
  const ordering = fields.optional(DER.boolean)
  if (ordering !== undefined) booleanOf(ordering)
  const nonce = fields.optional(DER.integer)
  if (nonce !== undefined) integerOf(nonce)
  fields.optional(context(0, true))
  const extensions = fields.optional(context(1, true))
  fields.end()
  if (extensions !== undefined) throw new Refusal('unsupported', 'the token has extensions')
  return { policy, hash, imprint, serial, time, accuracyMs: readAccuracy(accuracy) }
}

function readAccuracy(element: DerElement | undefined): number {
  if (element === undefined) return 0
  const fields = new DerReader(element.content)
  const number = (tag: number) => {
    const part = fields.optional(tag)
    return part === undefined ? 0 : numberOf(part)
  }
  const ms = number(DER.integer) * 1000 + number(context(0, false)) + Math.ceil(number(context(1, false)) / 1000)
  fields.end()
  return ms
}

// ─── Who signed it ──────────────────────────────────────────────────────────────────────────────────────────────────

/** @returns the certificate with which the signature holds, the one that it names itself */
async function checkSignature(
  { content, certificates, signer }: Token,
  options: TimestampOptions,
): Promise<Certificate> {
  const { crypto, trusted } = options
  const attributes = readAttributes(signer.attributes)
  const type = attributes.get(OID.contentType)
  const digest = attributes.get(OID.messageDigest)
  if (type === undefined || digest === undefined) throw new DerError('the token does not sign what it says')
  expectOid(type, OID.info)
  if (digest.tag !== DER.octets || !equalBytes(digest.content, await crypto.digest(signer.hash, content)))
    throw new Refusal('bad_signature', 'the token signs something else than it says')
  const own = await namedCertificate(attributes, [...certificates, ...trusted], crypto)
  expectIssuer(signer.issuerAndSerial, own)
  const message = Uint8Array.from(signer.attributes.whole)
  message[0] = DER.set // RFC 5652 §5.4: the attributes are signed under this tag
  if (own.key === undefined)
    throw new Refusal('unsupported', `the key of ${subjectName(own)} is of a kind that this program does not know`)
  if (!(await verifySigned(crypto, own, signer.algorithm, signer.hash, message, signer.signature)))
    throw new Refusal('bad_signature', `the signature of ${subjectName(own)} is wrong`)
  return own
}

/** Attributes with their one value. */
function readAttributes({ content }: DerElement): Map<string, DerElement> {
  const attributes = new Map<string, DerElement>()
  for (const element of elementsOf(content)) {
    const fields = new DerReader(asSequence(element).content)
    const oid = oidOf(fields.next(DER.oid))
    const values = elementsOf(fields.next(DER.set).content)
    fields.end()
    if (values.length !== 1 || attributes.has(oid)) throw new DerError('an attribute has not one value')
    attributes.set(oid, values[0]!)
  }
  return attributes
}

/** RFC 5816 §2.2.1: without this name any certificate under the same authority could stand for the signer's. */
async function namedCertificate(
  attributes: ReadonlyMap<string, DerElement>,
  candidates: readonly Certificate[],
  crypto: CertificateCrypto,
): Promise<Certificate> {
  const [v1, v2] = [attributes.get(OID.signingCertificate), attributes.get(OID.signingCertificateV2)]
  const names = [...(v1 === undefined ? [] : [readName(v1, false)]), ...(v2 === undefined ? [] : [readName(v2, true)])]
  if (names.length === 0) throw new Refusal('not_named', 'the signature does not name its certificate')
  for (const certificate of candidates) {
    const isNamed = await Promise.all(
      names.map(async ({ hash, digest }) => equalBytes(digest, await crypto.digest(hash, certificate.bytes))),
    )
    if (isNamed.every(Boolean)) return certificate
  }
  throw new Refusal('not_named', 'the certificate that the signature names is neither in the token nor trusted')
}

/** SigningCertificate and SigningCertificateV2 (RFC 5035): the first ESSCertID is the signer's. */
function readName(element: DerElement, isV2: boolean): { hash: HashName; digest: Uint8Array } {
  const certs = new DerReader(asSequence(element).content).into(DER.sequence)
  const fields = certs.into(DER.sequence)
  const algorithm = isV2 ? fields.optional(DER.sequence) : undefined
  const hash = algorithm === undefined ? (isV2 ? 'SHA-256' : 'SHA-1') : readHashAlgorithm(algorithm)
  if (hash === undefined) throw new Refusal('unsupported', 'the certificate is named by a hash that is not known here')
  return { hash, digest: fields.next(DER.octets).content }
}

function expectIssuer({ content }: DerElement, { issuer, serial }: Certificate): void {
  const fields = new DerReader(content)
  const name = fields.next(DER.sequence).whole
  const number = integerOf(fields.next(DER.integer))
  fields.end()
  if (!equalBytes(name, issuer) || !equalBytes(number, serial))
    throw new Refusal('not_named', 'the signer is said to be another than the certificate that the signature names')
}
