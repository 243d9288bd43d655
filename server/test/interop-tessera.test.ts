/**
 * Tessera's client (github.com/transparency-dev/tessera/client) reads a trail and the registry log over HTTP from a whole
 * server: checkpoint, tiles and entries, every leaf, inclusion and consistency proofs. Through a proxy that changes one
 * byte of anything it must not say ok. Skipped where Go is missing.
 */
import { execFile } from 'node:child_process'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { parseCheckpoint, parseNote } from '@affidavit/trail'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { freshDatabase, type TestDatabase } from './database.ts'
import { goProgram } from './go-programs.ts'
import { type StartedServer, startedServer } from './started-server.ts'

const tesseracheck = await goProgram('tesseracheck')
/** Two full tiles and a partial one, with the trail's opening. */
const events = 560

let database: TestDatabase
let server: StartedServer
let proxy: Server
let proxied: string
/** Which answers the proxy changes. */
let target: RegExp | undefined
let changed = 0

interface Ran {
  readonly ok: boolean
  readonly output: string
}

function check(base: string, vkey: string): Promise<Ran> {
  return new Promise((resolve) => {
    const env = { ...process.env, AUTHORIZATION: `Bearer ${server.key}` }
    execFile(tesseracheck!, [base, vkey], { env, timeout: 40_000 }, (error, stdout, stderr) =>
      resolve({ ok: error === null && stdout.startsWith('ok '), output: stdout + stderr }),
    )
  })
}

describe.skipIf(tesseracheck === null)("Tessera's client", () => {
  let trail: { origin: string; vkey: string }
  let registryKey: string

  beforeAll(async () => {
    database = await freshDatabase()
    server = await startedServer(database.url, { AFFIDAVIT_REGISTRY_INTERVAL_MS: '1000' })
    const event = { tenant: 'org_1', action: 'user.login', actor: { type: 'user', id: 'u1' } }
    const response = await fetch(`${server.url}/v1/events/batch`, {
      method: 'POST',
      headers: { authorization: `Bearer ${server.key}`, 'content-type': 'application/json' },
      body: JSON.stringify(Array.from({ length: events }, () => event)),
    })
    expect(response.status).toBe(200)
    await until(async () => (await server.get<{ size: number }>('/v1/trails/org_1')).size > events)
    await until(async () => (await registrySize()) >= 3)
    trail = await server.get('/v1/trails/org_1')
    registryKey = (await (await fetch(`${server.url}/v1/registry/vkeys`)).text()).split('\n')[0]!
    proxy = createServer(async (request, response) => {
      const answer = await fetch(server.url + request.url, {
        headers: { authorization: request.headers.authorization ?? '' },
      })
      const body = Buffer.from(await answer.arrayBuffer())
      if (target?.test(request.url!)) {
        body[Math.floor(body.length / 3)]! ^= 0x01
        changed++
      }
      response.writeHead(answer.status).end(body)
    })
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve))
    proxied = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`
  })

  afterAll(async () => {
    proxy?.close()
    proxy?.closeAllConnections()
    await server?.stop()
    await database?.drop()
  })

  async function registrySize(): Promise<number> {
    const response = await fetch(`${server.url}/v1/registry/checkpoint`)
    return response.ok ? parseCheckpoint(parseNote(await response.text()).text).size : 0
  }

  test('accepts a trail', async () => {
    const { ok, output } = await check(`${server.url}/v1/trails/org_1`, trail.vkey)
    expect(output).toMatch(new RegExp(`^ok origin=${trail.origin} size=56\\d root=[0-9a-f]{64}\\n$`))
    expect(ok).toBe(true)
  })

  test('accepts the registry log', async () => {
    const { ok, output } = await check(`${server.url}/v1/registry`, registryKey)
    expect(output).toMatch(/^ok origin=\S+\/registry size=\d+ root=/)
    expect(ok).toBe(true)
  })

  test.each([
    ['checkpoint', /checkpoint/],
    ['full tile', /tile\/0\/000$/],
    ['partial tile', /tile\/0\/002\.p/],
    ['bundle of entries', /tile\/entries\/001/],
  ])('refuses a trail with one changed byte in a %s', async (_what, pattern) => {
    target = pattern
    changed = 0
    const { ok, output } = await check(`${proxied}/v1/trails/org_1`, trail.vkey)
    expect(changed).toBeGreaterThan(0)
    expect({ ok, output }).toEqual({ ok: false, output: expect.stringContaining('FAILED') })
  })

  test('refuses the log of another key', async () => {
    target = undefined
    expect((await check(`${proxied}/v1/trails/org_1`, registryKey)).ok).toBe(false)
    expect((await check(`${proxied}/v1/trails/org_1`, trail.vkey)).ok).toBe(true)
  })
})

async function until(works: () => Promise<boolean>): Promise<void> {
  for (const end = Date.now() + 60_000; Date.now() < end; ) {
    if (await works().catch(() => false)) return
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
  throw new Error('it does not come to pass')
}
