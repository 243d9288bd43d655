// A server whose Objects are in a bucket: epochs are written there before they are signed, an epoch that is there already
// is never replaced, and a database that was put back is brought up to them. Where they are lost, a copy of a checkpoint in
// another bucket still keeps the server from denying it. Skipped where versitygw cannot be had.
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { GetObjectCommand, ListObjectsV2Command } from '@aws-sdk/client-s3'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { BadBucket, openObjects } from '../src/store/open-objects.ts'
import { freshDatabase, type TestDatabase } from './database.ts'
import { startS3 } from './s3.ts'
import { ServerHere } from './server-here.ts'
import { temporaryFolder } from './server-process.ts'

const s3 = await startS3()
const rest = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

describe.skipIf(s3 === null)('Objects in a bucket', () => {
  /** The backup. */
  let database: TestDatabase
  let folder: string
  let server: ServerHere
  let bucket: string
  let copies: string
  let place: string

  beforeAll(async () => {
    // The SDK finds credentials by itself, as an operator's would.
    process.env.AWS_ACCESS_KEY_ID = s3!.credentials.accessKeyId
    process.env.AWS_SECRET_ACCESS_KEY = s3!.credentials.secretAccessKey
    database = await freshDatabase()
    folder = await temporaryFolder()
    bucket = (await s3!.bucket()).bucket
    copies = (await s3!.bucket({ lock: true })).bucket
    place = `s3://${bucket}/eu?endpoint=${encodeURIComponent(s3!.endpoint)}`
    const { accessKeyId: access_key_id, secretAccessKey: secret_access_key } = s3!.credentials
    const anchor = {
      name: 'customer',
      kind: 'bucket',
      bucket: copies,
      endpoint: s3!.endpoint,
      every: '1s',
      retain_days: 1,
    }
    const anchors = [{ ...anchor, access_key_id, secret_access_key }]
    await writeFile(join(folder, 'anchors.json'), JSON.stringify({ anchors }))
    server = await serverOn(database)
  })

  afterAll(async () => {
    await server?.remove()
    await database?.drop()
    await s3?.stop()
    delete process.env.AWS_ACCESS_KEY_ID
    delete process.env.AWS_SECRET_ACCESS_KEY
  })

  const serverOn = ({ url }: TestDatabase, objects = place) =>
    ServerHere.start({
      folder,
      databaseUrl: url,
      settings: {
        AFFIDAVIT_OBJECTS: objects,
        AFFIDAVIT_ANCHORS: join(folder, 'anchors.json'),
        AFFIDAVIT_REGISTRY_INTERVAL_MS: '1000',
        AFFIDAVIT_SCRUB_EVENTS: '0',
        AWS_ACCESS_KEY_ID: s3!.credentials.accessKeyId,
        AWS_SECRET_ACCESS_KEY: s3!.credentials.secretAccessKey,
      },
    })

  const ask = async (path: string, body?: object) =>
    fetch(server.url + path, {
      headers: { authorization: `Bearer ${server.operatorKey}`, 'content-type': 'application/json' },
      ...(body && { method: 'POST', body: JSON.stringify(body) }),
    })

  const record = async () => {
    const event = { tenant: 'org_1', action: 'user.login', actor: { type: 'user', id: 'u1' } }
    expect((await ask('/v1/events', event)).status).toBe(201)
  }

  /** Lines of the trail, waited for in an epoch if asked. */
  const hashes = async () => {
    const { data } = (await (await ask('/v1/events?tenant=org_1&control=true&order=asc&limit=100')).json()) as {
      data: { hash: string; control?: string }[]
    }
    return data
  }

  async function bound(): Promise<void> {
    const size = (await hashes()).length
    for (const end = Date.now() + 60_000; Date.now() < end; await rest(100))
      if ((await (await ask('/v1/trails/org_1/slot?epoch=latest')).text()).includes(`\n${size}\n`)) return
    throw new Error(`no epoch holds ${size} entries`)
  }

  const registrySize = async () => Number((await (await ask('/v1/registry/checkpoint')).text()).split('\n')[1])

  async function copied(size: number): Promise<void> {
    for (const end = Date.now() + 60_000; Date.now() < end; await rest(100)) {
      const { Contents = [] } = await s3!.client.send(new ListObjectsV2Command({ Bucket: copies }))
      if (Contents.some(({ Key }) => Number(/-size-(\d+)\./.exec(Key!)?.[1]) >= size)) return
    }
    throw new Error(`there is no copy of ${size} entries`)
  }

  test('hold an epoch before the registry signs it', async () => {
    await record()
    await bound()
    const object = new GetObjectCommand({ Bucket: bucket, Key: 'eu/epochs/0000000001' })
    const { ContentLength } = await s3!.client.send(object)
    expect(ContentLength).toBeGreaterThan(100)
    const objects = await openObjects(place)
    expect(await objects.put('epochs/0000000001', Buffer.from('another past'))).toBe('exists')
    expect((await objects.stat('epochs/0000000001'))?.size).toBe(ContentLength)
  })

  test('bring back what a restored database lacks; where they are lost, a copy elsewhere stops the start', async () => {
    await server.stop()
    const live = await freshDatabase({ of: database })
    server = await serverOn(live)
    await record()
    await bound()
    const before = await hashes()
    const size = await registrySize()
    await copied(size)
    await server.stop()
    await live.drop()

    const elsewhere = `s3://${(await s3!.bucket()).bucket}?endpoint=${encodeURIComponent(s3!.endpoint)}`
    const refused = await serverOn(database, elsewhere).then(String, ({ message }: Error) => message)
    const [, id] = /If that place is lost for good, .* affidavit\/1 objects, and ([0-9a-f]{32})\./.exec(refused)!
    await (await openObjects(elsewhere)).put('deployment', Buffer.from(`affidavit/1 objects\n${id}\n`))
    await expect(serverOn(database, elsewhere)).rejects.toThrow(/anchor customer knows the registry with \d+ entries/)

    server = await serverOn(database)
    const after = await hashes()
    expect(after.slice(0, before.length).map(({ hash }) => hash)).toEqual(before.map(({ hash }) => hash))
    expect(after.at(-1)!.control).toBe(`lost ${before.length - 1} ${before.length}`)
  })

  test('are refused under an address that is none', async () => {
    await expect(openObjects('s3://Not a bucket')).rejects.toThrow(BadBucket)
  })
})
