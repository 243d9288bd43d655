/** Certificates (X.509, RFC 5280), as far as the check of a timestamp needs them. */
import { fromBase64 } from '../bytes.ts'
import { FormatError } from '../format-error.ts'
import {
  booleanOf,
  bytesOfBits,
  context,
  DER,
  type DerElement,
  DerError,
  DerReader,
  elementsOf,
  hasBit,
  integerOf,
  numberOf,
  oidOf,
  onlyElement,
  timeOf,
} from './der.ts'

export type HashName = 'SHA-1' | 'SHA-256' | 'SHA-384' | 'SHA-512'
export type CurveName = 'P-256' | 'P-384' | 'P-521'

/** What a public key can check. `undefined` where this program does not know its algorithm. */
export type KeyKind = { readonly kind: 'rsa' } | { readonly kind: 'ecdsa'; readonly curve: CurveName }

/** RSA is PKCS #1 v1.5. */
export interface SignatureAlgorithm {
  readonly kind: 'rsa' | 'ecdsa'
  /** Undefined where the hash is named elsewhere (`rsaEncryption` in CMS). */
  readonly hash: HashName | undefined
}

/** What the platform does for certificates; a browser and Node have it in WebCrypto. */
export interface CertificateCrypto {
  digest(hash: HashName, data: Uint8Array): Promise<Uint8Array>
  /**
   * Whether the key, a DER SubjectPublicKeyInfo, signed the message. An ECDSA signature is r ‖ s. False for a wrong
   * signature and an unusable key; never rejects.
   */
  verify(key: KeyKind, spki: Uint8Array, hash: HashName, message: Uint8Array, signature: Uint8Array): Promise<boolean>
}

export interface Certificate {
  /** DER. */
  readonly bytes: Uint8Array
  /** What is signed. */
  readonly signed: Uint8Array
  readonly algorithm: SignatureAlgorithm | undefined
  readonly signature: Uint8Array
  readonly serial: Uint8Array
  /** Names as DER: they are compared byte for byte. */
  readonly issuer: Uint8Array
  readonly subject: Uint8Array
  /** ms since 1970. */
  readonly notBefore: number
  readonly notAfter: number
  readonly spki: Uint8Array
  readonly key: KeyKind | undefined
  /** May sign certificates: basic constraints and, where it is there, key usage say so. */
  readonly isAuthority: boolean
  /** How many authorities may stand between it and the last certificate. */
  readonly mostBelow: number
  /** May sign documents: key usage is not there, or says so. */
  readonly maySign: boolean
  /** Extended key usage, where it is there: OIDs. */
  readonly purposes: { readonly isCritical: boolean; readonly oids: readonly string[] } | undefined
  /** Critical extensions that this program does not know. */
  readonly unknown: readonly string[]
}

const HASHES: Readonly<Record<string, HashName>> = {
  '1.3.14.3.2.26': 'SHA-1',
  '2.16.840.1.101.3.4.2.1': 'SHA-256',
  '2.16.840.1.101.3.4.2.2': 'SHA-384',
  '2.16.840.1.101.3.4.2.3': 'SHA-512',
}

const SIGNATURES: Readonly<Record<string, SignatureAlgorithm>> = {
  '1.2.840.113549.1.1.1': { kind: 'rsa', hash: undefined },
  '1.2.840.113549.1.1.11': { kind: 'rsa', hash: 'SHA-256' },
  '1.2.840.113549.1.1.12': { kind: 'rsa', hash: 'SHA-384' },
  '1.2.840.113549.1.1.13': { kind: 'rsa', hash: 'SHA-512' },
  '1.2.840.10045.4.3.2': { kind: 'ecdsa', hash: 'SHA-256' },
  '1.2.840.10045.4.3.3': { kind: 'ecdsa', hash: 'SHA-384' },
  '1.2.840.10045.4.3.4': { kind: 'ecdsa', hash: 'SHA-512' },
}

