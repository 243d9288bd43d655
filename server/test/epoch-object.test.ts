// Epoch objects hold what a lost database needs: from them alone every entry is written again, byte for byte, chained,
// and leads to the roots that the registry binds. And an object that is not whole is noticed wherever it is cut.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { gunzipSync, gzipSync } from 'node:zlib'
import { decodeBundle, encodeEntry, leafHash, NO_PREVIOUS, toBase64, treeRoot } from '@affidavit/trail'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openKeyFolder } from '../src/keys/key-folder.ts'
import { openRegistrySecret } from '../src/keys/registry-key.ts'
import {
  BrokenEpochObject,
  type EpochReading,
  epochKey,
  readEpochHead,
  readEpochObject,
} from '../src/store/epoch-object.ts'
import { openFolderObjects } from '../src/store/folder-objects.ts'
import { sha256 } from '../src/store/sha256.ts'
import { freshDatabase, type TestDatabase } from './database.ts'
import { type StartedServer, startedServer } from './started-server.ts'

let database: TestDatabase
let server: StartedServer
let secret: Buffer

beforeAll(async () => {
  database = await freshDatabase()
  server = await startedServer(database.url, { AFFIDAVIT_REGISTRY_INTERVAL_MS: '500' })
})
afterAll(async () => {
  await server.stop()
  await database.drop()
})

async function send(path: string, body: object, method = 'POST'): Promise<void> {
  const reply = await fetch(server.url + path, {
    method,
    headers: { authorization: `Bearer ${server.key}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
  if (!reply.ok) throw new Error(await reply.text())
}

const event = (tenant: string, n: number) => ({
  tenant,
  action: n % 3 === 0 ? 'user.login' : 'document.shared',
  actor: { type: 'user', id: `u${n % 7}`, name: `Person ${n % 7}`, email: `p${n % 7}@example.com` },
  targets: [{ type: 'user', id: `t${n}`, name: `Target ${n}` }],
  context: { ip: `192.0.2.${n % 200}`, session_id: `s${n}` },
  metadata: { token: `secret ${n}`, note: `n${n}` },
})

/** Waits until the newest epoch has every entry sealed so far; @returns its number. */
async function covered(): Promise<number> {
  for (const end = Date.now() + 60_000; Date.now() < end; ) {
    const { rows } = await database.superuser.query<{ epoch: number; covered: boolean }>(
      `select r.epoch, (select bool_and(s.size = h.size) from affidavit.slots s join affidavit.heads h using (trail)) as covered
        from affidavit.registry r`,
    )
    if (rows[0]!.covered && rows[0]!.epoch > 0) return rows[0]!.epoch
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  throw new Error('the registry does not catch up')
}

async function open(epoch: number): Promise<EpochReading> {
  const objects = await openFolderObjects(join(server.dataDir, 'objects'))
  return readEpochObject((await objects.read(epochKey(epoch)))!, secret)
}

test('every entry of every trail comes out of the objects as it was hashed', async () => {
  await send('/v1/tenants/acme', { policy: { confidential: ['/metadata/token'] } }, 'PUT')
  for (let n = 0; n < 10; n++) await send('/v1/events', event(n % 2 ? 'acme' : 'globex', n))
  await covered()
  await send('/v1/events/batch', { events: Array.from({ length: 600 }, (_, n) => event(n % 5 ? 'acme' : 'globex', n)) })
  const newest = await covered()
  const provider = await openKeyFolder({ folder: join(server.dataDir, 'keys'), mayCreateRoot: false })
  secret = await openRegistrySecret(join(server.dataDir, 'keys'), provider, false)

  const trails = new Map<string, { tenant: string; entries: Buffer[]; leaves: Uint8Array[] }>()
  for (let epoch = 1; epoch <= newest; epoch++) {
    const object = await open(epoch)
    expect([epoch, object.header.epoch, object.genuine]).toEqual([epoch, epoch, true])
    for await (const { trail, entries } of object.runs()) {
      const known = trails.get(trail.trail) ?? { tenant: trail.tenant, entries: [], leaves: [] }
      trails.set(trail.trail, known)
      for (const { subjects: _, ...entry } of entries) {
        expect(entry.seq).toBe(known.leaves.length)
        const last = known.leaves.at(-1)
        const previous = last === undefined ? NO_PREVIOUS : toBase64(last)
        const bytes = Buffer.from(encodeEntry({ trail: trail.trail, previous, ...entry }))
        known.entries.push(bytes)
        known.leaves.push(leafHash(sha256, bytes))
      }
    }
    for (const { trail, size, root } of object.trails) {
      const { leaves } = trails.get(trail)!
      expect([leaves.length, toBase64(treeRoot(sha256, leaves))]).toEqual([size, root])
    }
  }
  expect([...trails.values()].map(({ tenant }) => tenant).sort()).toEqual(['_operator', 'acme', 'globex'])
  for (const { tenant, entries } of trails.values()) {
    const width = Math.min(256, entries.length)
    const path = width === 256 ? 'tile/entries/000' : `tile/entries/000.p/${width}`
    const reply = await fetch(`${server.url}/v1/trails/${tenant}/${path}`, {
      headers: { authorization: `Bearer ${server.key}` },
    })
    const bundle = decodeBundle(new Uint8Array(await reply.arrayBuffer()))!
    expect(bundle.map((entry) => Buffer.from(entry).toString())).toEqual(entries.slice(0, 256).map(String))
  }
})

async function readWhole(bytes: Uint8Array): Promise<number> {
  const object = await readEpochObject(Readable.from([bytes]), secret)
  let entries = 0
  for await (const run of object.runs()) entries += run.entries.length
  return object.genuine ? entries : -1
}

test('an object that was cut or changed is no object, or not genuine', async () => {
  await send('/v1/events', event('acme', 1))
  const epoch = await covered()
  let path = ''
  for (let n = epoch; n > 0; n--) {
    path = join(server.dataDir, 'objects', epochKey(n))
    if ((await readEpochHead(Readable.from([await readFile(path)]), secret)).trails.length > 0) break
  }
  const bytes = await readFile(path)
  const plain = gunzipSync(bytes)
  expect(await readWhole(bytes)).toBeGreaterThan(0)
  for (let at = 0; at < bytes.length; at += 13)
    await expect(readWhole(bytes.subarray(0, at)), `cut at ${at}`).rejects.toThrow(BrokenEpochObject)
  await expect(readWhole(bytes.subarray(0, -1))).rejects.toThrow(BrokenEpochObject)
  for (let at = 0; at < plain.length; at += 29)
    await expect(readWhole(gzipSync(plain.subarray(0, at))), `inflated, cut at ${at}`).rejects.toThrow(
      BrokenEpochObject,
    )
  const head = plain.indexOf('M\0\0\0\x20')
  for (let at = 0; at < head; at += 11) {
    const changed = Buffer.from(plain)
    changed[at]! ^= 1
    const outcome = await readWhole(gzipSync(changed)).catch((error: Error) => error)
    if (outcome !== -1) expect(outcome, `changed at ${at}`).toBeInstanceOf(BrokenEpochObject)
  }
})
