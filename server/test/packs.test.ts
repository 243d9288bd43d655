// Packs over HTTP: chosen by seq, time, ids and search; with the registry's proof; continued after a broken download.
import { execFile } from 'node:child_process'
import { hash } from 'node:crypto'
import { join } from 'node:path'
import { promisify } from 'node:util'
import {
  decodeManifest,
  encodeManifest,
  makePolicy,
  memberPaths,
  PackReader,
  parseVkey,
  REGISTRY_MEMBERS,
  sha256,
  toHex,
  type Verification,
  type VerifyOptions,
  verifyEd25519,
  verifyPack,
} from '@affidavit/trail'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { PackThread } from '../src/http/pack-thread.ts'
import { silent } from '../src/store/log.ts'
import { freshDatabase, type TestDatabase } from './database.ts'
import { Api } from './http-api.ts'
import { type StartedServer, startedServer } from './started-server.ts'

let database: TestDatabase
let server: StartedServer
let api: Api
const path = '/v1/trails/packed'
const rest = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))
const nodeHash = (data: Uint8Array) => hash('sha256', data, 'buffer')

beforeAll(async () => {
  database = await freshDatabase()
  server = await startedServer(database.url, { AFFIDAVIT_REGISTRY_INTERVAL_MS: '1000', AFFIDAVIT_SCRUB_EVENTS: '0' })
  api = await Api.of(server.url, server.key)
  const event = (n: number) => ({
    id: `event-${n}`,
    tenant: 'packed',
    action: n % 100 === 7 ? 'user.role.updated' : 'file.read',
    actor: { id: `u${n % 3}`, email: `u${n % 3}@example.com` },
  })
  for (const from of [0, 300]) {
    const { body } = await api.post(
      '/v1/events/batch',
      Array.from({ length: 300 }, (_, i) => event(from + i)),
    )
    expect(body.rejected).toBe(0)
    await rest(20)
  }
  await until(async () => (await api.get(path)).body.size >= 601)
  await until(async () => (await fetch(`${server.url}/v1/registry/checkpoint`)).ok)
  await until(async () => (await optionalOf(await packOf(''))).includes(REGISTRY_MEMBERS.slot))
})
afterAll(async () => {
  await server?.stop()
  await database?.drop()
})

async function until(holds: () => Promise<boolean>): Promise<void> {
  for (const end = Date.now() + 60_000; Date.now() < end; await rest(100)) if (await holds()) return
  throw new Error('it does not come true')
}

async function packOf(query: string): Promise<Buffer> {
  const { status, body } = await api.get(`${path}/pack${query}`)
  expect([status, body.code]).toEqual([200, undefined])
  return body
}

function open(bytes: Uint8Array): Promise<PackReader> {
  const file = { size: bytes.length, read: async (at: number, length: number) => bytes.subarray(at, at + length) }
  return PackReader.open(nodeHash, file)
}

const optionalOf = async (bytes: Uint8Array) => (await open(bytes)).manifest.optional

async function check(bytes: Uint8Array, options: Partial<VerifyOptions> = {}): Promise<Verification> {
  return verifyPack(await open(bytes), { hash: nodeHash, verify: verifyEd25519, ...options })
}

test('of the whole trail: with registry and cover page, held, nothing left unchecked but the cover', async () => {
  const bytes = await packOf('')
  const pack = await open(bytes)
  expect(pack.manifest.optional).toEqual([...Object.values(REGISTRY_MEMBERS), 'cover/README.html', 'cover/README.txt'])
  const { vkey } = (await api.get(path)).body
  const result = await check(bytes, { vkeys: [parseVkey(sha256, vkey)] })
  expect(result).toMatchObject({ outcome: 'held', assurance: 'anchored', findings: [] })
  expect(result.notes.join('\n')).toMatch(/registry epoch \d+ of .+ holds this trail at \d+/)
  const cover = await pack.text('cover/README.txt')
  expect(cover).toContain('Evidence pack of packed')
  expect(cover).toContain(vkey)
  expect(cover).toMatch(/Registry: epoch \d+ of 20/)
  const strangers = makePolicy(sha256, { logs: [], witnesses: [] })
  expect((await check(bytes, { policy: strangers })).outcome).toBe('held')
})

