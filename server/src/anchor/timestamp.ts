// Timestamps of RFC 3161: an authority signs the hash of a document together with the time, so that nobody can claim
// later that the document was made later, or earlier, than it was. What comes back is checked before it is kept: the
// signature and its chain up to a trusted certificate by PKI.js, and by ourselves what that leaves open: the hash, the
// nonce, the certificate's purpose (timeStamping, critical, nothing else) and that the signature names this certificate
// (ESSCertID, RFC 5816), without which any certificate under the same root could sign.
import { createHash, randomBytes } from 'node:crypto'
import * as asn1js from 'asn1js'
import * as pkijs from 'pkijs'

/** The authority's answer must not be kept; `code` says why, the message in words. */
export class TimestampRefused extends Error {
  override name = 'TimestampRefused'
  readonly code:
    | 'malformed'
    | 'rejected'
    | 'other_document'
    | 'other_nonce'
    | 'bad_signature'
    | 'untrusted'
    | 'bad_purpose'

  constructor(code: TimestampRefused['code'], message: string) {
    super(message)
    this.code = code
  }
}

export interface Timestamp {
  /** What the authority vouches for. */
  readonly time: Date
  /** OID of the authority's policy. */
  readonly policy: string
  /** Serial number of the token, hex. */
  readonly serial: string
}

const sha256Oid = '2.16.840.1.101.3.4.2.1'
const tstInfoOid = '1.2.840.113549.1.9.16.1.4'
const timeStampingOid = '1.3.6.1.5.5.7.3.8'
const extendedKeyUsageOid = '2.5.29.37'
const signingCertificateOid = '1.2.840.113549.1.9.16.2.12'
const signingCertificateV2Oid = '1.2.840.113549.1.9.16.2.47'
const hashNames: Readonly<Record<string, string>> = {
  '1.3.14.3.2.26': 'sha1',
  [sha256Oid]: 'sha256',
  '2.16.840.1.101.3.4.2.2': 'sha384',
  '2.16.840.1.101.3.4.2.3': 'sha512',
}

const engine = new pkijs.CryptoEngine({ name: 'node', crypto: globalThis.crypto })
pkijs.setEngine('node', engine)

/** 8 random bytes that DER takes for a positive number without a leading zero. */
export function makeNonce(): Buffer {
  const nonce = randomBytes(8)
  nonce[0] = (nonce[0]! & 0x7f) | 0x40
  return nonce
}

/** A request for a timestamp over the SHA-256 of `document`, with the authority's certificate in the answer (DER). */
export function timestampRequest(document: Uint8Array, nonce: Uint8Array): Buffer {
  const request = new pkijs.TimeStampReq({
    version: 1,
    messageImprint: new pkijs.MessageImprint({
      hashAlgorithm: new pkijs.AlgorithmIdentifier({ algorithmId: sha256Oid, algorithmParams: new asn1js.Null() }),
      hashedMessage: new asn1js.OctetString({ valueHex: plain(sha256(document)) }),
    }),
    nonce: new asn1js.Integer({ valueHex: plain(nonce) }),
    certReq: true,
  })
  return Buffer.from(request.toSchema().toBER())
}

/** The certificates of a PEM file. @throws Error with a sentence's end */
export function readCertificates(pem: string): pkijs.Certificate[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []
  if (blocks.length === 0) throw new Error('holds no certificate in PEM form')
  return blocks.map((block) => {
    const der = Buffer.from(block.replace(/-----[^-]+-----/g, ''), 'base64')
    try {
      return pkijs.Certificate.fromBER(plain(der))
    } catch {
      throw new Error('holds a certificate that cannot be read')
    }
  })
}

/**
 * Checks an authority's whole response (DER) for `document`.
 * @param nonce of the request; undefined when a kept token is checked again
 * @throws TimestampRefused
 */
export async function verifyTimestamp(
  response: Uint8Array,
  document: Uint8Array,
  trusted: readonly pkijs.Certificate[],
  nonce?: Uint8Array,
): Promise<Timestamp> {
  const { signed, content } = readResponse(response)
  const info = readInfo(content)
  const { hashAlgorithm, hashedMessage } = info.messageImprint
  const isSame = Buffer.from(hashedMessage.valueBlock.valueHexView).equals(sha256(document))
  if (hashAlgorithm.algorithmId !== sha256Oid || !isSame)
    throw new TimestampRefused('other_document', 'the token is for another document')
  const echoed = info.nonce === undefined ? undefined : Buffer.from(info.nonce.valueBlock.valueHexView)
  if (nonce !== undefined && !(echoed?.equals(nonce) ?? false))
    throw new TimestampRefused('other_nonce', 'the token answers another request')
  const signer = await verifySignature(signed, document, trusted, info.genTime)
  checkPurpose(signer)
  checkNamed(signed, signer)
  return {
    time: info.genTime,
    policy: info.policy,
    serial: Buffer.from(info.serialNumber.valueBlock.valueHexView).toString('hex'),
  }
}

