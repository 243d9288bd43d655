// The witness over HTTP, against every rule of C2SP tlog-witness, and over a crash at the worst moment.
import { spawn } from 'node:child_process'
import { generateKeyPairSync, randomBytes, sign } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  COSIGNATURE,
  ED25519,
  formatAddCheckpoint,
  formatCheckpoint,
  formatVkey,
  keyId,
  leafHash,
  parseVkey,
  proveConsistency,
  rangeHash,
  signNote,
  takeCosignatures,
  verifyEd25519,
} from '@affidavit/trail'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { nodeSha256 as sha256 } from '../src/verify/node-hash.ts'
import { type RunningWitness, startWitness } from '../src/witness/server.ts'
import { WitnessState } from '../src/witness/state.ts'
import { affidavit } from './command-line.ts'

/** A log in memory that signs any size of itself. */
class TestLog {
  readonly origin: string
  readonly vkey: string
  readonly #leaves: Uint8Array[]
  readonly #key = generateKeyPairSync('ed25519')

  constructor(origin: string, leaves: Uint8Array[]) {
    this.origin = origin
    this.#leaves = leaves
    this.vkey = formatVkey(sha256, origin, this.#public)
  }

  get #public(): Uint8Array {
    return this.#key.publicKey.export({ format: 'der', type: 'spki' }).subarray(-32)
  }

  async #node(level: number, index: number): Promise<Uint8Array> {
    if (level === 0) return this.#leaves[index]!
    const [left, right] = await Promise.all([this.#node(level - 1, 2 * index), this.#node(level - 1, 2 * index + 1)])
    return sha256(Buffer.concat([Uint8Array.of(1), left, right]))
  }

  async body(size: number): Promise<string> {
    const read = (level: number, index: number) => this.#node(level, index)
    return formatCheckpoint(this.origin, size, await rangeHash(sha256, read, { from: 0, to: size }))
  }

  async note(size: number, body?: string): Promise<string> {
    const signer = {
      name: this.origin,
      id: keyId(sha256, this.origin, ED25519, this.#public),
      sign: (message: Uint8Array) => sign(null, message, this.#key.privateKey),
    }
    return signNote(body ?? (await this.body(size)), [signer])
  }

  async request(old: number, size: number): Promise<string> {
    const proof = old === 0 ? [] : await proveConsistency(sha256, (l, i) => this.#node(l, i), old, size)
    return formatAddCheckpoint({ old, proof, checkpoint: await this.note(size) })
  }
}

const leaves = Array.from({ length: 300 }, (_, n) => leafHash(sha256, Buffer.from(`entry ${n}`)))
const name = 'witness.test/w1'

let folder: string
let file: string
let log: TestLog
let state: WitnessState
let running: RunningWitness

async function start(): Promise<void> {
  state = await WitnessState.open(file, name, [log.vkey])
  running = await startWitness({ state, host: '127.0.0.1', port: 0, log: () => {} })
}

async function stop(): Promise<void> {
  await running.stop()
  await state.close()
}

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'affidavit-witness-'))
  file = join(folder, 'witness.json')
  log = new TestLog('log.test/registry', leaves)
  await start()
})

afterEach(async () => {
  await stop()
  await rm(folder, { recursive: true, force: true })
})

async function add(body: string, url = running.url) {
  const response = await fetch(`${url}/add-checkpoint`, { method: 'POST', body })
  return { status: response.status, type: response.headers.get('content-type'), body: await response.text() }
}

