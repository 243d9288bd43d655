// Where Objects are: a folder, or a bucket given as `s3://bucket/prefix?region=…&endpoint=…&path_style=true`.
import { openFolderObjects } from './folder-objects.ts'
import type { Objects } from './objects.ts'
import type { Bucket } from './s3-objects.ts'

/** The address of a bucket is wrong; the message is a sentence for the operator. */
export class BadBucket extends Error {
  override name = 'BadBucket'
}

const example =
  'The place of Objects is neither a folder nor a bucket. Write a bucket like s3://bucket/prefix?region=eu-central-1, ' +
  "and for another server than Amazon's add &endpoint=https://host:port."

/** @throws BadBucket */
export function parseBucket(place: string): Bucket {
  if (!URL.canParse(place)) throw new BadBucket(example)
  const { protocol, host, pathname, searchParams, username, password } = new URL(place)
  const unknown = [...searchParams.keys()].find((name) => !['region', 'endpoint', 'path_style'].includes(name))
  if (protocol !== 's3:' || !/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(host) || username !== '' || password !== '')
    throw new BadBucket(example)
  if (unknown !== undefined) throw new BadBucket(`${example} It knows no ${unknown}.`)
  const prefix = decodeURIComponent(pathname).replace(/^\/+|\/+$/g, '')
  if (prefix !== '' && !/^[\w.=-]+(\/[\w.=-]+)*$/.test(prefix)) throw new BadBucket(example)
  const endpoint = searchParams.get('endpoint')
  if (endpoint !== null && !(URL.canParse(endpoint) && /^https?:$/.test(new URL(endpoint).protocol)))
    throw new BadBucket(example)
  const pathStyle = searchParams.get('path_style')
  return {
    bucket: host,
    prefix: prefix === '' ? '' : `${prefix}/`,
    region: searchParams.get('region') ?? 'us-east-1',
    ...(endpoint !== null && { endpoint }),
    ...(pathStyle !== null && { pathStyle: pathStyle === 'true' }),
  }
}

/**
 * Opens a folder (made if it is missing) or a bucket. Credentials of a bucket are those that the AWS SDK finds.
 * @throws BadBucket
 */
export async function openObjects(place: string): Promise<Objects> {
  if (!/^s3:/i.test(place)) return openFolderObjects(place)
  const bucket = parseBucket(place)
  const { S3Objects } = await import('./s3-objects.ts') // the SDK is large: only who needs it loads it
  return new S3Objects(bucket)
}