const RSA_KEY = '1.2.840.113549.1.1.1'
const EC_KEY = '1.2.840.10045.2.1'
const CURVES: Readonly<Record<string, CurveName>> = {
  '1.2.840.10045.3.1.7': 'P-256',
  '1.3.132.0.34': 'P-384',
  '1.3.132.0.35': 'P-521',
}
/** Shorter moduli are refused, longer ones cost too much. */
const RSA_BYTES = { least: 256, most: 2048 }

const EXTENSIONS = {
  keyUsage: '2.5.29.15',
  basicConstraints: '2.5.29.19',
  /** Understood: any policy will do. */
  policies: '2.5.29.32',
  extendedKeyUsage: '2.5.29.37',
} as const

/** Throws DerError. @returns undefined for one that this program does not know */
export function readHashAlgorithm({ content }: DerElement): HashName | undefined {
  const fields = new DerReader(content)
  const name = HASHES[oidOf(fields.next(DER.oid))]
  readNull(fields)
  return name
}

/** Throws DerError. @returns undefined for one that this program does not know */
export function readSignatureAlgorithm({ content }: DerElement): SignatureAlgorithm | undefined {
  const fields = new DerReader(content)
  const algorithm = SIGNATURES[oidOf(fields.next(DER.oid))]
  if (algorithm?.kind === 'rsa') readNull(fields)
  else if (algorithm?.kind === 'ecdsa') fields.end()
  return algorithm
}

/** RSA and hashes have parameters of NULL or none. */
function readNull(fields: DerReader): void {
  if ((fields.optional(DER.null)?.content.length ?? 0) > 0) throw new DerError('NULL is not empty')
  fields.end()
}

/** Strict. Throws DerError. Nothing is proven by a certificate before `findPath`. */
export function readCertificate(bytes: Uint8Array): Certificate {
  const outer = new DerReader(onlyElement(bytes, DER.sequence).content)
  const signed = outer.next(DER.sequence)
  const outerAlgorithm = outer.next(DER.sequence)
  const signature = bytesOfBits(outer.next(DER.bits))
  outer.end()
  const fields = new DerReader(signed.content)
  const version = fields.optional(context(0, true))
  if (version !== undefined && numberOf(onlyElement(version.content, DER.integer)) !== 2)
    throw new DerError('a certificate is of another version than 3')
  const serial = integerOf(fields.next(DER.integer))
  const algorithm = fields.next(DER.sequence)
  if (!isSame(algorithm.whole, outerAlgorithm.whole)) throw new DerError('a certificate names two algorithms')
  const issuer = fields.next(DER.sequence).whole
  const validity = fields.into(DER.sequence)
  const [notBefore, notAfter] = [timeOf(validity.any()), timeOf(validity.any())]
  validity.end()
  const subject = fields.next(DER.sequence).whole
  const spki = fields.next(DER.sequence)
  fields.optional(context(1, false))
  fields.optional(context(2, false))
  const extensions = fields.optional(context(3, true))
  fields.end()
  return {
    bytes,
    signed: signed.whole,
    algorithm: readSignatureAlgorithm(algorithm),
    signature,
    serial,
    issuer,
    subject,
    notBefore,
    notAfter,
    spki: spki.whole,
    key: readKey(spki),
    ...readExtensions(extensions),
  }
}

const isSame = (a: Uint8Array, b: Uint8Array) => a.length === b.length && a.every((byte, at) => byte === b[at])

function readKey({ content }: DerElement): KeyKind | undefined {
  const fields = new DerReader(content)
  const algorithm = fields.into(DER.sequence)
  const bits = bytesOfBits(fields.next(DER.bits))
  fields.end()
  const oid = oidOf(algorithm.next(DER.oid))
  if (oid === EC_KEY) {
    const named = algorithm.optional(DER.oid)
    const curve = named === undefined ? undefined : CURVES[oidOf(named)]
    return curve === undefined ? undefined : { kind: 'ecdsa', curve }
  }
  if (oid !== RSA_KEY) return undefined
  readNull(algorithm)
  const numbers = new DerReader(onlyElement(bits, DER.sequence).content)
  const modulus = integerOf(numbers.next(DER.integer))
  const length = modulus[0] === 0 ? modulus.length - 1 : modulus.length
  return length >= RSA_BYTES.least && length <= RSA_BYTES.most ? { kind: 'rsa' } : undefined
}

