// A server in a process of its own under a flood of hostile requests: never a 5xx, not even 503, never a crash,
// always there for others, no growth of memory, and all it acknowledged can be verified afterwards.
// AFFIDAVIT_LONG=1 sends five times as many; AFFIDAVIT_HOSTILE_REQUESTS says how many.
import { type ChildProcess, fork } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { Agent, request as httpRequest } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PackReader, parseVkey, sha256, verifyEd25519, verifyPack } from '@affidavit/trail'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { freshDatabase, type TestDatabase } from './database.ts'
import { type HostileRequest, Hostility, type Victim } from './hostile-requests.ts'
import type { Health } from './hostile-server.ts'
import { Api } from './http-api.ts'
import { RawConnection } from './http-raw.ts'
import { runnable } from './packed.ts'

const isLong = process.env.AFFIDAVIT_LONG === '1'
const requests = Number(process.env.AFFIDAVIT_HOSTILE_REQUESTS || (isLong ? 100_000 : 20_000))
const warmUp = Math.ceil(requests * 0.3)
const atOnce = 24
const seed = 1
const doomedPerTenant = 20
const megabyte = 1024 * 1024

let database: TestDatabase
let dataDir: string
let child: ChildProcess
let url: string
let api: Api
let victim: Victim
/** Keys that the flood may revoke, by their ids. */
const doomed = new Map<string, string>()
const agent = new Agent({ keepAlive: true, maxSockets: atOnce })

beforeAll(async () => {
  database = await freshDatabase()
  dataDir = await mkdtemp(join(tmpdir(), 'affidavit-hostile-'))
  child = fork(runnable('server/test/hostile-server.ts'), {
    execArgv: ['--expose-gc'],
    env: {
      PATH: process.env.PATH,
      NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE,
      PORT: '0',
      DATABASE_URL: database.url,
      AFFIDAVIT_DATA_DIR: dataDir,
      AFFIDAVIT_LOG_LEVEL: 'error',
      AFFIDAVIT_NOTARY_INTERVAL_MS: '200',
    },
  })
  const [told] = (await once(child, 'message')) as [{ url: string }]
  url = told.url
  const operatorKey = (await readFile(join(dataDir, 'operator.key'), 'utf8')).trim()
  api = await Api.of(url, operatorKey)
  victim = await makeVictim(operatorKey)
})
afterAll(async () => {
  agent.destroy()
  if (child?.connected) {
    const gone = once(child, 'exit')
    child.disconnect()
    await gone
  }
  await database?.drop()
  if (dataDir) await rm(dataDir, { recursive: true, force: true })
})

async function makeVictim(operatorKey: string): Promise<Victim> {
  const tenants = ['h0', 'h1', 'h2']
  const keys: string[] = []
  const tokens: string[] = []
  for (const tenant of tenants) {
    await api.put(`/v1/tenants/${tenant}`)
    for (const scopes of [['events:write', 'events:read', 'verify'], ['events:write']]) {
      const { body } = await api.post('/v1/keys', { name: 'Victim', tenant, scopes })
      keys.push(body.key)
    }
    for (let n = 0; n < doomedPerTenant; n++) {
      const { body } = await api.post('/v1/keys', { name: 'Doomed', tenant, scopes: ['events:read'] })
      doomed.set(body.id, body.key)
    }
    for (let n = 0; n < 3; n++) {
      const { body } = await api.post('/v1/events', { tenant, action: 'a.b', actor: { id: 'u' } })
      tokens.push(body.id, body.trail)
    }
    tokens.push((await api.get(`/v1/events?tenant=${tenant}&limit=1`)).body.next)
  }
  return {
    operatorKey,
    keys,
    tenants: [...tenants, 'nobody'],
    tokens: tokens.map(encodeURIComponent),
    doomed: [...doomed.keys()],
  }
}

async function health(): Promise<Health> {
  const answer = once(child, 'message')
  child.send('health')
  return ((await answer) as [Health])[0]
}

interface Sealed {
  tenant: string
  seq: number
  hash: string
}

