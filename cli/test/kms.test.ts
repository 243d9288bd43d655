// `affidavit keys rewrap`: the keys of a deployment move into a key management service, and from key to key there. Skipped
// where moto cannot be had.
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { freshDatabase, type TestDatabase } from '../../server/test/database.ts'
import { startKms } from '../../server/test/kms.ts'
import { ServerHere } from '../../server/test/server-here.ts'
import { affidavit } from './command-line.ts'

const service = await startKms()
Object.assign(process.env, service?.credentials) // for commands, which run in this process

describe.skipIf(service === null)('affidavit keys rewrap', () => {
  let database: TestDatabase
  let server: ServerHere
  let operatorKey: string
  const settings: Record<string, string> = { AFFIDAVIT_SCRUB_EVENTS: '0' }

  beforeAll(async () => {
    database = await freshDatabase()
    server = await ServerHere.start({ databaseUrl: database.url, settings })
    operatorKey = server.operatorKey
  })
  afterAll(async () => {
    await server?.remove()
    await database?.drop()
    await service?.stop()
  })

  const command = (...args: string[]) =>
    affidavit(args, {
      PATH: process.env.PATH!,
      DATABASE_URL: database.url,
      AFFIDAVIT_DATA_DIR: server.folder,
      ...settings,
    })
  const api = async (path: string, body?: object) => {
    const response = await fetch(server.url + path, {
      headers: { authorization: `Bearer ${operatorKey}`, 'content-type': 'application/json' },
      ...(body && { method: 'POST', body: JSON.stringify(body) }),
    })
    return (await response.json()) as { data: { actor: { name: string | null } }[] }
  }
  const record = (id: string) =>
    api('/v1/events', { tenant: 'acme', action: 'user.login', actor: { type: 'user', id, name: `Name of ${id}` } })
  const names = async () => (await api('/v1/events?tenant=acme&order=asc')).data.map(({ actor }) => actor.name)
  const keys = () => join(server.folder, 'keys')

  test('moves a folder into KMS, and on to another key while the server runs', async () => {
    await record('ann')
    await server.stop()
    expect(await command('keys', 'rewrap')).toMatchObject({
      code: 2,
      err: expect.stringContaining('AFFIDAVIT_KMS_KEY'),
    })

    const first = await service!.key('alias/deployment')
    Object.assign(settings, {
      ...service!.credentials,
      AFFIDAVIT_KMS_KEY: 'alias/deployment',
      AFFIDAVIT_KMS_REGION: service!.region,
      AFFIDAVIT_KMS_ENDPOINT: service!.endpoint,
    })
    await expect(server.start()).rejects.toThrow('affidavit keys rewrap')
    service!.down()
    expect(await command('keys', 'rewrap')).toMatchObject({
      code: 2,
      err: expect.stringContaining('cannot be reached'),
    })
    service!.up()
    expect(await command('keys', 'rewrap')).toMatchObject({
      code: 0,
      out: expect.stringMatching(/^\d files? wrapped anew, 0 were already: arn:/),
      err: expect.stringContaining('Copies of the key folder from before still have it'),
    })
    expect(await readdir(keys())).not.toContain('root.key')
    await server.start()
    await record('bob')
    expect(await names()).toEqual(['Name of ann', 'Name of bob'])

    const next = await service!.key()
    await service!.moveAlias('alias/deployment', next)
    settings.AFFIDAVIT_KMS_KEY = `alias/deployment,${first}`
    expect(await command('keys', 'rewrap', '--delete-after', '5')).toMatchObject({ code: 2 })
    const { code, out } = await command('keys', 'rewrap', '--delete-after', '7', '--json')
    expect([code, JSON.parse(out)]).toEqual([
      0,
      {
        migrated: false,
        moved: expect.any(Number),
        kept: 0,
        key: next,
        retired: [{ key: first, deletion: expect.any(String) }],
      },
    ])
    expect(await service!.stateOf(first)).toBe('PendingDeletion')
    await record('carl')
    expect(await names()).toEqual(['Name of ann', 'Name of bob', 'Name of carl'])
    await server.restart()
    expect(await names()).toEqual(['Name of ann', 'Name of bob', 'Name of carl'])
  })
})
