// The log's signing key is succeeded on a running deployment: whoever pinned the old key verifies everything until it is
// retired, finds the successor in the registry log, and goes on with it.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import {
  decodeBundle,
  decodeRegistryEntry,
  formatVkey,
  PackReader,
  parseCheckpoint,
  parseNote,
  parseVkey,
  SUCCESSION_MEMBER,
  type VerifierKey,
  verifyEd25519,
  verifyNote,
  verifyPack,
  verifySuccessor,
  vkeyUnder,
} from '@affidavit/trail'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createAffidavit, memoryReceipts } from '../../sdk/src/index.ts'
import { sha256 } from '../src/store/sha256.ts'
import { freshDatabase, type TestDatabase } from './database.ts'
import { ServerHere } from './server-here.ts'

let database: TestDatabase
let server: ServerHere

beforeAll(async () => {
  database = await freshDatabase()
  server = await ServerHere.start({ databaseUrl: database.url, settings: { AFFIDAVIT_REGISTRY_INTERVAL_MS: '200' } })
})
afterAll(async () => {
  await server.remove()
  await database.drop()
})

const call = (path: string, body?: object, key = server.operatorKey) =>
  fetch(server.url + path, {
    method: body === undefined ? 'GET' : 'POST',
    headers: { authorization: `Bearer ${key}`, ...(body !== undefined && { 'content-type': 'application/json' }) },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  })

let events = 0
async function send(): Promise<string> {
  const reply = await call('/v1/events', {
    id: `e${events++}`,
    tenant: 'acme',
    action: 'user.updated',
    actor: { type: 'user', id: 'u' },
  })
  return ((await reply.json()) as { receipt: string }).receipt
}

