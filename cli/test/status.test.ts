// A whole server with witnesses and anchors: what `affidavit status`, the metrics and the public list say of them, and
// that events are sealed whatever they do.
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { readPolicy } from '@affidavit/server/anchor/policy-file.ts'
import { readAnchors } from '@affidavit/server/anchor/settings.ts'
import { AnchorsRefused, AnchorThread } from '@affidavit/server/anchor/thread.ts'
import { silent } from '@affidavit/server/store/log.ts'
import { parsePolicy, verifyCheckpoint, verifyEd25519 } from '@affidavit/trail'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { freshDatabase, type TestDatabase } from '../../server/test/database.ts'
import { goProgram } from '../../server/test/go-programs.ts'
import { type Litewitness, startLitewitness } from '../../server/test/litewitness.ts'
import { freePort } from '../../server/test/ports.ts'
import { type StartedServer, startedServer } from '../../server/test/started-server.ts'
import { hasOpenssl, startTimestampAuthority, type TimestampAuthority } from '../../server/test/timestamp-authority.ts'
import { worriesOf } from '../src/command/status.ts'
import { nodeSha256 } from '../src/verify/node-hash.ts'
import { type RunningWitness, startWitness } from '../src/witness/server.ts'
import { WitnessState } from '../src/witness/state.ts'
import { affidavit } from './command-line.ts'

let folder: string
let database: TestDatabase
let server: StartedServer
let state: WitnessState
let witness: RunningWitness
let authority: TimestampAuthority | undefined
let lite: Litewitness | null
let policy: string
const hook = createServer((_, response) => response.writeHead(500).end())

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'affidavit-status-'))
  database = await freshDatabase()
  hook.listen(0, '127.0.0.1')
  await once(hook, 'listening')
  const port = await freePort()
  // The witness learns the log's key from the server, and the server the witness's from its file: it is made first.
  const file = join(folder, 'witness.json')
  state = await WitnessState.open(file, 'witness.test/w1', [])
  lite = await startLitewitness('witness.test/lite')
  policy = `witness w1 ${state.vkey} http://127.0.0.1:${port}\n`
  if (lite !== null) policy += `witness lite ${lite.vkey} ${lite.url}\n`
  policy += `group all-of-them all ${lite === null ? 'w1' : 'w1 lite'}\nquorum all-of-them\n`
  await writeFile(join(folder, 'policy'), policy)
  const anchors: object[] = [
    {
      name: 'hook',
      kind: 'webhook',
      url: `http://127.0.0.1:${(hook.address() as AddressInfo).port}`,
      secret: `whsec_${Buffer.alloc(32, 1).toString('base64')}`,
      allow_private_addresses: true,
    },
  ]
  if (hasOpenssl) {
    authority = await startTimestampAuthority()
    await writeFile(join(folder, 'ca.pem'), authority.ca)
    anchors.push({ name: 'tsa', kind: 'timestamp', url: authority.url, ca_file: 'ca.pem' })
  }
  await writeFile(join(folder, 'anchors.json'), JSON.stringify({ anchors }))
  expect(await readAnchors(join(folder, 'anchors.json'))).toHaveLength(anchors.length)
  server = await startedServer(database.url, {
    AFFIDAVIT_WITNESS_POLICY: join(folder, 'policy'),
    AFFIDAVIT_ANCHORS: join(folder, 'anchors.json'),
    AFFIDAVIT_REGISTRY_INTERVAL_MS: '1000',
  })
  expect((await record()).status).toBe(201) // the registry begins with the first trail
  await until(async () => (await fetch(`${server.url}/v1/registry/vkeys`)).ok)
  const vkeys = (await (await fetch(`${server.url}/v1/registry/vkeys`)).text()).trim().split('\n')
  await state.close()
  state = await WitnessState.open(file, undefined, [vkeys[0]!])
  await lite?.addLog(vkeys[0]!.split('+')[0]!, vkeys[0]!)
  policy += `log ${vkeys[0]}\n`
  witness = await startWitness({ state, host: '127.0.0.1', port, log: () => {} })
})

afterAll(async () => {
  await server?.stop()
  await witness?.stop()
  await state?.close()
  await lite?.stop()
  await authority?.stop()
  hook.close()
  hook.closeAllConnections()
  await database?.drop()
  await rm(folder, { recursive: true, force: true })
})

