/**
 * Other people's programs read what we publish: golang.org/x/mod/sumdb/note and tlog (the Go project's checksum
 * database) and filippo.io/torchwood (notes, cosignatures, policies, proofs), over HTTP from a whole server, on a trail
 * and on the registry. Through a proxy that changes one byte each of them must refuse. Skipped where Go is missing.
 */
import { spawn } from 'node:child_process'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import {
  addSignatures,
  decodeBundle,
  formatTlogProof,
  formatVkey,
  parseCheckpoint,
  parseNote,
  parseVkey,
  vkeyUnder,
} from '@affidavit/trail'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { cosigned, POLICY, REGISTRY_VKEY, SampleLog, WITNESSES } from '../../trail/test/sample-registry.ts'
import { sha256 } from '../src/store/sha256.ts'
import { freshDatabase, type TestDatabase } from './database.ts'
import { goProgram } from './go-programs.ts'
import { type StartedServer, startedServer } from './started-server.ts'

const [logcheck, sumdbcheck] = [await goProgram('logcheck'), await goProgram('sumdbcheck')]
/** Two full tiles and a partial one. */
const EVENTS = 600

let database: TestDatabase
let server: StartedServer
let folder: string
const proxies: Server[] = []

interface Ran {
  readonly code: number | null
  readonly output: string
}

function run(program: string, args: readonly string[], input: object = {}): Promise<Ran> {
  return new Promise((resolve, reject) => {
    const env = { ...process.env, AUTHORIZATION: `Bearer ${server?.key ?? ''}` }
    const child = spawn(program, args, { env, stdio: ['pipe', 'pipe', 'pipe'] })
    let output = ''
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk))
    child.on('error', reject)
    child.on('close', (code) => resolve({ code, output: output.trim() }))
    child.stdin.on('error', () => {})
    child.stdin.end(JSON.stringify(input))
  })
}

async function file(name: string, content: string | Uint8Array): Promise<string> {
  const path = join(folder, name)
  await mkdir(dirname(path), { recursive: true })
  await writeFile(path, content)
  return path
}

const ask = (path: string) => fetch(server.url + path, { headers: { authorization: `Bearer ${server.key}` } })
const text = async (path: string) => (await ask(path)).text()

async function record(from: number, to: number): Promise<void> {
  const events = Array.from({ length: to - from }, (_, at) => ({
    id: `e${from + at}`,
    tenant: 'acme',
    action: 'user.role.updated',
    actor: { type: 'user', id: `u${at % 7}`, name: `Üser ${at % 7}` },
  }))
  const reply = await fetch(`${server.url}/v1/events/batch`, {
    method: 'POST',
    headers: { authorization: `Bearer ${server.key}`, 'content-type': 'application/json' },
    body: JSON.stringify(events),
  })
  expect(await reply.json()).toMatchObject({ accepted: events.length })
}

/** Size of a log's newest checkpoint once it is at least this. */
async function grown(path: string, size: number): Promise<number> {
  for (const end = Date.now() + 60_000; Date.now() < end; await new Promise((resolve) => setTimeout(resolve, 100))) {
    const reply = await ask(`${path}/checkpoint`)
    const now = reply.ok ? parseCheckpoint(parseNote(await reply.text()).text).size : 0
    if (now >= size) return now
  }
  throw new Error(`${path} did not grow to ${size}`)
}

/** A proxy to the server that changes one byte of every answer to a path with this ending. */
async function proxy(ending: string): Promise<string> {
  const changing = createServer(async (request, response) => {
    const reply = await ask(request.url!)
    const body = Buffer.from(await reply.arrayBuffer())
    if (request.url!.endsWith(ending)) body[40] = body[40]! ^ 1
    response.writeHead(reply.status).end(body)
  })
  proxies.push(changing)
  await new Promise<void>((resolve) => changing.listen(0, '127.0.0.1', resolve))
  return `http://127.0.0.1:${(changing.address() as AddressInfo).port}`
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'affidavit-interop-'))
  if (logcheck === null || sumdbcheck === null) return
  database = await freshDatabase()
  server = await startedServer(database.url, { AFFIDAVIT_REGISTRY_INTERVAL_MS: '300' })
  await record(0, 200)
  await grown('/v1/trails/acme', 200)
  await record(200, EVENTS)
  await grown('/v1/trails/acme', EVENTS)
  await grown('/v1/registry', 4)
})
afterAll(async () => {
  for (const one of proxies) one.close()
  await server?.stop()
  await database?.drop()
  await rm(folder, { recursive: true, force: true })
})

