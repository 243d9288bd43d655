import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseCheckpoint, parseVkey, verifyEd25519, verifyNote } from '@affidavit/trail'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { freshDatabase, type TestDatabase } from '../../test/database.ts'
import { trailName } from '../keys/log-key.ts'
import { type Keys, openKeys } from '../keys/open-keys.ts'
import type { Log } from '../store/log.ts'
import { sha256 } from '../store/sha256.ts'
import { makeTrails, seal } from './fixture.ts'
import { NotaryThread } from './thread.ts'

let database: TestDatabase
let folder: string
let keys: Keys
const lines: string[] = []
const log: Log = {
  info: (_, message) => lines.push(message),
  warn: (_, message) => lines.push(message),
  error: (_, message) => lines.push(message),
}

beforeAll(async () => {
  database = await freshDatabase()
  folder = await mkdtemp(join(tmpdir(), 'affidavit-keys-'))
  keys = await openKeys({ keeper: database.store.pool('keeper'), folder })
})
afterAll(async () => {
  await database.drop()
  await rm(folder, { recursive: true, force: true })
})

const start = (keyFolder = folder) =>
  NotaryThread.start(
    { login: database.login, keys: { folder: keyFolder }, logName: keys.logName, interval_ms: 200 },
    log,
  )

test('the worker signs with the key of the folder, wakes, tells its status and ends', async () => {
  const [trail] = await makeTrails(database.superuser, 1, 1)
  const thread = await start()
  await seal(database.superuser, [trail!, trail!, trail!])
  thread.wake()
  const deadline = Date.now() + 60_000
  while ((await thread.status())?.events !== 3 && Date.now() < deadline) await sleep(20)
  expect(await thread.status()).toMatchObject({ events: 3, checkpoints: 1, lastError: null, stopped: [] })
  await thread.stop()
  expect(await thread.status()).toBeNull()
  const { rows } = await database.superuser.query(
    `select replace(t.id::text, '-', '') as id, n.note from affidavit.notarized n join affidavit.trails t on t.number = n.trail`,
  )
  const vkey = parseVkey(sha256, keys.logKey.vkey(trailName(keys.logName, rows[0].id)))
  const { text, verified } = await verifyNote(verifyEd25519, rows[0].note, [vkey])
  expect(verified).toEqual([vkey])
  expect(parseCheckpoint(text)).toMatchObject({ origin: vkey.name, size: 3 })
  expect(lines).toEqual([])
})

test('a folder without keys refuses the start and makes none', async () => {
  await expect(start(join(folder, 'elsewhere'))).rejects.toThrow('root.key is missing')
})
