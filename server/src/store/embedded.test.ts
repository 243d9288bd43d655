// The supervisor against everything that happens to processes: each test kills the real thing.
import { type ChildProcess, execFileSync, type SpawnOptions, spawn, spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { chmod, chown, cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { afterAll, afterEach, beforeEach, expect, test } from 'vitest'
import { findPackage, usable } from './embedded/binaries.ts'
import { alive } from './embedded/cluster.ts'
import { sizes } from './embedded/settings.ts'
import { type Connection, type Embedded, type EmbeddedState, startEmbedded } from './embedded.ts'
import { silent } from './log.ts'

const patient = { timeout: 60_000 }
const script = join(import.meta.dirname, '../../test/embedded-server.ts')
const root = process.getuid?.() === 0
let base: string
let folder: string
const running: Embedded[] = []
const children: ChildProcess[] = []

beforeEach(async () => {
  base = await mkdtemp(join(tmpdir(), 'embedded-'))
  await chmod(base, 0o755)
  folder = join(base, 'postgres')
})

afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL')
  await Promise.all(running.splice(0).map((embedded) => embedded.stop()))
  await rm(base, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 })
})

async function start(at = folder, settings = {}): Promise<Embedded> {
  const embedded = await startEmbedded({ folder: at, log: silent, settings })
  running.push(embedded)
  return embedded
}

async function ask<T extends object>(connection: Connection, sql: string): Promise<T[]> {
  const client = new pg.Client(connection)
  client.on('error', () => {})
  await client.connect()
  try {
    return (await client.query<T>(sql)).rows
  } finally {
    await client.end().catch(() => {})
  }
}

/** A cluster that was made and stopped, for tests whose subject is not how one is made: a copy costs a tenth of that. */
let made: string | undefined
async function givenCluster(): Promise<void> {
  if (made === undefined) {
    made = await mkdtemp(join(tmpdir(), 'embedded-'))
    await chmod(made, 0o755)
    const embedded = await startEmbedded({ folder: join(made, 'postgres'), log: silent })
    await embedded.stop()
  }
  execFileSync('cp', ['-a', join(made, 'postgres'), folder]) // with its owner
}
afterAll(async () => {
  if (made !== undefined) await rm(made, { recursive: true, force: true })
})

interface Said {
  connection: Connection
  postmaster: number
  error?: string
}

/** Runs the supervisor in a process of its own, as a server would. */
async function startElsewhere(as: SpawnOptions = {}): Promise<{ child: ChildProcess; said: Said }> {
  const child = spawn(process.execPath, [script, folder], { stdio: ['ignore', 'pipe', 'inherit'], ...as })
  children.push(child)
  for await (const line of createInterface(child.stdout!)) return { child, said: JSON.parse(line) as Said }
  throw new Error('the process said nothing')
}

const gone = (child: ChildProcess) => new Promise((resolve) => child.once('exit', resolve))
const rows = (connection: Connection) => ask(connection, 'select n from kept order by n')
const keep = (connection: Connection, n: number) =>
  ask(connection, `create table if not exists kept (n int); insert into kept values (${n})`)

test('makes a durable cluster on a Unix socket, and keeps what was written', async () => {
  const first = await start()
  const settings = ['fsync', 'full_page_writes', 'synchronous_commit', 'listen_addresses', 'server_encoding']
  const [seen] = await ask(first.connection, `select ${settings.map((s) => `current_setting('${s}') as ${s}`).join()}`)
  expect(seen).toEqual({
    fsync: 'on',
    full_page_writes: 'on',
    synchronous_commit: 'on',
    listen_addresses: '',
    server_encoding: 'UTF8',
  })
  await keep(first.connection, 1)
  await Promise.all([first.stop(), first.stop()])
  expect(first.state).toBe('stopped')
  expect(existsSync(join(folder, 'data', 'postmaster.pid'))).toBe(false)
  const second = await start()
  expect(await rows(second.connection)).toEqual([{ n: 1 }])
})

test('takes settings from the caller, and the operator’s custom.conf above them', async () => {
  await givenCluster()
  await writeFile(join(folder, 'custom.conf'), "work_mem = '7MB'\n")
  await chmod(join(folder, 'custom.conf'), 0o644)
  const { connection } = await start(folder, { work_mem: '9MB', max_connections: '33' })
  const sql = "select current_setting('work_mem') as work, current_setting('max_connections') as most"
  expect(await ask(connection, sql)).toEqual([{ work: '7MB', most: '33' }])
})

