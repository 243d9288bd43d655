// A key management service that speaks the API of AWS KMS, as far as keys/ needs it: data keys are made, wrapped and
// opened by keys that never leave the service, each for one encryption context. What it answers becomes one of four
// refusals with a sentence for the operator: out of reach, refused, of another key, changed.
import {
  DecryptCommand,
  DescribeKeyCommand,
  EncryptCommand,
  GenerateDataKeyCommand,
  KMSClient,
  ScheduleKeyDeletionCommand,
} from '@aws-sdk/client-kms'
import { KEY_BYTES } from './aead.ts'
import { KeyUnusable } from './unusable.ts'

export interface KmsSettings {
  /** Ids, aliases or ARNs. The first one wraps; the others only open what was wrapped before. */
  readonly keys: readonly string[]
  /** Default: that of an ARN among the keys, else what the AWS SDK finds. */
  readonly region?: string
  /** Of another service than Amazon's. */
  readonly endpoint?: string
}

/** Bound to what is wrapped, and readable in the service's own log and in its key policies. */
export type Context = Readonly<Record<string, string>>

/** What a key management service made of a key: of no use without it. */
export interface Blob {
  /** ARN of the key that opens it. */
  readonly key: string
  /** Base64. */
  readonly blob: string
}

/** While the service is out of reach, nobody waits for it anew within this time. */
const pause_ms = 2_000
/** An alias that was moved is noticed when a key turns up that was not known, at most this often. */
const relook_ms = 5_000

export class Kms {
  readonly #settings: KmsSettings
  readonly #client: KMSClient
  readonly #where: string
  /** ARN of each key that may be used, by what `settings.keys` calls it. */
  #arns = new Map<string, string>()
  #looked_ms = Number.NEGATIVE_INFINITY
  #paused: { readonly until_ms: number; readonly error: KeyUnusable } | null = null

  private constructor(settings: KmsSettings) {
    this.#settings = settings
    const region = settings.region ?? settings.keys.map((key) => /^arn:[^:]+:kms:([^:]+):/.exec(key)?.[1]).find(Boolean)
    this.#where = settings.endpoint ?? (region === undefined ? 'the service' : `of ${region}`)
    this.#client = new KMSClient({
      ...(region !== undefined && { region }),
      ...(settings.endpoint !== undefined && { endpoint: settings.endpoint }),
      maxAttempts: 2,
      requestHandler: {
        connectionTimeout: 2_000,
        socketTimeout: 3_000,
        requestTimeout: 3_000,
        throwOnRequestTimeout: true,
      },
    })
  }

  /**
   * Asks for every key. The first one must be usable; one of the others may be gone already.
   * @throws KeyUnusable `kms_unreachable`, `kms_refused`
   */
  static async connect(settings: KmsSettings): Promise<Kms> {
    const kms = new Kms(settings)
    await kms.#look()
    return kms
  }

  /** ARN of the key that wraps. */
  get wrapping(): string {
    return this.#arns.get(this.#settings.keys[0]!)!
  }

  /** ARNs of the keys that only open, without those that there are no more. */
  get retiring(): string[] {
    return [...new Set(this.#arns.values())].filter((arn) => arn !== this.wrapping)
  }

  /** A new key of 32 bytes, in the clear and wrapped. @throws KeyUnusable */
  async generate(context: Context): Promise<Blob & { readonly plain: Buffer }> {
    const { Plaintext, CiphertextBlob, KeyId } = await this.#ask('kms:GenerateDataKey', this.#settings.keys[0]!, () =>
      this.#client.send(
        new GenerateDataKeyCommand({ KeyId: this.#settings.keys[0], KeySpec: 'AES_256', EncryptionContext: context }),
      ),
    )
    return { ...told(KeyId, CiphertextBlob), plain: keyBytes(Plaintext) }
  }

  /** @throws KeyUnusable */
  async wrap(plain: Uint8Array, context: Context): Promise<Blob> {
    const { CiphertextBlob, KeyId } = await this.#ask('kms:Encrypt', this.#settings.keys[0]!, () =>
      this.#client.send(
        new EncryptCommand({ KeyId: this.#settings.keys[0], Plaintext: plain, EncryptionContext: context }),
      ),
    )
    return told(KeyId, CiphertextBlob)
  }

  /**
   * Opens with a key that the settings name, and with no other: what says that it belongs to a stranger's key may have
   * been made by the stranger.
   * @param file where it lies, for the message
   * @throws KeyUnusable
   */
  async unwrap({ key, blob }: Blob, context: Context, file: string): Promise<Buffer> {
    const KeyId = this.#ours(key) ?? (await this.#lookAgain(key))
    if (KeyId === undefined)
      throw new KeyUnusable(
        'kms_refused',
        `${file} is wrapped by ${key}, which AFFIDAVIT_KMS_KEY does not name. Name it there after the key that wraps.`,
      )
    const { Plaintext } = await this.#ask(
      'kms:Decrypt',
      KeyId,
      () =>
        this.#client.send(
          new DecryptCommand({ KeyId, CiphertextBlob: Buffer.from(blob, 'base64'), EncryptionContext: context }),
        ),
      file,
    )
    return keyBytes(Plaintext)
  }

  /** @returns when the key and all that it wraps will be gone for good @throws KeyUnusable */
  async scheduleDeletion(arn: string, days: number): Promise<Date> {
    const { KeyMetadata: about } = await this.#ask('kms:DescribeKey', arn, () =>
      this.#client.send(new DescribeKeyCommand({ KeyId: arn })),
    )
    if (about?.KeyState === 'PendingDeletion' && about.DeletionDate !== undefined) return about.DeletionDate
    const { DeletionDate } = await this.#ask('kms:ScheduleKeyDeletion', arn, () =>
      this.#client.send(new ScheduleKeyDeletionCommand({ KeyId: arn.split('/').at(-1), PendingWindowInDays: days })),
    )
    return DeletionDate ?? new Date(Date.now() + days * 86_400_000)
  }

  #ours(arn: string): string | undefined {
    return [...this.#arns.values()].find((known) => isSameKey(known, arn))
  }

  /** An alias may stand for another key by now. */
  async #lookAgain(arn: string): Promise<string | undefined> {
    if (Date.now() - this.#looked_ms >= relook_ms) await this.#look()
    return this.#ours(arn)
  }

  async #look(): Promise<void> {
    this.#looked_ms = Date.now()
    const arns = new Map<string, string>()
    for (const [at, key] of this.#settings.keys.entries()) {
      const arn = await this.#describe(key, at === 0)
      if (arn !== undefined) arns.set(key, arn)
    }
    this.#arns = arns
  }

  async #describe(key: string, mustWrap: boolean): Promise<string | undefined> {
    const ask = () => this.#client.send(new DescribeKeyCommand({ KeyId: key }))
    const { KeyMetadata: about } = await this.#ask('kms:DescribeKey', key, ask).catch((error) => {
      if (!mustWrap && (error as { cause?: Error }).cause?.name === 'NotFoundException')
        return { KeyMetadata: undefined }
      throw error
    })
    if (!mustWrap) return about?.Arn
    const why =
      (about?.KeyUsage ?? 'ENCRYPT_DECRYPT') !== 'ENCRYPT_DECRYPT' ||
      (about?.KeySpec ?? 'SYMMETRIC_DEFAULT') !== 'SYMMETRIC_DEFAULT'
        ? 'is not a symmetric key for encryption'
        : about?.KeyState !== 'Enabled'
          ? `is not enabled but ${about?.KeyState}`
          : undefined
    if (why !== undefined) throw new KeyUnusable('kms_refused', `The key ${key} in KMS ${why}.`)
    return about!.Arn
  }

  async #ask<Answer>(action: string, key: string, ask: () => Promise<Answer>, file?: string): Promise<Answer> {
    if (this.#paused !== null && this.#paused.until_ms > Date.now()) throw this.#paused.error
    try {
      const answer = await ask()
      this.#paused = null
      return answer
    } catch (thrown) {
      const error = this.#refusal(thrown as SdkError, action, key, file)
      if (error.code === 'kms_unreachable') this.#paused = { until_ms: Date.now() + pause_ms, error }
      throw error
    }
  }

  #refusal(error: SdkError, action: string, key: string, file: string | undefined): KeyUnusable {
    const name = error.name
    if (name === 'InvalidCiphertextException' || name === 'IncorrectKeyException')
      return new KeyUnusable(
        'kms_refused',
        `KMS (${this.#where}) does not open ${file ?? 'a wrapped key'} with ${key}: it was changed, moved, or belongs to another log.`,
      )
    if (isOutOfReach(error))
      return new KeyUnusable('kms_unreachable', `KMS (${this.#where}) cannot be reached: ${reason(error)}.`, {
        cause: error,
      })
    return new KeyUnusable('kms_refused', `KMS (${this.#where}) refuses ${action} with ${key}: ${reason(error)}.`, {
      cause: error,
    })
  }
}

