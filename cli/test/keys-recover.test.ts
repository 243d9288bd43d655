// The log key is gone. The recovery key, from another place, names its successor; whoever verified before goes on, and
// nobody else can name one.
import { generateKeyPairSync } from 'node:crypto'
import { readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { freshDatabase, type TestDatabase } from '../../server/test/database.ts'
import { ServerHere } from '../../server/test/server-here.ts'
import { affidavit, verified } from './command-line.ts'

let database: TestDatabase
let server: ServerHere
const settings = {
  AFFIDAVIT_REGISTRY_INTERVAL_MS: '300',
  AFFIDAVIT_LOG_NAME: 'audit.example.com',
  AFFIDAVIT_SCRUB_EVENTS: '0',
}
const origin = 'audit.example.com/registry'
const file = (name: string) => join(server.folder, name)

beforeAll(async () => {
  database = await freshDatabase()
  server = await ServerHere.start({ databaseUrl: database.url, settings })
})
afterAll(async () => {
  await server?.remove()
  await database?.drop()
})

/** Sends one event and waits until an epoch holds it. */
async function bound(id: string, size: number): Promise<void> {
  const headers = { authorization: `Bearer ${server.operatorKey}`, 'content-type': 'application/json' }
  const event = { id, tenant: 'acme', action: 'user.updated', actor: { type: 'user', id: 'u' } }
  const sent = await fetch(`${server.url}/v1/events`, { method: 'POST', headers, body: JSON.stringify(event) })
  expect(sent.status).toBe(201)
  for (const end = Date.now() + 60_000; Date.now() < end; await sleep(100)) {
    const slot = await fetch(`${server.url}/v1/trails/acme/slot?epoch=latest`, { headers })
    if ((await slot.text()).includes(`\n${size}\n`)) return
  }
  throw new Error(`no epoch holds ${size} entries`)
}

const judged = () =>
  verified([server.url, '--tenant', 'acme', '--state', file('state')], { AFFIDAVIT_KEY: server.operatorKey })

test('a lost log key gets a successor that the recovery key names', async () => {
  await bound('before', 2)
  expect(await judged()).toMatchObject({ outcome: 'held', findings: [] })
  await server.stop()
  // Offline, as it was told to be; then the log key is lost.
  await rename(file('keys/recovery.key'), file('offline.key'))
  await rm(file('keys/log.key'))
  await expect(server.start()).rejects.toThrow('affidavit keys recover')

  const environment = { DATABASE_URL: database.url, AFFIDAVIT_DATA_DIR: server.folder }
  const recover = (...args: string[]) => affidavit(['keys', 'recover', ...args], environment)
  const begun = await recover('--origin', origin)
  expect(begun).toMatchObject({ code: 0, out: expect.stringContaining(`\nkey ${origin}+`) })
  expect((await recover('--origin', origin)).out).toBe(begun.out) // asked twice, made once
  await writeFile(file('request'), begun.out)
  // Whoever has another key names nobody.
  const stranger = generateKeyPairSync('ed25519').privateKey.export({ format: 'pem', type: 'pkcs8' })
  await writeFile(file('stranger.key'), stranger)
  await writeFile(
    file('forged'),
    (await recover('--sign', file('request'), '--recovery-key', file('stranger.key'))).out,
  )
  expect(await recover('--install', file('forged'))).toMatchObject({
    code: 2,
    err: expect.stringContaining("no successor that this deployment's recovery key signed"),
  })
  const signed = await recover('--sign', file('request'), '--recovery-key', file('offline.key'))
  expect(signed).toMatchObject({ code: 0 })
  await writeFile(file('entry'), signed.out)
  expect(await recover('--install', file('entry'))).toMatchObject({ code: 0, out: expect.stringContaining(origin) })
  expect((await stat(file('keys/log.key'))).size).toBe(0)

  await server.start()
  await bound('after', 3)
  const vkeys = (await (await fetch(`${server.url}/v1/registry/vkeys`)).text()).trim().split('\n')
  expect(vkeys).toHaveLength(3)
  expect(begun.out).toContain(vkeys[1]!)
  expect(await judged()).toMatchObject({ outcome: 'held', findings: [] })
  expect(await readFile(file('state'), 'utf8')).toContain(vkeys[1]!.split('+')[2]!)
})

test('asked wrongly it says what it wants', async () => {
  for (const args of [[], ['--sign', 'x'], ['--origin', origin, '--install', 'x']])
    expect(await affidavit(['keys', 'recover', ...args], {})).toMatchObject({
      code: 2,
      err: expect.stringContaining('Give one of'),
    })
  expect(await affidavit(['keys', 'recover', '--origin', 'somebody'], {})).toMatchObject({ code: 2 })
})