test('admits one server per folder, and names the one that is there', async () => {
  await givenCluster()
  await start()
  await expect(startEmbedded({ folder, log: silent })).rejects.toMatchObject({
    code: 'embedded_in_use',
    message: expect.stringContaining(`process ${process.pid}, since `),
  })
  const { said } = await startElsewhere()
  expect(said.error).toContain(`in use by another server (process ${process.pid}, since `)
})

test('replaces the postmaster of a server that was killed', async () => {
  await givenCluster()
  const { child, said } = await startElsewhere()
  await keep(said.connection, 1)
  child.kill('SIGKILL')
  await gone(child)
  expect(alive(said.postmaster)).toBe(true)
  const next = await start()
  expect(alive(said.postmaster)).toBe(false)
  expect(await rows(next.connection)).toEqual([{ n: 1 }])
})

test('recovers when server and postmaster were killed, while a backend still works', async () => {
  await givenCluster()
  const { child, said } = await startElsewhere()
  await keep(said.connection, 1)
  const busy = ask(said.connection, 'select pg_sleep(60)').catch(() => {})
  await expect
    .poll(() => ask(said.connection, "select from pg_stat_activity where query = 'select pg_sleep(60)'"))
    .toHaveLength(1)
  process.kill(said.postmaster, 'SIGKILL')
  child.kill('SIGKILL')
  await gone(child)
  const next = await start()
  expect(await rows(next.connection)).toEqual([{ n: 1 }])
  await busy
})

test('starts the postmaster again when it dies, and tells its state', async () => {
  await givenCluster()
  const embedded = await start()
  await keep(embedded.connection, 1)
  const states: EmbeddedState[] = []
  const off = embedded.onState((state) => states.push(state))
  for (let round = 2; round <= 3; round++) {
    const before = embedded.pid!
    process.kill(before, 'SIGKILL')
    await expect.poll(() => embedded.state === 'running' && embedded.pid !== before, patient).toBe(true)
    await keep(embedded.connection, round)
  }
  off()
  expect(states).toEqual(['waiting', 'starting', 'running', 'waiting', 'starting', 'running'])
  expect(await rows(embedded.connection)).toEqual([{ n: 1 }, { n: 2 }, { n: 3 }])
})

test('survives the death of a backend', async () => {
  await givenCluster()
  const embedded = await start()
  await keep(embedded.connection, 1)
  const postmaster = embedded.pid
  const victim = new pg.Client(embedded.connection)
  victim.on('error', () => {})
  await victim.connect()
  const { rows: pids } = await victim.query<{ pid: number }>('select pg_backend_pid() as pid')
  process.kill(pids[0]!.pid, 'SIGKILL')
  await expect.poll(() => rows(embedded.connection).catch(() => []), patient).toEqual([{ n: 1 }])
  expect(embedded.pid).toBe(postmaster)
})

test('stops promptly while PostgreSQL recovers from the death of a backend', async () => {
  await givenCluster()
  for (const wait_ms of [0, 60, 120]) {
    const embedded = await start()
    const victim = new pg.Client(embedded.connection)
    victim.on('error', () => {})
    await victim.connect()
    const { rows: pids } = await victim.query<{ pid: number }>('select pg_backend_pid() as pid')
    process.kill(pids[0]!.pid, 'SIGKILL')
    await sleep(wait_ms)
    const started = performance.now()
    await embedded.stop()
    expect(performance.now() - started).toBeLessThan(30_000)
  }
})

test('stops while it waits to start PostgreSQL again', async () => {
  await givenCluster()
  const embedded = await start()
  await rm(join(folder, 'data', 'PG_VERSION'))
  process.kill(embedded.pid!, 'SIGKILL')
  await expect.poll(() => embedded.state, patient).toBe('waiting')
  await embedded.stop()
  expect(embedded.state).toBe('stopped')
})

test('removes a postmaster.pid whose number now belongs to another process', async () => {
  await givenCluster()
  const first = await start()
  await first.stop()
  await writeFile(
    join(folder, 'data', 'postmaster.pid'),
    `${process.pid}\n${folder}\n1\n5432\n${folder}\n\n 1 1\nready\n`,
  )
  const next = await start()
  expect(alive(process.pid)).toBe(true)
  expect(next.state).toBe('running')
})

test('does not take a half-made cluster for a whole one', async () => {
  await mkdir(join(folder, 'data.new'), { recursive: true })
  await writeFile(join(folder, 'data.new', 'PG_VERSION'), '18\n')
  await keep((await start()).connection, 1)
  expect(existsSync(join(folder, 'data.new'))).toBe(false)
})

