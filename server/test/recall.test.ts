// A database that is put back to before what was removed, with no epoch in between: everything is removed again before
// the first answer, wherever that is cut off. The real server, the real verifier; a clone of the database is the backup.
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { noteRecall, recall } from '../src/erase/recall.ts'
import { silent } from '../src/store/log.ts'
import { freshDatabase, type TestDatabase } from './database.ts'
import { carriedOut, event, judged, notarized, rest, type TwoPrincipals } from './forget-fixture.ts'
import { forgetNode, Gone, Life } from './forget-node.ts'
import { Api } from './http-api.ts'
import { ServerHere } from './server-here.ts'
import { ServerProcess, startProcess, temporaryFolder } from './server-process.ts'

const long = process.env.AFFIDAVIT_LONG === '1'
const settings = { AFFIDAVIT_SCRUB_EVENTS: '0' }
const later = () => Date.now() + 40 * 86_400_000

let folder: string
let backup: TestDatabase
let server: ServerHere
/** Line of every control entry that was lost with the database. */
let lost: string[]
let secondKey: string
let hold: string

const serverOn = (database: TestDatabase) => ServerHere.start({ folder, databaseUrl: database.url, settings })
const apiOf = (at: ServerHere | ServerProcess = server) => Api.of(at.url, at.operatorKey)

async function forgetterOn(database: TestDatabase, at?: ServerProcess): Promise<TwoPrincipals> {
  const api = await apiOf(at)
  return { api, second: api.with(secondKey), database }
}

const controls = async (api: Api, tenant: string): Promise<string[]> =>
  (await api.get(`/v1/events?tenant=${tenant}&control=true&limit=1000&order=asc`)).body.data.flatMap(
    ({ control }: { control?: string }) => control ?? [],
  )

const subject = (id: string) => ({ type: 'user', id })

beforeAll(async () => {
  folder = await temporaryFolder()
  backup = await freshDatabase()
  server = await serverOn(backup)
  const api = await apiOf()
  const { body: key } = await api.post('/v1/keys', {
    name: 'Second',
    scopes: ['forget:approve', 'forget:read', 'forget:request'],
  })
  secondKey = key.key
  const people = ['erased', 'held', 'stays', 'secret'].map((person) => event('acme', person))
  await api.post('/v1/events/batch', [...people, event('gone', 'anybody')])
  const { body } = await api.post('/v1/holds', { tenant: 'acme', subject: subject('held'), reason: 'r' })
  hold = body.id
  // The request is known to the backup, its approval is not.
  const { body: waiting } = await api.post('/v1/erasures', { tenant: 'acme', subject: subject('erased'), reason: 'r' })
  for (const tenant of ['acme', 'gone', '_operator']) await notarized({ api, database: backup }, tenant)
  await epochs(api, 1)
  await server.stop()

  const live = await freshDatabase({ of: backup })
  const lostServer = await startProcess({ folder, databaseUrl: live.url, settings })
  const all = await forgetterOn(live, lostServer)
  const before = (await controls(all.api, 'acme')).length
  await all.second.post(`/v1/approvals/${waiting.id}`, { decision: 'approve' })
  await carriedOut(all, `/v1/holds/${hold}/release`, { reason: 'r' })
  await carriedOut(all, '/v1/erasures', { tenant: 'acme', subject: subject('held'), reason: 'r' })
  const seq = await seqOf(all.api, 'secret')
  await all.api.post('/v1/holds', { tenant: 'acme', subject: subject('stays'), reason: 'r' })
  // One entry is of the lost time itself: another one will have its number.
  await all.api.post('/v1/events', event('acme', 'late'))
  const seqs = [seq, await seqOf(all.api, 'late')]
  await carriedOut(all, '/v1/redactions', { tenant: 'acme', seqs, reason: 'r' })
  const end = await carriedOut(all, '/v1/deletions', { tenant: 'gone', reason: 'r' })
  await ended(live, end.id)
  lost = (await controls(all.api, 'acme')).slice(before)
  expect(lost.map((line) => line.split(' ')[0])).toEqual(['erase', 'release', 'erase', 'hold', 'redact'])
  await lostServer.kill()
  await live.drop()
})

afterAll(async () => {
  await server?.remove()
  await backup?.drop()
})

async function epochs(api: Api, least: number): Promise<void> {
  for (const until = Date.now() + 60_000; Date.now() < until; await rest(100))
    if ((await api.get('/v1/registry/checkpoint')).status === 200) return
  throw new Error(`there are no ${least} epochs`)
}

