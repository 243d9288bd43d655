// Objects in a bucket of Amazon S3 or of any server that speaks its protocol and honours `If-None-Match: *` on PUT,
// which makes the first of several writers win. Small objects are one request; streams that are longer than a part go
// up as a multipart upload, whose completion carries the same condition. What is acknowledged is durable.
import { Readable } from 'node:stream'
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
  type S3ClientConfig,
  UploadPartCommand,
} from '@aws-sdk/client-s3'
import { BadKey, checkKey, type Objects, type Put, type Stat } from './objects.ts'

export interface Bucket {
  readonly bucket: string
  /** Put before every key; empty, or ending in a slash. */
  readonly prefix: string
  readonly region: string
  /** Of another server than Amazon's. */
  readonly endpoint?: string
  /** Bucket in the path instead of the host name; default: true with an endpoint. */
  readonly pathStyle?: boolean
  /** Default: what the AWS SDK finds (environment, profile, role of the machine). */
  readonly credentials?: { readonly accessKeyId: string; readonly secretAccessKey: string }
}

/** Least bytes of all but the last part of a multipart upload (S3's limit is 5 MiB). */
const part_bytes = 8 * 1024 * 1024
/** Tries of a conditional write that met another one at the same moment (409). */
const conflict_tries = 5

/** Opens no connection yet. Times out a request that stands still for 30 s; the SDK repeats what failed on the way. */
export function s3Client({ region, endpoint, pathStyle, credentials }: Omit<Bucket, 'bucket' | 'prefix'>): S3Client {
  const config: S3ClientConfig = {
    region,
    forcePathStyle: pathStyle ?? endpoint !== undefined,
    requestHandler: { connectionTimeout: 5_000, socketTimeout: 30_000 },
    ...(endpoint !== undefined && { endpoint }),
    ...(credentials !== undefined && { credentials }),
  }
  return new S3Client(config)
}

/** Status of an answer of S3, or undefined for what never came to an answer. */
export const statusOf = (error: unknown): number | undefined =>
  (error as { $metadata?: { httpStatusCode?: number } }).$metadata?.httpStatusCode

export class S3Objects implements Objects {
  readonly #client: S3Client
  readonly #bucket: string
  readonly #prefix: string

  constructor(place: Bucket, client = s3Client(place)) {
    this.#client = client
    this.#bucket = place.bucket
    this.#prefix = place.prefix
  }

  async put(key: string, content: Uint8Array | Readable): Promise<Put> {
    const to = this.#to(key)
    await this.#refuseNesting(key)
    if (content instanceof Uint8Array) return this.#putWhole(to, content)
    const parts = partsOf(content)[Symbol.asyncIterator]()
    const first = await parts.next()
    const second = first.done ? first : await parts.next()
    if (second.done) return this.#putWhole(to, first.value ?? Buffer.alloc(0))
    return this.#putParts(to, [first.value!, second.value], parts)
  }

