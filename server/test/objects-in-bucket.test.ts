// A server whose Objects are in a bucket: epochs are written there before they are signed, and an epoch that is there
// already is never replaced. Skipped where versitygw cannot be had.
import { GetObjectCommand } from '@aws-sdk/client-s3'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { BadBucket, openObjects } from '../src/store/open-objects.ts'
import { freshDatabase, type TestDatabase } from './database.ts'
import { startS3 } from './s3.ts'
import { type StartedServer, startedServer } from './started-server.ts'

const s3 = await startS3()

describe.skipIf(s3 === null)('Objects in a bucket', () => {
  let database: TestDatabase
  let server: StartedServer
  let bucket: string
  let place: string

  beforeAll(async () => {
    // The SDK finds credentials by itself, as an operator's would.
    process.env.AWS_ACCESS_KEY_ID = s3!.credentials.accessKeyId
    process.env.AWS_SECRET_ACCESS_KEY = s3!.credentials.secretAccessKey
    database = await freshDatabase()
    bucket = (await s3!.bucket()).bucket
    place = `s3://${bucket}/eu?endpoint=${encodeURIComponent(s3!.endpoint)}`
    server = await startedServer(database.url, { AFFIDAVIT_OBJECTS: place, AFFIDAVIT_REGISTRY_INTERVAL_MS: '1000' })
  })

  afterAll(async () => {
    await server?.stop()
    await database?.drop()
    await s3?.stop()
    delete process.env.AWS_ACCESS_KEY_ID
    delete process.env.AWS_SECRET_ACCESS_KEY
  })

  test('hold an epoch before the registry signs it', async () => {
    const response = await fetch(`${server.url}/v1/events`, {
      method: 'POST',
      headers: { authorization: `Bearer ${server.key}`, 'content-type': 'application/json' },
      body: JSON.stringify({ tenant: 'org_1', action: 'user.login', actor: { type: 'user', id: 'u1' } }),
    })
    expect(response.status).toBe(201)
    for (const end = Date.now() + 60_000; Date.now() < end; ) {
      if ((await fetch(`${server.url}/v1/registry/checkpoint`)).ok) break
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
    const object = new GetObjectCommand({ Bucket: bucket, Key: 'eu/epochs/0000000001' })
    const { ContentLength } = await s3!.client.send(object)
    expect(ContentLength).toBeGreaterThan(100)
    const objects = await openObjects(place)
    expect(await objects.put('epochs/0000000001', Buffer.from('another past'))).toBe('exists')
    expect((await objects.stat('epochs/0000000001'))?.size).toBe(ContentLength)
  })

  test('are refused under an address that is none', async () => {
    await expect(openObjects('s3://Not a bucket')).rejects.toThrow(BadBucket)
  })
})