test('brings the newest timestamp of the registry along, for other programs', async () => {
  const { rows } = await database.superuser.query(
    `insert into affidavit.anchored (anchor, kind, origin, epoch, size, note, token, public, at, details)
       select 'stamp', 'timestamp', 'log.example/registry', 1, 1, 'the note', '\\x3003', true, now(), '{}' returning id`,
  )
  const pack = await open(await packOf(''))
  const paths = [`anchors/${rows[0].id}.checkpoint`, `anchors/${rows[0].id}.tsr`]
  expect(pack.manifest.optional).toEqual(expect.arrayContaining(paths))
  expect(await pack.text(paths[0]!)).toBe('the note')
  expect(await pack.read(paths[1]!)).toEqual(Uint8Array.of(0x30, 3))
  await database.superuser.query('delete from affidavit.anchored where id = $1', [rows[0].id])
})

test('of a set of events: by their ids and by a search, with a proof of each', async () => {
  const named = await packOf('?event=event-3,event-99&event=event-400')
  const { manifest } = await open(named)
  expect(manifest.ranges.map(({ from, to }) => to - from)).toEqual([1, 1, 1])
  expect(manifest.optional.filter((name) => name.startsWith('proofs/'))).toHaveLength(3)
  expect(await check(named)).toMatchObject({ outcome: 'held', findings: [] })
  const found = await packOf(`?query=${encodeURIComponent('action=user.role.*&actor=u1')}`)
  const pack = await open(found)
  const events = await Promise.all(
    pack.manifest.ranges.map(async ({ from }) => {
      const lines = await pack.contentLines(Math.floor(from / 256))
      return lines.map((line) => JSON.parse(JSON.parse(line).facts.content).id)
    }),
  )
  expect(new Set(events.flat())).toEqual(new Set(['event-7', 'event-307']))
  expect(await check(found)).toMatchObject({ outcome: 'held', findings: [] })
})

test('of a time: what was sealed in it, and nothing else', async () => {
  const { body } = await api.get('/v1/events?tenant=packed&order=asc&limit=1000')
  const times = body.data.map(({ sealed_at }: { sealed_at: string }) => sealed_at) as string[]
  const second = times.find((time) => time !== times[0])!
  const late = await packOf(`?sealed_from=${second}`)
  const first = body.data.find(({ sealed_at }: { sealed_at: string }) => sealed_at === second).seq
  expect((await open(late)).manifest.ranges[0]!.from).toBe(first)
  expect(await check(late)).toMatchObject({ outcome: 'held' })
  const early = await packOf(`?sealed_to=${second}`)
  expect((await open(early)).manifest.ranges).toEqual([{ from: 0, to: first }])
  expect((await api.get(`${path}/pack?sealed_from=2999-01-01`)).body.code).toBe('not_found')
})

test.each([
  ['from=3&to=3', 'invalid_parameter'],
  ['from=3&event=event-3', 'invalid_parameter'],
  ['sealed_from=soon', 'invalid_parameter'],
  ['event=nowhere', 'not_found'],
  ['query=action%3Dnothing.here', 'not_found'],
  ['query=colour%3Dred', 'invalid_parameter'],
  ['query=order%3Ddesc%26from%3Dsoon', 'invalid_parameter'],
  [`trail=${'0'.repeat(32)}`, 'not_found'],
])('refuses %s', async (query, code) => {
  expect((await api.get(`${path}/pack?${query}`)).body.code).toBe(code)
})

