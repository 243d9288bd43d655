// SIGKILL of a real process after each call that changes a file, while the log key is replaced, retired, or replaced by the
// recovery key: whatever it leaves opens, a server starts with it (in this process: nobody kills it), and whoever pinned the
// first key verifies.
import { execFile } from 'node:child_process'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openKeyFolder } from '../../server/src/keys/key-folder.ts'
import { openLogKeys } from '../../server/src/keys/log-key.ts'
import { signLogSuccessor } from '../../server/src/keys/recovered-log-key.ts'
import { freshDatabase, type TestDatabase } from '../../server/test/database.ts'
import { runnable } from '../../server/test/packed.ts'
import { ServerHere } from '../../server/test/server-here.ts'
import { verified } from './command-line.ts'

const run = promisify(execFile)
const entry = runnable('cli/test/log-key-kill-entry.ts')
const origin = 'audit.example.com/registry'
let database: TestDatabase
let server: ServerHere
/** The first log key and the recovery key. */
let pins: string[]

beforeAll(async () => {
  database = await freshDatabase()
  const settings = {
    AFFIDAVIT_REGISTRY_INTERVAL_MS: '300',
    AFFIDAVIT_LOG_NAME: 'audit.example.com',
    AFFIDAVIT_SCRUB_EVENTS: '0',
  }
  server = await ServerHere.start({ databaseUrl: database.url, settings })
  await send()
  const named = await vkeys(2)
  pins = [named[0]!, named[1]!]
})
afterAll(async () => {
  await server?.remove()
  await database?.drop()
})

async function send(): Promise<void> {
  const headers = { authorization: `Bearer ${server.operatorKey}`, 'content-type': 'application/json' }
  const event = { tenant: 'acme', action: 'user.updated', actor: { type: 'user', id: 'u' } }
  const sent = await fetch(`${server.url}/v1/events`, { method: 'POST', headers, body: JSON.stringify(event) })
  expect(sent.status).toBe(201)
}

const keys = () => join(server.folder, 'keys')

/** What the registry names, once that is so many. */
async function vkeys(count: number): Promise<string[]> {
  for (const end = Date.now() + 60_000; Date.now() < end; await sleep(100)) {
    const reply = await fetch(`${server.url}/v1/registry/vkeys`)
    const named = reply.ok ? (await reply.text()).trim().split('\n') : []
    if (named.length === count) return named
  }
  throw new Error(`the registry does not name ${count} keys`)
}

/** Runs the action, killed after each of its calls in turn, until it survives. @returns what it printed */
async function killedEverywhere(
  action: string,
  argument: string,
  after: (kill: number) => Promise<void>,
): Promise<string> {
  for (let most = 1; ; most++) {
    const printed = await run(process.execPath, [entry, keys(), action, String(most), argument]).catch((error) => {
      if (error.signal !== 'SIGKILL') throw error
      return undefined
    })
    if (printed !== undefined) {
      expect(most).toBeGreaterThan(1)
      return printed.stdout
    }
    await after(most)
  }
}

/** The keys that sign, the newest first. */
async function opened(): Promise<string[]> {
  const provider = await openKeyFolder({ folder: keys(), mayCreateRoot: false })
  const { log } = await openLogKeys(keys(), provider, false)
  return [log, ...log.also].map((key) => key.vkey(origin))
}

/** Starts a server with what is there, and asks the verifier. @param count keys that the registry then names */
async function judged(count: number): Promise<void> {
  await server.restart()
  await send()
  await vkeys(count)
  for (const end = Date.now() + 60_000; ; await sleep(100)) {
    const args = [server.url, '--tenant', 'acme', ...pins.flatMap((vkey) => ['--vkey', vkey])]
    const told = await verified(args, { AFFIDAVIT_KEY: server.operatorKey }).catch((error: Error) => error)
    // A trail has no checkpoint for a moment.
    if (told instanceof Error && Date.now() < end) continue
    expect(told).toMatchObject({ outcome: 'held', findings: [] })
    return
  }
}

test('replaced, and retired', async () => {
  await killedEverywhere('rotate', pins[0]!, async () => {
    const now = await opened()
    expect(now.length).toBeLessThanOrEqual(2) // one successor at most, however often it is made
    expect(now.at(-1)).toBe(pins[0])
  })
  const both = await opened()
  expect(both).toHaveLength(2)
  await judged(3)

  let starts = 0
  await killedEverywhere('retire', '', async () => {
    expect(both.slice(0, 1)).toEqual((await opened()).slice(0, 1))
    // Overwritten, not emptied yet: it is retired all the same.
    if ((await opened()).length === 1 && starts++ === 0) await judged(3)
  })
  expect(starts).toBeGreaterThan(0)
  expect(await opened()).toEqual(both.slice(0, 1))
  expect((await readFile(join(keys(), 'log.key'))).every((byte) => byte === 0)).toBe(true)
  await judged(3)
}, 120_000)

test('replaced by the recovery key', async () => {
  const before = await opened()
  const request = await killedEverywhere('begin', origin, async () => {
    expect(await opened()).toEqual(expect.arrayContaining(before)) // still there: it is not lost here
  })
  const pem = await readFile(join(keys(), 'recovery.key'), 'utf8')
  await killedEverywhere('install', signLogSuccessor(request, pem), async () => {
    expect(request).toContain((await opened())[0]!)
  })
  expect(request).toBe(`affidavit/1 registry\nkey ${(await opened()).join()}\n`)
  expect((await readdir(keys())).filter((name) => name.endsWith('.announced'))).toHaveLength(1)
  await judged(4)
}, 120_000)
