// Receipts from end to end: the SDK keeps them, holds them against what the log signs later, and where the log broke its
// word makes a file that `affidavit verify` judges by the log's key alone.
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  CompactRange,
  commitText,
  decodeBundle,
  decodeEntry,
  encodeEntry,
  formatCheckpoint,
  leafHash,
  parseNote,
  parseReceipt,
  signNote,
  tilePath,
  toBase64,
} from '@affidavit/trail'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type AuditEvent, createAffidavit, type KeptReceipt, memoryReceipts } from '../../sdk/src/index.ts'
import { openKeys } from '../../server/src/keys/open-keys.ts'
import { sha256 } from '../../server/src/store/sha256.ts'
import { freshDatabase, type TestDatabase } from '../../server/test/database.ts'
import { type StartedServer, startedServer } from '../../server/test/started-server.ts'
import { makeEpoch, receiptOf } from '../../trail/test/sample-registry.ts'
import { LOG, TRAIL } from '../../trail/test/sample-trail.ts'
import { affidavit } from './command-line.ts'
import { honestTrail, makeEpochs, SampleServer, TENANT } from './sample-server.ts'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'affidavit-receipts-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))
const at = (name: string) => join(folder, name)

/** What the command says about an accusation. */
async function judged(accusation: string, ...more: string[]) {
  await writeFile(at('accusation.txt'), accusation)
  return affidavit(['verify', at('accusation.txt'), ...more])
}

const login: AuditEvent = { action: 'user.login', actor: { type: 'user', id: 'user_1' } }

test('a server of its own: kept, confirmed, and contradicted by an operator with all keys', async () => {
  const database = await freshDatabase()
  await database.withoutEpochs()
  const server = await startedServer(database.url)
  try {
    const store = memoryReceipts()
    await createAffidavit({ url: server.url, key: server.key, tenant: 'org_1', flushBeforeExit: false }).record(login)
    const { vkey } = await server.get<{ vkey: string }>('/v1/trails/org_1')
    const client = createAffidavit({
      url: server.url,
      key: server.key,
      tenant: 'org_1',
      flushBeforeExit: false,
      receipts: { store, vkeys: [vkey] },
    })
    await client.record(login)
    await client.recordMany([login, { ...login, tenant: 'org_2' }])
    client.emit(login)
    await client.flush()
    let confirmed = 0
    await expect
      .poll(
        async () => {
          const result = await client.confirm()
          confirmed += result.confirmed
          return result.waiting + result.unchecked
        },
        { timeout: 60_000, interval: 300 },
      )
      .toBe(0)
    expect(confirmed).toBe(4)

    const { seq } = await client.record({ ...login, reason: 'something that shall not have happened' })
    await client.record(login)
    await expect.poll(() => sizeOf(server), { timeout: 60_000, interval: 300 }).toBeGreaterThan(seq + 1)
    await rewrite(server, database, seq)
    const result = await client.confirm()
    expect(result).toMatchObject({ contradicted: 2, confirmed: 0 })
    const { accusation, reason } = result.problems[0]!
    expect(reason).toContain(`entry at ${seq}`)
    expect(await judged(accusation!, '--vkey', vkey)).toMatchObject({ code: 1, out: expect.stringContaining('PROVEN') })
    // It stays kept: evidence is not thrown away.
    expect(await client.confirm()).toMatchObject({ contradicted: 2 })
    await client.close()
  } finally {
    await server.stop()
    await database.drop()
  }
})

const sizeOf = async (server: StartedServer) => (await server.get<{ size: number }>('/v1/trails/org_1')).size