test('holds the bytes that tiles and contents have, whoever reads', async () => {
  const text = 'quote " backslash \\ slash / tab \t \u0001 \u007f é 漢 😀 \u2028 </script>'
  const people = (n: number) => ({ type: 'user', id: `u${n}`, email: `u${n}@example.com`, name: `Zoë "${n}" 名` })
  await api.put('/v1/tenants/told', { policy: { confidential: ['/metadata/secret'] } })
  const { body } = await api.post(
    '/v1/events/batch',
    Array.from({ length: 290 }, (_, n) => ({
      tenant: 'told',
      action: 'thing.done',
      actor: people(n % 5),
      targets: n % 3 === 0 ? [people(7), people(8)] : [],
      metadata: { text, ...(n % 4 === 0 && { secret: `${text} ${n}` }) },
      context: n % 2 === 0 ? { session_id: `s${n}`, ip: '10.0.0.1' } : {},
    })),
  )
  expect(body.rejected).toBe(0)
  await until(async () => (await api.get('/v1/trails/told')).body?.size >= 291)
  const { superuser } = database
  await superuser.query('set session_replication_role = replica')
  await superuser.query(
    `update affidavit.events set facts = null, facts_salt = null
     where seq = 17 and tenant = (select number from affidavit.tenants where id = 'told')`,
  )
  await superuser.query(
    `delete from affidavit.personas where number = (select min(p.number) from affidavit.personas p
       join affidavit.tenants t on t.number = p.tenant and t.id = 'told')`,
  )
  await superuser.query('set session_replication_role = origin')
  const made = async (scopes: string[]) =>
    (await api.post('/v1/keys', { name: 'Auditor', tenant: 'told', scopes: ['events:read', 'verify', ...scopes] })).body
      .key
  for (const key of [api.key, await made([]), await made(['events:confidential'])]) {
    const eyes = api.with(key)
    const { status, body: bytes } = await eyes.get('/v1/trails/told/pack')
    expect(status).toBe(200)
    const pack = await open(bytes)
    const { size } = pack.manifest
    const widths = [`000`, `001.p/${size - 256}`]
    for (const [index, width] of widths.entries()) {
      const tile = (await eyes.get(`/v1/trails/told/tile/entries/${width}`)).body
      expect(toHex(await pack.bundle(index))).toBe(toHex(tile))
    }
    const lines = [...(await pack.contentLines(0)), ...(await pack.contentLines(1))]
    const content = (await eyes.get(`/v1/trails/told/content?to=${size}`)).body.toString()
    expect(`${lines.join('\n')}\n`).toBe(content)
    expect([content.includes('"confidential"'), content.includes('"operator"')]).toEqual([
      !pack.manifest.withheld.includes('confidential'),
      !pack.manifest.withheld.includes('operator'),
    ])
    // The event whose payload is gone, and the person who is.
    const { findings } = await check(bytes)
    expect(findings.some(({ code, seq }) => code === 'unexplained' && seq === 17)).toBe(true)
    expect(new Set(findings.map(({ verdict }) => verdict))).toEqual(new Set(['absence']))
  }
})

test('makes two packs of a tenant at once, not three, and goes on when one is dropped', async () => {
  const ask = (signal: AbortSignal) =>
    fetch(`${server.url}${path}/pack`, { headers: { authorization: `Bearer ${server.key}` }, signal })
  const aborts = [new AbortController(), new AbortController()]
  // Small packs fit into what the connection buffers: what is asked for at once is what overlaps.
  const answers = await Promise.all([
    ...aborts.map(({ signal }) => ask(signal)),
    ask(new AbortController().signal),
    ask(new AbortController().signal),
  ])
  const refused = answers.filter(({ status }) => status === 429)
  expect(refused.length).toBeGreaterThan(0)
  expect(refused[0]!.headers.get('retry-after')).toBe('10')
  expect(await refused[0]!.json()).toMatchObject({ code: 'rate_limited' })
  for (const abort of aborts) abort.abort()
  for (const answer of answers) await answer.body?.cancel().catch(() => undefined)
  await until(async () => (await api.get(`${path}/pack`)).status === 200)
})