async function until<T>(what: () => Promise<T | undefined>): Promise<T> {
  for (const end = Date.now() + 60_000; Date.now() < end; ) {
    const found = await what()
    if (found !== undefined) return found
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  throw new Error('it did not come')
}

/** The trail's checkpoint once it covers every event sent. */
const trailNote = () =>
  until(async () => {
    const reply = await call('/v1/trails/acme/checkpoint')
    const note = await reply.text()
    return reply.ok && parseCheckpoint(parseNote(note).text).size > events ? note : undefined
  })

const signers = async (note: string, keys: readonly VerifierKey[]) => {
  const { name } = parseNote(note).signatures[0]!
  const own = keys.map((key) => vkeyUnder(sha256, key, name))
  const { verified } = await verifyNote(verifyEd25519, note, own)
  return verified.map((key) => own.indexOf(key)).sort()
}

/** The first key and its successor, as vkeys. */
let pinned: string[]

test('rotated, followed, retired', async () => {
  await send()
  const vkeys = async () => (await (await call('/v1/registry/vkeys')).text()).trim().split('\n')
  const [first] = await until(async () => ((await call('/v1/registry/vkeys')).ok ? vkeys() : undefined))
  const old = parseVkey(sha256, first!)
  expect(await signers(await trailNote(), [old])).toEqual([0])
  expect((await call('/v1/log-key', { action: 'retire' })).status).toBe(200) // nothing has a successor

  const rotated = (await (await call('/v1/log-key', { action: 'rotate' })).json()) as { vkey: string }
  const again = (await (await call('/v1/log-key', { action: 'rotate' })).json()) as { vkey: string }
  expect(again).toEqual(rotated)
  const successor = parseVkey(sha256, rotated.vkey)
  expect((await call('/v1/log-key', { action: 'retire' })).status).toBe(409)
  expect(await signers(await send(), [old, successor])).toEqual([0])

  await server.restart()
  const receipt = await send()
  expect(await signers(receipt, [old, successor])).toEqual([0, 1])
  expect(await signers(await trailNote(), [old, successor])).toEqual([0, 1])
  const entry = await until(async () => {
    const checkpoint = await (await call('/v1/registry/checkpoint')).text()
    const { size } = parseCheckpoint(parseNote(checkpoint).text)
    const width = Math.min(size, 255)
    const bundle = await call(`/v1/registry/tile/entries/000.p/${width}`)
    const entries = decodeBundle(new Uint8Array(await bundle.arrayBuffer()))!.map(decodeRegistryEntry)
    const found = entries.find(({ kind }) => kind === 'key')
    if (found !== undefined) expect(await signers(checkpoint, [old, successor])).toEqual([0, 1])
    return found
  })
  if (entry.kind !== 'key') throw new Error('not a key entry')
  expect(await verifySuccessor(sha256, verifyEd25519, entry, [old], old.name)).toEqual(successor)
  expect((await vkeys()).slice(0, 2)).toEqual([first, rotated.vkey])

  expect(await (await call('/v1/log-key', { action: 'retire' })).json()).toEqual({ vkey: rotated.vkey, retired: 1 })
  expect((await readFile(join(server.folder, 'keys', 'log.key'))).length).toBe(0)
  await server.restart()
  expect(await signers(await send(), [old, successor])).toEqual([1])
  expect(await signers(await trailNote(), [old, successor])).toEqual([1])
  await until(async () => {
    const note = await (await call('/v1/registry/checkpoint')).text()
    return (await signers(note, [old, successor])).join() === '1' ? true : undefined
  })
  expect((await vkeys()).slice(0, 2)).toEqual([first, rotated.vkey])
  pinned = [first!, rotated.vkey]
})

test('a second time: whoever pinned the first key follows both, by what a pack and the SDK find', async () => {
  const [first, second] = pinned.map((vkey) => parseVkey(sha256, vkey))
  const third = (await (await call('/v1/log-key', { action: 'rotate' })).json()) as { vkey: string }
  await server.restart()
  const store = memoryReceipts()
  const client = createAffidavit({
    url: server.url,
    key: server.operatorKey,
    tenant: 'acme',
    flushBeforeExit: false,
    receipts: { store, vkeys: pinned.slice(0, 1) },
  })
  await client.record({ action: 'user.updated', actor: { type: 'user', id: 'u' } })
  const checked = await until(async () => {
    const reply = await call('/v1/trails/acme/pack')
    const bytes = new Uint8Array(await reply.arrayBuffer())
    const file = { size: bytes.length, read: async (at: number, length: number) => bytes.subarray(at, at + length) }
    const pack = await PackReader.open(sha256, file)
    const isThere = pack.manifest.optional.includes(SUCCESSION_MEMBER)
    if (!isThere || !(await pack.text(SUCCESSION_MEMBER)).includes(third.vkey)) return undefined
    const check = (key: VerifierKey) => verifyPack(pack, { hash: sha256, verify: verifyEd25519, vkeys: [key] })
    return [await check(first!), await check(second!), await check(parseVkey(sha256, stranger))]
  })
  expect(checked[0]).toMatchObject({ outcome: 'held', assurance: 'anchored', findings: [] })
  expect(checked[0]!.notes).toContain('the log key was followed through 2 successions')
  expect(checked[1]).toMatchObject({ outcome: 'held', assurance: 'anchored', findings: [] })
  expect(checked[2]).toMatchObject({ outcome: 'tampered' })
  const confirmed = await until(async () => {
    const result = await client.confirm()
    return result.waiting > 0 ? undefined : result
  })
  expect(confirmed).toMatchObject({ confirmed: 1, problems: [] })
  await client.close()
})

/** A key of the registry's name that nobody has named. */
const stranger = formatVkey(sha256, 'log.example/registry', new Uint8Array(32).fill(7))

test('a key of a tenant may not', async () => {
  const made = await call('/v1/keys', { name: 'x', tenant: 'acme', scopes: ['keys:rotate'] })
  const { key } = (await made.json()) as { key: string }
  const reply = await call('/v1/log-key', { action: 'rotate' }, key)
  expect([reply.status, ((await reply.json()) as { code: string }).code]).toEqual([403, 'wrong_tenant'])
})