function readResponse(der: Uint8Array): { signed: pkijs.SignedData; content: ArrayBuffer } {
  let response: pkijs.TimeStampResp
  let signed: pkijs.SignedData
  try {
    response = pkijs.TimeStampResp.fromBER(plain(der))
  } catch {
    throw new TimestampRefused('malformed', 'the answer is no timestamp response')
  }
  const { status, statusStrings } = response.status
  if ((status !== 0 && status !== 1) || response.timeStampToken === undefined) {
    const told = statusStrings?.map(({ valueBlock }) => valueBlock.value).join(' ') ?? ''
    throw new TimestampRefused('rejected', `the authority refused (status ${status}) ${told.slice(0, 200)}`.trim())
  }
  try {
    signed = new pkijs.SignedData({ schema: response.timeStampToken.content })
  } catch {
    throw new TimestampRefused('malformed', 'the token is no signed data')
  }
  const octets = signed.encapContentInfo.eContent
  if (signed.encapContentInfo.eContentType !== tstInfoOid || octets === undefined || signed.signerInfos.length !== 1)
    throw new TimestampRefused('malformed', 'the token is no timestamp of one signer')
  return { signed, content: octets.getValue() }
}

function readInfo(content: ArrayBuffer): pkijs.TSTInfo {
  try {
    return pkijs.TSTInfo.fromBER(content)
  } catch {
    throw new TimestampRefused('malformed', 'the token says nothing')
  }
}

/** @returns the signer's certificate */
async function verifySignature(
  signed: pkijs.SignedData,
  document: Uint8Array,
  trusted: readonly pkijs.Certificate[],
  time: Date,
): Promise<pkijs.Certificate> {
  const options = {
    signer: 0,
    data: plain(document),
    trustedCerts: [...trusted],
    checkDate: time,
    extendedMode: true as const,
  }
  try {
    const { signatureVerified } = await signed.verify({ ...options, checkChain: false })
    if (signatureVerified !== true) throw new Error()
  } catch {
    throw new TimestampRefused('bad_signature', "the token's signature is wrong")
  }
  try {
    const { signerCertificate, signerCertificateVerified } = await signed.verify({ ...options, checkChain: true })
    if (signerCertificateVerified !== true || !signerCertificate) throw new Error()
    return signerCertificate
  } catch {
    throw new TimestampRefused('untrusted', 'the token is not signed under a trusted certificate')
  }
}

/** RFC 3161 §2.3: exactly this purpose, marked critical. */
function checkPurpose(signer: pkijs.Certificate): void {
  const extension = signer.extensions?.find(({ extnID }) => extnID === extendedKeyUsageOid)
  const purposes = (extension?.parsedValue as pkijs.ExtKeyUsage | undefined)?.keyPurposes ?? []
  if (extension?.critical !== true || purposes.length !== 1 || purposes[0] !== timeStampingOid)
    throw new TimestampRefused('bad_purpose', "the signer's certificate is not one for timestamps only")
}

/** RFC 5816 §2.2.1: the signed attributes name the certificate by its hash. */
function checkNamed(signed: pkijs.SignedData, signer: pkijs.Certificate): void {
  const der = Buffer.from(signer.toSchema().toBER())
  const attributes = signed.signerInfos[0]!.signedAttrs?.attributes ?? []
  const isNamed = attributes.some(({ type, values }) => {
    if (type === signingCertificateOid) return names(values[0], 'sha1', der)
    if (type === signingCertificateV2Oid) return names(values[0], 'sha256', der)
    return false
  })
  if (!isNamed) throw new TimestampRefused('bad_purpose', 'the signature does not name its certificate')
}

/** SigningCertificate ::= SEQUENCE { certs SEQUENCE OF SEQUENCE { [algorithm,] hash, … }, … }: the first is the signer's. */
function names(value: unknown, byDefault: string, certificate: Buffer): boolean {
  const fields = inner(inner(inner(value)[0])[0])
  const [algorithm, hash] = fields[0] instanceof asn1js.Sequence ? [fields[0], fields[1]] : [undefined, fields[0]]
  const oid = algorithm === undefined ? undefined : inner(algorithm)[0]
  const name =
    oid === undefined ? byDefault : oid instanceof asn1js.ObjectIdentifier ? hashNames[oid.getValue()] : undefined
  if (name === undefined || !(hash instanceof asn1js.OctetString)) return false
  return createHash(name).update(certificate).digest().equals(Buffer.from(hash.valueBlock.valueHexView))
}

const inner = (block: unknown): readonly unknown[] =>
  block instanceof asn1js.Constructed || block instanceof asn1js.Sequence ? block.valueBlock.value : []

const sha256 = (data: Uint8Array): Buffer => createHash('sha256').update(data).digest()

/** PKI.js wants a buffer of its own. */
const plain = (bytes: Uint8Array): ArrayBuffer => new Uint8Array(bytes).buffer