test('a pack that nobody takes gives its place to another, and the thread ends when it is told', async () => {
  const settings = { login: database.url, keys: { folder: join(server.dataDir, 'keys') }, logName: 'log.example' }
  const thread = new PackThread(settings, silent, 200)
  const reader = { tenant: 'packed', operator: true, confidential: true }
  const asked = { what: { query: 'from=0&to=300' }, evidence: undefined, registryVkeys: [] }
  const ask = () => thread.make({ reader, asked })
  const packs = await Promise.all([ask(), ask()])
  await expect(ask()).rejects.toMatchObject({ problem: { code: 'rate_limited' } })
  const ends = packs.map(({ body }) => new Promise((resolve) => body.once('error', resolve)))
  for (const end of ends) expect(await end).toMatchObject({ message: 'nobody takes the pack' })
  const { body } = await ask()
  const bytes = Buffer.concat(await body.toArray())
  expect((await open(bytes)).manifest.ranges).toEqual([{ from: 0, to: 300 }])
  const nowhere = { ...asked, what: { query: 'from=0&to=30000' } }
  await expect(thread.make({ reader, asked: nowhere })).rejects.toMatchObject({
    problem: { code: 'invalid_parameter' },
  })
  await thread.stop()
  await expect(ask()).rejects.toMatchObject({ problem: { code: 'unavailable' } })
})

test.each([
  ['a range', '?from=10&to=500'],
  ['a time', '?sealed_from=2026-01-01'],
  ['a set of events', '?event=event-3,event-99&event=event-400'],
])('goes on where a download of %s was cut off, byte for byte', async (_what, query) => {
  const whole = await packOf(query)
  const pack = await open(whole)
  const begun = { manifest: encodeManifest(pack.manifest), checkpoint: await pack.text('checkpoint') }
  const members = [...memberPaths(pack.manifest)]
  const proof = members.findIndex((path) => path.startsWith('proofs/'))
  for (const skip of [3, 5, ...(proof > 0 ? [proof + 1] : [])]) {
    const { body } = await api.post(`${path}/pack`, { ...begun, skip })
    const at = whole.indexOf(body.subarray(0, 200))
    expect(at).toBeGreaterThan(0)
    expect(body.indexOf(members[skip]!)).toBe(30)
    // The registry goes on meanwhile, and the cover page says when it was made: everything before is the same.
    const late = body.indexOf(Buffer.from('registry/epoch')) - 30
    expect(late).toBeGreaterThan(200)
    expect(toHex(nodeHash(body.subarray(0, late)))).toBe(toHex(nodeHash(whole.subarray(at, at + late))))
  }
})

test('goes on with no manifest of another trail, of the future, or of other eyes', async () => {
  const pack = await open(await packOf(''))
  const checkpoint = await pack.text('checkpoint')
  const text = encodeManifest(pack.manifest)
  const grown = encodeManifest({ ...decodeManifest(text), size: 10_000 })
  const blind = encodeManifest({ ...decodeManifest(text), withheld: ['confidential', 'operator'] })
  const ask = async (manifest: string, more: object = {}) =>
    (await api.post(`${path}/pack`, { manifest, checkpoint, skip: 3, ...more })).body.code
  expect(await ask(grown)).toBe('invalid_request')
  expect(await ask(blind)).toBe('invalid_request')
  expect(await ask(text.replace('registry/epoch"', 'registry/epoche"'))).toBe('invalid_request')
  expect(await ask(text.replaceAll(pack.manifest.trail, '0'.repeat(32)))).toBe('not_found')
  expect(await ask('nonsense')).toBe('invalid_request')
  expect(await ask(text, { checkpoint: 'nonsense' })).toBe('invalid_request')
  expect(await ask(text, { skip: 2 })).toBe('invalid_value')
})

test('the verifiers to take along are public, and the page lets nothing out', async () => {
  await promisify(execFile)(process.execPath, ['web/verify/build.ts', '--if-stale'], {
    cwd: join(import.meta.dirname, '../..'),
  })
  const page = await api.get('/verify', { key: null })
  expect([page.status, page.headers.get('content-type')]).toEqual([200, 'text/html; charset=utf-8'])
  expect(page.body.toString()).toMatch(
    /<meta http-equiv="Content-Security-Policy" content="default-src 'none';[^"]+connect-src 'none'/,
  )
  const program = await api.get('/verify/affidavit-verify.mjs', { key: null })
  expect([program.status, program.headers.get('content-type')]).toEqual([200, 'text/javascript; charset=utf-8'])
  expect(program.body.toString()).toMatch(/^#!\/usr\/bin\/env node\n/)
})