test('refuses another major version, a folder that is none, and says what to do', async () => {
  await mkdir(join(folder, 'data'), { recursive: true })
  await expect(startEmbedded({ folder, log: silent })).rejects.toThrow('no PostgreSQL data folder')
  await writeFile(join(folder, 'data', 'PG_VERSION'), '17\n')
  await expect(startEmbedded({ folder, log: silent })).rejects.toMatchObject({
    code: 'embedded_version',
    message: expect.stringMatching(/made by PostgreSQL 17.*brings PostgreSQL 18.*backup/),
  })
})

test('says what PostgreSQL said when it does not start, and frees the folder', async () => {
  const broken = startEmbedded({ folder, log: silent, settings: { shared_buffers: 'much' } })
  await expect(broken).rejects.toThrow(/did not start.*shared_buffers/s)
  await start()
})

test('puts the socket into a short folder when the data folder’s path is long', async () => {
  const deep = join(base, 'd'.repeat(60), 'd'.repeat(60))
  const { connection, stop } = await start(deep).then((e) => ({ connection: e.connection, stop: () => e.stop() }))
  expect(connection.host.startsWith(deep)).toBe(false)
  expect(await ask(connection, 'select 1 as one')).toEqual([{ one: 1 }])
  await stop()
  expect(existsSync(connection.host)).toBe(false)
})

test.runIf(root && process.platform === 'linux')(
  'runs in a folder that its unprivileged user cannot reach by name',
  async () => {
    await givenCluster()
    await chmod(base, 0o700)
    const embedded = await start()
    await keep(embedded.connection, 1)
    expect(readFileSync(`/proc/${embedded.pid}/status`, 'utf8')).toMatch(/^Uid:\t65534\t/m)
    const before = embedded.pid!
    process.kill(before, 'SIGKILL')
    await expect.poll(() => embedded.state === 'running' && embedded.pid !== before, patient).toBe(true)
    expect(await rows(embedded.connection)).toEqual([{ n: 1 }])
  },
)

const nobody = { uid: 65534, gid: 65534, cwd: '/' }
const mayRead = root && spawnSync(process.execPath, ['--check', script], nobody).status === 0

test.runIf(mayRead)('runs for a user that is not root', async () => {
  await chown(base, nobody.uid, nobody.gid)
  const { child, said } = await startElsewhere(nobody)
  expect(said.error).toBeUndefined()
  expect(readFileSync(`/proc/${said.postmaster}/status`, 'utf8')).toMatch(/^Uid:\t65534\t65534\t/m)
  await keep(said.connection, 1)
  child.kill('SIGTERM')
  expect(await gone(child)).toBe(0)
  expect(alive(said.postmaster)).toBe(false)
})

test('makes the library symlinks that a blocked install script left out', async () => {
  const found = await strippedPackage(join(base, 'package'))
  const { initdb } = await usable(found, folder, undefined)
  expect(initdb).toBe(join(found.native, 'bin', 'initdb'))
  expect(await version(initdb)).toContain('18')
})

test('copies programs that cannot be used where they are', async () => {
  const found = await strippedPackage(join(base, 'package'))
  if (root) await chmod(join(base, 'package'), 0o700)
  else await chmod(join(found.native, 'lib'), 0o555)
  const identity = root ? { uid: 65534, gid: 65534 } : undefined
  try {
    const results = await Promise.all([usable(found, folder, identity), usable(found, folder, identity)])
    for (const { initdb } of results) {
      expect(initdb.startsWith(folder)).toBe(true)
      expect(await version(initdb, identity)).toContain('18')
    }
  } finally {
    if (!root) await chmod(join(found.native, 'lib'), 0o755)
  }
})

async function strippedPackage(at: string) {
  const found = await findPackage()
  const links = new Set(found.links.map(({ target }) => join(found.native, '..', target)))
  await cp(found.native, join(at, 'native'), { recursive: true, filter: (source) => !links.has(source) })
  return { ...found, native: join(at, 'native') }
}

async function version(program: string, identity = {}): Promise<string> {
  const child = spawn(program, ['--version'], { ...identity, cwd: '/', env: {}, stdio: ['ignore', 'pipe', 'inherit'] })
  let output = ''
  for await (const chunk of child.stdout) output += chunk
  return output
}

test('sizes follow the machine within bounds', () => {
  expect(sizes(1024, 4096)).toEqual({
    shared_buffers: '256MB',
    effective_cache_size: '512MB',
    maintenance_work_mem: '64MB',
    max_wal_size: '410MB',
    min_wal_size: '128MB',
  })
  expect(sizes(1 << 20, 1 << 20)).toMatchObject({
    shared_buffers: '2048MB',
    max_wal_size: '8192MB',
    min_wal_size: '2048MB',
  })
})