async function until(works: () => Promise<boolean>): Promise<void> {
  for (const end = Date.now() + 60_000; Date.now() < end; ) {
    if (await works()) return
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  throw new Error('it does not come to pass')
}

const record = () =>
  fetch(`${server.url}/v1/events`, {
    method: 'POST',
    headers: { authorization: `Bearer ${server.key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ tenant: 'org_1', action: 'user.login', actor: { type: 'user', id: 'u1' } }),
  })

const environment = () => ({ AFFIDAVIT_URL: server.url, AFFIDAVIT_KEY: server.key })

interface Copies {
  readonly data: { id: string; anchor: string; checkpoint: string; token: string | null; epoch: number }[]
  readonly next: string | null
}

test('the registry of a real server is cosigned, and holds under the policy', async () => {
  await until(async () => {
    const note = await (await fetch(`${server.url}/v1/registry/checkpoint`)).text()
    return (await verifyCheckpoint(verifyEd25519, note, parsePolicy(nodeSha256, policy))).quorum
  })
})

test('torchwood reads the registry and accepts it under the same policy', async (context) => {
  const logcheck = await goProgram('logcheck')
  if (logcheck === null) return context.skip()
  await writeFile(join(folder, 'policy-with-log'), policy)
  const { stdout } = await promisify(execFile)(logcheck, [
    'log',
    `${server.url}/v1/registry/`,
    join(folder, 'policy-with-log'),
  ])
  expect(stdout.trim().split('\n').at(-1)).toMatch(/^ok /)
})

test('affidavit status tells how each anchor does, and exits 1 while one fails', async () => {
  await until(async () => {
    const { out } = await affidavit(['status'], environment())
    return /hook +failing/.test(out) && /w1 +good/.test(out) && !out.includes('is late')
  })
  const { code, out, err } = await affidavit(['status'], environment())
  expect({ code, err }).toEqual({ code: 1, err: '' })
  expect(out).not.toContain('\ufffd')
  expect(out).toMatch(/^Server +seals events$/m)
  expect(out).toMatch(/Registry +epoch \d+, \d+ s ago; the quorum cosigned epoch \d+, \d+ s ago/)
  expect(out).toMatch(/Scrub +.*; (no round is complete yet|last round complete \d+ s ago)/)
  expect(out).toMatch(/witness +w1 +good +\d+ +\d+ s ago/)
  expect(out).toMatch(/webhook +hook +failing +- +never/)
  expect(out).toMatch(/! webhook hook failed \d+ times?: the webhook answers 500/)
  const json = JSON.parse((await affidavit(['status', '--json'], environment())).out)
  expect(json).toMatchObject({
    ready: true,
    assurance: 'anchored',
    registry: { cosigned_epoch: expect.any(Number), late: expect.any(Boolean) },
  })
  const { code: unauthorized } = await affidavit(['status', '--key', 'aff_live_x'], environment())
  expect(unauthorized).toBe(2)
})

test('metrics count successes, failures and wrong answers', async () => {
  const metrics = await (await fetch(`${server.url}/metrics`)).text()
  expect(metrics).toMatch(/^affidavit_anchor_up\{anchor="w1",kind="witness"\} 1$/m)
  expect(metrics).toMatch(/^affidavit_anchor_up\{anchor="hook",kind="webhook"\} 0$/m)
  expect(metrics).toMatch(/^affidavit_anchor_failures\{anchor="hook",kind="webhook"\} [1-9]/m)
  expect(metrics).toMatch(/^affidavit_anchor_wrong_answers\{anchor="w1",kind="witness"\} 0$/m)
  expect(metrics).toMatch(/^affidavit_anchor_last_success_seconds\{anchor="w1",kind="witness"\} 1\d{9}/m)
})

test.skipIf(!hasOpenssl)('everybody may download what was anchored', async () => {
  const list = async (query = '') => (await (await fetch(`${server.url}/v1/registry/anchors${query}`)).json()) as Copies
  await until(async () => (await list()).data.length > 0)
  const { data, next } = await list('?limit=1')
  expect(data).toMatchObject([{ anchor: 'tsa', kind: 'timestamp', timestamp: { policy: '1.3.6.1.4.1.32473.1' } }])
  expect(next).toBe(data[0]!.id)
  expect((await list(`?after=${next}`)).data.length).toBe(0)
  expect((await list(`?epoch=${data[0]!.epoch}`)).data).toEqual(data)
  const note = await fetch(server.url + data[0]!.checkpoint)
  expect(note.headers.get('cache-control')).toContain('immutable')
  const verdict = await verifyCheckpoint(verifyEd25519, await note.text(), parsePolicy(nodeSha256, policy))
  expect(verdict.signed).toBe(true)
  const token = await fetch(server.url + data[0]!.token)
  expect(token.headers.get('content-type')).toBe('application/timestamp-reply')
  expect(Buffer.from(await token.arrayBuffer()).subarray(0, 1)).toEqual(Buffer.of(0x30))
  expect((await fetch(`${server.url}/v1/registry/anchors/999999/checkpoint`)).status).toBe(404)
})

test('events are sealed while every anchor is away', async () => {
  await witness.stop()
  await state.close()
  expect((await record()).status).toBe(201)
  await until(async () =>
    /^affidavit_anchor_up\{anchor="w1".*\} 0$/m.test(await (await fetch(`${server.url}/metrics`)).text()),
  )
  const { registry } = await server.get<{ registry: { epoch: number } }>('/v1/status')
  await until(async () => {
    const now = await server.get<{ registry: { epoch: number } }>('/v1/status')
    return now.registry.epoch > registry.epoch
  })
})

test('a file that cannot be used stops the start with a sentence', async () => {
  const file = join(folder, 'bad.json')
  await writeFile(file, '{"anchors":[{"kind":"floppy"}]}')
  const login = 'postgres://nobody@127.0.0.1:1/none' // the files come first
  const refused = await AnchorThread.start({ login, anchors: file }, silent).catch((error: Error) => error)
  expect(refused).toBeInstanceOf(AnchorsRefused)
  expect((refused as Error).message).toContain('/anchors/0/kind: one of')
  await writeFile(file, 'witness w1\n')
  await expect(readPolicy(file)).rejects.toThrow('line 1: a witness line is')
  await expect(readPolicy('/absent')).rejects.toThrow('cannot be read (ENOENT)')
})

test('worries are told in sentences', () => {
  const good = {
    ready: true,
    waiting_for: [],
    assurance: 'anchored',
    notary: { unnotarized_events: 0, missing_events: 0, stopped_trails: [], last_error: null },
    registry: {
      epoch: 2,
      time: '2026-03-10T12:00:00.000Z',
      cosigned_epoch: 1,
      cosigned_time: '2026-03-10T11:59:00.000Z',
      late: false,
      behind: false,
      broken_trails: 0,
    },
    scrub: { state: 'idle' as const, checked: 9, total: 9, finished_at: null, open_findings: 0, stopped_trails: 0 },
    anchors: [
      { name: 'w', kind: 'witness', state: 'good' as const, epoch: 1, succeeded_at: null, error: null, failures: 0 },
    ],
  }
  const now = Date.parse('2026-03-10T12:00:30.000Z')
  expect(worriesOf(good, now)).toEqual([])
  expect(worriesOf(good, now + 3_600_000)).toEqual(['The quorum of witnesses has cosigned nothing for ten minutes.'])
  const bad = {
    ...good,
    ready: false,
    waiting_for: ['the database does not answer'],
    notary: null,
    registry: { ...good.registry, late: true, behind: true, broken_trails: 1 },
    scrub: { ...good.scrub, open_findings: 2, stopped_trails: 1 },
    anchors: [{ ...good.anchors[0]!, state: 'wrong' as const, error: 'it lies' }],
  }
  expect(worriesOf(bad, now)).toEqual([
    'Events are not sealed: the database does not answer.',
    'The notary is down: checkpoints get old.',
    'The registry is late: no epoch for more than three intervals.',
    'The database is older than the epochs in Objects: restore a newer one.',
    "What is stored of 1 trail contradicts the last epoch: the server's log says where.",
    "The scrub found 2 changes behind the server's back; 1 trail is stopped: affidavit scrub --list.",
    'witness w answers what cannot be right: it lies.',
  ])
})