/** @returns what was acknowledged; throws if the answer is one that must not be */
function send({ method, path, headers, body }: HostileRequest): Promise<Sealed[]> {
  const { hostname, port } = new URL(url)
  if (method === 'DELETE') asked.add(path)
  return new Promise((resolve, reject) => {
    const sent = httpRequest(
      // The path as it is: a URL would be tidied up.
      {
        host: hostname,
        port,
        path,
        method,
        agent,
        headers: { ...headers, ...(body !== undefined && { 'content-length': body.length }) },
      },
      (response) => {
        const chunks: Buffer[] = []
        response.on('data', (chunk: Buffer) => chunks.push(chunk))
        response.on('error', reject)
        response.on('end', () => {
          try {
            resolve(
              judged(
                method,
                path,
                response.statusCode!,
                new Headers(response.headers as Record<string, string>),
                Buffer.concat(chunks),
              ),
            )
          } catch (error) {
            // One flaw shows in many answers: told together, at the end.
            if (flaws.size < 30) flaws.add((error as Error).message.replace(/^\w+ \S+ /, '').slice(0, 400))
            resolve([])
          }
        })
      },
    )
    // What cannot be written because the answer came first is answered all the same.
    sent.on('error', (error: NodeJS.ErrnoException) =>
      error.code === 'EPIPE' || error.code === 'ECONNRESET' ? resolve([]) : reject(error),
    )
    sent.end(body)
  })
}

const statuses = new Map<number, number>()
/** Addresses of DELETE, and those that were answered with 204. */
const asked = new Set<string>()
const gone = new Set<string>()
const flaws = new Set<string>()

function judged(method: string, path: string, status: number, headers: Headers, bytes: Buffer): Sealed[] {
  statuses.set(status, (statuses.get(status) ?? 0) + 1)
  if (status >= 500) throw new Error(`${method} ${path} → ${status}: ${bytes}`)
  if (method === 'DELETE' && status === 204) gone.add(path)
  if (status === 431 || status === 417) return [] // refused before any operation was chosen
  const { body } = api.judge(method, path, status, headers, bytes)
  if (status >= 400 && method !== 'HEAD' && headers.get('content-type') !== 'application/problem+json; charset=utf-8')
    throw new Error(`${method} ${path} → ${status} is no problem: ${bytes}`)
  if (path === '/v1/events' && (status === 201 || status === 200)) return [body]
  if (path === '/v1/events/batch' && status === 200)
    return body.results.filter((one: { error?: object }) => one.error === undefined)
  return []
}

async function flood(hostility: Hostility, count: number): Promise<Sealed[]> {
  const sealed: Sealed[] = []
  let left = count
  const worker = async () => {
    while (left-- > 0) for (const one of await send(hostility.next())) sealed.push(one)
  }
  await Promise.all(Array.from({ length: atOnce }, worker))
  return sealed
}