type Extensions = Pick<Certificate, 'isAuthority' | 'mostBelow' | 'maySign' | 'purposes' | 'unknown'>

function readExtensions(element: DerElement | undefined): Extensions {
  const found = new Map<string, { isCritical: boolean; value: Uint8Array }>()
  const all = element === undefined ? [] : elementsOf(onlyElement(element.content, DER.sequence).content)
  for (const { content } of all) {
    const fields = new DerReader(content)
    const oid = oidOf(fields.next(DER.oid))
    const critical = fields.optional(DER.boolean)
    const isCritical = critical !== undefined && booleanOf(critical)
    if (found.has(oid)) throw new DerError('a certificate has an extension twice')
    found.set(oid, { isCritical, value: fields.next(DER.octets).content })
    fields.end()
  }
  const known: readonly string[] = Object.values(EXTENSIONS)
  const usage = found.get(EXTENSIONS.keyUsage)
  const bits = usage && onlyElement(usage.value, DER.bits)
  const basic = readBasicConstraints(found.get(EXTENSIONS.basicConstraints)?.value)
  const purposes = found.get(EXTENSIONS.extendedKeyUsage)
  return {
    isAuthority: basic.isAuthority && (bits === undefined || hasBit(bits, 5)),
    mostBelow: basic.mostBelow,
    maySign: bits === undefined || hasBit(bits, 0) || hasBit(bits, 1),
    purposes: purposes && {
      isCritical: purposes.isCritical,
      oids: elementsOf(onlyElement(purposes.value, DER.sequence).content).map(oidOf),
    },
    unknown: [...found].flatMap(([oid, { isCritical }]) => (isCritical && !known.includes(oid) ? [oid] : [])),
  }
}

function readBasicConstraints(value: Uint8Array | undefined) {
  if (value === undefined) return { isAuthority: false, mostBelow: 0 }
  const fields = new DerReader(onlyElement(value, DER.sequence).content)
  const authority = fields.optional(DER.boolean)
  const most = fields.optional(DER.integer)
  fields.end()
  return {
    isAuthority: authority !== undefined && booleanOf(authority),
    mostBelow: most === undefined ? Number.POSITIVE_INFINITY : numberOf(most),
  }
}

const COMMON_NAME = '2.5.4.3'
const latin = new TextDecoder('utf-8')

/** The common name of a certificate's subject, else everything that its name says, for people. */
export function subjectName({ subject }: Pick<Certificate, 'subject'>): string {
  const parts = elementsOf(onlyElement(subject, DER.sequence).content).flatMap(({ content }) =>
    elementsOf(content).map((pair) => {
      const fields = new DerReader(pair.content)
      return { oid: oidOf(fields.next(DER.oid)), text: latin.decode(fields.any().content).slice(0, 200) }
    }),
  )
  const common = parts.findLast(({ oid }) => oid === COMMON_NAME)
  return (
    common?.text ??
    parts
      .map(({ text }) => text)
      .join(', ')
      .slice(0, 200)
  )
}

const PEM = /-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----/g
const MOST_CERTIFICATES = 500

/** The certificates of a PEM file. Throws FormatError. */
export function parseCertificates(pem: string): Certificate[] {
  const blocks = [...pem.matchAll(PEM)]
  if (blocks.length === 0) throw new FormatError('malformed', 'there is no certificate in PEM form')
  if (blocks.length > MOST_CERTIFICATES) throw new FormatError('too_large', 'there are too many certificates')
  return blocks.map(([, text], at) => {
    const bytes = fromBase64(text!.replace(/\s+/g, ''))
    try {
      if (bytes !== undefined) return readCertificate(bytes)
    } catch (error) {
      if (!(error instanceof DerError)) throw error
    }
    throw new FormatError('malformed', `certificate ${at + 1} cannot be read`)
  })
}
