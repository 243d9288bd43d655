// Two processes on one database with different places for Objects: the second one does not start, and says what it wants.
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { readConfig } from '../src/config.ts'
import { startServer } from '../src/main.ts'
import { freshDatabase, type TestDatabase } from './database.ts'
import { type StartedServer, startedServer } from './started-server.ts'

let database: TestDatabase
let first: StartedServer
beforeAll(async () => {
  database = await freshDatabase()
  first = await startedServer(database.url)
})
afterAll(async () => {
  await first?.stop()
  await database?.drop()
})

/** Another process's server, with the same keys. */
async function beside(settings: Record<string, string> = {}): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'affidavit-beside-'))
  try {
    const read = readConfig({
      PORT: '0',
      DATABASE_URL: database.url,
      AFFIDAVIT_DATA_DIR: folder,
      AFFIDAVIT_LOG_LEVEL: 'error',
      AFFIDAVIT_KEYS_DIR: join(first.dataDir, 'keys'),
      ...settings,
    })
    if (!read.ok) throw new Error(read.problems.join(' '))
    await (await startServer(read.config)).stop()
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

test('another folder is refused, the same one is taken', async () => {
  await expect(beside()).rejects.toThrow(/objects is not where this deployment keeps its objects: every process/)
  await beside({ AFFIDAVIT_OBJECTS: join(first.dataDir, 'objects') })
})

test("another deployment's folder is refused", async () => {
  const other = await freshDatabase()
  const server = await startedServer(other.url)
  await expect(beside({ AFFIDAVIT_OBJECTS: join(server.dataDir, 'objects') })).rejects.toThrow(
    /holds the objects of another deployment/,
  )
  await server.stop()
  await other.drop()
})

test('a database that lost its row takes the id that its Objects have', async () => {
  const marker = await readFile(join(first.dataDir, 'objects', 'deployment'), 'utf8')
  await database.superuser.query(`delete from affidavit.settings where name = 'objects'`)
  await beside({ AFFIDAVIT_OBJECTS: join(first.dataDir, 'objects') })
  const { rows } = await database.superuser.query(
    `select value #>> '{}' as id from affidavit.settings where name = 'objects'`,
  )
  expect(marker).toBe(`affidavit/1 objects\n${rows[0].id}\n`)
})