describe('a witness', () => {
  test('cosigns the first checkpoint, growth, and the same again', async () => {
    const witnessKey = parseVkey(sha256, state.vkey)
    expect(witnessKey).toMatchObject({ name, type: COSIGNATURE })
    for (const [old, size] of [
      [0, 100],
      [100, 300],
      [300, 300],
    ] as const) {
      const answer = await add(await log.request(old, size))
      expect(answer.status, answer.body).toBe(200)
      const { cosigned } = await takeCosignatures(verifyEd25519, await log.body(size), answer.body, [witnessKey])
      expect(cosigned).toHaveLength(1)
      expect(Math.abs(cosigned[0]!.time - Date.now() / 1000)).toBeLessThan(60)
    }
  })

  test('names the size it cosigned last to whoever thinks of another', async () => {
    const conflict = (size: number) => ({ status: 409, type: 'text/x.tlog.size', body: `${size}\n` })
    expect(await add(await log.request(7, 100))).toEqual(conflict(0))
    await add(await log.request(0, 100))
    expect(await add(await log.request(0, 100))).toEqual(conflict(100))
    expect(await add(await log.request(50, 300))).toEqual(conflict(100))
    expect(await add(await log.request(50, 60))).toEqual(conflict(100))
  })

  test('refuses what contradicts what it cosigned', async () => {
    await add(await log.request(0, 100))
    const fork = new TestLog(log.origin, [
      ...leaves.slice(0, 5),
      leafHash(sha256, Buffer.from('x')),
      ...leaves.slice(6),
    ])
    const forked = async (size: number, proof: Uint8Array[]) =>
      add(formatAddCheckpoint({ old: 100, proof, checkpoint: await log.note(size, await fork.body(size)) }))
    expect((await forked(100, [])).status).toBe(422)
    expect((await forked(200, [])).status).toBe(422)
    expect((await forked(200, [randomBytes(32), randomBytes(32), randomBytes(32)])).status).toBe(422)
    expect(state.head(log.origin)?.size).toBe(100)
    expect((await add(await log.request(100, 200))).status).toBe(200)
  })

  test('refuses what it cannot judge', async () => {
    const good = await log.request(0, 10)
    const other = new TestLog(log.origin, leaves) // the right name, another key
    expect((await add(await other.request(0, 10))).status).toBe(403)
    expect((await add(await new TestLog('other.test/registry', leaves).request(0, 10))).status).toBe(404)
    const tooOld = formatAddCheckpoint({ old: 11, proof: [], checkpoint: await log.note(10) })
    expect((await add(tooOld)).status).toBe(400)
    const proofFromNothing = formatAddCheckpoint({ old: 0, proof: [randomBytes(32)], checkpoint: await log.note(10) })
    expect((await add(proofFromNothing)).status).toBe(422)
    for (const bad of ['', 'old 0\n', good.replace('old 0', 'old 00'), good.replace('\n\n', '\n'), `\u0000${good}`])
      expect((await add(bad)).status, JSON.stringify(bad)).toBe(400)
    expect((await add('x'.repeat(70_000))).status).toBe(413)
    expect((await fetch(`${running.url}/add-checkpoint`)).status).toBe(405)
    expect((await fetch(`${running.url}/else`, { method: 'POST' })).status).toBe(404)
    expect(state.head(log.origin)).toBeUndefined()
    expect((await add(good)).status).toBe(200)
    const shown = await (await fetch(running.url)).text()
    expect(shown).toContain(state.vkey)
    expect(shown).toContain(`log ${log.origin}: size 10,`)
  })

  test('takes either key of a log that changes its key, and no note in which one of them signed wrongly', async () => {
    const second = new TestLog(log.origin, leaves)
    await stop()
    state = await WitnessState.open(file, undefined, [second.vkey])
    running = await startWitness({ state, host: '127.0.0.1', port: 0, log: () => {} })
    const ofAnotherText = (await second.note(11)).split('\n\n')[1]!
    const mixed = `${await log.note(10)}${ofAnotherText}`
    expect((await add(formatAddCheckpoint({ old: 0, proof: [], checkpoint: mixed }))).status).toBe(403)
    expect((await add(await log.request(0, 10))).status).toBe(200)
    expect((await add(await second.request(10, 12))).status).toBe(200)
    expect(state.logs).toHaveLength(1)
  })

  test('never goes back, however many ask at once', async () => {
    const sizes = [10, 200, 30, 150, 90, 300, 60]
    const answers = await Promise.all(sizes.map(async (size) => ({ size, ...(await add(await log.request(0, size))) })))
    const won = answers.filter(({ status }) => status === 200)
    expect(won).toHaveLength(1)
    expect(answers.filter(({ status }) => status === 409)).toHaveLength(sizes.length - 1)
    expect(state.head(log.origin)?.size).toBe(won[0]!.size)
  })

  test('stops although a connection is open that never asked', async () => {
    const client = connect(Number(new URL(running.url).port), '127.0.0.1')
    await once(client, 'connect')
    const late = sleep(8_000, 'it waits', { ref: false })
    const gone = once(client.resume(), 'close')
    expect(await Promise.race([running.stop().then(() => 'stopped'), late])).toBe('stopped')
    await gone
    await state.close()
    await start()
  })

  test('remembers across restarts', async () => {
    const { vkey } = state
    await add(await log.request(0, 100))
    await stop()
    await start()
    expect(state.vkey).toBe(vkey)
    expect((await add(await log.request(0, 50))).body).toBe('100\n')
    expect((await add(await log.request(100, 101))).status).toBe(200)
    expect(JSON.parse(await readFile(file, 'utf8')).heads[log.origin].size).toBe(101)
  })

  test('signs nothing once somebody else has written its file', async () => {
    await add(await log.request(0, 100))
    const earlier = await readFile(file, 'utf8')
    await add(await log.request(100, 200))
    await writeFile(file, earlier)
    expect((await add(await log.request(200, 300))).status).toBe(500)
    expect(state.head(log.origin)?.size).toBe(200)
    expect(await readFile(file, 'utf8')).toBe(earlier)
  })

  test('that dies between remembering and answering remembers', async () => {
    await stop()
    const entry = join(import.meta.dirname, 'witness-process.ts')
    const child = spawn(process.execPath, [entry, file, name, log.vkey], { stdio: ['ignore', 'pipe', 'inherit'] })
    const [line] = (await once(child.stdout, 'data')) as [Buffer]
    const ended = once(child, 'exit')
    await expect(add(await log.request(0, 100), String(line).trim())).rejects.toThrow()
    expect((await ended)[1]).toBe('SIGKILL')
    await start() // over the lock file that the dead one left
    expect(state.head(log.origin)?.size).toBe(100)
    expect(await add(await log.request(0, 50))).toMatchObject({ status: 409, body: '100\n' })
    expect((await add(await log.request(100, 100))).status).toBe(200)
  })
})