describe.skipIf(logcheck === null || sumdbcheck === null)('programs of the Go world', () => {
  const [torchwood, sumdb] = [logcheck!, sumdbcheck!]

  /** Verifier key of the trail, and a policy of only that. */
  async function trailKey(): Promise<{ vkey: string; policy: string }> {
    const { vkey } = (await (await ask('/v1/trails/acme')).json()) as { vkey: string }
    return { vkey, policy: await file('trail.policy', `log ${vkey}\nquorum none\n`) }
  }

  /** The same for the registry; its vkeys page lists the log key first. */
  async function registryKey(): Promise<{ vkey: string; policy: string }> {
    const vkey = (await text('/v1/registry/vkeys')).split('\n')[0]!
    return { vkey, policy: await file('registry.policy', `log ${vkey}\nquorum none\n`) }
  }

  test('sumdb reads the trail: note, every tile, entry, proof, and the proofs that the server makes', async () => {
    const { vkey } = await trailKey()
    const inclusion = await Promise.all(
      ['e0', 'e255', 'e256', `e${EVENTS - 1}`].map(async (id) => {
        const proof = (await (await ask(`/v1/events/${id}/proof?tenant=acme`)).json()) as Record<string, unknown>
        return { index: proof.seq, size: proof.tree_size, leaf: proof.leaf_hash, proof: proof.inclusion }
      }),
    )
    const sizes = [
      [1, 2],
      [200, 512],
      [256, EVENTS],
      [EVENTS, EVENTS],
    ]
    const consistency = await Promise.all(
      sizes.map(async ([from, to]) => (await ask(`/v1/trails/acme/consistency?from=${from}&to=${to}`)).json()),
    )
    const { code, output } = await run(sumdb, [`${server.url}/v1/trails/acme`, vkey], { inclusion, consistency })
    expect(output).toMatch(/^ok size=\d+ root=\S+ inclusion=4 consistency=4$/)
    expect(code).toBe(0)
  })

  test('torchwood reads the trail, and a proof of any entry as a file', async () => {
    const { policy } = await trailKey()
    expect(await run(torchwood, ['log', `${server.url}/v1/trails/acme`, policy])).toMatchObject({
      code: 0,
      output: expect.stringMatching(/^ok origin=\S+ size=\d+ signatures=1 /),
    })
    const entries = decodeBundle(new Uint8Array(await (await ask('/v1/trails/acme/tile/entries/000')).arrayBuffer()))!
    for (const seq of [0, 7, 255]) {
      const proof = await file('proof', await text(`/v1/trails/acme/proofs/${seq}`))
      const right = await run(torchwood, ['proof', policy, proof, await file('entry', entries[seq]!)])
      expect(right).toEqual({ code: 0, output: 'ok proof' })
      const wrong = await run(torchwood, ['proof', policy, proof, await file('entry', entries[seq ^ 1]!)])
      expect(wrong.code).toBe(1)
    }
  })

  test('torchwood takes the proof of an event as a file, with its entry from the other form', async () => {
    const { policy } = await trailKey()
    const reply = await ask('/v1/events/e300/proof?tenant=acme&format=tlog')
    expect(reply.headers.get('content-type')).toBe('text/plain; charset=utf-8')
    const { entry } = (await (await ask('/v1/events/e300/proof?tenant=acme')).json()) as { entry: string }
    const args = ['proof', policy, await file('proof', await reply.text()), await file('entry', entry)]
    expect(await run(torchwood, args)).toEqual({ code: 0, output: 'ok proof' })
  })

  test('both read the registry log without a key, under a name that the trail vkey gives, too', async () => {
    const { vkey, policy } = await registryKey()
    const { code, output } = await run(sumdb, [`${server.url}/v1/registry`, vkey])
    expect(output).toMatch(/^ok size=[1-9]/)
    expect(code).toBe(0)
    expect(await run(torchwood, ['log', `${server.url}/v1/registry`, policy])).toMatchObject({
      code: 0,
      output: expect.stringMatching(/^ok origin=\S+\/registry /),
    })
    const own = parseVkey(sha256, (await trailKey()).vkey)
    const name = parseVkey(sha256, vkey).name
    expect(formatVkey(sha256, name, vkeyUnder(sha256, own, name).publicKey)).toBe(vkey)
  })

  test.each(['tile/0/001', 'tile/1/000.p/2', 'tile/entries/000', 'checkpoint'])(
    'a changed byte of %s is refused by both',
    async (path) => {
      const base = `${await proxy(path)}/v1/trails/acme`
      const { vkey, policy } = await trailKey()
      for (const ran of [await run(sumdb, [base, vkey]), await run(torchwood, ['log', base, policy])]) {
        expect(ran.output).not.toMatch(/^ok/m)
        expect(ran.code).toBe(1)
      }
    },
  )

  test('the key of another log is refused by both', async () => {
    const { vkey, policy } = await registryKey()
    const base = `${server.url}/v1/trails/acme`
    expect((await run(sumdb, [base, vkey])).code).toBe(1)
    expect((await run(torchwood, ['log', base, policy])).code).toBe(1)
  })

  test('torchwood counts our cosignatures under our policy files', async () => {
    const log = new SampleLog(
      Array.from({ length: 3 }, (_, epoch) => ({
        kind: 'epoch',
        epoch,
        time: '2026-03-10T18:33:14.123Z',
        depth: 8,
        slots: new Uint8Array(32),
      })),
    )
    const witnesses = WITNESSES.map(({ vkey }, at) => `witness w${at} ${vkey}\n`).join('')
    const policyOf = (rule: string) =>
      file('policy', `log ${REGISTRY_VKEY}\n${witnesses}group g ${rule} w0 w1\nquorum g\n`)
    const proof = await log.proof(1)
    const entry = await file('entry', log.texts[1]!)
    const judge = async (rule: string, checkpoint: string) =>
      (
        await run(torchwood, [
          'proof',
          await policyOf(rule),
          await file('proof', formatTlogProof({ ...proof, checkpoint })),
          entry,
        ])
      ).code
    const [one, both] = [await cosigned(proof.checkpoint, WITNESSES.slice(1)), await cosigned(proof.checkpoint)]
    expect(await judge('all', both)).toBe(0)
    expect(await judge('all', one)).toBe(1)
    expect(await judge('any', one)).toBe(0)
    expect(await judge('1', one)).toBe(0)
    expect(await judge('any', proof.checkpoint)).toBe(1)
    // The cosignature of another checkpoint.
    const other = parseNote(await cosigned(await log.note(2))).signatures.slice(1)
    expect(await judge('any', addSignatures(proof.checkpoint, other))).toBe(1)
    expect(POLICY.witnesses).toHaveLength(2)
  })
})
