// A server whose database and Objects were put back, and whose witness remembers: it does not start until the operator
// decides. And a new database under old keys does not begin the log anew.
import { once } from 'node:events'
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { ServerProcess, temporaryFolder } from '../../server/test/server-process.ts'
import { type RunningWitness, startWitness } from '../src/witness/server.ts'
import { WitnessState } from '../src/witness/state.ts'
import { affidavit } from './command-line.ts'

let root: string
let server: ServerProcess
let witness: RunningWitness
let state: WitnessState
let opened: (port: number) => void
/** The witness learns the log's key from the running server; who asks it before then waits, instead of coming back later. */
const port = new Promise<number>((resolve) => (opened = resolve))
const door = createServer((socket) => {
  if (cuts > 0) socket.destroy()
  else void port.then((port) => pass(socket, connect(port, '127.0.0.1')))
  cuts--
})
/** Connections that are cut before the next one is let through. */
let cuts = 0
const settings = (): Record<string, string> => ({
  AFFIDAVIT_OBJECTS: join(root, 'objects'),
  AFFIDAVIT_KEYS_DIR: join(root, 'keys'),
  AFFIDAVIT_REGISTRY_INTERVAL_MS: '400',
  AFFIDAVIT_SCRUB_EVENTS: '0',
  AFFIDAVIT_WITNESS_POLICY: join(root, 'policy'),
})

beforeAll(async () => {
  root = await temporaryFolder()
  await mkdir(join(root, 'data'))
  const file = join(root, 'witness.json')
  state = await WitnessState.open(file, 'witness.test/w1', [])
  door.listen(0, '127.0.0.1')
  await once(door, 'listening')
  const { port } = door.address() as AddressInfo
  await writeFile(join(root, 'policy'), `witness w1 ${state.vkey} http://127.0.0.1:${port}\nquorum w1\n`)
  server = new ServerProcess(join(root, 'data'), { settings: settings() })
  await server.start()
  await record('first')
  let vkey: string | undefined
  while (vkey === undefined) {
    const response = await fetch(`${server.url}/v1/registry/vkeys`)
    if (response.ok) vkey = (await response.text()).split('\n')[0]!
    else await sleep(100)
  }
  await state.close()
  state = await WitnessState.open(file, undefined, [vkey])
  witness = await startWitness({ state, host: '127.0.0.1', port: 0, log: () => {} })
  opened(Number(new URL(witness.url).port))
})
afterAll(async () => {
  await server?.remove()
  await witness?.stop()
  await state?.close()
  door.close()
  if (root) await rm(root, { recursive: true, force: true, maxRetries: 5 })
})

async function record(id: string): Promise<void> {
  const response = await fetch(`${server.url}/v1/events`, {
    method: 'POST',
    headers: { authorization: `Bearer ${server.operatorKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({ id, tenant: 'acme', action: 'a.b', actor: { type: 'user', id: 'u' } }),
  })
  expect(response.status).toBe(201)
}

function pass(from: Socket, to: Socket): void {
  for (const [one, other] of [
    [from, to],
    [to, from],
  ] as const) {
    one.on('error', () => {})
    one.on('close', () => other.destroy())
    one.pipe(other)
  }
}

/** Waits until the witness has cosigned a registry of more than so many entries. */
async function cosignedMoreThan(entries: number): Promise<void> {
  for (const until = Date.now() + 120_000; (state.logs[0]?.head?.size ?? 0) <= entries; await sleep(50)) {
    if (Date.now() > until) throw new Error(`no cosignature\n${server.log}`)
  }
}

async function done(...args: string[]): Promise<void> {
  const environment = { PATH: process.env.PATH!, AFFIDAVIT_DATA_DIR: server.folder, ...settings() }
  const { code, out, err } = await affidavit(args, environment)
  if (code !== 0) throw new Error(`${args.join(' ')}: exit code ${code}\n${out}${err}`)
}

test('a database behind its witness does not start; the operator may decide otherwise', async () => {
  await cosignedMoreThan(0)
  await done('backup', join(root, 'backups'))
  // Each epoch is one entry. The backup has none that is not there by now, whatever the witness has seen of them yet.
  const { length: entries } = await readdir(join(root, 'objects', 'epochs'))
  await record('later')
  await cosignedMoreThan(entries)
  await server.kill()
  // Objects are lost, too: what is left of them is in the backup.
  await rm(join(root, 'objects'), { recursive: true })
  await done('restore', join(root, 'backups'), '--replace')
  // A machine that was put back as a whole may come up before its network does.
  cuts = 1
  const refused = await server.start().then(
    () => '',
    (error: Error) => error.message,
  )
  expect(refused).toMatch(/witness w1 knows the registry with \d+ entries, and this database has \d+: it was put back/)
  expect(cuts).toBeLessThan(0)
  const size = /with (\d+) entries/.exec(refused)![1]!
  const accepting = new ServerProcess(server.folder, { settings: { ...settings(), AFFIDAVIT_ACCEPT_ROLLBACK: size } })
  await accepting.start()
  expect(await accepting.stop()).toBe(0)
}, 400_000)

test('old keys with a new database and no Objects do not begin the log anew', async () => {
  for (const gone of ['data', 'objects']) await rm(join(root, gone), { recursive: true, force: true, maxRetries: 5 })
  await mkdir(join(root, 'data'))
  await expect(server.start()).rejects.toThrow('has signed a log, and neither the database nor Objects')
})
