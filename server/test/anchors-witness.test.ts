// The registry's checkpoints and their witnesses: our own, torchwood's litewitness, absent ones, forgetful ones and
// liars. The registry log is written straight into the database; everything else is real.
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  COSIGNATURE,
  formatSignature,
  formatVkey,
  parsePolicy,
  policyKeys,
  verifyCheckpoint,
  verifyEd25519,
} from '@affidavit/trail'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type RunningWitness, startWitness } from '../../cli/src/witness/server.ts'
import { WitnessState } from '../../cli/src/witness/state.ts'
import { Anchors } from '../src/anchor/anchors.ts'
import { Outbound } from '../src/anchor/outbound.ts'
import { RegistryLog } from '../src/anchor/registry-log.ts'
import { type AnchorState, readStates } from '../src/anchor/states.ts'
import type { Log } from '../src/store/log.ts'
import { sha256 } from '../src/store/sha256.ts'
import { freshDatabase, type TestDatabase } from './database.ts'
import { startLitewitness } from './litewitness.ts'
import { freePort } from './ports.ts'
import { TestRegistry } from './test-registry.ts'

let database: TestDatabase
let registry: TestRegistry
let folder: string
let anchors: Anchors | undefined
let alarms: string[]
const witnesses: Own[] = []
const servers: Server[] = []

/** `affidavit witness`, which may be stopped and started again at its address. */
class Own {
  readonly name: string
  readonly #port: number
  state!: WitnessState
  #running: RunningWitness | undefined

  constructor(name: string, port: number) {
    this.name = name
    this.#port = port
  }

  async start(file = this.name): Promise<void> {
    this.state = await WitnessState.open(join(folder, file), `witness.test/${this.name}`, [registry.vkey])
    this.#running = await startWitness({ state: this.state, host: '127.0.0.1', port: this.#port, log: () => {} })
  }

  async stop(): Promise<void> {
    await this.#running?.stop()
    await this.state.close()
    this.#running = undefined
  }

  get line(): string {
    return `witness ${this.name} ${this.state.vkey} http://127.0.0.1:${this.#port}`
  }
}

async function ownWitness(name: string): Promise<Own> {
  const witness = new Own(name, await freePort())
  await witness.start()
  witnesses.push(witness)
  return witness
}

