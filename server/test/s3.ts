// A real S3 server for tests: versitygw over a temporary folder, on a free port of this machine. It enforces Object Lock
// and `If-None-Match: *` as Amazon's does.
//
//   const s3 = await startS3()               // null where versitygw cannot be had
//   const bucket = await s3.bucket({ lock: true })
//   afterAll(() => s3?.stop())
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { CreateBucketCommand, type S3Client } from '@aws-sdk/client-s3'
import { type Bucket, s3Client } from '../src/store/s3-objects.ts'
import { goProgram } from './go-programs.ts'
import { freePort } from './ports.ts'

export interface TestS3 {
  readonly endpoint: string
  readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string }
  readonly client: S3Client
  /** A new bucket. */
  bucket(options?: { lock?: boolean; prefix?: string }): Promise<Bucket>
  stop(): Promise<void>
}

const credentials = { accessKeyId: 'test', secretAccessKey: 'testsecret' }
const region = 'us-east-1'

export async function startS3(): Promise<TestS3 | null> {
  const program = await goProgram('versitygw')
  if (program === null) return null
  const folder = await mkdtemp(join(tmpdir(), 'affidavit-s3-'))
  for (const name of ['data', 'versions']) await mkdir(join(folder, name))
  const port = await freePort()
  const child = spawn(
    program,
    [
      ...['--port', `127.0.0.1:${port}`, '--access', credentials.accessKeyId, '--secret', credentials.secretAccessKey],
      ...['--quiet', 'posix', '--versioning-dir', join(folder, 'versions'), join(folder, 'data')],
    ],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  )
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk))
  const endpoint = `http://127.0.0.1:${port}`
  while (!(await answers(endpoint))) {
    if (child.exitCode !== null) throw new Error(`versitygw ended: ${output}`)
    await sleep(50)
  }
  const client = s3Client({ region, endpoint, credentials })
  return {
    endpoint,
    credentials,
    client,
    bucket: async ({ lock = false, prefix = '' } = {}) => {
      const bucket = `b${randomBytes(6).toString('hex')}`
      await client.send(new CreateBucketCommand({ Bucket: bucket, ObjectLockEnabledForBucket: lock }))
      return { bucket, prefix, region, endpoint, credentials }
    },
    stop: async () => {
      client.destroy()
      const ended = once(child, 'exit')
      child.kill()
      await ended
      await rm(folder, { recursive: true, force: true })
    },
  }
}

const answers = (url: string) =>
  fetch(url).then(
    () => true,
    () => false,
  )
