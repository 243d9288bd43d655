// Whole servers whose keys a key management service wraps: a person who was erased does not come back with an old database,
// an outage stops nobody whose keys are open, and SIGKILL finds nothing half done. Skipped where moto cannot be had.
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { parseCheckpoint, parseSlotProof } from '@affidavit/trail'
import { afterAll, afterEach, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { openProvider } from '../src/keys/open-provider.ts'
import { freshDatabase, type TestDatabase } from './database.ts'
import { carriedOut, event, judged, notarized, rest, type TwoPrincipals } from './forget-fixture.ts'
import { Api } from './http-api.ts'
import { startKms } from './kms.ts'
import { ServerHere } from './server-here.ts'
import { startProcess } from './server-process.ts'

const kills = process.env.AFFIDAVIT_LONG === '1' ? 3 : 2
const service = await startKms()
Object.assign(process.env, service?.credentials)

describe.skipIf(service === null)('a server with KMS', () => {
  let database: TestDatabase
  let server: ServerHere
  let all: TwoPrincipals
  let key: string

  const settings = () => ({
    ...service!.credentials,
    AFFIDAVIT_KMS_KEY: key,
    AFFIDAVIT_KMS_REGION: service!.region,
    AFFIDAVIT_KMS_ENDPOINT: service!.endpoint,
    AFFIDAVIT_REGISTRY_INTERVAL_MS: '500',
    AFFIDAVIT_SCRUB_EVENTS: '0',
  })
  const post = (path: string, body: object) => all.api.post(path, body)
  const namesIn = async (tenant: string, api = all.api): Promise<(string | null)[]> =>
    (await api.get(`/v1/events?tenant=${tenant}&action=user.*&order=asc&limit=100`)).body.data.map(
      ({ actor }: { actor: { name: string | null } }) => actor.name,
    )

  /** Waits until an epoch holds so many entries of the tenant `org`. */
  const bound = (size: number) =>
    expect
      .poll(async () => {
        const { status, body } = await all.api.get('/v1/trails/org/slot?epoch=latest')
        return status === 200 ? parseCheckpoint(parseSlotProof(String(body)).body).size : 0
      })
      .toBeGreaterThanOrEqual(size)

  beforeAll(async () => {
    key = await service!.key('alias/affidavit')
    database = await freshDatabase()
    server = await ServerHere.start({ databaseUrl: database.url, settings: settings() })
    const api = await Api.of(server.url, server.operatorKey)
    const { body } = await api.post('/v1/keys', { name: 'Second', scopes: ['forget:approve', 'forget:read'] })
    all = { api, second: api.with(body.key), database }
  })
  afterEach(() => service?.up())
  afterAll(async () => {
    await server?.remove()
    await database?.drop()
    await service?.stop()
  })

  test('an erased person does not come back with an old database and the service at hand', async () => {
    await post('/v1/events/batch', [event('org', 'ann'), event('org', 'bob')])
    expect(await readdir(join(server.folder, 'keys'))).not.toContain('root.key')
    await server.stop()
    const backup = await freshDatabase({ of: database }) // which ends the superuser's connection
    database = { ...database, superuser: await database.connect() }
    all = { ...all, database }
    await server.start()
    try {
      const subject = { type: 'user', id: 'ann' }
      await carriedOut(all, '/v1/erasures', { tenant: 'org', subject, reason: 'r' })
      expect(await post('/v1/rotations', { tenant: 'org', key: 'subject' })).toMatchObject({
        status: 200,
        body: { generation: 2, destroyed: [1] },
      })
      expect(await namesIn('org')).toEqual([null, 'Name of bob'])
      await bound(await notarized(all, 'org'))
      await server.stop()
      // The backup's rows are the old ones, and the service opens everything that is in the folder: not these.
      const { rows } = await backup.superuser.query<{ keyring: string; generation: number; wrapped: Buffer }>(
        `select replace(r.id::text, '-', '') as keyring, b.generation, b.wrapped from keeper.buckets b
           join affidavit.tenants t on t.number = b.tenant join affidavit.trails r on r.tenant = t.number where t.id = 'org'`,
      )
      const kms = { keys: [key], region: service!.region, endpoint: service!.endpoint }
      const provider = await openProvider({ folder: join(server.folder, 'keys'), kms, mayCreateRoot: false })
      expect(rows).toHaveLength(1)
      for (const { keyring, generation, wrapped } of rows)
        await expect(provider.unwrap(keyring, generation, 'anywhere', wrapped)).rejects.toMatchObject({
          code: 'key_destroyed',
        })
      // A server that is started on the backup finds the living again, and her nowhere.
      const restored = await ServerHere.start({
        databaseUrl: backup.url,
        folder: server.folder,
        settings: settings(),
      })
      try {
        expect(await namesIn('org', await Api.of(restored.url, server.operatorKey))).toEqual([null, 'Name of bob'])
      } finally {
        await restored.stop()
      }
    } finally {
      await server.stop()
      await backup.drop()
      await server.start()
    }
  })

  test('an outage stops nobody whose keys are open, and says so to the others', async () => {
    await post('/v1/events/batch', [event('open', 'ann'), event('closed', 'ann')])
    await server.restart()
    expect((await post('/v1/events', event('open', 'ann'))).status).toBe(201)
    service!.down()
    expect((await post('/v1/events', event('open', 'ann'))).status).toBe(201)
    expect((await post('/v1/events', event('open', 'somebody new'))).status).toBe(201)
    const refused = { code: 'keys_unavailable', detail: expect.stringContaining('cannot be reached') }
    for (const tenant of ['closed', 'brand-new']) {
      const answer = await post('/v1/events', event(tenant, 'carl'))
      expect(answer).toMatchObject({ status: 503, body: refused })
      expect(answer.headers.get('retry-after')).toMatch(/^\d+$/)
      expect(await post('/v1/events/batch', [event(tenant, 'carl'), event(tenant, 'dora')])).toMatchObject({
        status: 503,
        body: refused,
      })
    }
    const mixed = await post('/v1/events/batch', [
      event('closed', 'carl'),
      event('open', 'carl'),
      event('closed', 'dora'),
    ])
    expect(mixed).toMatchObject({ status: 200, body: { accepted: 1, rejected: 2 } })
    expect(mixed.body.results.map(({ error }: { error?: { code: string } }) => error?.code)).toEqual([
      'keys_unavailable',
      undefined,
      'keys_unavailable',
    ])
    expect(await all.api.get('/v1/events?tenant=closed')).toMatchObject({ status: 503, body: refused })
    expect(await post('/v1/rotations', { tenant: 'open', key: 'subject' })).toMatchObject({
      status: 503,
      body: refused,
    })
    expect((await all.api.get('/readyz')).status).toBe(200)
    service!.deny('Decrypt')
    await rest(2_100)
    expect(await post('/v1/events', event('closed', 'carl'))).toMatchObject({
      status: 503,
      body: { code: 'keys_unavailable', detail: expect.stringContaining('does not open the keys') },
    })
    service!.up()
    await rest(2_100)
    for (const tenant of ['closed', 'brand-new'])
      expect((await post('/v1/events', event(tenant, 'carl'))).status).toBe(201)
    expect(await namesIn('closed')).toEqual(['Name of ann', 'Name of carl'])
    expect((await post('/v1/rotations', { tenant: 'open', key: 'subject' })).status).toBe(200)
    expect(await namesIn('open')).toEqual(
      expect.arrayContaining(['Name of ann', 'Name of somebody new', 'Name of carl']),
    )
  })

  test('a start says what KMS says, and goes on once it serves', async () => {
    await server.stop()
    service!.down()
    await expect(server.start()).rejects.toThrow(/KMS \(http:.*\) cannot be reached/)
    service!.deny('Decrypt')
    await expect(server.start()).rejects.toThrow(/refuses kms:Decrypt with arn:.*AccessDeniedException/)
    service!.up()
    await server.start()
    expect(await namesIn('org')).toEqual([null, 'Name of bob'])
  })

  test('SIGKILL while generations are made and destroyed', async () => {
    await server.stop()
    const { folder, operatorKey } = server
    const mortal = await startProcess({ databaseUrl: database.url, folder, settings: settings() })
    onTestFinished(() => mortal.remove())
    const api = await Api.of(mortal.url, operatorKey)
    all = { ...all, api, second: api.with(all.second.key) }
    for (let n = 0; n < kills; n++) {
      await post('/v1/events/batch', [event('killed', `goes-${n}`), event('killed', `stays-${n}`)])
      const subject = { type: 'user', id: `goes-${n}` }
      await carriedOut(all, '/v1/erasures', { tenant: 'killed', subject, reason: 'r' })
      const rotation = post('/v1/rotations', { tenant: 'killed', key: 'subject' }).catch(() => undefined)
      await rest((n * 300) / kills)
      await mortal.kill()
      await rotation
      await mortal.start()
    }
    expect((await post('/v1/rotations', { tenant: 'killed', key: 'subject' })).status).toBe(200)
    const names = await namesIn('killed')
    expect(names.filter((name) => name === null)).toHaveLength(kills)
    expect(names.filter((name) => name?.includes('stays'))).toHaveLength(kills)
    const { rows } = await database.superuser.query<{ keyring: string; generations: number[] }>(
      `select replace(r.id::text, '-', '') as keyring, array_agg(distinct b.generation) as generations from keeper.buckets b
         join affidavit.tenants t on t.number = b.tenant join affidavit.trails r on r.tenant = t.number
         where t.id = 'killed' group by r.id`,
    )
    const kms = { keys: [key], region: service!.region, endpoint: service!.endpoint }
    const provider = await openProvider({ folder: join(server.folder, 'keys'), kms, mayCreateRoot: false })
    expect(await provider.generations(rows[0]!.keyring)).toEqual(rows[0]!.generations)
    await notarized(all, 'killed')
    const later = Date.now() + 40 * 86_400_000
    expect(await judged(all.api, 'killed', { now: later })).toMatchObject({ outcome: 'held', findings: [] })
  }, 240_000)
})