/** Changes one event of the past, and everything that follows from it, signed with the real key. */
async function rewrite(server: StartedServer, database: TestDatabase, seq: number): Promise<void> {
  const { origin, size } = await server.get<{ origin: string; size: number }>('/v1/trails/org_1')
  const path = tilePath({ level: 'entries', index: 0, width: size })
  const reply = await fetch(`${server.url}/v1/trails/org_1/${path}`, {
    headers: { authorization: `Bearer ${server.key}` },
  })
  const trail = `trail = (select t.number from affidavit.trails t join affidavit.tenants n on n.number = t.tenant where n.id = 'org_1')`
  const facts = `{"action":"nothing.happened"}`
  const commitment = commitText(sha256, 'facts', Buffer.alloc(16), facts)
  const range = new CompactRange(sha256)
  const hex = (bytes: Uint8Array) => `'\\x${Buffer.from(bytes).toString('hex')}'`
  let sql = `set session_replication_role = replica;
    update affidavit.events set facts = '${facts}', facts_salt = '00000000-0000-0000-0000-000000000000',
      facts_commitment = decode('${commitment}', 'base64') where ${trail} and seq = ${seq};`
  let previous: Uint8Array | undefined
  for (const [n, bytes] of decodeBundle(new Uint8Array(await reply.arrayBuffer()))!.entries()) {
    const entry = {
      ...decodeEntry(bytes),
      ...(n === seq && { facts: commitment }),
      ...(previous !== undefined && { previous: toBase64(previous) }),
    }
    previous = leafHash(sha256, Buffer.from(encodeEntry(entry), 'latin1'))
    range.append(previous)
    sql += `update affidavit.events set hash = ${hex(previous)} where ${trail} and seq = ${n};`
  }
  const { logKey } = await openKeys({ keeper: database.store.pool('keeper'), folder: join(server.dataDir, 'keys') })
  const note = await signNote(formatCheckpoint(origin, size, range.root()), [logKey.signer(origin)])
  await database.superuser.query(`${sql}
    update affidavit.notarized set root = ${hex(range.root())}, range = ${hex(range.toBytes())}, note = '${note}' where ${trail};
    set session_replication_role = origin`)
}

test('an entry that no epoch has after two minutes: the epoch convicts the log', async () => {
  const trail = honestTrail(40)
  // Entry 30 was promised at minute 900; epoch 4, an hour later, binds 20 entries, and 25 are shown.
  const epochs = [...makeEpochs(3, () => trail), makeEpoch(4, 960, trail, 20)]
  const server = await SampleServer.start({ trail, size: 25, epochs })
  try {
    const store = memoryReceipts()
    const client = createAffidavit({
      url: server.url,
      key: 'k',
      tenant: TENANT,
      flushBeforeExit: false,
      receipts: { store, vkeys: [LOG.vkey] },
    })
    const note = await receiptOf(trail, 28, 30)
    const { first, last } = parseReceipt(parseNote(note).text)
    const kept: KeptReceipt = { tenant: TENANT, trail: TRAIL, first, last, at: 0, note }
    await store.keep([
      kept,
      { ...kept, note: await receiptOf(trail, 3, 3), first: 3, last: 3 },
      { ...kept, note: 'no note' },
    ])
    const result = await client.confirm()
    expect(result).toMatchObject({ confirmed: 1, contradicted: 1, unchecked: 1 })
    const { accusation } = result.problems.find(({ kind }) => kind === 'contradicted')!
    const told = await judged(accusation!, '--vkey', LOG.vkey, '--json')
    expect(told.code).toBe(1)
    expect(JSON.parse(told.out)).toMatchObject({ kind: 'missing', outcome: 'proven', exit_code: 1 })
    expect(await judged(accusation!)).toMatchObject({ code: 2, err: expect.stringContaining('--vkey') })
    const stranger = LOG.vkey.replace('log.example', 'log.other')
    expect((await judged(accusation!, '--vkey', stranger)).code).toBe(2)
    const text = await readFile(at('accusation.txt'), 'utf8')
    for (const broken of [
      text.slice(0, -30),
      text.replace(/slot \d+\n/, 'slot 1\n'),
      `${text}\n`,
      'affidavit/1 accusation\n',
      'affidavit/9 accusation\nx\n',
    ])
      expect((await judged(broken, '--vkey', LOG.vkey)).code).toBe(2)
  } finally {
    await server.stop()
  }
})