  async get(key: string): Promise<Buffer | undefined> {
    const { Body } = (await absent(() => this.#client.send(new GetObjectCommand(this.#to(key))))) ?? {}
    return Body && Buffer.from(await Body.transformToByteArray())
  }

  async read(key: string, from = 0, to = Number.POSITIVE_INFINITY): Promise<Readable | undefined> {
    const at = this.#to(key)
    if (from >= to) return (await this.stat(key)) && Readable.from([])
    const Range = `bytes=${from}-${Number.isFinite(to) ? to - 1 : ''}`
    try {
      const found = await absent(() =>
        this.#client.send(new GetObjectCommand(from === 0 && !Number.isFinite(to) ? at : { ...at, Range })),
      )
      return found?.Body as Readable | undefined
    } catch (error) {
      if (statusOf(error) === 416) return Readable.from([]) // it ends before `from`
      throw error
    }
  }

  async stat(key: string): Promise<Stat | undefined> {
    const found = await absent(() => this.#client.send(new HeadObjectCommand(this.#to(key))))
    return found && { key, size: found.ContentLength ?? 0, modified_at: found.LastModified?.getTime() ?? 0 }
  }

  async *list(prefix: string, after = ''): AsyncGenerator<Stat> {
    let token: string | undefined
    do {
      const page = await this.#client.send(
        new ListObjectsV2Command({
          Bucket: this.#bucket,
          Prefix: this.#prefix + prefix,
          ...(after !== '' && { StartAfter: this.#prefix + after }),
          ...(token !== undefined && { ContinuationToken: token }),
        }),
      )
      for (const { Key, Size, LastModified } of page.Contents ?? []) {
        const key = Key!.slice(this.#prefix.length)
        // What others put into the bucket under names that we never use is not ours.
        if (isKey(key)) yield { key, size: Size ?? 0, modified_at: LastModified?.getTime() ?? 0 }
      }
      token = page.IsTruncated === true ? page.NextContinuationToken : undefined
    } while (token !== undefined)
  }

  async delete(key: string): Promise<boolean> {
    if (!(await this.stat(key))) return false
    await this.#client.send(new DeleteObjectCommand(this.#to(key)))
    return true
  }

  #to(key: string): { Bucket: string; Key: string } {
    checkKey(key)
    return { Bucket: this.#bucket, Key: this.#prefix + key }
  }

  /** S3 itself would keep `a` and `a/b` apart; a folder into which a bucket is copied could not. */
  async #refuseNesting(key: string): Promise<void> {
    const segments = key.split('/')
    const parents = segments.slice(1).map((_, n) => segments.slice(0, n + 1).join('/'))
    const below = async () => {
      for await (const _ of this.list(`${key}/`)) return true
      return false
    }
    const nested = await Promise.all([
      below(),
      ...parents.map(async (parent) => (await this.stat(parent)) !== undefined),
    ])
    if (nested.includes(true)) throw new BadKey(`${key} cannot be both an object and the beginning of another key`)
  }

  #putWhole(to: { Bucket: string; Key: string }, content: Uint8Array): Promise<Put> {
    return once(() => this.#client.send(new PutObjectCommand({ ...to, Body: content, IfNoneMatch: '*' })))
  }

  async #putParts(
    to: { Bucket: string; Key: string },
    begin: readonly Buffer[],
    rest: AsyncIterator<Buffer>,
  ): Promise<Put> {
    const { UploadId } = await this.#client.send(new CreateMultipartUploadCommand(to))
    const upload = { ...to, UploadId }
    try {
      const Parts: { PartNumber: number; ETag: string | undefined }[] = []
      const send = async (Body: Buffer) => {
        const PartNumber = Parts.length + 1
        const { ETag } = await this.#client.send(new UploadPartCommand({ ...upload, PartNumber, Body }))
        Parts.push({ PartNumber, ETag })
      }
      for (const part of begin) await send(part)
      for (let part = await rest.next(); !part.done; part = await rest.next()) await send(part.value)
      const complete = new CompleteMultipartUploadCommand({ ...upload, MultipartUpload: { Parts }, IfNoneMatch: '*' })
      const put = await once(() => this.#client.send(complete))
      if (put === 'exists') await this.#abort(upload)
      return put
    } catch (error) {
      await this.#abort(upload)
      throw error
    }
  }

  /** The parts cost storage until they go; a bucket's lifecycle rule catches what a crash leaves. */
  async #abort(upload: { Bucket: string; Key: string; UploadId: string | undefined }): Promise<void> {
    await this.#client.send(new AbortMultipartUploadCommand(upload)).catch(() => {})
  }
}

/** A write under `If-None-Match: *`. 412: the key is taken. 409: another write was under way and may yet fail. */
async function once(write: () => Promise<unknown>): Promise<Put> {
  for (let attempt = 1; ; attempt++) {
    try {
      await write()
      return 'written'
    } catch (error) {
      if (statusOf(error) === 412) return 'exists'
      if (statusOf(error) !== 409 || attempt === conflict_tries) throw error
      await new Promise((resolve) => setTimeout(resolve, 50 * 2 ** attempt))
    }
  }
}

/** Undefined where S3 answers that there is nothing. A missing bucket is an error, not an absent object. */
async function absent<T>(ask: () => Promise<T>): Promise<T | undefined> {
  try {
    return await ask()
  } catch (error) {
    if (statusOf(error) === 404 && (error as Error).name !== 'NoSuchBucket') return undefined
    throw error
  }
}

function isKey(text: string): boolean {
  try {
    checkKey(text)
    return true
  } catch {
    return false
  }
}

/** A stream as buffers of at least `part_bytes`, the last one excepted. */
async function* partsOf(content: Readable): AsyncGenerator<Buffer> {
  let held: Buffer[] = []
  let bytes = 0
  for await (const chunk of content) {
    held.push(chunk as Buffer)
    bytes += (chunk as Buffer).length
    if (bytes < part_bytes) continue
    yield Buffer.concat(held)
    held = []
    bytes = 0
  }
  if (bytes > 0) yield Buffer.concat(held)
}
