// `affidavit scrub` beside a running server: finds, lists, acknowledges.
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { freshDatabase, type TestDatabase } from '../../server/test/database.ts'
import { type StartedServer, startedServer } from '../../server/test/started-server.ts'
import { affidavit } from './command-line.ts'

let database: TestDatabase
let server: StartedServer
let environment: Record<string, string>

beforeAll(async () => {
  database = await freshDatabase()
  server = await startedServer(database.url, { AFFIDAVIT_SCRUB_EVENTS: '0' })
  environment = {
    DATABASE_URL: database.url,
    AFFIDAVIT_DATA_DIR: server.dataDir,
    AFFIDAVIT_URL: server.url,
    AFFIDAVIT_KEY: server.key,
  }
  const response = await fetch(`${server.url}/v1/events`, {
    method: 'POST',
    headers: { authorization: `Bearer ${server.key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ tenant: 'acme', action: 'a.b', actor: { type: 'user', id: 'u', name: 'Ann' } }),
  })
  expect(response.status).toBe(201)
  await vi.waitFor(async () => expect((await server.get<{ size: number }>('/v1/trails/acme')).size).toBe(2), {
    timeout: 60_000,
    interval: 200,
  })
})
afterAll(async () => {
  await server?.stop()
  await database?.drop()
})

test('a change by the database’s superuser is found, listed, and acknowledged', async () => {
  const scrub = (...args: string[]) => affidavit(['scrub', ...args], environment)
  expect(await scrub()).toMatchObject({ code: 0, out: expect.stringContaining('nothing new is wrong') })
  await database.superuser.query('set session_replication_role = replica')
  await database.superuser.query(`update affidavit.events set outcome = 1 where facts like '%"a.b"%'`)
  expect(await scrub()).toMatchObject({ code: 1, out: expect.stringContaining('acme entry 1: outcome: the outcome') })
  // Known by now: not told as new again, but open until somebody says so.
  expect(await scrub()).toMatchObject({ code: 0 })
  const { code, out } = await scrub('--list')
  expect([code, out]).toEqual([1, expect.stringMatching(/(\d+) +OPEN +acme entry 1 +outcome/)])
  const id = /(\d+) +OPEN/.exec(out)![1]!
  expect(await scrub('--acknowledge', id)).toMatchObject({ code: 2, err: expect.stringContaining('--reason') })
  expect(await scrub('--acknowledge', id, '--reason', 'a drill')).toMatchObject({ code: 0 })
  expect(await scrub('--list')).toMatchObject({ code: 0 })
})
