// `affidavit pack` against a whole server behind a line that breaks, and after a kill between any two steps.
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { connect, createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { arrivingMembers } from '@affidavit/trail'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { freshDatabase, type TestDatabase } from '../../server/test/database.ts'
import { type StartedServer, startedServer } from '../../server/test/started-server.ts'
import { download } from '../src/pack/download.ts'
import { PartialPack } from '../src/pack/partial.ts'
import { Remote } from '../src/remote.ts'
import { nodeSha256 } from '../src/verify/node-hash.ts'
import { affidavit, verified } from './command-line.ts'

let database: TestDatabase
let server: StartedServer
let folder: string
let line: BreakingLine
const at = (name: string) => join(folder, name)
const direct = () => ({ AFFIDAVIT_URL: server.url, AFFIDAVIT_KEY: server.key })
const events = 1200

/** Passes connections on, and cuts each one after so many bytes of answer. */
class BreakingLine {
  readonly environment: Record<string, string>
  cutAfter = Number.POSITIVE_INFINITY
  /** Nothing from these bytes on is passed on. */
  cutBefore: string | undefined
  connections = 0
  mostConnections = Number.POSITIVE_INFINITY
  readonly #server: Server

  private constructor(server: Server, key: string) {
    this.#server = server
    const { port } = server.address() as { port: number }
    this.environment = { AFFIDAVIT_URL: `http://127.0.0.1:${port}`, AFFIDAVIT_KEY: key }
  }

  static async to(url: string, key: string): Promise<BreakingLine> {
    const listening = createServer().listen(0, '127.0.0.1')
    await once(listening, 'listening')
    const made = new BreakingLine(listening, key)
    listening.on('connection', (client) => {
      made.connections++
      if (made.connections > made.mostConnections) return void client.destroy()
      const upstream = connect(Number(new URL(url).port), '127.0.0.1')
      let passed = 0
      let tail = Buffer.alloc(0)
      upstream.on('data', (chunk: Buffer) => {
        const joined = Buffer.concat([tail, chunk])
        const at = made.cutBefore === undefined ? -1 : joined.indexOf(made.cutBefore)
        tail = joined.subarray(-32)
        if (at >= 0) {
          upstream.pause()
          client.write(chunk.subarray(0, Math.max(0, at + chunk.length - joined.length)))
          // What came just before a line breaks is lost with it.
          setTimeout(() => client.destroy(), 300)
          return
        }
        const left = made.cutAfter - passed
        passed += chunk.length
        client.write(chunk.subarray(0, Math.max(0, left)))
        if (left < chunk.length) client.destroy()
      })
      client.on('data', (chunk) => upstream.write(chunk))
      for (const [one, other] of [
        [client, upstream],
        [upstream, client],
      ] as const) {
        one.on('close', () => other.destroy())
        one.on('error', () => other.destroy())
      }
    })
    return made
  }

  close(): void {
    this.#server.close()
  }
}

beforeAll(async () => {
  database = await freshDatabase()
  server = await startedServer(database.url, { AFFIDAVIT_REGISTRY_INTERVAL_MS: '1000' })
  folder = await mkdtemp(join(tmpdir(), 'affidavit-pack-'))
  line = await BreakingLine.to(server.url, server.key)
  const lines = Array.from({ length: events }, (_, i) =>
    JSON.stringify({ action: 'document.deleted', actor: { id: `user_${i % 5}`, name: `Person ${i}` } }),
  )
  await writeFile(at('events.ndjson'), lines.join('\n'))
  const imported = ['import', '--format', 'ndjson', at('events.ndjson'), '--tenant', 'long']
  expect(await affidavit(imported, direct())).toMatchObject({ code: 0 })
  for (let size = 0; size <= events; await sleep(100))
    size = (await server.get<{ size: number }>('/v1/trails/long')).size
})
afterAll(async () => {
  line?.close()
  await server?.stop()
  await database?.drop()
  if (folder) await rm(folder, { recursive: true, force: true })
})

test('a line that breaks again and again only takes longer', async () => {
  line.cutAfter = 40_000
  line.connections = 0
  const ran = await affidavit(['pack', '--tenant', 'long', '-o', at('broken.zip')], line.environment)
  expect(ran).toMatchObject({ code: 0, out: expect.stringContaining('HELD') })
  expect(line.connections).toBeGreaterThan(3)
  expect((await readdir(folder)).filter((name) => name.startsWith('broken'))).toEqual(['broken.zip'])
  // What was put together from pieces is what comes in one piece.
  const whole = at('whole.zip')
  expect(await affidavit(['pack', '--tenant', 'long', '-o', whole], direct())).toMatchObject({ code: 0 })
  const [one, other] = [await readFile(at('broken.zip')), await readFile(whole)]
  // An epoch in between makes the manifest before and the proofs behind others.
  const between = (file: Buffer) => file.subarray(file.indexOf('vkeys'), file.indexOf('content/004.ndjson'))
  expect(between(one).length).toBeGreaterThan(40_000)
  expect(between(one).equals(between(other))).toBe(true)
})

test('when the line stays dead the members that came are kept, and the same command goes on with them', async () => {
  const args = ['pack', '--tenant', 'long', '-o', at('dead.zip')]
  line.cutAfter = 60_000
  line.connections = 0
  line.mostConnections = 1
  const first = await affidavit(args, line.environment)
  expect(first).toMatchObject({ code: 2, err: expect.stringContaining('Run the same command again') })
  expect((await readdir(folder)).filter((name) => name.startsWith('dead')).sort()).toEqual([
    'dead.zip.journal',
    'dead.zip.part',
  ])
  line.cutAfter = Number.POSITIVE_INFINITY
  line.mostConnections = Number.POSITIVE_INFINITY
  const second = await affidavit(args, line.environment)
  expect(second).toMatchObject({ code: 0, err: expect.stringContaining('going on from there') })
})

test('the line breaks in the middle of what one epoch binds, and the next part comes an epoch later: it holds', async () => {
  const ask = (path: string) => fetch(server.url + path, { headers: { authorization: `Bearer ${server.key}` } })
  const registrySize = async () => Number((await (await ask('/v1/registry/checkpoint')).text()).split('\n')[1])
  while ((await ask('/v1/trails/long/slot')).status !== 200) await sleep(100)
  const { AFFIDAVIT_URL: url, AFFIDAVIT_KEY: key } = line.environment
  const wanted = { remote: new Remote({ url: url!, key: key! }), path: '/v1/trails/long/pack', query: '', retryMs: 1 }
  const request = JSON.stringify({ url, path: wanted.path, query: wanted.query })
  const partial = await PartialPack.open(at('epochs.zip'), request, false)
  line.cutBefore = 'registry/slot'
  line.connections = 0
  line.mostConnections = 1
  await expect(download(wanted, partial, () => {})).rejects.toThrow('Run the same command again')
  await partial.abandon()
  line.cutBefore = undefined
  line.mostConnections = Number.POSITIVE_INFINITY
  for (const before = await registrySize(); (await registrySize()) <= before + 1; ) await sleep(100)
  const ran = await affidavit(['pack', '--tenant', 'long', '-o', at('epochs.zip')], line.environment)
  expect(ran).toMatchObject({ code: 0, err: expect.stringContaining('going on from there') })
  expect((await verified([at('epochs.zip')])).notes.join()).toMatch(/registry epoch \d+ of .* holds this trail/)
})

test('a torn journal and bytes that were never promised are dropped', async () => {
  const args = ['pack', '--tenant', 'long', '-o', at('torn.zip')]
  await unfinished('torn.zip')
  const journal = await readFile(at('torn.zip.journal'))
  await truncate(at('torn.zip.journal'), journal.length - 9)
  await writeFile(at('torn.zip.part'), Buffer.from('never promised'), { flag: 'a' })
  const ran = await affidavit(args, direct())
  expect(ran).toMatchObject({ code: 0, err: expect.stringContaining('going on from there') })
  expect(await verified([at('torn.zip')])).toMatchObject({ outcome: 'held' })
})

test('another request does not go on with it, unless told to begin anew', async () => {
  await unfinished('other.zip')
  const args = ['pack', '--tenant', 'long', '--from', '100', '--to', '200', '-o', at('other.zip')]
  expect(await affidavit(args, direct())).toMatchObject({ code: 2, err: expect.stringContaining('--restart') })
  expect(await affidavit([...args, '--restart'], direct())).toMatchObject({ code: 0 })
})

test('something is removed from the trail meanwhile: the pack is made anew, and explains it', async () => {
  await unfinished('outdated.zip')
  const send = async (path: string, body: object, key = server.key) => {
    const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json' }
    const answer = await fetch(`${server.url}${path}`, { method: 'POST', headers, body: JSON.stringify(body) })
    return (await answer.json()) as { id: string; key: string; state: string }
  }
  const { key } = await send('/v1/keys', { name: 'Second', scopes: ['forget:approve', 'forget:read'] })
  const asked = await send('/v1/redactions', { tenant: 'long', seqs: [1_100], reason: 'a secret' })
  expect(await send(`/v1/approvals/${asked.id}`, { decision: 'approve' }, key)).toMatchObject({ state: 'done' })
  const ran = await affidavit(['pack', '--tenant', 'long', '-o', at('outdated.zip')], direct())
  expect(ran).toMatchObject({ code: 0, err: expect.stringContaining('making it anew') })
  expect(await verified([at('outdated.zip')])).toMatchObject({ outcome: 'held' })
})

/** Leaves a download of the whole trail as a kill in its middle would: some members are there, the rest is not. */
async function unfinished(name: string): Promise<void> {
  const path = '/v1/trails/long/pack'
  const partial = await PartialPack.open(at(name), JSON.stringify({ url: server.url, path, query: '' }), false)
  const response = await fetch(server.url + path, { headers: { authorization: `Bearer ${server.key}` } })
  let count = 0
  for await (const member of arrivingMembers(nodeSha256, response.body!, 1e9)) {
    await partial.add(member)
    if (++count === 9) break
  }
  await partial.sync()
  await partial.abandon()
}

test('chosen events come with a proof each; a server that sends something else is told', async () => {
  const found = ['pack', '--tenant', 'long', '--query', 'actor=user_3&limit=5', '-o', at('found.zip')]
  expect(await affidavit(found, direct())).toMatchObject({ code: 0 })
  const told = await verified([at('found.zip')])
  expect(told).toMatchObject({ outcome: 'held', subject: { covered: events / 5 } })
  const nothing = ['pack', '--tenant', 'long', '--since', '2999-01-01', '-o', at('nothing.zip')]
  expect(await affidavit(nothing, direct())).toMatchObject({ code: 2, err: expect.stringContaining('not_found') })
  expect((await readdir(folder)).filter((name) => name.startsWith('nothing'))).toEqual([])
})