async function seqOf(api: Api, person: string): Promise<number> {
  const { body } = await api.get(`/v1/events?tenant=acme&actor=${person}&limit=1`)
  return body.data[0].seq
}

/** A tenant's end waits half a minute for events on their way; a node that knows of none does not. */
async function ended(database: TestDatabase, id: string): Promise<void> {
  const node = await forgetNode({ login: database.url, dataDir: folder })
  for (let outcome = 'later'; outcome === 'later'; ) outcome = await node.forgetting.run(id)
  await node.stop()
}

/** Nothing that was removed is there, and the trails say so. */
async function forgotten(database: TestDatabase): Promise<void> {
  const all = await forgetterOn(database)
  const { api } = all
  const { body } = await api.get('/v1/events?tenant=acme&action=user.*&order=asc&limit=100')
  const names = body.data.map(({ actor }: { actor?: { name: string | null } }) => actor?.name ?? null)
  expect(names.filter((name: string | null) => name !== null)).toEqual(['Name of stays'])
  const now = await controls(api, 'acme')
  for (const line of lost.filter((line) => !line.startsWith('redact'))) expect(now).toContain(line)
  // The entry that was lost is not named: its number is another entry's now.
  expect(now.filter((line) => line.startsWith('redact'))).toEqual([`redact ${lost.at(-1)!.split(' ')[1]}`])
  const { body: holds } = await api.get('/v1/holds?tenant=acme')
  expect(holds.data.map(({ released_at }: { released_at: string | null }) => released_at === null).sort()).toEqual([
    false,
    true,
  ])
  expect((await api.get('/v1/tenants/gone')).body.state).toBe('closed')
  expect((await controls(api, 'gone')).at(-1)).toBe('close deleted')
  const { body: acts } = await api.get('/v1/approvals?state=done')
  expect(acts.data.map(({ kind }: { kind: string }) => kind).sort()).toEqual([
    'delete',
    'erase',
    'erase',
    'redact',
    'release',
  ])
  await notarized(all, 'acme')
  expect(await judged(api, 'acme', { now: later() })).toMatchObject({ outcome: 'held', findings: [] })
}

test('it is removed again before the first answer, once', async () => {
  const restored = await freshDatabase({ of: backup })
  // SIGKILL at moments of the start.
  const mortal = new ServerProcess(folder, { databaseUrl: restored.url, settings })
  for (const ms of long ? Array.from({ length: 12 }, (_, n) => 400 + n * 120) : [900, 1_400]) {
    mortal.launch()
    await rest(ms)
    await mortal.kill()
  }
  server = await serverOn(restored)
  await forgotten(restored)
  // The rounds may rotate keys at any time.
  const erasures = async () => (await controls(await apiOf(), 'acme')).filter((line) => !line.startsWith('keys '))
  const once = await erasures()
  await server.restart()
  await forgotten(restored)
  expect(await erasures()).toEqual(once)
  // Everybody who is left stands under keys that this database has and the backup has not.
  const rotated = await (await apiOf()).post('/v1/rotations', { tenant: 'acme', key: 'subject' })
  expect(rotated.status).toBe(200)
  await server.stop()
  await restored.drop()
})

test('cut off after any step, the next start goes on', async () => {
  const restored = await freshDatabase({ of: backup })
  await noteRecall(restored.store.pool('retention'), 0)
  const life = new Life(1, true)
  const node = await forgetNode({ login: restored.url, dataDir: folder, life })
  for (let most = 1, survived = false; !survived; life.revive(++most)) {
    survived = await recall({ ...node, log: silent }).then(
      () => true,
      (error) => {
        if (!(error instanceof Gone || error.cause instanceof Gone)) throw error
        return false
      },
    )
  }
  expect(life.most).toBeGreaterThan(20)
  await node.stop()
  server = await serverOn(restored)
  await forgotten(restored)
  await server.stop()
  await restored.drop()
})

test('an order that is not ours stops the start', async () => {
  const restored = await freshDatabase({ of: backup })
  const planted = join(folder, 'objects', 'erasures', '9999999999')
  await mkdir(planted, { recursive: true })
  await writeFile(join(planted, 'aa-1'), `affidavit/1 erasure\n{"control":"close deleted"}\n${'0'.repeat(64)}\n`)
  await expect(serverOn(restored)).rejects.toThrow("was not written with this deployment's registry.key")
  await rm(planted, { recursive: true })
  await restored.drop()
})