/** A witness that answers anything at all. */
async function liar(answer: (body: string) => { status: number; type?: string; body: string } | Promise<never>) {
  const server = createServer((request, response) => {
    const parts: Buffer[] = []
    request.on('data', (part: Buffer) => parts.push(part))
    request.on('end', async () => {
      const { status, type = 'text/plain', body } = await answer(String(Buffer.concat(parts)))
      response.writeHead(status, { 'content-type': type }).end(body)
    })
  })
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const key = formatVkey(sha256, 'witness.test/liar', sha256(Buffer.from('liar')), COSIGNATURE)
  return `witness liar ${key} http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

function start(policy: string, retry_ms = 200): void {
  const log: Log = {
    info: () => {},
    warn: () => {},
    error: (fields) => alarms.push((fields as { reason: string }).reason),
  }
  anchors = new Anchors({
    pool: database.store.pool('notary'),
    session: () => database.store.dedicated('notary'),
    log,
    policy: parsePolicy(sha256, policy),
    places: [],
    outbound: new Outbound(),
    interval_ms: 50,
    retry_ms,
  })
  anchors.start()
}

const states = async () =>
  Object.fromEntries((await readStates(database.store.pool('notary'))).map((state) => [state.name, state]))

/** Waits for a state that is as wanted. */
async function until(
  name: string,
  wanted: (state: AnchorState) => boolean,
  patience_ms = 60_000,
): Promise<AnchorState> {
  let last: AnchorState | undefined
  for (const end = Date.now() + patience_ms; Date.now() < end; ) {
    last = (await states())[name]
    if (last !== undefined && wanted(last)) return last
    await new Promise((resolve) => setTimeout(resolve, 30))
  }
  throw new Error(`${name} stays ${JSON.stringify(last)}`)
}

async function served(): Promise<string> {
  const log = new RegistryLog(database.store.pool('notary'))
  const head = (await log.head())!
  return head.note + (await log.cosignatures(head.size)).join('')
}

beforeAll(async () => {
  database = await freshDatabase()
})
afterAll(() => database.drop())

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'affidavit-anchors-'))
  registry = new TestRegistry(database.superuser)
  alarms = []
})

afterEach(async () => {
  await anchors?.stop()
  anchors = undefined
  for (const witness of witnesses.splice(0)) await witness.stop().catch(() => {})
  for (const server of servers.splice(0)) {
    server.close()
    server.closeAllConnections()
  }
  await database.superuser.query(
    `truncate affidavit.registry_notes, affidavit.registry_epochs, affidavit.registry_tiles,
       affidavit.registry_cosignatures, affidavit.anchors, affidavit.anchored`,
  )
  await rm(folder, { recursive: true, force: true })
})

describe('witnesses', () => {
  test('cosign every checkpoint, and the note then holds under the policy', async () => {
    const [a, b, c] = [await ownWitness('a'), await ownWitness('b'), await ownWitness('c')]
    const policy = [a.line, b.line, c.line, 'group two 2 a b c', 'quorum two', `log ${registry.vkey}`].join('\n')
    await registry.append(3)
    start(policy)
    for (const size of [3, 4, 300]) {
      if (size > registry.size) await registry.append(size - registry.size)
      for (const name of 'abc') await until(name, (state) => state.size === size)
      const verdict = await verifyCheckpoint(verifyEd25519, await served(), parsePolicy(sha256, policy))
      expect(verdict).toMatchObject({ signed: true, quorum: true, checkpoint: { size } })
      expect(verdict.cosigned.map(({ name }) => name)).toEqual(['a', 'b', 'c'])
    }
    const { rows } = await database.superuser.query('select size from affidavit.registry_notes where quorum_at is null')
    expect(rows).toEqual([])
    expect(alarms).toEqual([])
  })

  test('that are away hold up nobody, and catch up with ten thousand epochs in seconds', async () => {
    const [here, away] = [await ownWitness('here'), await ownWitness('away')]
    await registry.append()
    start([here.line, away.line, 'group one any here away', 'quorum one'].join('\n'))
    await until('away', (state) => state.size === 1)
    await away.stop()
    await registry.append(10_000)
    await until('here', (state) => state.size === 10_001)
    await until('away', (state) => state.failures >= 2)
    expect((await states()).away).toMatchObject({
      size: 1,
      isWrong: false,
      error: expect.stringContaining('ECONNREFUSED'),
    })
    const { rows } = await database.superuser.query('select quorum_at from affidavit.registry_notes order by size desc')
    expect(rows[0].quorum_at).not.toBeNull()
    await anchors!.stop()
    await away.start()
    const began = performance.now()
    start([here.line, away.line, 'group one any here away', 'quorum one'].join('\n'))
    await until('away', (state) => state.size === 10_001)
    expect(performance.now() - began).toBeLessThan(20_000) // a second or two; bench/ measures it
    expect((await states()).away).toMatchObject({ error: null, failures: 0 })
    expect(away.state.head(registry.origin)?.size).toBe(10_001)
  })

  test('that know more, or less, than we remember are met where they are', async () => {
    const own = await ownWitness('own')
    await registry.append(700)
    start(`${own.line}\nquorum own`)
    await until('own', (state) => state.size === 700)
    await anchors!.stop()
    // Our memory is behind: the witness cosigned what we never heard of.
    await database.superuser.query('update affidavit.anchors set size = 20')
    await registry.append(7)
    start(`${own.line}\nquorum own`)
    await until('own', (state) => state.size === 707)
    await anchors!.stop()
    // The witness lost its file and began anew under its old address, and another key.
    await own.stop()
    await own.start('another-file')
    await registry.append()
    start(`${own.line}\nquorum own`)
    await until('own', (state) => state.size === 708)
    expect(alarms).toEqual([])
  })

  test('that saw more than the log has raise an alarm: it was rolled back', async () => {
    const own = await ownWitness('own')
    await registry.append(50)
    start(`${own.line}\nquorum own`)
    await until('own', (state) => state.size === 50)
    await anchors!.stop()
    await registry.rollBack(0)
    await database.superuser.query('truncate affidavit.registry_notes, affidavit.registry_epochs, affidavit.anchors')
    const old = registry
    registry = Object.assign(new TestRegistry(database.superuser), { key: old.key })
    await registry.append(20)
    start(`${own.line}\nquorum own`)
    const state = await until('own', ({ isWrong }) => isWrong)
    expect(state.error).toContain('has cosigned size 50 of this log, which has only 20')
    await registry.append(40)
    expect((await until('own', ({ error }) => error?.includes('denies') === true)).error).toContain('size 50')
    expect(alarms).toHaveLength(2)
    expect(own.state.head(old.origin)?.size).toBe(50)
    const { rows } = await database.superuser.query('select from affidavit.registry_cosignatures where size <> 50')
    expect(rows).toEqual([])
  })

  test('of one size with another root: forked', async () => {
    const own = await ownWitness('own')
    await registry.append(5)
    start(`${own.line}\nquorum own`)
    await until('own', (state) => state.size === 5)
    await anchors!.stop()
    await registry.rollBack(0)
    await database.superuser.query('truncate affidavit.registry_notes, affidavit.registry_epochs, affidavit.anchors')
    registry = Object.assign(new TestRegistry(database.superuser), { key: registry.key })
    await registry.append(5)
    start(`${own.line}\nquorum own`)
    expect((await until('own', ({ isWrong }) => isWrong)).error).toContain('forked')
  })

  const signature = (name: string, id: Uint8Array, bytes: number) =>
    formatSignature({ name, id, signature: new Uint8Array(bytes).fill(7) })
  const liarId = (line: string) => policyKeys(parsePolicy(sha256, `${line}\nquorum none`))[0]!.id

  test.each<[string, string, (line: string) => { status: number; type?: string; body: string }]>([
    ['garbage', 'no cosignature', () => ({ status: 200, body: 'hello' })],
    ['nothing', 'no cosignature', () => ({ status: 200, body: '' })],
    [
      'a wrong signature',
      'is wrong',
      (line) => ({ status: 200, body: signature('witness.test/liar', liarId(line), 72) }),
    ],
    ['one of an unknown key', 'without a cosignature', () => ({ status: 200, body: signature('x.test', liarId0, 72) })],
    ['a conflict without a size', 'without a size', () => ({ status: 409, body: '7\n' })],
    [
      'an impossible size',
      'was the database put back',
      () => ({ status: 409, type: 'text/x.tlog.size', body: '99\n' }),
    ],
    ['a denial', 'denies', () => ({ status: 422, body: '' })],
  ])('that answer with %s are alarmed, and never believed', async (_what, reason, answer) => {
    const honest = await ownWitness('honest')
    const line: string = await liar(() => answer(line))
    const policy = [honest.line, line, 'group both all honest liar', 'quorum both'].join('\n')
    await registry.append(9)
    start(policy)
    const state = await until('liar', ({ isWrong }) => isWrong)
    expect(state.error).toContain(reason)
    expect(state.wrongAnswers).toBeGreaterThan(0)
    expect(alarms[0]).toContain(reason)
    await until('honest', ({ size }) => size === 9)
    const verdict = await verifyCheckpoint(verifyEd25519, await served(), parsePolicy(sha256, policy))
    expect(verdict).toMatchObject({ quorum: false, cosigned: [{ name: 'honest' }] })
    const { rows } = await database.superuser.query('select from affidavit.registry_notes where quorum_at is not null')
    expect(rows).toEqual([])
  })

  test('that replay the cosignature of an earlier checkpoint are not believed', async () => {
    const own = await ownWitness('own')
    await registry.append()
    start(`${own.line}\nquorum own`)
    await until('own', (state) => state.size === 1)
    await anchors!.stop()
    const replay = (await new RegistryLog(database.store.pool('notary')).cosignatures(1))[0]!
    const address = (await liar(() => ({ status: 200, body: replay }))).split(' ')[3]
    await registry.append()
    start(`witness own ${own.state.vkey} ${address}\nquorum own`)
    expect((await until('own', ({ isWrong }) => isWrong)).error).toContain('is wrong')
  })

  test('that say no, or nothing at all, are only unreachable', async () => {
    const unknown = await liar(() => ({ status: 404, body: '' }))
    const slow = (await liar(() => new Promise(() => {}))).replaceAll('liar', 'slow')
    const honest = await ownWitness('honest')
    await registry.append()
    start([honest.line, unknown, 'quorum honest'].join('\n'))
    expect((await until('liar', ({ failures }) => failures > 0)).error).toContain('does not know the log')
    await anchors!.stop()
    const slowKey = formatVkey(sha256, 'witness.test/slow', sha256(Buffer.from('slow')), COSIGNATURE)
    start([honest.line, `witness slow ${slowKey} ${slow.split(' ')[3]}`, 'quorum honest'].join('\n'))
    await registry.append()
    await until('honest', ({ size }) => size === 2) // while slow is being waited for
    const { slow: state } = await states()
    expect(state).toMatchObject({ size: null, wrongAnswers: 0 })
    expect(alarms).toEqual([])
  })

  test('of torchwood cosign the registry, too', async (context) => {
    const lite = await startLitewitness('witness.test/lite')
    if (lite === null) return context.skip()
    try {
      await lite.addLog(registry.origin, registry.vkey)
      const own = await ownWitness('own')
      const policy = [own.line, `witness lite ${lite.vkey} ${lite.url}`, 'group all all own lite', 'quorum all'].join(
        '\n',
      )
      await registry.append(260)
      start(policy)
      await until('lite', ({ size }) => size === 260)
      await registry.append(2_000)
      await until('lite', ({ size }) => size === 2_260)
      await until('own', ({ size }) => size === 2_260)
      await anchors!.stop()
      await database.superuser.query('update affidavit.anchors set size = 3') // 409 and its size
      await registry.append()
      start(policy)
      await until('lite', ({ size }) => size === 2_261)
      await until('own', ({ size }) => size === 2_261)
      const verdict = await verifyCheckpoint(verifyEd25519, await served(), parsePolicy(sha256, policy))
      expect(verdict).toMatchObject({ quorum: true })
      expect(alarms).toEqual([])
    } finally {
      await lite.stop()
    }
  })

  test('are asked by one of several processes', async () => {
    const own = await ownWitness('own')
    await registry.append()
    start(`${own.line}\nquorum own`)
    await until('own', ({ size }) => size === 1)
    const first = anchors!
    start(`${own.line}\nquorum own`)
    const second = anchors!
    await registry.append()
    await until('own', ({ size }) => size === 2)
    const locks = `select count(*)::int as n from pg_locks where locktype = 'advisory' and objid = 1634624360 and granted
                     and database = (select oid from pg_database where datname = current_database())`
    expect((await database.superuser.query(locks)).rows[0].n).toBe(1)
    await first.stop()
    await registry.append()
    await until('own', ({ size }) => size === 3)
    await second.stop()
  })
})

const liarId0 = Uint8Array.of(1, 2, 3, 4)