describe('affidavit witness', () => {
  test('says what is missing or wrong', async () => {
    const own = join(folder, 'own.json')
    const said = async (...args: string[]) => {
      const { code, err } = await affidavit(['witness', ...args])
      expect(code).toBe(2)
      return err
    }
    expect(await said('--file', own)).toContain('--name')
    expect(await said('--file', own, '--name', 'a b')).toContain('one word')
    expect(await said('--file', own, '--name', 'w.test/1')).toContain('knows no log')
    expect(await said('--file', own, '--name', 'w.test/1', 'log.test+12345678+AAAA')).toContain('no verifier key')
    expect(await said('--file', own, '--name', 'w.test/1', state.vkey)).toContain('no verifier key')
    expect(await said('--listen', 'here')).toContain('127.0.0.1:4180')
    expect(await said('--file', file, log.vkey)).toContain('another witness runs')
    await writeFile(own, '{"format":"affidavit-witness/2"}')
    expect(await said('--file', own, log.vkey)).toContain('no file of a witness')
    const port = new URL(running.url).port
    const taken = ['--listen', `127.0.0.1:${port}`, log.vkey]
    expect(await said('--file', join(folder, 'new.json'), '--name', 'w.test/1', ...taken)).toContain('cannot listen')
  })

  test('does not take the file of another witness for its own', async () => {
    await stop()
    await expect(WitnessState.open(file, 'w.test/2', [])).rejects.toThrow(`the file of ${name}`)
    await start()
  })
})
