// The key folder is lost and comes back from a copy: the newest one, of this deployment, and only with a database that it
// opens. The real server on a database and on its backup; a clone is the backup.
import { existsSync } from 'node:fs'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { copyKeys, identityOf, restoreKeys } from '../src/recovery/key-copies.ts'
import { freshDatabase, type TestDatabase } from './database.ts'
import { event, judged, notarized } from './forget-fixture.ts'
import { Api } from './http-api.ts'
import { ServerHere } from './server-here.ts'
import { temporaryFolder } from './server-process.ts'

let folder: string
let backup: TestDatabase
let live: TestDatabase
let server: ServerHere
const keys = () => join(folder, 'keys')
const copies = () => join(folder, 'copies')
const serverOn = ({ url }: TestDatabase) =>
  ServerHere.start({ folder, databaseUrl: url, settings: { AFFIDAVIT_SCRUB_EVENTS: '0' } })

beforeAll(async () => {
  folder = await temporaryFolder()
  backup = await freshDatabase()
  server = await serverOn(backup)
  const api = await Api.of(server.url, server.operatorKey)
  await api.post('/v1/events', event('acme', 'anna'))
  await notarized({ api, database: backup }, 'acme')
  await server.stop()
  // An older copy would do harm: it is not the one that is taken.
  await copyKeys(keys(), copies(), '20260309T000000Z')
  await writeFile(join(copies(), '20260309T000000Z', 'registry.key'), 'another')
  await copyKeys(keys(), copies(), '20260310T000000Z')
  // After the copy everybody's keys move under a generation that no copy has.
  live = await freshDatabase({ of: backup })
  server = await serverOn(live)
  const rotated = await (await Api.of(server.url, server.operatorKey)).post('/v1/rotations', {
    tenant: 'acme',
    key: 'subject',
  })
  expect(rotated).toMatchObject({ status: 200, body: { generation: 2 } })
  await server.stop()
})
afterAll(async () => {
  await server?.remove()
  await live?.drop()
  await backup?.drop()
})

test('a copy of another deployment, and none, are told; keys that are there are not replaced', async () => {
  const ours = await identityOf(keys())
  expect(ours).toMatch(/^[0-9a-f]{64}$/)
  expect(await restoreKeys(copies(), ours, keys())).toEqual({ copy: '20260310T000000Z', files: 0 })
  expect(existsSync(join(keys(), 'restored'))).toBe(false)
  await expect(restoreKeys(copies(), 'ab'.repeat(32), keys())).rejects.toThrow("another deployment's than the backup")
  await expect(restoreKeys(join(folder, 'nowhere'), ours, keys())).rejects.toThrow('There is no copy of keys in')
  await mkdir(join(folder, 'empty', '20260310T000000Z'), { recursive: true })
  await expect(restoreKeys(join(folder, 'empty'), ours, keys())).rejects.toThrow('it has no recovery.pub')
  const root = await readFile(join(keys(), 'root.key'))
  await writeFile(join(keys(), 'root.key'), `${'00'.repeat(32)}\n`)
  await expect(restoreKeys(copies(), ours, keys())).rejects.toThrow(/root\.key is another key than that of the copy/)
  await writeFile(join(keys(), 'root.key'), root)
})

test('a copy from before a rotation opens the database of then, and stops a start on a newer one', async () => {
  const ours = await identityOf(keys())
  await rm(keys(), { recursive: true })
  const restored = await restoreKeys(copies(), ours, keys())
  expect(restored).toMatchObject({ copy: '20260310T000000Z' })
  expect(restored.files).toBeGreaterThan(4)
  await expect(serverOn(live)).rejects.toThrow(
    /copy of the keys, 20260310T000000Z, is older than the database: it lacks 1 of its generations, [0-9a-f]{32}\.1 of acme/,
  )
  // Objects know the rotation, and the copy does not have what it led to: people stay where the copy opens them.
  server = await serverOn(backup)
  expect(existsSync(join(keys(), 'restored'))).toBe(false)
  const api = await Api.of(server.url, server.operatorKey)
  const name = async () => (await api.get('/v1/events?tenant=acme&action=user.*')).body.data[0].actor.name
  expect(await name()).toBe('Name of anna')
  // The number of the lost generation is not used again: its journal lies in Objects.
  const rotated = await api.post('/v1/rotations', { tenant: 'acme', key: 'subject' })
  expect(rotated).toMatchObject({ status: 200, body: { generation: 2 + 1 } })
  expect(await name()).toBe('Name of anna')
  const database = { superuser: await backup.connect() } // the clone ended the connection that there was
  await notarized({ api, database }, 'acme')
  expect(await judged(api, 'acme')).toMatchObject({ outcome: 'held', findings: [] })
})
