// The registry as the world reads it, over HTTP from a whole server: checkpoint, tiles, keys, slot proofs.
import {
  checkSlotProof,
  decodeBundle,
  decodeRegistryEntry,
  type Epoch,
  leafHash,
  parseCheckpoint,
  parseSlotProof,
  parseVkey,
  slotOf,
  treeRoot,
  verifyEd25519,
  verifyNote,
} from '@affidavit/trail'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { sha256 } from '../src/store/sha256.ts'
import { freshDatabase, type TestDatabase } from './database.ts'
import { type StartedServer, startedServer } from './started-server.ts'

let database: TestDatabase
let server: StartedServer

beforeAll(async () => {
  database = await freshDatabase()
  server = await startedServer(database.url, { AFFIDAVIT_REGISTRY_INTERVAL_MS: '300' })
})
afterAll(async () => {
  await server.stop()
  await database.drop()
})

const get = (path: string, headers: Record<string, string> = {}) => fetch(server.url + path, { headers })
const withKey = (path: string, key = server.key) => get(path, { authorization: `Bearer ${key}` })

async function send(tenant: string): Promise<void> {
  const reply = await fetch(`${server.url}/v1/events`, {
    method: 'POST',
    headers: { authorization: `Bearer ${server.key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ tenant, action: 'user.updated', actor: { type: 'user', id: 'u1' } }),
  })
  expect(reply.status).toBe(201)
}

async function until<T>(what: () => Promise<T | undefined>): Promise<T> {
  for (const end = Date.now() + 60_000; Date.now() < end; ) {
    const found = await what()
    if (found !== undefined) return found
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  throw new Error('it did not come')
}

/** The newest checkpoint, verified under the keys that the server names. */
async function checkpoint() {
  const reply = await get('/v1/registry/checkpoint')
  if (reply.status !== 200) return undefined
  const vkeys = (await (await get('/v1/registry/vkeys')).text()).trim().split('\n')
  const note = await verifyNote(
    verifyEd25519,
    await reply.text(),
    vkeys.map((vkey) => parseVkey(sha256, vkey)),
  )
  expect(note.verified.map(({ name }) => name)).toEqual([parseCheckpoint(note.text).origin])
  return { ...parseCheckpoint(note.text), reply, vkeys }
}

async function entries(size: number): Promise<Uint8Array[]> {
  const path = size < 256 ? `tile/entries/000.p/${size}` : 'tile/entries/000'
  const reply = await get(`/v1/registry/${path}`)
  expect([reply.status, reply.headers.get('content-type')]).toEqual([200, 'application/octet-stream'])
  expect(reply.headers.get('cache-control')).toBe('public, max-age=31536000, immutable')
  return decodeBundle(new Uint8Array(await reply.arrayBuffer()))!
}

test('an event is under the registry within seconds, and its trail proves it', async () => {
  await send('acme')
  const { trail, origin } = await server.get<{ trail: string; origin: string }>('/v1/trails/acme')
  const proof = await until(async () => {
    const reply = await withKey('/v1/trails/acme/slot')
    return reply.status === 200 ? parseSlotProof(await reply.text()) : undefined
  })
  const found = await until(async () => {
    const newest = await checkpoint()
    return newest !== undefined && newest.size > proof.index ? newest : undefined
  })
  const log = await entries(Math.min(found.size, 256))
  const root = treeRoot(
    sha256,
    log.map((entry) => leafHash(sha256, entry)),
  )
  expect(Buffer.from(root)).toEqual(Buffer.from(found.root))
  const entry = decodeRegistryEntry(log[proof.index]!) as Epoch
  expect(proof.slot).toBe(slotOf(trail))
  expect(checkSlotProof(sha256, proof, entry, origin)).toBeUndefined()
  const same = await withKey(`/v1/trails/acme/slot?epoch=${proof.epoch}`)
  expect(parseSlotProof(await same.text())).toEqual(proof)
})

test('the log is public, and may be cached', async () => {
  const newest = await until(checkpoint)
  expect(newest.reply.headers.get('cache-control')).toBe('public, max-age=5')
  expect(newest.reply.headers.get('access-control-allow-origin')).toBe('*')
  expect(newest.reply.headers.get('affidavit-quorum')).toBeNull()
  expect(newest.vkeys.length).toBe(2)
  const tile = await get('/v1/registry/tile/0/000.p/1')
  const tag = tile.headers.get('etag')!
  expect((await tile.arrayBuffer()).byteLength).toBe(32)
  const again = await get('/v1/registry/tile/0/000.p/1', { 'if-none-match': `W/"other", ${tag}` })
  expect([again.status, await again.text()]).toEqual([304, ''])
  expect((await get('/v1/registry/tile/0/000.p/1', { 'if-none-match': '"other"' })).status).toBe(200)
})

test('what is not there is refused with a code', async () => {
  await until(checkpoint)
  for (const path of ['0/000', '0/999.p/1', '1/000.p/1', 'entries/001.p/1', 'x', '0/000.p/256'])
    expect([path, (await get(`/v1/registry/tile/${path}`)).status]).toEqual([path, 404])
  expect((await withKey('/v1/trails/acme/slot?epoch=4000000000')).status).toBe(404)
  expect((await withKey('/v1/trails/acme/slot?epoch=-1')).status).toBe(400)
  expect((await withKey('/v1/trails/nobody/slot')).status).toBe(404)
  expect((await get('/v1/trails/acme/slot')).status).toBe(401)
})

test("a slot's proof needs the trail's key", async () => {
  await send('globex')
  const reply = await fetch(`${server.url}/v1/keys`, {
    method: 'POST',
    headers: { authorization: `Bearer ${server.key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ name: 'auditor', tenant: 'globex', scopes: ['verify'] }),
  })
  const { key } = (await reply.json()) as { key: string }
  expect((await withKey('/v1/trails/acme/slot', key)).status).toBe(404)
  await until(async () => ((await withKey('/v1/trails/globex/slot', key)).status === 200 ? true : undefined))
})

test('the age of the newest epoch is a metric', async () => {
  await until(checkpoint)
  const metrics = await (await get('/metrics')).text()
  const value = (name: string) => Number(new RegExp(`^${name} (.*)$`, 'm').exec(metrics)?.[1])
  expect(value('affidavit_registry_epoch')).toBeGreaterThan(0)
  expect(value('affidavit_registry_epoch_age_seconds')).toBeLessThan(30)
  expect([
    value('affidavit_registry_late'),
    value('affidavit_registry_behind'),
    value('affidavit_registry_leads'),
  ]).toEqual([0, 0, 1])
})