/** Asks again and again while others flood. @returns the slowest answer, ms */
function watch(): () => Promise<number> {
  let watching = true
  let slowest = 0
  const run = (async () => {
    while (watching) {
      const started = performance.now()
      expect((await fetch(`${url}/readyz`)).status).toBe(200)
      slowest = Math.max(slowest, performance.now() - started)
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
  })()
  return async () => {
    watching = false
    await run
    return slowest
  }
}

/** Half requests, broken requests, requests that never end. */
async function abuse(rounds: number): Promise<void> {
  const head = `POST /v1/events/batch HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${victim.operatorKey}\r\n`
  const shapes = [
    `${head}content-length: 1000\r\n\r\n{"action"`,
    `${head}content-length: 5\r\n\r\n{}garbage after\r\n\r\n`,
    `${head}transfer-encoding: chunked\r\n\r\n5\r\n{"a":\r\n`,
    `${head}transfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n`,
    `${head}content-length: 99999999999999999999\r\n\r\n`,
    `${head}content-length: 31000000\r\ncontent-encoding: gzip\r\n\r\n`,
    'GET /v1/events HTTP/1.1\r\nhost: x\r\nauthor',
    '\r\n\r\n\r\n',
    'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    `GET ${'/a'.repeat(6000)} HTTP/1.1\r\nhost: x\r\n\r\n`,
    `${'GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n'.repeat(50)}`,
  ]
  for (let round = 0; round < rounds; round++) {
    const connections = await Promise.all(shapes.map(async (shape) => (await RawConnection.open(url)).write(shape)))
    await new Promise((resolve) => setTimeout(resolve, 20))
    for (const connection of connections) connection.close()
  }
}

test(`${requests} hostile requests`, async () => {
  const hostility = new Hostility(seed, victim)
  const sealed = await flood(hostility, warmUp)
  await Promise.all([abuse(3), flood(hostility, 500)])
  const before = await health()
  const stop = watch()
  const abused = abuse(isLong ? 200 : 40)
  for (const one of await flood(hostility, requests - warmUp)) sealed.push(one)
  await abused
  const slowest = await stop()
  const after = await health()

  expect([...flaws]).toEqual([])
  expect(child.exitCode).toBeNull()
  expect(slowest).toBeLessThan(10_000)
  expect(after.delayP99).toBeLessThan(400)
  console.log(
    `hostile: ${[...statuses]
      .toSorted()
      .map(([status, count]) => `${status} ${count}`)
      .join(', ')}; slowest /readyz ${Math.round(slowest)} ms, ` +
      `loop p99 ${Math.round(after.delayP99)} ms, max ${Math.round(after.delayMax)} ms, heap ${Math.round(before.heap / megabyte)} → ${Math.round(after.heap / megabyte)} MB, rss ${Math.round(before.rss / megabyte)} → ${Math.round(after.rss / megabyte)} MB`,
  )
  expect(after.heap - before.heap).toBeLessThan(64 * megabyte)
  expect(after.rss - before.rss).toBeLessThan(192 * megabyte)
  // The mix is one that gets through as well as one that is refused.
  expect(sealed.length).toBeGreaterThan(requests / 20)
  for (const status of [200, 201, 204, 400, 401, 403, 404, 405, 409, 413, 415, 422])
    expect(statuses.get(status) ?? 0, `${status}`).toBeGreaterThan(requests / 2_000)
  await revoked()
  await verified(sealed)
}, 600_000)

/** A key whose revocation was answered is one no more; one that nobody named still is. */
async function revoked(): Promise<void> {
  expect(gone.size).toBeGreaterThan(doomed.size / 4)
  for (const [id, key] of doomed) {
    const path = `/v1/keys/${id}`
    const { status } = await api.with(key).get('/v1/events?limit=1')
    if (gone.has(path)) expect([path, status]).toEqual([path, 401])
    else if (!asked.has(path)) expect([path, status]).toEqual([path, 200])
  }
}

async function verified(sealed: readonly Sealed[]): Promise<void> {
  const nodeHash = (data: Uint8Array) => createHash('sha256').update(data).digest()
  const byTenant = Map.groupBy(sealed, ({ tenant }) => tenant)
  expect(byTenant.size).toBeGreaterThan(2)
  for (const [tenant, events] of byTenant) {
    const last = Math.max(...events.map(({ seq }) => seq))
    let trail = (await api.get(`/v1/trails/${tenant}`)).body
    while (trail.size <= last) trail = (await api.get(`/v1/trails/${tenant}`)).body
    const { body: pack } = await api.get(`/v1/trails/${tenant}/pack`)
    const file = { size: pack.length, read: async (at: number, length: number) => pack.subarray(at, at + length) }
    const report = await verifyPack(await PackReader.open(nodeHash, file), {
      hash: nodeHash,
      verify: verifyEd25519,
      vkeys: [parseVkey(sha256, trail.vkey)],
    })
    expect([tenant, report.outcome, report.findings]).toEqual([tenant, 'held', []])
    const hashes = new Map<number, string>()
    for (let after = ''; ; ) {
      const { body } = await api.get(`/v1/events?tenant=${tenant}&order=asc&limit=1000${after}`)
      for (const one of body.data) hashes.set(one.seq, one.hash)
      if (body.next === null || body.data.length === 0) break
      after = `&after=${encodeURIComponent(body.next)}`
    }
    expect(events.filter(({ seq, hash }) => hashes.get(seq) !== hash)).toEqual([])
  }
}