interface SdkError extends Error {
  readonly code?: string
  readonly $metadata?: { readonly httpStatusCode?: number }
}

/** Of the service, which would answer another time. */
const passing = new Set([
  'DependencyTimeoutException',
  'KeyUnavailableException',
  'KMSInternalException',
  'LimitExceededException',
  'ThrottlingException',
  'TimeoutError',
])

/** Credentials that are missing or wrong, or a region that is not set, are no outage: they do not come back by themselves. */
function isOutOfReach(error: SdkError): boolean {
  if (passing.has(error.name)) return true
  const status = error.$metadata?.httpStatusCode
  if (status !== undefined) return status >= 500 || status === 429
  return error.name !== 'CredentialsProviderError' && !/region is missing/i.test(error.message)
}

/** One line, without the full stop at its end. */
function reason(error: SdkError): string {
  const { name, message, code } = (error as { errors?: SdkError[] }).errors?.[0] ?? error
  const text = `${message || code || ''}`.split('\n')[0]!.replace(/\.$/, '')
  return name === 'Error' || name === 'AggregateError' ? text || name : `${name}${text === '' ? '' : `, ${text}`}`
}

/** A multi-Region key has another ARN in each Region, and everywhere the same id. */
function isSameKey(one: string, other: string): boolean {
  const id = (arn: string) => /:key\/(mrk-[0-9a-f]+)$/.exec(arn)?.[1]
  return one === other || (id(one) !== undefined && id(one) === id(other))
}

function told(key: string | undefined, blob: Uint8Array | undefined): Blob {
  if (key === undefined || blob === undefined) throw new Error('KMS answered without a key')
  return { key, blob: Buffer.from(blob).toString('base64') }
}

function keyBytes(plain: Uint8Array | undefined): Buffer {
  if (plain?.length !== KEY_BYTES) throw new KeyUnusable('key_tampered', 'KMS opened something that is not a key.')
  return Buffer.from(plain)
}
