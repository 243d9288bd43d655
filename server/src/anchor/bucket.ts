// A write-once bucket: each checkpoint becomes an object that nobody, the account's owner included, can delete or change
// before its time (S3 Object Lock, COMPLIANCE). Retention is set with each PUT and read back, because a bucket that
// ignores it would take the object all the same. Without a lock it is a plain copy in somebody else's bucket.

import { parseNote } from '@affidavit/trail'
import {
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  type S3Client,
} from '@aws-sdk/client-s3'
import { s3Client, statusOf } from '../store/s3-objects.ts'
import { type Document, type Place, type Placed, WrongAnswer } from './place.ts'
import type { AnchorSettings } from './settings.ts'

type BucketSettings = Extract<AnchorSettings, { kind: 'bucket' }>

const usual_retain_days = 3_650
/** Others may have put something into the bucket, too: so many of the last objects are looked at. */
const newest_looked_at = 3
const day_ms = 86_400_000

export class BucketPlace implements Place {
  readonly name: string
  readonly kind = 'bucket'
  readonly every_ms: number
  readonly isPublic: boolean
  readonly #settings: BucketSettings
  readonly #client: S3Client

  constructor(settings: BucketSettings) {
    this.name = settings.name
    this.every_ms = settings.every_ms
    this.isPublic = settings.public ?? true
    this.#settings = settings
    const { region = 'us-east-1', endpoint, path_style, access_key_id, secret_access_key } = settings
    this.#client = s3Client({
      region,
      ...(endpoint !== undefined && { endpoint }),
      ...(path_style !== undefined && { pathStyle: path_style }),
      ...(access_key_id !== undefined && {
        credentials: { accessKeyId: access_key_id, secretAccessKey: secret_access_key! },
      }),
    })
  }

  async place(document: Document): Promise<Placed> {
    const { bucket, endpoint, region, lock = 'compliance', retain_days = usual_retain_days } = this.#settings
    const to = { Bucket: bucket, Key: this.#key(document) }
    const until = new Date(Math.ceil((Date.now() + retain_days * day_ms) / 1000) * 1000)
    const { version, note } = await this.#put(to, document, lock === 'compliance' ? until : undefined)
    const retained = lock === 'compliance' ? await this.#retention(to, version) : null
    return {
      ...(note !== undefined && { note }),
      details: {
        bucket,
        key: to.Key,
        version_id: version ?? null,
        retain_until: retained,
        endpoint: endpoint ?? null,
        region: region ?? null,
      },
    }
  }

  close(): void {
    this.#client.destroy()
  }

  /** The last copies of a log's checkpoints, the newest first, as they lie there: unchecked. @param signal bounds it */
  async newest(origin: string, signal: AbortSignal): Promise<string[]> {
    let folder = `${this.#settings.prefix ?? ''}${origin}/`
    for (const _ of ['year', 'month', 'day']) {
      const { folders } = await this.#list(folder, signal)
      const last = folders.at(-1)
      if (last === undefined) return []
      folder = last
    }
    const { keys } = await this.#list(folder, signal)
    const notes: string[] = []
    for (const Key of keys.slice(-newest_looked_at).reverse()) {
      const object = new GetObjectCommand({ Bucket: this.#settings.bucket, Key })
      const { Body } = await this.#client.send(object, { abortSignal: signal })
      notes.push(await Body!.transformToString())
    }
    return notes
  }

  /** What stands right below a prefix, in order. */
  async #list(prefix: string, abortSignal: AbortSignal): Promise<{ folders: string[]; keys: string[] }> {
    const folders: string[] = []
    const keys: string[] = []
    for (let token: string | undefined; ; ) {
      const page = await this.#client.send(
        new ListObjectsV2Command({
          Bucket: this.#settings.bucket,
          Prefix: prefix,
          Delimiter: '/',
          ...(token !== undefined && { ContinuationToken: token }),
        }),
        { abortSignal },
      )
      folders.push(...(page.CommonPrefixes ?? []).flatMap(({ Prefix }) => Prefix ?? []))
      keys.push(...(page.Contents ?? []).flatMap(({ Key }) => Key ?? []))
      token = page.IsTruncated === true ? page.NextContinuationToken : undefined
      if (token === undefined) return { folders, keys }
    }
  }

  /** Sorts by time, and tells one log's copies from another's. */
  #key({ origin, epoch, size, at_ms }: Document): string {
    const day = new Date(at_ms).toISOString().slice(0, 10).replaceAll('-', '/')
    return `${this.#settings.prefix ?? ''}${origin}/${day}/epoch-${String(epoch).padStart(10, '0')}-size-${size}.checkpoint`
  }

  async #put(
    to: { Bucket: string; Key: string },
    document: Document,
    until: Date | undefined,
  ): Promise<{ version: string | undefined; note?: string }> {
    try {
      const { VersionId } = await this.#client.send(
        new PutObjectCommand({
          ...to,
          Body: document.note,
          ContentType: 'text/plain; charset=utf-8',
          ChecksumAlgorithm: 'SHA256',
          IfNoneMatch: '*',
          ...(until !== undefined && { ObjectLockMode: 'COMPLIANCE', ObjectLockRetainUntilDate: until }),
        }),
      )
      return { version: VersionId }
    } catch (error) {
      if (statusOf(error) !== 412) throw error
      return this.#present(to, document)
    }
  }

  /** An earlier try arrived after all; its note may hold fewer cosignatures, and must be of the same checkpoint. */
  async #present(to: { Bucket: string; Key: string }, document: Document) {
    const { Body, VersionId } = await this.#client.send(new GetObjectCommand(to))
    const note = await Body!.transformToString()
    if (textOf(note) !== textOf(document.note))
      throw new WrongAnswer(`another object stands in bucket ${to.Bucket} at ${to.Key}`)
    return { version: VersionId, note }
  }

  /** @returns until when the object cannot be deleted */
  async #retention(to: { Bucket: string; Key: string }, version: string | undefined): Promise<string> {
    const head = await this.#client.send(
      new HeadObjectCommand({ ...to, ...(version !== undefined && { VersionId: version }) }),
    )
    const until = head.ObjectLockRetainUntilDate
    if (head.ObjectLockMode !== 'COMPLIANCE' || until === undefined || until.getTime() <= Date.now())
      throw new WrongAnswer(`bucket ${to.Bucket} took ${to.Key} without locking it: Object Lock must be enabled`)
    return until.toISOString()
  }
}

function textOf(note: string): string | undefined {
  try {
    return parseNote(note).text
  } catch {
    return undefined
  }
}
